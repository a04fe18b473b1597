//! The time-stamp counter's contract: what is written is read, by every way of reading; it can be adjusted; the timer and the
//! hypervisor's clock go by it.

use super::{cpu, dom0};
use crate::probe::probe;
use crate::say;
use core::arch::asm;
use core::arch::x86_64::{__cpuid_count, __rdtscp, _rdtsc};
use xen_abi::cpuid::CPUID_FIRST_LEAF;

const TSC: u32 = 0x10;
const TSC_ADJUST: u32 = 0x3b;
const DEBUGCTL: u32 = 0x1d9;
const TSC_DEADLINE: u32 = 0x6e0;
/// How late anything may be on a machine that others use, in milliseconds.
const LATE: u64 = 2_000;

fn read(msr: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: callers name registers that there are.
    unsafe { asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high) };
    u64::from(low) | u64::from(high) << 32
}

fn write(msr: u32, value: u64) {
    // SAFETY: callers name registers that there are, of no consequence for memory.
    unsafe { asm!("wrmsr", in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32) };
}

fn now() -> u64 {
    // SAFETY: reading the counter changes nothing.
    unsafe { _rdtsc() }
}

extern "C" fn sleep(_: u64) {
    // SAFETY: the timer's handler leads back to the probe.
    unsafe { asm!("sti", "2: hlt", "jmp 2b") }
}

/// Ticks per millisecond.
fn rate() -> u64 {
    u64::from(__cpuid_count(CPUID_FIRST_LEAF + 3, 0).ecx)
}

/// Sleeps until the counter is `ticks` further, by the APIC's timer; how late it was, in ticks.
fn deadline(ticks: u64) -> Option<u64> {
    let at = now().wrapping_add(ticks);
    cpu::wait_for_tsc_deadlines();
    write(TSC_DEADLINE, at);
    probe(sleep, 0);
    let woken = now();
    cpu::end_interrupt();
    let disarmed = read(TSC_DEADLINE) == 0;
    woken.checked_sub(at).filter(|_| disarmed)
}

pub fn tsc() {
    let mut wrong = 0u32;
    let mut check = |what: &str, right: bool| {
        if !right {
            wrong += 1;
            say!("tsc: WRONG: {what}");
        }
    };
    let (khz, flags) = (rate(), __cpuid_count(CPUID_FIRST_LEAF + 3, 0).eax);
    say!("tsc: {khz} kHz, flags {flags:#x}");
    let late = LATE * khz;
    let near = |value: u64, of: u64| value.wrapping_sub(of) < late;

    let mut aux = 0;
    let has_rdtscp = __cpuid_count(0x8000_0001, 0).edx & 1 << 27 != 0;
    let third = |aux: &mut u32| match has_rdtscp {
        // SAFETY: reading the counter changes nothing.
        true => unsafe { __rdtscp(aux) },
        false => now(),
    };
    let all = [now(), read(TSC), third(&mut aux), now()];
    check("readings in order", all.is_sorted() && near(all[3], all[0]));
    check("begins at zero", all[0] < 600_000 * khz);

    dom0::map_shared_info();
    for value in [1u64 << 40, 0, 0x1234_5678_9abc_def0] {
        let (before, clock) = (now(), dom0::now());
        let adjusted = read(TSC_ADJUST);
        write(TSC, value);
        check("written is read", near(now(), value));
        check("and by rdmsr", near(read(TSC), value));
        let moved = read(TSC_ADJUST).wrapping_sub(adjusted);
        check("it is adjusted", near(value.wrapping_sub(moved), before));
        let passed = dom0::now().wrapping_sub(clock);
        check("the clock goes on", passed < LATE * 1_000_000);
        let late_by = deadline(20 * khz);
        check("deadline", late_by.is_some_and(|by| by < late));
        say!("tsc: {} us late", late_by.unwrap_or(0) * 1000 / khz);
    }
    let (before, adjusted) = (now(), read(TSC_ADJUST));
    write(TSC_ADJUST, adjusted.wrapping_add(1 << 50));
    check("adjusted by so much", near(now(), before + (1 << 50)));
    check(
        "is read",
        read(TSC_ADJUST) == adjusted.wrapping_add(1 << 50),
    );
    write(TSC_ADJUST, 0);
    check("as it was", now() >= all[0] && now() < 600_000 * khz);
    // A deadline moves with the counter: it has passed when the counter jumps over it.
    cpu::wait_for_tsc_deadlines();
    write(TSC_DEADLINE, now() + 1_000_000 * khz);
    write(TSC, now() + 2_000_000 * khz);
    probe(sleep, 0);
    cpu::end_interrupt();

    let (start, clock) = (now(), dom0::now());
    deadline(200 * khz);
    let (ticks, ns) = (now() - start, dom0::now() - clock);
    let by_ticks = ticks * 1_000 / khz * 1_000;
    say!("tsc: {by_ticks} ns by its rate, {ns} ns by the clock");
    check("its rate", ns.abs_diff(by_ticks) < 100_000_000);

    check("debugctl", read(DEBUGCTL) == 0);
    for (value, refused) in [
        (1, false),
        (2, false),
        (0, false),
        (1 << 6, true),
        (1 << 20, true),
    ] {
        let faulted = cpu::run(&[0x0f, 0x30], [value, DEBUGCTL.into(), 0, 0], false);
        check("debugctl's bits", faulted == refused);
    }
    check("debugctl is zero", read(DEBUGCTL) == 0);
    say!("tsc: {wrong} wrong");
}
