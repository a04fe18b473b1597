//! The time-stamp counter as guests have it: a vcpu's [`Counter`] is a line over the machine's counter, a domain's [`Timing`]
//! says by which rate and whether reads are carried out for it (`tsc_mode`). Arithmetic only; the CPU's part is in the
//! hypervisor's `svm`, `vmx` and `pv`.
use crate::{Domain, Host};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use xen_abi::Errno;
use xen_abi::domctl::TscInfo;

/// One tick of the guest's per tick of the machine's, as [`Line::ratio`] counts: 48 bits are the fraction.
pub const ONE: u64 = 1 << FRACTION;
const FRACTION: u32 = 48;
const NS_PER_MS: u128 = 1_000_000;

/// Rates are the same that differ by less than one in so many: machines find out their own no better, and NTP copes with it.
const SAME_WITHIN: u32 = 2000;

/// Modes (`tsc_mode`): emulated if need be, always, never.
const DEFAULT: u32 = 0;
const ALWAYS_EMULATE: u32 = 1;
const NEVER_EMULATE: u32 = 2;

/// What the CPU multiplies its counter by, for guests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scaling {
    /// Bits behind the point, at most 48.
    pub fraction_bits: u32,
    /// Bits before it.
    pub whole_bits: u32,
}

impl Scaling {
    /// The ratio as the CPU keeps it. `None`: too large, or nothing is left of it.
    fn fit(self, ratio: u64) -> Option<u64> {
        let dropped = FRACTION.saturating_sub(self.fraction_bits);
        let kept = ratio >> dropped << dropped;
        let whole = kept >> FRACTION;
        (kept != 0 && whole.checked_shr(self.whole_bits).unwrap_or(0) == 0).then_some(kept)
    }
}

/// A guest's rate over the machine's.
fn ratio(guest_khz: u32, host_khz: u32) -> u64 {
    if guest_khz == host_khz {
        return ONE;
    }
    let exact = (u128::from(guest_khz) << FRACTION) / u128::from(host_khz.max(1));
    u64::try_from(exact).unwrap_or(u64::MAX).max(1)
}

/// `ticks * ratio`.
#[inline]
fn scaled(ticks: u64, ratio: u64) -> u64 {
    if ratio == ONE {
        return ticks;
    }
    ((u128::from(ticks) * u128::from(ratio)) >> FRACTION) as u64
}

/// Ticks of a clock of `khz` in so many nanoseconds, and back.
fn ticks(ns: u64, khz: u32) -> u64 {
    (u128::from(ns) * u128::from(khz) / NS_PER_MS) as u64
}

fn nanoseconds(ticks: u64, khz: u32) -> u64 {
    (u128::from(ticks) * NS_PER_MS / u128::from(khz.max(1))) as u64
}

/// A counter that runs with the machine's: `machine's * ratio + offset`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Line {
    /// Added, modulo 2^64.
    pub offset: u64,
    /// In units of 2^-48.
    pub ratio: u64,
}

impl Line {
    /// Its value when the machine's is `host`.
    #[inline]
    pub fn at(self, host: u64) -> u64 {
        scaled(host, self.ratio).wrapping_add(self.offset)
    }

    /// The machine's value as soon as this one's is `value`, `host` at the earliest.
    pub fn host_at(self, value: u64, host: u64) -> u64 {
        let to_go = value.saturating_sub(self.at(host));
        if self.ratio == ONE {
            return host.saturating_add(to_go);
        }
        let to_go = (u128::from(to_go) << FRACTION).div_ceil(u128::from(self.ratio.max(1)));
        host.saturating_add(u64::try_from(to_go).unwrap_or(u64::MAX))
    }

    /// The pvclock scale (multiplier, shift) of this counter, given that of the machine's.
    pub fn clock_scale(self, mul: u32, shift: i8) -> (u32, i8) {
        if self.ratio == ONE {
            return (mul, shift);
        }
        // mul / ratio with 32 bits behind the point, then 32 bits of it from the first one on.
        let exact = ((u128::from(mul) << (FRACTION + 32)) / u128::from(self.ratio.max(1))).max(1);
        let down = 96 - exact.leading_zeros() as i32;
        let mul = if down >= 0 {
            exact >> down
        } else {
            exact << -down
        };
        let shift = (i32::from(shift) + down - 32).clamp(-63, 63);
        (mul as u32, shift as i8)
    }
}

