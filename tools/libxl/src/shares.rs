//! [`Shares`]: what a domain gets of the CPUs and of the host's clock, and how its memory is set aside.
use crate::cfg::{Cfg, Diagnostics};
use crate::{Error, Host, Result};
use xen_abi::DomId;
use xenctrl::SchedParams;

/// The keys `cpu_weight`, `cap`, `pool`, `localtime`, `rtc_timeoffset`, `claim_mode`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Shares {
    /// Scheduler weight; the hypervisor's default if absent.
    pub weight: Option<u16>,
    /// Most it may use, percent of one CPU.
    pub cap: Option<u16>,
    /// CPU pool, by name or number.
    pub pool: Option<String>,
    /// Its clock shows dom0's local time.
    pub localtime: bool,
    /// Seconds that its clock is off.
    pub time_offset: i64,
    /// Whether its memory is claimed before it is built; xl.conf decides if absent.
    pub claim: Option<bool>,
}

impl Shares {
    /// Reads the keys.
    pub fn read(cfg: &Cfg, diags: &mut Diagnostics) -> Shares {
        let mut number = |key: &str, range: std::ops::RangeInclusive<i64>| {
            let s = cfg.get(key)?;
            let n = s.value.as_int()?;
            if range.contains(&n) {
                return Some(n);
            }
            let (low, high) = (range.start(), range.end());
            diags.error(
                &s.value.pos,
                format!("\"{key}\" is {n}, outside {low} to {high}"),
            );
            None
        };
        Shares {
            weight: number("cpu_weight", 1..=65_535).map(|n| n as u16),
            cap: number("cap", 0..=65_535).map(|n| n as u16),
            pool: cfg
                .get("pool")
                .and_then(|s| s.value.as_str())
                .map(str::to_string),
            localtime: number("localtime", 0..=1) == Some(1),
            time_offset: number("rtc_timeoffset", i64::from(i32::MIN)..=i64::from(i32::MAX))
                .unwrap_or(0),
            claim: number("claim_mode", 0..=1).map(|n| n == 1),
        }
    }

    /// How far the clock is off, dom0's time zone included.
    fn clock_offset(&self) -> i64 {
        let zone = if self.localtime {
            jiff::Zoned::now().offset().seconds()
        } else {
            0
        };
        self.time_offset + i64::from(zone)
    }
}

impl Host<'_> {
    /// The number of the pool that a configuration names; 0 if it names none.
    pub(crate) fn pool_of(&self, shares: &Shares) -> Result<u32> {
        let Some(word) = &shares.pool else {
            return Ok(0);
        };
        let pools = self.hv.cpupools()?;
        let name = |id: u32| {
            let node = self
                .xs
                .read_opt(&format!("/local/pool/{id}/name"))
                .ok()
                .flatten();
            node.unwrap_or_else(|| format!("Pool-{id}"))
        };
        let by_name = pools.iter().find(|p| name(p.id) == *word);
        let by_id = || {
            word.parse()
                .ok()
                .and_then(|id: u32| pools.iter().find(|p| p.id == id))
        };
        by_name.or_else(by_id).map(|p| p.id).ok_or_else(|| {
            Error::new(format!("there is no CPU pool \"{word}\"")).hint("see xl cpupool-list")
        })
    }

    /// Gives a new domain its shares.
    pub(crate) fn set_shares(&self, dom: DomId, shares: &Shares) -> Result<()> {
        if shares.weight.is_some() || shares.cap.is_some() {
            let old = self.hv.share(dom)?;
            let new = SchedParams {
                weight: shares.weight.unwrap_or(old.weight),
                cap: shares.cap.unwrap_or(old.cap),
            };
            self.hv.set_share(dom, new)?;
        }
        match shares.clock_offset() {
            0 => Ok(()),
            seconds => Ok(self.hv.set_time_offset(dom, seconds)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Shares, Vec<String>) {
        let mut d = Diagnostics::default();
        let cfg = crate::cfg::parse("g.cfg", text, &mut d);
        let shares = Shares::read(&cfg, &mut d);
        (shares, d.0.iter().map(|d| d.to_string()).collect())
    }

    #[test]
    fn keys_have_their_range() {
        let (s, d) = read(
            "cpu_weight=512\ncap=50\npool='p'\nlocaltime=0\nrtc_timeoffset=-60\nclaim_mode=0\n",
        );
        assert!(d.is_empty(), "{d:?}");
        assert_eq!(
            (s.weight, s.cap, s.pool.as_deref()),
            (Some(512), Some(50), Some("p"))
        );
        assert_eq!((s.clock_offset(), s.claim), (-60, Some(false)));
        let (_, d) = read("cpu_weight=0\ncap=70000\n");
        assert_eq!(
            d[0],
            "g.cfg:1:12: error: \"cpu_weight\" is 0, outside 1 to 65535"
        );
        assert_eq!(d.len(), 2);
    }
}
