//! Lists of CPUs as the administrator writes them: `all`, `0-3,5`, `^1`, `nodes:0`.
use xenctrl::CpuMap;

/// A list of CPUs, not yet held against a machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CpuList(Vec<Term>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Term {
    All,
    Add(Place, u32, u32),
    Remove(Place, u32, u32),
    Within(CpuList),
}

/// What a term's numbers are of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Cpu,
    Node,
}

impl Place {
    /// Whether CPU `cpu`, on node `node`, is one of those from `a` to `b`.
    fn holds(self, cpu: u32, node: u32, a: u32, b: u32) -> bool {
        (a..=b).contains(match self {
            Place::Cpu => &cpu,
            Place::Node => &node,
        })
    }
}

impl CpuList {
    /// Reads `all`, numbers and ranges, of CPUs or (after `nodes:`) of memory nodes, separated by commas; `^` takes away
    /// from what stands before it.
    pub fn parse(text: &str) -> Result<CpuList, String> {
        let bad = || {
            format!(
                "\"{text}\" is not a list of CPUs, as in \"all\", \"0-3,5\" \"0-7,^2\" or \"nodes:0\""
            )
        };
        let terms = text.split(',').map(|part| {
            let part = part.trim();
            if part == "all" {
                return Ok(Term::All);
            }
            let (remove, range) = part.strip_prefix('^').map_or((false, part), |r| (true, r));
            let node = range.strip_prefix("nodes:").or(range.strip_prefix("node:"));
            let place = node.map_or(Place::Cpu, |_| Place::Node);
            let range = node.unwrap_or(range);
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let number = |s: &str| {
                s.trim()
                    .parse::<u32>()
                    .ok()
                    .filter(|n| *n < 8192)
                    .ok_or_else(bad)
            };
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(bad());
            }
            Ok(if remove {
                Term::Remove(place, first, last)
            } else {
                Term::Add(place, first, last)
            })
        });
        terms.collect::<Result<_, _>>().map(CpuList)
    }

    /// All CPUs.
    pub fn all() -> CpuList {
        CpuList(vec![Term::All])
    }

    /// Those of its CPUs that are on another list too.
    pub fn within(mut self, other: &CpuList) -> CpuList {
        self.0.push(Term::Within(other.clone()));
        self
    }

    /// The highest CPU that it names.
    pub(crate) fn highest(&self) -> u32 {
        let last = |t: &Term| match t {
            Term::Add(Place::Cpu, _, b) | Term::Remove(Place::Cpu, _, b) => *b,
            Term::Within(list) => list.highest(),
            _ => 0,
        };
        self.0.iter().map(last).max().unwrap_or(0)
    }

    /// The list's CPUs on a machine, of whose CPUs `nodes` has the memory node; an error if there is none of them.
    pub fn resolve(&self, nodes: &[u32]) -> Result<CpuMap, String> {
        let mut wanted = vec![false; nodes.len()];
        self.select(nodes, &mut wanted);
        if !wanted.contains(&true) {
            return Err(format!(
                "it names no CPU of this machine, which has 0 to {}",
                nodes.len().saturating_sub(1)
            ));
        }
        let mut map = CpuMap::empty(nodes.len() as u32);
        let cpus = (0..).zip(&wanted).filter(|(_, w)| **w);
        cpus.for_each(|(c, _)| map.set(c));
        Ok(map)
    }

    fn select(&self, nodes: &[u32], wanted: &mut [bool]) {
        for term in &self.0 {
            let mut allowed = vec![false; nodes.len()];
            if let Term::Within(list) = term {
                list.select(nodes, &mut allowed);
            }
            for (cpu, w) in (0..).zip(wanted.iter_mut()) {
                let node = nodes[cpu as usize];
                match *term {
                    Term::All => *w = true,
                    Term::Add(place, a, b) => *w |= place.holds(cpu, node, a, b),
                    Term::Remove(place, a, b) => *w &= !place.holds(cpu, node, a, b),
                    Term::Within(_) => *w &= allowed[cpu as usize],
                }
            }
        }
    }
}

/// Writes a set of CPUs as xl does: `all` for all of the machine's, else ranges.
pub fn format(map: &CpuMap, nr_cpus: u32) -> String {
    let cpus: Vec<u32> = map.iter().filter(|c| *c < nr_cpus).collect();
    if cpus.len() as u32 == nr_cpus {
        return "all".into();
    }
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for c in cpus {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == c => *last = c,
            _ => ranges.push((c, c)),
        }
    }
    if ranges.is_empty() {
        return "none".into();
    }
    let range = |(a, b): &(u32, u32)| {
        if a == b {
            a.to_string()
        } else {
            format!("{a}-{b}")
        }
    };
    ranges.iter().map(range).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on8(text: &str) -> String {
        format(&CpuList::parse(text).unwrap().resolve(&EIGHT).unwrap(), 8)
    }

    /// Eight CPUs on two nodes.
    const EIGHT: [u32; 8] = [0, 0, 0, 0, 1, 1, 1, 1];

    #[test]
    fn lists_and_their_spelling() {
        assert_eq!(on8("all"), "all");
        assert_eq!(on8("0-3,5"), "0-3,5");
        assert_eq!(on8("0-7,^2"), "0-1,3-7");
        assert_eq!(on8("all, ^0-5"), "6-7");
        assert_eq!(on8("6,99"), "6");
        for empty in ["9", "^0", "nodes:2", "0-3,^nodes:0"] {
            assert!(CpuList::parse(empty).unwrap().resolve(&EIGHT).is_err());
        }
        assert_eq!(on8("nodes:0"), "0-3");
        assert_eq!(on8("node:1,^5,0"), "0,4,6-7");
        assert_eq!(on8("all,^nodes:0-0"), "4-7");
        let few = CpuList::all().within(&CpuList::parse("nodes:1,^7").unwrap());
        assert_eq!(format(&few.resolve(&EIGHT).unwrap(), 8), "4-6");
        for bad in [
            "nodes:",
            "node:x",
            "nodes:1-0",
            "",
            "x",
            "3-1",
            "1-",
            "-1",
            "1,,2",
            "99999",
        ] {
            assert!(CpuList::parse(bad).is_err(), "{bad}");
        }
    }
}
