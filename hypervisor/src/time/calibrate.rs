//! How fast the TSC ticks: CPUID if it says, else measured against HPET, ACPI PM timer or PIT.

use super::rdtsc;
use crate::arch::x86::{cpu::features, mm};
use core::arch::x86_64::{__cpuid, __cpuid_count};
use x86_64::instructions::port::Port;

/// Length of a measurement.
const MEASURE_NS: u64 = 20_000_000;
/// ACPI PM timer, ticks per second (ACPI 6.5 §4.8.3.3).
const PM_HZ: u64 = 3_579_545;
/// PIT input clock.
const PIT_HZ: u64 = 1_193_182;
const FEMTO: u64 = 1_000_000_000_000_000;

/// Ticks per second, and where the number comes from.
pub fn tsc_hz() -> (u64, &'static str) {
    if let Some(hz) = from_cpuid() {
        return (hz, "CPUID");
    }
    let info = crate::acpi::info();
    if let Some(hz) = info.hpet.and_then(from_hpet) {
        return (hz, "HPET");
    }
    if let Some(hz) = info
        .pm_timer
        .and_then(|(port, wide)| from_pm_timer(port, wide))
    {
        return (hz, "the ACPI PM timer");
    }
    (from_pit(), "PIT")
}

/// Leaf 0x15 (TSC to crystal ratio, with the crystal's frequency), or the kHz that VMware's and KVM's leaf 0x40000010 give.
fn from_cpuid() -> Option<u64> {
    let max = __cpuid(0).eax;
    if max >= 0x15 {
        let leaf = __cpuid_count(0x15, 0);
        if leaf.eax != 0 && leaf.ebx != 0 && leaf.ecx != 0 {
            return Some(u64::from(leaf.ecx) * u64::from(leaf.ebx) / u64::from(leaf.eax));
        }
    }
    if matches!(
        features().under.as_ref(),
        Some(b"VMwareVMware" | b"KVMKVMKVM\0\0\0")
    ) && __cpuid(0x4000_0000).eax >= 0x4000_0010
    {
        let khz = u64::from(__cpuid(0x4000_0010).eax);
        return (khz > 100_000).then_some(khz * 1000);
    }
    None
}

/// A reference clock's reading with the TSC at that moment: of several tries the one that took the least time, so that an
/// interruption in between (an SMI, a busy host) does no harm.
pub(super) fn sample(mut read: impl FnMut() -> u64) -> (u64, u64) {
    let mut best = (u64::MAX, 0, 0);
    for _ in 0..8 {
        let before = rdtsc();
        let reference = read();
        let after = rdtsc();
        if after - before < best.0 {
            best = (after - before, before + (after - before) / 2, reference);
        }
    }
    (best.1, best.2)
}

/// Measures against a counter of `hz` ticks per second that wraps at `mask`; `None` if it does not tick.
fn measure(mut read: impl FnMut() -> u64, hz: u64, mask: u64) -> Option<u64> {
    let ticks_wanted = MEASURE_NS * hz / 1_000_000_000;
    let (tsc0, ref0) = sample(&mut read);
    // A counter that stands still must not hang us.
    let mut patience = 100_000_000u64;
    while read().wrapping_sub(ref0) & mask < ticks_wanted {
        patience = patience.checked_sub(1)?;
    }
    let (tsc1, ref1) = sample(&mut read);
    let ticks = ref1.wrapping_sub(ref0) & mask;
    let rate = u128::from(tsc1.wrapping_sub(tsc0)) * u128::from(hz) / u128::from(ticks.max(1));
    u64::try_from(rate).ok().filter(|rate| *rate > 1_000_000)
}

fn from_hpet(base: u64) -> Option<u64> {
    let registers = mm::ioremap(base, 1024).ok()?;
    let read = |offset: usize| {
        // SAFETY: mapped; HPET registers are 64-bit and reading these has no effect.
        unsafe { registers.add(offset).cast::<u64>().read_volatile() }
    };
    let capabilities = read(0);
    let period_fs = capabilities >> 32;
    if !(100_000..=100_000_000).contains(&period_fs) {
        return None;
    }
    let configuration = read(0x10);
    if configuration & 1 == 0 {
        // SAFETY: sets the enable bit; the counter starts, no interrupt is routed.
        unsafe {
            registers
                .add(0x10)
                .cast::<u64>()
                .write_volatile(configuration | 1)
        };
    }
    let mask = if capabilities & 1 << 13 != 0 {
        u64::MAX
    } else {
        u64::from(u32::MAX)
    };
    measure(|| read(0xf0), FEMTO / period_fs, mask)
}

fn from_pm_timer(port: u16, wide: bool) -> Option<u64> {
    let mut port = Port::<u32>::new(port);
    let mask = if wide { 0xffff_ffff } else { 0xff_ffff };
    // SAFETY: the FADT says the PM timer is here; reading has no effect.
    measure(
        move || u64::from(unsafe { port.read() }) & mask,
        PM_HZ,
        mask,
    )
}

fn from_pit() -> u64 {
    let start = rdtsc();
    pit_delay_ns(MEASURE_NS);
    (rdtsc() - start) * 1_000_000_000 / MEASURE_NS
}

/// Waits with the PIT's channel 2, which drives the speaker and whose output can be read back.
pub fn pit_delay_ns(ns: u64) {
    let mut left = ns;
    while left > 0 {
        let step = left.min(50_000_000);
        pit_wait((step * PIT_HZ / 1_000_000_000) as u16);
        left -= step;
    }
}

fn pit_wait(count: u16) {
    let (mut gate, mut command, mut channel2) = (
        Port::<u8>::new(0x61),
        Port::<u8>::new(0x43),
        Port::<u8>::new(0x42),
    );
    // SAFETY: the PC's timer ports; speaker off, gate on, mode 0 (output goes high at the end of the count).
    unsafe {
        let old = gate.read();
        gate.write((old & !0x02) | 0x01);
        command.write(0xb0);
        channel2.write(count as u8);
        channel2.write((count >> 8) as u8);
        let mut patience = 10_000_000u32;
        while gate.read() & 0x20 == 0 && patience > 0 {
            patience -= 1;
        }
        gate.write(old);
    }
}
