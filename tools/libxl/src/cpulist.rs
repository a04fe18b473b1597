//! Lists of CPUs as the administrator writes them: `all`, `0-3,5`, `^1`.
use xenctrl::CpuMap;

/// A list of CPUs, not yet held against a machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CpuList(Vec<Term>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Term {
    All,
    Add(u32, u32),
    Remove(u32, u32),
}

impl CpuList {
    /// Reads `all`, numbers and ranges, separated by commas; `^` takes away from what stands before it.
    pub fn parse(text: &str) -> Result<CpuList, String> {
        let bad =
            || format!("\"{text}\" is not a list of CPUs, as in \"all\", \"0-3,5\" or \"0-7,^2\"");
        let terms = text.split(',').map(|part| {
            let part = part.trim();
            if part == "all" {
                return Ok(Term::All);
            }
            let (remove, range) = part.strip_prefix('^').map_or((false, part), |r| (true, r));
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
                Term::Remove(first, last)
            } else {
                Term::Add(first, last)
            })
        });
        terms.collect::<Result<_, _>>().map(CpuList)
    }

    /// The highest CPU that it names.
    pub(crate) fn highest(&self) -> u32 {
        let last = |t: &Term| match *t {
            Term::All => 0,
            Term::Add(_, b) | Term::Remove(_, b) => b,
        };
        self.0.iter().map(last).max().unwrap_or(0)
    }

    /// The list's CPUs on a machine with CPUs 0 to `max_id`; an error if there is none of them.
    pub fn resolve(&self, max_id: u32) -> Result<CpuMap, String> {
        let mut set = std::collections::BTreeSet::new();
        for term in &self.0 {
            match *term {
                Term::All => set.extend(0..=max_id),
                Term::Add(a, b) => set.extend(a..=b),
                Term::Remove(a, b) => set.retain(|c| !(a..=b).contains(c)),
            }
        }
        set.retain(|c| *c <= max_id);
        if set.is_empty() {
            return Err(format!(
                "it names no CPU of this machine, which has 0 to {max_id}"
            ));
        }
        let mut map = CpuMap::empty(max_id + 1);
        set.into_iter().for_each(|c| map.set(c));
        Ok(map)
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
        format(&CpuList::parse(text).unwrap().resolve(7).unwrap(), 8)
    }

    #[test]
    fn lists_and_their_spelling() {
        assert_eq!(on8("all"), "all");
        assert_eq!(on8("0-3,5"), "0-3,5");
        assert_eq!(on8("0-7,^2"), "0-1,3-7");
        assert_eq!(on8("all, ^0-5"), "6-7");
        assert_eq!(on8("6,99"), "6");
        assert!(CpuList::parse("9").unwrap().resolve(7).is_err());
        for bad in ["", "x", "3-1", "1-", "-1", "1,,2", "99999"] {
            assert!(CpuList::parse(bad).is_err(), "{bad}");
        }
    }
}
