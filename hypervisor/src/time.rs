//! Time: nanoseconds since boot from the TSC, the wall clock at boot, and each CPU's one-shot timer.
//!
//! The TSC is taken to run at one rate on all CPUs, as it does on every machine of the last fifteen years.

mod calibrate;
mod cmos;

use crate::arch::x86::irq::lapic;
use crate::percpu;
use core::arch::x86_64::_rdtsc;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Once;

/// How TSC ticks become nanoseconds, in the pvclock's terms: `((ticks << shift) * mul) >> 32`, with a right shift where
/// `shift` is negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// 32-bit fraction.
    pub mul: u32,
    /// Binary exponent.
    pub shift: i8,
}

impl Scale {
    /// For a clock of `hz` ticks per second.
    pub fn from_hz(hz: u64) -> Self {
        // Normalise so that the multiplier lies in 2^31..2^32.
        let mut shift = 0i8;
        let mut rate = hz.max(1);
        while rate > 2_000_000_000 {
            rate >>= 1;
            shift -= 1;
        }
        while rate <= 1_000_000_000 {
            rate <<= 1;
            shift += 1;
        }
        // hz = rate * 2^-shift up to the bits shifted out; use the exact value.
        let exact = if shift < 0 {
            (1_000_000_000u128 << 32 << -shift) / u128::from(hz)
        } else {
            (1_000_000_000u128 << 32 >> shift) / u128::from(hz.max(1))
        };
        Self {
            mul: u32::try_from(exact).unwrap_or(u32::MAX),
            shift,
        }
    }

    /// Ticks to nanoseconds.
    #[inline]
    pub fn to_ns(self, ticks: u64) -> u64 {
        let shifted = if self.shift < 0 {
            ticks >> -self.shift
        } else {
            ticks << self.shift
        };
        ((u128::from(shifted) * u128::from(self.mul)) >> 32) as u64
    }
}

impl Scale {
    /// The same for times that may be far off: what does not fit is as far off as can be.
    pub fn to_far_ns(self, ticks: u64) -> u64 {
        let shifted = if self.shift < 0 {
            u128::from(ticks >> -self.shift)
        } else {
            u128::from(ticks) << self.shift.min(32)
        };
        shifted
            .checked_mul(u128::from(self.mul))
            .map_or(u64::MAX, |ns| u64::try_from(ns >> 32).unwrap_or(u64::MAX))
    }
}

struct Clock {
    hz: u64,
    boot_tsc: u64,
    scale: Scale,
}

static CLOCK: Once<Clock> = Once::new();
/// Wall clock at boot (at `now_ns() == 0`), nanoseconds since 1970.
static WALL_AT_BOOT: AtomicU64 = AtomicU64::new(0);

/// The TSC.
#[inline(always)]
pub fn rdtsc() -> u64 {
    // SAFETY: every 64-bit CPU has it.
    unsafe { _rdtsc() }
}

/// Finds the TSC's rate and reads the wall clock. Interrupts are off.
pub fn init() {
    let (hz, source) = calibrate::tsc_hz();
    let clock = CLOCK.call_once(|| Clock {
        hz,
        boot_tsc: rdtsc(),
        scale: Scale::from_hz(hz),
    });
    let wall = cmos::read();
    WALL_AT_BOOT.store(
        wall.saturating_mul(1_000_000_000).saturating_sub(now_ns()),
        Ordering::Relaxed,
    );
    let (khz, scale) = (clock.hz / 1000, clock.scale);
    log::info!(
        "TSC: {}.{:03} MHz by {source} (scale {:#x}, {})",
        khz / 1000,
        khz % 1000,
        scale.mul,
        scale.shift
    );
}

/// The TSC at the moment of a reading of another counter, and that reading.
pub fn sample(read: impl FnMut() -> u64) -> (u64, u64) {
    calibrate::sample(read)
}

/// Nanoseconds since boot; 0 before [`init`].
#[inline]
pub fn now_ns() -> u64 {
    CLOCK.get().map_or(0, |clock| {
        clock.scale.to_ns(rdtsc().saturating_sub(clock.boot_tsc))
    })
}

/// The TSC when [`now_ns`] was 0.
pub fn boot_tsc() -> u64 {
    CLOCK.get().map_or(0, |clock| clock.boot_tsc)
}

/// Ticks of the TSC per second.
pub fn tsc_hz() -> u64 {
    CLOCK.get().map_or(0, |clock| clock.hz)
}

/// The TSC's scale for pvclock pages.
pub fn scale() -> Scale {
    CLOCK.get().map_or(
        Scale {
            mul: 1 << 31,
            shift: 1,
        },
        |clock| clock.scale,
    )
}

/// Nanoseconds to TSC ticks.
pub fn ns_to_ticks(ns: u64) -> u64 {
    u64::try_from(u128::from(ns) * u128::from(tsc_hz()) / 1_000_000_000).unwrap_or(u64::MAX)
}

/// The wall clock when [`now_ns`] was 0, in nanoseconds since 1970, UTC.
pub fn wall_at_boot() -> u64 {
    WALL_AT_BOOT.load(Ordering::Relaxed)
}

/// Sets the wall clock: it was `ns` (since 1970) when the system time was `at` (Domain-0's `settime`).
pub fn set_wall(ns: u64, at: u64) {
    WALL_AT_BOOT.store(ns.saturating_sub(at), Ordering::Relaxed);
}

/// Busy-waits.
pub fn delay_ns(ns: u64) {
    if CLOCK.get().is_none() {
        calibrate::pit_delay_ns(ns);
        return;
    }
    let end = now_ns().saturating_add(ns);
    while now_ns() < end {
        core::hint::spin_loop();
    }
}

/// Makes this CPU's timer interrupt come at `deadline` (nanoseconds since boot), or as soon as possible if that has
/// passed; `u64::MAX` for never. It may come early (the hardware's counter is short): whoever handles it checks the
/// time and sets it again.
pub fn set_timer(deadline: u64) {
    let cpu = percpu::current();
    if cpu.timer_deadline.replace(deadline) == deadline && deadline == u64::MAX {
        return;
    }
    if deadline == u64::MAX {
        lapic::timer_stop();
    } else {
        lapic::timer_start(deadline.saturating_sub(now_ns()));
    }
}
