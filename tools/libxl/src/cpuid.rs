//! `cpuid=`: what CPUID shows a guest, in both syntaxes of xl.cfg(5), as [`Cpuid`]: wishes for single bits of registers.
//!
//! `config` parses it (names from `xen_abi::featureset`, and the older ones below), `create` checks it against the most that
//! the host gives and writes the leaves that it changes.
use crate::cfg::keys::nearest;
use crate::cfg::{Diagnostics, Pos, Value};
use xen_abi::featureset::{FEATURES, Source, WORDS};
use xen_abi::xen::{CPUID_NO_SUBLEAF, CpuidLeaf};

/// What is wished for a bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bit {
    /// As in the policy of a new domain.
    Default,
    /// As the host has it.
    Host,
    Zero,
    One,
}

/// Wishes for a register.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Register {
    leaf: u32,
    subleaf: u32,
    /// 0 eax, 1 ebx, 2 ecx, 3 edx.
    reg: u8,
    /// From the least significant on.
    bits: [Bit; 32],
}

/// All wishes of a configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cpuid(Vec<Register>);

/// Where something is: leaf (subleaf 0), register, first bit, bits.
type Place = (u32, u8, u8, u8);

const EAX: u8 = 0;
const EBX: u8 = 1;
const ECX: u8 = 2;
const EDX: u8 = 3;
const REGISTERS: [&str; 4] = ["eax", "ebx", "ecx", "edx"];

/// Keys that take a number.
const NUMBERS: &[(&str, Place)] = &[
    ("apicidsize", (0x8000_0008, ECX, 12, 4)),
    ("brandid", (1, EBX, 0, 8)),
    ("clflush", (1, EBX, 8, 8)),
    ("localapicid", (1, EBX, 24, 8)),
    ("maxhvleaf", (0x4000_0000, EAX, 0, 8)),
    ("maxleaf", (0, EAX, 0, 32)),
    ("nc", (0x8000_0008, ECX, 0, 8)),
    ("proccount", (1, EBX, 16, 8)),
    ("procpkg", (4, EAX, 26, 6)),
    ("stepping", (1, EAX, 0, 4)),
];
/// The two that are in two parts: low, high.
const FAMILY: [Place; 2] = [(1, EAX, 8, 4), (1, EAX, 20, 8)];
const MODEL: [Place; 2] = [(1, EAX, 4, 4), (1, EAX, 16, 4)];

/// Older names of features, or of such that the header does not name.
const OTHER_NAMES: &[(&str, Place)] = &[
    ("aes", (1, ECX, 25, 1)),
    ("altmovcr8", (0x8000_0001, ECX, 4, 1)),
    ("arat", (6, EAX, 2, 1)),
    ("avx512ifma", (7, EBX, 21, 1)),
    ("avx512vbmi", (7, ECX, 1, 1)),
    ("clfsh", (1, EDX, 19, 1)),
    ("cmplegacy", (0x8000_0001, ECX, 1, 1)),
    ("cmpxchg16", (1, ECX, 13, 1)),
    ("cmpxchg8", (1, EDX, 8, 1)),
    ("cmt", (7, EBX, 12, 1)),
    ("cntxid", (1, ECX, 10, 1)),
    ("est", (1, ECX, 7, 1)),
    ("ia64", (1, EDX, 30, 1)),
    ("invtsc", (0x8000_0007, EDX, 8, 1)),
    ("lahfsahf", (0x8000_0001, ECX, 0, 1)),
    ("nodeid", (0x8000_0001, ECX, 19, 1)),
    ("perfctr-core", (0x8000_0001, ECX, 23, 1)),
    ("perfctr-nb", (0x8000_0001, ECX, 24, 1)),
    ("psn", (1, EDX, 18, 1)),
    ("sse4.1", (1, ECX, 19, 1)),
    ("sse4.2", (1, ECX, 20, 1)),
    ("svm-decode", (0x8000_000a, EDX, 7, 1)),
    ("svm-lbrv", (0x8000_000a, EDX, 1, 1)),
    ("svm-npt", (0x8000_000a, EDX, 0, 1)),
    ("svm-nrips", (0x8000_000a, EDX, 3, 1)),
    ("svm-pausefilt", (0x8000_000a, EDX, 10, 1)),
    ("svm-tscrate", (0x8000_000a, EDX, 4, 1)),
    ("svm-vmcbclean", (0x8000_000a, EDX, 5, 1)),
    ("sysenter", (1, EDX, 11, 1)),
    ("tm", (1, EDX, 29, 1)),
];