/// The counter of a vcpu. Written while the vcpu does not run, or by itself.
#[derive(Debug)]
pub struct Counter {
    offset: AtomicU64,
    ratio: AtomicU64,
    /// `IA32_TSC_ADJUST`: the sum of what the guest has moved it by.
    adjust: AtomicU64,
    /// Reads end the run and are carried out.
    trapped: AtomicBool,
}

impl Default for Counter {
    /// The machine's own.
    fn default() -> Counter {
        Counter {
            offset: AtomicU64::new(0),
            ratio: AtomicU64::new(ONE),
            adjust: AtomicU64::new(0),
            trapped: AtomicBool::new(false),
        }
    }
}

impl Counter {
    /// How it runs.
    #[inline]
    pub fn line(&self) -> Line {
        Line {
            offset: self.offset.load(Relaxed),
            ratio: self.ratio.load(Relaxed),
        }
    }

    /// Its value when the machine's is `host`.
    #[inline]
    pub fn at(&self, host: u64) -> u64 {
        self.line().at(host)
    }

    /// Must reads be carried out?
    #[inline]
    pub fn is_trapped(&self) -> bool {
        self.trapped.load(Relaxed)
    }

    /// `IA32_TSC_ADJUST`.
    pub fn adjust(&self) -> u64 {
        self.adjust.load(Relaxed)
    }

    /// A saved `IA32_TSC_ADJUST`, which the counter's saved value has in it already.
    pub fn restore_adjust(&self, value: u64) {
        self.adjust.store(value, Relaxed);
    }

    fn shift(&self, by: u64) {
        let offset = self.offset.load(Relaxed).wrapping_add(by);
        self.offset.store(offset, Relaxed);
    }

    /// Is `value` from now on, as a guest writes it: what it is moved by is added to the adjustment.
    pub fn write(&self, host: u64, value: u64) {
        let by = value.wrapping_sub(self.at(host));
        self.shift(by);
        self.adjust.store(self.adjust().wrapping_add(by), Relaxed);
    }

    /// A guest writes `IA32_TSC_ADJUST`: the counter moves by as much as it changes.
    pub fn write_adjust(&self, value: u64) {
        self.shift(value.wrapping_sub(self.adjust()));
        self.adjust.store(value, Relaxed);
    }

    /// Is `value` from now on, which is no doing of the guest's.
    pub fn restore(&self, host: u64, value: u64) {
        self.shift(value.wrapping_sub(self.at(host)));
    }

    /// Runs as `other`, never adjusted: a vcpu that is brought up, as the boot vcpu.
    pub fn follow(&self, other: &Counter) {
        let line = other.line();
        self.offset.store(line.offset, Relaxed);
        self.ratio.store(line.ratio, Relaxed);
        self.trapped.store(other.is_trapped(), Relaxed);
        self.adjust.store(0, Relaxed);
    }

    fn restart(&self, plan: &Plan, host: u64, value: u64) {
        self.ratio.store(plan.ratio, Relaxed);
        self.trapped.store(plan.trapped, Relaxed);
        self.adjust.store(0, Relaxed);
        self.restore(host, value);
    }
}

/// How a domain's counters run (`settscinfo`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timing {
    /// `tsc_mode`.
    pub mode: u32,
    /// Their rate.
    pub khz: u32,
    /// How often it has come from elsewhere, and one more.
    pub incarnation: u32,
    /// `now_ns` when they began, modulo 2^64.
    pub began_ns: u64,
}

/// What a mode comes to on this machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Plan {
    khz: u32,
    ratio: u64,
    trapped: bool,
}

