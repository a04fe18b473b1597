//! `dom0_mem`: how much memory Domain-0 gets, in all the forms Xen's users write.

use crate::size::{parse_number, parse_size};

const PAGE: u64 = 4096;

/// One amount: an absolute size, a percentage of the host, or both added; negative means "all but this".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemSpec {
    /// Bytes.
    pub bytes: u64,
    /// Percentage of the available memory, added to `bytes`.
    pub percent: u8,
    /// The amount is what the rest of the host keeps.
    pub negative: bool,
}

impl MemSpec {
    /// Parses `SIZE`, `-SIZE`, `N%`, `SIZE+N%`. Sizes without a unit count KiB.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let Some(before) = text.strip_suffix('%') else {
            return Some(Self {
                bytes: parse_size(text, 1024)?,
                percent: 0,
                negative,
            });
        };
        let (bytes, percent) = match before.split_once('+') {
            Some((size, percent)) => (parse_size(size, 1024)?, percent),
            None => (0, before),
        };
        let percent = u8::try_from(parse_number(percent)?)
            .ok()
            .filter(|p| *p <= 100)?;
        Some(Self {
            bytes,
            percent,
            negative,
        })
    }

    /// The number of pages this means on a host with `available` pages.
    #[must_use]
    pub fn pages(self, available: u64) -> u64 {
        let percent = u128::from(available) * u128::from(self.percent) / 100;
        let amount = (self.bytes / PAGE).saturating_add(u64::try_from(percent).unwrap_or(u64::MAX));
        if self.negative {
            available.saturating_sub(amount)
        } else {
            amount
        }
    }
}

/// The parsed option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dom0Mem {
    /// What Domain-0 starts with.
    pub size: Option<MemSpec>,
    /// Never start with less.
    pub min: Option<MemSpec>,
    /// Never start with more, nor grow beyond.
    pub max: Option<MemSpec>,
}

/// The outcome, in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dom0Pages {
    /// Pages given at start.
    pub initial: u64,
    /// Maximum reservation; `None` is unlimited.
    pub max: Option<u64>,
}

impl Dom0Mem {
    /// Parses a comma-separated list of `SPEC`, `min:SPEC`, `max:SPEC` into `self`; later parts win.
    /// Returns false, leaving what was understood so far, at the first part that is wrong.
    pub fn apply(&mut self, text: &str) -> bool {
        for part in text.split(',') {
            let (slot, spec) = if let Some(spec) = part.strip_prefix("min:") {
                (&mut self.min, spec)
            } else if let Some(spec) = part.strip_prefix("max:") {
                (&mut self.max, spec)
            } else {
                (&mut self.size, part)
            };
            let Some(spec) = MemSpec::parse(spec) else {
                return false;
            };
            *slot = Some(spec);
        }
        true
    }

    /// What Domain-0 gets on a host with `available` free pages. Without a size, it gets all but a sixteenth,
    /// of which the hypervisor keeps at most 128 MiB. `min` wins over the size, `max` over both; nobody gets more than there is.
    #[must_use]
    pub fn resolve(&self, available: u64) -> Dom0Pages {
        let keep = (available / 16).min((128 << 20) / PAGE);
        let mut initial = self
            .size
            .map_or(available.saturating_sub(keep), |s| s.pages(available));
        if let Some(min) = self.min {
            initial = initial.max(min.pages(available));
        }
        let max = self.max.map(|m| m.pages(available));
        if let Some(max) = max {
            initial = initial.min(max);
        }
        Dom0Pages {
            initial: initial.min(available),
            max: max.map(|max| max.max(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = (1 << 30) / PAGE;
    const MIB: u64 = (1 << 20) / PAGE;

    fn resolve(text: &str, available: u64) -> Dom0Pages {
        let mut mem = Dom0Mem::default();
        assert!(mem.apply(text), "{text}");
        mem.resolve(available)
    }

    #[test]
    fn every_form() {
        let max = |pages| Some(pages);
        assert_eq!(
            resolve("512M", 2 * GIB),
            Dom0Pages {
                initial: 512 * MIB,
                max: None
            }
        );
        assert_eq!(resolve("524288", 2 * GIB).initial, 512 * MIB);
        assert_eq!(
            resolve("512M,max:512M", 2 * GIB),
            Dom0Pages {
                initial: 512 * MIB,
                max: max(512 * MIB)
            }
        );
        assert_eq!(resolve("25%", 2 * GIB).initial, 512 * MIB);
        assert_eq!(resolve("256M+25%", 2 * GIB).initial, 768 * MIB);
        assert_eq!(resolve("-1G", 3 * GIB).initial, 2 * GIB);
        assert_eq!(resolve("-4G", 3 * GIB).initial, 0);
        assert_eq!(resolve("-256M+25%", 2 * GIB).initial, 2 * GIB - 768 * MIB);
        assert_eq!(resolve("min:1G,10%", 2 * GIB).initial, GIB);
        assert_eq!(resolve("min:1G,max:-1536M", 2 * GIB).initial, 512 * MIB);
        assert_eq!(
            resolve("max:1G", 2 * GIB),
            Dom0Pages {
                initial: GIB,
                max: max(GIB)
            }
        );
        assert_eq!(resolve("1T", GIB).initial, GIB);
    }

    #[test]
    fn nothing_said() {
        assert_eq!(Dom0Mem::default().resolve(GIB).initial, GIB - 64 * MIB);
        assert_eq!(
            Dom0Mem::default().resolve(16 * GIB).initial,
            16 * GIB - 128 * MIB
        );
        assert_eq!(Dom0Mem::default().resolve(0).initial, 0);
    }

    #[test]
    fn nonsense() {
        for bad in [
            "", "x", "512M,", "mid:5M", "101%", "%", "5M+", "5M+%", "--5M", "max:", "5%%", "1+1",
        ] {
            assert!(!Dom0Mem::default().apply(bad), "{bad}");
        }
    }
}