/// Bits that do not follow from what the host has: OSXSAVE and OSPKE from control registers, HTT and CMP_LEGACY from topology.
const COMPUTED: &[(u32, u8, u8)] = &[
    (1, ECX, 27),
    (7, ECX, 4),
    (1, EDX, 28),
    (0x8000_0001, ECX, 1),
];

/// The header's features that CPUID shows: name as a configuration spells it, leaf, subleaf, register, bit.
fn features() -> impl Iterator<Item = (String, u32, u32, u8, u8)> {
    FEATURES.iter().filter_map(|f| {
        let name = f.name.strip_prefix("F_").unwrap_or(f.name);
        match WORDS.get(usize::from(f.bit / 32))? {
            Source::Cpuid { leaf, subleaf, reg } => Some((
                name.to_ascii_lowercase().replace('_', "-"),
                *leaf,
                *subleaf,
                *reg,
                (f.bit % 32) as u8,
            )),
            Source::Msr { .. } => None,
        }
    })
}

/// Where the feature of a name is. The name of a number that is also a feature's is the number.
fn feature(name: &str) -> Option<(u32, u32, u8, u8)> {
    let other = OTHER_NAMES.iter().find(|o| o.0 == name);
    let other = other.map(|&(_, (leaf, reg, bit, _))| (leaf, 0, reg, bit));
    other.or_else(|| {
        let of_header = features().find(|f| f.0 == name);
        of_header.map(|(_, leaf, subleaf, reg, bit)| (leaf, subleaf, reg, bit))
    })
}

/// The meaning of a single character.
fn bit(c: char) -> Option<Bit> {
    Some(match c {
        '0' => Bit::Zero,
        '1' => Bit::One,
        'x' => Bit::Default,
        'k' | 's' => Bit::Host,
        _ => return None,
    })
}

const CHARACTERS: &str =
    "0 and 1 force a bit, x leaves what a new guest gets, k and s take the host's";

impl Cpuid {
    /// Whether nothing is wished.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the value of `cpuid`; what is wrong with it goes to `diags`.
    pub(crate) fn read(value: &Value, diags: &mut Diagnostics) -> Cpuid {
        let mut cpuid = Cpuid::default();
        let items = match value.as_list() {
            Some(list) => list.iter().collect(),
            None => vec![value],
        };
        for item in items {
            let mut reader = Reader {
                cpuid: &mut cpuid,
                diags,
                pos: &item.pos,
            };
            let text = item.as_str().unwrap_or_default();
            match value.as_list() {
                Some(_) => reader.leaf(text),
                None => reader.features(text),
            }
        }
        cpuid
    }

    /// The wishes for a register.
    fn register(&mut self, leaf: u32, subleaf: u32, reg: u8) -> &mut [Bit; 32] {
        let same = |r: &Register| (r.leaf, r.subleaf, r.reg) == (leaf, subleaf, reg);
        let at = self.0.iter().position(same).unwrap_or_else(|| {
            self.0.push(Register {
                leaf,
                subleaf,
                reg,
                bits: [Bit::Default; 32],
            });
            self.0.len() - 1
        });
        &mut self.0[at].bits
    }

    /// Features that are to be there and are not in `most`, the greatest policy that the host gives such a guest.
    pub fn beyond(&self, most: &[CpuidLeaf]) -> Vec<String> {
        let mut names = Vec::new();
        for r in &self.0 {
            let word = Source::Cpuid {
                leaf: r.leaf,
                subleaf: r.subleaf,
                reg: r.reg,
            };
            if !WORDS.contains(&word) {
                continue;
            }
            let there = find(most, r.leaf, r.subleaf).map_or(0, |l| register(l, r.reg));
            for (i, wish) in r.bits.iter().enumerate() {
                let computed = COMPUTED.contains(&(r.leaf, r.reg, i as u8));
                if *wish == Bit::One && there >> i & 1 == 0 && !computed {
                    names.push(r.name(i as u8));
                }
            }
        }
        names
    }