/// `EINVAL`: no such mode. `guest_khz` 0: the machine's rate. `scaling`: what the CPU can do, for this kind of guest.
fn plan(mode: u32, guest_khz: u32, host_khz: u32, scaling: Option<Scaling>) -> Result<Plan, Errno> {
    let native = Plan {
        khz: host_khz,
        ratio: ONE,
        trapped: false,
    };
    let khz = if guest_khz == 0 { host_khz } else { guest_khz };
    let exact = ratio(khz, host_khz);
    let trapped = Plan {
        khz,
        ratio: exact,
        trapped: true,
    };
    match mode {
        NEVER_EMULATE => Ok(native),
        ALWAYS_EMULATE => Ok(trapped),
        DEFAULT if khz.abs_diff(host_khz) <= host_khz / SAME_WITHIN => Ok(native),
        DEFAULT => Ok(match scaling.and_then(|s| s.fit(exact)) {
            Some(ratio) => Plan {
                khz,
                ratio,
                trapped: false,
            },
            None => trapped,
        }),
        _ => Err(Errno::EINVAL),
    }
}

/// How the counters of a new domain run; those of a hardware-assisted one begin at zero.
pub(crate) fn begin<H: Host>(h: &H, dom: &Domain) {
    // The mode there is.
    let _ = set(h, dom, &TscInfo::default());
}

/// `settscinfo`, of a domain none of whose vcpus runs: counters begin anew, `elapsed_nsec` after zero, but for those of PV
/// guests that read the machine's. `EINVAL`: no such mode.
pub fn set<H: Host>(h: &H, dom: &Domain, wish: &TscInfo) -> Result<(), Errno> {
    let scaling = if dom.is_hvm() { h.tsc_scaling() } else { None };
    let plan = plan(wish.tsc_mode, wish.gtsc_khz, h.info().cpu_khz, scaling)?;
    let (ns, host) = (h.now_ns(), h.tsc());
    *dom.tsc.lock() = Timing {
        mode: wish.tsc_mode,
        khz: plan.khz,
        incarnation: wish.incarnation.wrapping_add(1),
        began_ns: ns.wrapping_sub(wish.elapsed_nsec),
    };
    let value = match dom.is_hvm() || plan.trapped {
        true => ticks(wish.elapsed_nsec, plan.khz),
        false => host,
    };
    for v in dom.vcpus.iter() {
        v.tsc.restart(&plan, host, value);
    }
    Ok(())
}