    /// The leaves of a domain's `policy` that change, as they are to be; or what cannot be done.
    pub fn changes(
        &self,
        policy: &[CpuidLeaf],
        host: &[CpuidLeaf],
    ) -> Result<Vec<CpuidLeaf>, String> {
        let mut changed: Vec<CpuidLeaf> = Vec::new();
        for r in &self.0 {
            let Some(now) = find(policy, r.leaf, r.subleaf) else {
                if r.bits.contains(&Bit::One) {
                    return Err(format!(
                        "there is no leaf {:#x}, subleaf {} to set bits of",
                        r.leaf, r.subleaf
                    ));
                }
                continue;
            };
            let same = |l: &&mut CpuidLeaf| (l.leaf, l.subleaf) == (now.leaf, now.subleaf);
            let target = match changed.iter_mut().find(same) {
                Some(target) => target,
                None => {
                    changed.push(*now);
                    let last = changed.len() - 1;
                    &mut changed[last]
                }
            };
            let of_host = find(host, r.leaf, r.subleaf).map_or(0, |l| register(l, r.reg));
            let mut value = register(now, r.reg);
            for (i, wish) in r.bits.iter().enumerate() {
                let mask = 1 << i;
                value = match wish {
                    Bit::Default => value,
                    Bit::Zero => value & !mask,
                    Bit::One => value | mask,
                    Bit::Host => value & !mask | of_host & mask,
                };
            }
            match r.reg {
                EAX => target.a = value,
                EBX => target.b = value,
                ECX => target.c = value,
                _ => target.d = value,
            }
        }
        Ok(changed)
    }
}

/// Leaves that have subleaves; of another, libxl keeps none.
const WITH_SUBLEAVES: [u32; 4] = [4, 7, 0xb, 0xd];

impl Cpuid {
    /// The record that libxl keeps: leaves, and MSRs, of which nothing can be said here.
    pub(crate) fn json(&self) -> serde_json::Value {
        use serde_json::{Map, json};
        let mut leaves = Vec::new();
        for r in &self.0 {
            if !leaves.contains(&(r.leaf, r.subleaf)) {
                leaves.push((r.leaf, r.subleaf));
            }
        }
        let record = |(leaf, subleaf)| {
            let mut map = Map::new();
            map.insert("leaf".into(), json!(leaf));
            if WITH_SUBLEAVES.contains(&leaf) || subleaf != 0 {
                map.insert("subleaf".into(), json!(subleaf));
            }
            for (number, name) in (0u8..).zip(REGISTERS) {
                let wanted = |r: &&Register| (r.leaf, r.subleaf, r.reg) == (leaf, subleaf, number);
                if let Some(r) = self.0.iter().find(wanted) {
                    let characters: String = r.bits.iter().rev().map(|b| b.character()).collect();
                    map.insert(name.into(), json!(characters));
                }
            }
            map
        };
        let leaves: Vec<_> = leaves.into_iter().map(record).collect();
        json!({ "cpuid": leaves, "msr": [] })
    }
}

impl Bit {
    /// The character for it.
    fn character(self) -> char {
        match self {
            Bit::Default => 'x',
            Bit::Host => 'k',
            Bit::Zero => '0',
            Bit::One => '1',
        }
    }
}

impl Register {
    /// What a bit is called.
    fn name(&self, bit: u8) -> String {
        let here = (self.leaf, self.subleaf, self.reg, bit);
        let of_header = features().find(|f| (f.1, f.2, f.3, f.4) == here);
        of_header.map_or_else(
            || {
                let reg = REGISTERS[usize::from(self.reg & 3)];
                format!("bit {bit} of {reg} of leaf {:#x}", self.leaf)
            },
            |f| f.0,
        )
    }
}

fn find(policy: &[CpuidLeaf], leaf: u32, subleaf: u32) -> Option<&CpuidLeaf> {
    policy
        .iter()
        .find(|l| l.leaf == leaf && (l.subleaf == subleaf || l.subleaf == CPUID_NO_SUBLEAF))
}

fn register(l: &CpuidLeaf, reg: u8) -> u32 {
    match reg {
        EAX => l.a,
        EBX => l.b,
        ECX => l.c,
        _ => l.d,
    }
}

/// Reads one string.
struct Reader<'a> {
    cpuid: &'a mut Cpuid,
    diags: &'a mut Diagnostics,
    /// Of the string.
    pos: &'a Pos,
}

/// A part of the string without spaces around it, and how many characters are in front of it.
#[derive(Clone, Copy)]
struct Part<'a>(&'a str, usize);

impl<'a> Part<'a> {
    fn trim(self) -> Part<'a> {
        let front = self.0.len() - self.0.trim_start().len();
        Part(self.0.trim(), self.1 + front)
    }

    /// What is before and after the first `c`.
    fn split(self, c: char) -> Option<(Part<'a>, Part<'a>)> {
        let (a, b) = self.0.split_once(c)?;
        let after = self.1 + a.chars().count() + 1;
        Some((Part(a, self.1).trim(), Part(b, after).trim()))
    }

    /// What is between commas.
    fn items(self) -> Vec<Part<'a>> {
        let mut at = self.1;
        let part = |t: &'a str| {
            let part = Part(t, at).trim();
            at += t.chars().count() + 1;
            part
        };
        self.0.split(',').map(part).collect()
    }
}