/// `gettscinfo`: what [`set`] makes the counters go on by, elsewhere.
pub fn get<H: Host>(h: &H, dom: &Domain) -> TscInfo {
    let timing = *dom.tsc.lock();
    let mut info = TscInfo {
        tsc_mode: timing.mode,
        incarnation: timing.incarnation,
        ..TscInfo::default()
    };
    let Some(first) = dom.vcpus.first().filter(|_| timing.mode != NEVER_EMULATE) else {
        return info;
    };
    info.gtsc_khz = timing.khz;
    info.elapsed_nsec = match first.tsc.is_trapped() {
        true => h.now_ns().wrapping_sub(timing.began_ns),
        false => nanoseconds(first.tsc.at(h.tsc()), timing.khz),
    };
    info
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMD: Scaling = Scaling {
        fraction_bits: 32,
        whole_bits: 8,
    };
    const INTEL: Scaling = Scaling {
        fraction_bits: 48,
        whole_bits: 16,
    };

    #[test]
    fn what_is_written_is_read_and_runs_on() {
        let c = Counter::default();
        assert_eq!(c.at(5000), 5000);
        c.write(5000, 0);
        assert_eq!((c.at(5000), c.at(5007)), (0, 7));
        assert_eq!(c.adjust(), 0u64.wrapping_sub(5000));
        c.write_adjust(0);
        assert_eq!((c.at(5007), c.adjust()), (5007, 0));
        c.write_adjust(100);
        c.write(6000, 6000);
        assert_eq!((c.at(6000), c.adjust()), (6000, 0));
        c.write(6000, u64::MAX);
        assert_eq!(c.at(6001), 0);
    }

    #[test]
    fn what_is_restored_adjusts_nothing() {
        let c = Counter::default();
        c.restore(1000, 77);
        c.restore_adjust(3);
        assert_eq!((c.at(1000), c.adjust()), (77, 3));
        let other = Counter::default();
        other.write_adjust(9);
        other.follow(&c);
        assert_eq!((other.line(), other.adjust()), (c.line(), 0));
    }

    #[test]
    fn a_deadline_is_found_on_the_machines_counter() {
        for ratio in [ONE, ONE / 2, ONE * 3, ratio(2_100_000, 3_300_000)] {
            let line = Line {
                offset: 0u64.wrapping_sub(1 << 40),
                ratio,
            };
            let host = 1 << 42;
            let now = line.at(host);
            for ahead in [0, 1, 2, 1000, 1 << 50] {
                let at = line.host_at(now.saturating_add(ahead), host);
                assert!(line.at(at) >= now + ahead, "{ratio:#x} {ahead}");
                // Not later than rounding makes it.
                assert!(at < host + 2 || line.at(at - 2) < now + ahead);
            }
            assert_eq!(line.host_at(now.saturating_sub(5), host), host);
        }
        let slow = Line {
            offset: 0,
            ratio: 1,
        };
        assert_eq!(slow.host_at(u64::MAX, 7), u64::MAX);
    }

    #[test]
    fn clocks_of_scaled_counters_agree_with_the_machines() {
        // 1 GHz: a tick is a nanosecond.
        let (mul, shift) = (1u32 << 31, 1i8);
        for (guest, host) in [
            (2_500_000, 1_000_000),
            (1_000_000, 2_400_000),
            (100_000, 999_999),
            (4_000_000, 1_000_001),
        ] {
            let line = Line {
                offset: 0,
                ratio: ratio(guest, host),
            };
            let (m, s) = line.clock_scale(mul, shift);
            assert!(m >= 1 << 31);
            let host_ticks = 1u64 << 40;
            let guest_ticks = line.at(host_ticks);
            let shifted = if s < 0 {
                guest_ticks >> -s
            } else {
                guest_ticks << s
            };
            let ns = ((u128::from(shifted) * u128::from(m)) >> 32) as u64;
            let off = ns.abs_diff(host_ticks);
            assert!(off <= host_ticks >> 30, "{guest} {host}: {off}");
        }
        for ratio in [1, ONE - 1, ONE + 1, u64::MAX] {
            let line = Line { offset: 0, ratio };
            let (m, _) = line.clock_scale(mul, shift);
            assert!(m >= 1 << 31);
        }
    }

    #[test]
    fn modes_come_to_what_the_machine_can_do() {
        let host = 2_000_000;
        let native = Ok(Plan {
            khz: host,
            ratio: ONE,
            trapped: false,
        });
        assert_eq!(plan(0, 0, host, None), native);
        assert_eq!(plan(0, host, host, None), native);
        assert_eq!(plan(0, host - 1000, host, None), native);
        assert!(plan(0, host + 1001, host, None).unwrap().trapped);
        assert_eq!(plan(2, 1_000_000, host, Some(AMD)), native);
        assert_eq!(plan(3, 0, host, None), Err(Errno::EINVAL));
        assert_eq!(plan(u32::MAX, 0, host, None), Err(Errno::EINVAL));
        let half = plan(0, 1_000_000, host, Some(AMD)).unwrap();
        assert_eq!((half.ratio, half.trapped), (ONE / 2, false));
        assert!(plan(0, 1_000_000, host, None).unwrap().trapped);
        let always = plan(1, 0, host, Some(INTEL)).unwrap();
        assert_eq!((always.khz, always.ratio), (host, ONE));
        assert!(always.trapped);
    }

    #[test]
    fn ratios_are_rounded_as_the_cpu_keeps_them() {
        let third = ratio(1_000_000, 3_000_000);
        assert_eq!(INTEL.fit(third), Some(third));
        assert_eq!(AMD.fit(third), Some(third >> 16 << 16));
        assert_eq!(AMD.fit(256 * ONE), None);
        assert_eq!(AMD.fit(255 * ONE), Some(255 * ONE));
        assert_eq!(AMD.fit(1), None);
        assert_eq!(INTEL.fit(u64::MAX), Some(u64::MAX));
        for (guest, host) in [(u32::MAX, 0), (0, u32::MAX), (u32::MAX, 1), (1, u32::MAX)] {
            assert_ne!(ratio(guest, host), 0);
        }
    }
}