impl Reader<'_> {
    fn error(&mut self, part: Part, message: String, help: &str) {
        // The quote that opens the string is the first column of it.
        let col = self.pos.col + 1 + part.1 as u32;
        let pos = Pos {
            col,
            ..self.pos.clone()
        };
        let d = self.diags.error(&pos, message);
        if !help.is_empty() {
            d.help(help);
        }
    }

    /// `host,NAME=VALUE,...`
    fn features(&mut self, text: &str) {
        let items = Part(text, 0).items();
        for (i, item) in items.into_iter().enumerate() {
            match (i, item.0) {
                (0, "host") => {}
                (0, _) => {
                    let message = "\"cpuid\" begins with the word host".to_string();
                    let help =
                        "as in \"host,aes=0\"; or give a list of leaves, as in [ \"1:ecx=...\" ]";
                    self.error(item, message, help);
                    return;
                }
                (_, "") => {}
                _ => match item.split('=') {
                    Some((name, value)) => self.feature(name, value),
                    None => self.error(
                        item,
                        format!("in \"cpuid\": \"{}\" lacks its value", item.0),
                        "as in aes=0",
                    ),
                },
            }
        }
    }

    fn feature(&mut self, name: Part, value: Part) {
        let spelled = name.0.to_ascii_lowercase().replace('_', "-");
        if let Some((_, place)) = NUMBERS.iter().find(|n| n.0 == spelled) {
            return self.number(name, value, &[*place], |n| [n, 0]);
        }
        match spelled.as_str() {
            "family" => return self.number(name, value, &FAMILY, |n| [n.min(15), n - n.min(15)]),
            "model" => return self.number(name, value, &MODEL, |n| [n & 15, n >> 4]),
            _ => {}
        }
        let Some((leaf, subleaf, reg, at)) = feature(&spelled) else {
            let known: Vec<String> = features().map(|f| f.0).collect();
            let words = NUMBERS.iter().chain(OTHER_NAMES).map(|n| n.0);
            let words = words.chain(["family", "model"]);
            let near = nearest(&spelled, words.chain(known.iter().map(String::as_str)));
            let help = near.map_or(String::new(), |n| format!("did you mean \"{n}\"?"));
            let message = format!("in \"cpuid\": there is no feature \"{}\"", name.0);
            return self.error(name, message, &help);
        };
        let mut chars = value.0.chars();
        match (chars.next().and_then(bit), chars.next()) {
            (Some(wish), None) => {
                self.cpuid.register(leaf, subleaf, reg)[usize::from(at & 31)] = wish;
            }
            _ => self.error(
                value,
                format!(
                    "in \"cpuid\": {}={} is none of 0, 1, x, k, s",
                    name.0, value.0
                ),
                CHARACTERS,
            ),
        }
    }

    /// A number in one or two fields; or a character for all of their bits.
    fn number(
        &mut self,
        name: Part,
        value: Part,
        places: &[Place],
        split: impl Fn(u64) -> [u64; 2],
    ) {
        let one = match value.0 {
            "x" => Some(Bit::Default),
            "k" | "s" => Some(Bit::Host),
            _ => None,
        };
        let number = number(value.0);
        let fits = number.is_some_and(|n| {
            let parts = split(n).into_iter().zip(places);
            parts.into_iter().all(|(n, p)| n >> p.3 == 0)
        });
        if one.is_none() && !fits {
            let bits = places.iter().map(|p| u32::from(p.3)).sum::<u32>();
            let most = match name.0 {
                "family" => 15 + 255,
                _ => (1u64 << bits) - 1,
            };
            let message = format!(
                "in \"cpuid\": {}={} is not a number from 0 to {most}",
                name.0, value.0
            );
            return self.error(value, message, "or x, k, s for what there is");
        }
        let values = split(number.unwrap_or(0));
        for (n, (leaf, reg, first, count)) in values.into_iter().zip(places) {
            let bits = self.cpuid.register(*leaf, 0, *reg);
            let field = bits.iter_mut().skip(usize::from(*first));
            for (i, b) in field.take(usize::from(*count)).enumerate() {
                let of_number = match n >> i & 1 {
                    0 => Bit::Zero,
                    _ => Bit::One,
                };
                *b = one.unwrap_or(of_number);
            }
        }
    }

    /// `LEAF[,SUBLEAF]:REGISTER=BITS,...`
    fn leaf(&mut self, text: &str) {
        let whole = Part(text, 0).trim();
        let example =
            "as in [ \"1:ecx=xxxxxx0xxxxxxxxxxxxxxxxxxxxxxxxx\" ]: of 32 bits, the highest first";
        let Some((leaf, registers)) = whole.split(':') else {
            let message = format!("in \"cpuid\": \"{}\" begins with no leaf", whole.0);
            return self.error(whole, message, example);
        };
        let mut numbers = [0; 2];
        for (i, part) in leaf.items().into_iter().enumerate() {
            let n = number(part.0).and_then(|n| u32::try_from(n).ok());
            match (n, numbers.get_mut(i)) {
                (Some(n), Some(to)) => *to = n,
                _ => {
                    let message = format!(
                        "in \"cpuid\": \"{}\" is no leaf and no leaf,subleaf",
                        leaf.0
                    );
                    return self.error(part, message, "decimal, or hexadecimal after 0x");
                }
            }
        }
        for item in registers.items() {
            let Some((name, bits)) = item.split('=') else {
                let message = format!("in \"cpuid\": \"{}\" sets no register", item.0);
                self.error(item, message, example);
                continue;
            };
            match REGISTERS.iter().position(|r| *r == name.0) {
                Some(reg) => self.bits(numbers, reg as u8, bits),
                None => {
                    let message = format!("in \"cpuid\": there is no register \"{}\"", name.0);
                    self.error(name, message, "eax, ebx, ecx or edx");
                }
            }
        }
    }

    fn bits(&mut self, [leaf, subleaf]: [u32; 2], reg: u8, bits: Part) {
        let count = bits.0.chars().count();
        if count != 32 {
            let message = format!("in \"cpuid\": {count} bits where a register has 32");
            return self.error(bits, message, "");
        }
        if let Some((i, c)) = bits.0.chars().enumerate().find(|(_, c)| bit(*c).is_none()) {
            let message = format!("in \"cpuid\": '{c}' is none of 0, 1, x, k, s");
            return self.error(Part(bits.0, bits.1 + i), message, CHARACTERS);
        }
        let to = self.cpuid.register(leaf, subleaf, reg);
        for (to, c) in to.iter_mut().zip(bits.0.chars().rev()) {
            *to = bit(c).unwrap_or(Bit::Default);
        }
    }
}

/// Decimal, or hexadecimal after 0x.
fn number(text: &str) -> Option<u64> {
    let n = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    n.ok().filter(|n| *n <= u64::from(u32::MAX))
}

#[cfg(test)]
mod tests;
