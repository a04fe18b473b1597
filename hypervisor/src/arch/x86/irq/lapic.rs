//! The local APIC, in xAPIC (memory) or x2APIC (MSR) mode: EOI, IPIs, one-shot timer.

use super::vectors;
use crate::arch::x86::cpu::features;
use crate::arch::x86::mm;
use crate::time;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use x86_64::registers::model_specific::Msr;

const MSR_APIC_BASE: u32 = 0x1b;
const MSR_TSC_DEADLINE: u32 = 0x6e0;
const MSR_X2APIC: u32 = 0x800;
const BASE_ENABLE: u64 = 1 << 11;
const BASE_X2APIC: u64 = 1 << 10;

// Register offsets (SDM vol. 3, table 11-1).
const ID: u32 = 0x20;
const TPR: u32 = 0x80;
const EOI: u32 = 0xb0;
const SVR: u32 = 0xf0;
const ISR: u32 = 0x100;
const ESR: u32 = 0x280;
const ICR_LOW: u32 = 0x300;
const ICR_HIGH: u32 = 0x310;
const LVT_TIMER: u32 = 0x320;
const LVT_THERMAL: u32 = 0x330;
const LVT_PERF: u32 = 0x340;
const LVT_LINT0: u32 = 0x350;
const LVT_LINT1: u32 = 0x360;
const LVT_ERROR: u32 = 0x370;
const TIMER_INITIAL: u32 = 0x380;
const TIMER_CURRENT: u32 = 0x390;
const TIMER_DIVIDE: u32 = 0x3e0;

const LVT_MASKED: u32 = 1 << 16;
const LVT_NMI: u32 = 4 << 8;
const TIMER_DEADLINE_MODE: u32 = 2 << 17;
const SVR_ENABLE: u32 = 1 << 8;
const ICR_BUSY: u32 = 1 << 12;
const ICR_ASSERT: u32 = 1 << 14;
const DIVIDE_BY_1: u32 = 0b1011;

static X2APIC: AtomicBool = AtomicBool::new(false);
static REGISTERS: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
static DEADLINE_TIMER: AtomicBool = AtomicBool::new(false);
/// The countdown timer's rate.
static TIMER_HZ: AtomicU64 = AtomicU64::new(0);

fn x2apic() -> bool {
    X2APIC.load(Ordering::Relaxed)
}

fn read(register: u32) -> u32 {
    if x2apic() {
        // SAFETY: an architectural register in the mode we are in.
        unsafe { Msr::new(MSR_X2APIC + (register >> 4)).read() as u32 }
    } else {
        // SAFETY: set by `init` to the mapped register page.
        unsafe {
            REGISTERS
                .load(Ordering::Relaxed)
                .add(register as usize)
                .cast::<u32>()
                .read_volatile()
        }
    }
}

fn write(register: u32, value: u32) {
    if x2apic() {
        // SAFETY: as for `read`; callers write meaningful values.
        unsafe { Msr::new(MSR_X2APIC + (register >> 4)).write(u64::from(value)) };
    } else {
        // SAFETY: as for `read`.
        unsafe {
            REGISTERS
                .load(Ordering::Relaxed)
                .add(register as usize)
                .cast::<u32>()
                .write_volatile(value)
        };
    }
}

/// Chooses the mode and maps the registers; CPU 0, before [`init_cpu`].
pub fn init() {
    if features().x2apic {
        X2APIC.store(true, Ordering::Relaxed);
        enable();
        return;
    }
    let address = match crate::acpi::info().lapic_address {
        0 => 0xfee0_0000,
        address => address,
    };
    match mm::ioremap(address, 4096) {
        Ok(registers) => REGISTERS.store(registers, Ordering::Relaxed),
        Err(_) => crate::panic::fatal("no memory to map the local APIC"),
    }
}

/// Whether [`init`] has run, so that [`id`] and IPIs work.
pub fn ready() -> bool {
    x2apic() || !REGISTERS.load(Ordering::Relaxed).is_null()
}

/// Whether APIC ids have 32 bits.
pub fn is_x2apic() -> bool {
    x2apic()
}

/// Puts this CPU's local APIC in the mode chosen.
fn enable() {
    let mut base = Msr::new(MSR_APIC_BASE);
    // SAFETY: enabling the APIC, in x2APIC mode where CPUID offers it; xAPIC to x2APIC is a legal transition.
    unsafe {
        let value = base.read() | BASE_ENABLE;
        base.write(value);
        if x2apic() {
            base.write(value | BASE_X2APIC);
        }
    }
}

/// Switches this CPU's local APIC on.
pub fn init_cpu() {
    enable();
    write(TPR, 0);
    write(SVR, SVR_ENABLE | u32::from(vectors::SPURIOUS));
    write(LVT_TIMER, LVT_MASKED | u32::from(vectors::TIMER));
    let last_lvt = read(0x30) >> 16 & 0xff;
    if last_lvt >= 4 {
        write(LVT_PERF, LVT_MASKED);
    }
    if last_lvt >= 5 {
        write(LVT_THERMAL, LVT_MASKED);
    }
    write(LVT_LINT0, LVT_MASKED);
    write(
        LVT_LINT1,
        if crate::percpu::cpu_id() == 0 {
            LVT_NMI
        } else {
            LVT_MASKED
        },
    );
    write(LVT_ERROR, LVT_MASKED | u32::from(vectors::APIC_ERROR));
    write(ESR, 0);
    // Whatever the boot loader left in service.
    for _ in 0..256 {
        if (0..8).all(|i| read(ISR + i * 0x10) == 0) {
            break;
        }
        write(EOI, 0);
    }
    write(TIMER_DIVIDE, DIVIDE_BY_1);
    if DEADLINE_TIMER.load(Ordering::Relaxed) {
        write(LVT_TIMER, TIMER_DEADLINE_MODE | u32::from(vectors::TIMER));
    } else {
        // One-shot; set once, because writing it while a count has just run out may swallow the interrupt.
        write(LVT_TIMER, u32::from(vectors::TIMER));
    }
}

/// Finds out how fast the timer is; CPU 0, with the TSC's rate known.
pub fn calibrate_timer() {
    if features().tsc_deadline {
        DEADLINE_TIMER.store(true, Ordering::Relaxed);
        write(LVT_TIMER, TIMER_DEADLINE_MODE | u32::from(vectors::TIMER));
        log::info!("APIC timer: TSC deadline");
        return;
    }
    let hz = timer_hz();
    TIMER_HZ.store(hz.max(1_000_000), Ordering::Relaxed);
    log::info!("APIC timer: {} MHz", hz / 1_000_000);
}

/// Measures how fast the counter counts down. Every deadline would be off by what this is.
fn timer_hz() -> u64 {
    let now = || u64::from(u32::MAX - read(TIMER_CURRENT));
    write(TIMER_INITIAL, u32::MAX);
    let (start, first) = time::sample(now);
    time::delay_ns(10_000_000);
    let (end, last) = time::sample(now);
    write(TIMER_INITIAL, 0);
    let ticks = u128::from(last.saturating_sub(first));
    let per_second = ticks * u128::from(time::tsc_hz()) / u128::from((end - start).max(1));
    u64::try_from(per_second).unwrap_or(u64::MAX)
}

/// One interrupt in `ns` nanoseconds, or earlier if the counter is too short.
pub fn timer_start(ns: u64) {
    if DEADLINE_TIMER.load(Ordering::Relaxed) {
        let deadline = time::rdtsc().saturating_add(time::ns_to_ticks(ns)).max(1);
        // SAFETY: the LVT is in deadline mode.
        unsafe { Msr::new(MSR_TSC_DEADLINE).write(deadline) };
        return;
    }
    let hz = TIMER_HZ.load(Ordering::Relaxed);
    let ticks = u128::from(ns) * u128::from(hz) / 1_000_000_000 + 1;
    write(TIMER_INITIAL, u32::try_from(ticks).unwrap_or(u32::MAX));
}

/// No timer interrupt.
pub fn timer_stop() {
    if DEADLINE_TIMER.load(Ordering::Relaxed) {
        // SAFETY: 0 disarms the timer.
        unsafe { Msr::new(MSR_TSC_DEADLINE).write(0) };
    } else {
        write(TIMER_INITIAL, 0);
    }
}

/// This CPU's APIC id.
pub fn id() -> u32 {
    if x2apic() { read(ID) } else { read(ID) >> 24 }
}

/// End of the interrupt being served.
#[inline]
pub fn eoi() {
    write(EOI, 0);
}

/// End of interrupt, if the local APIC is serving `vector` at all.
pub fn eoi_if_in_service(vector: u8) {
    let bits = read(ISR + u32::from(vector / 32) * 0x10);
    if bits & 1 << (vector % 32) != 0 {
        eoi();
    }
}

/// Writes the interrupt command register.
fn command(apic_id: u32, low: u32) {
    if x2apic() {
        // WRMSR to the ICR does not serialise: what was stored before must be visible to the target.
        // SAFETY: MFENCE and LFENCE have no other effect; the ICR is an architectural register.
        unsafe {
            core::arch::asm!("mfence", "lfence", options(nostack, preserves_flags));
            Msr::new(MSR_X2APIC + (ICR_LOW >> 4)).write(u64::from(apic_id) << 32 | u64::from(low));
        }
        return;
    }
    wait_idle();
    write(ICR_HIGH, apic_id << 24);
    write(ICR_LOW, low);
}

fn wait_idle() {
    for _ in 0..1_000_000 {
        if read(ICR_LOW) & ICR_BUSY == 0 {
            break;
        }
        core::hint::spin_loop();
    }
}

/// Sends an interrupt. Interrupts must be off in xAPIC mode, whose command register has two halves.
pub fn send(apic_id: u32, vector: u8) {
    x86_64::instructions::interrupts::without_interrupts(|| {
        command(apic_id, ICR_ASSERT | u32::from(vector))
    });
}

/// Sends an NMI.
pub fn send_nmi(apic_id: u32) {
    x86_64::instructions::interrupts::without_interrupts(|| command(apic_id, ICR_ASSERT | 4 << 8));
}

/// Sends INIT.
pub fn send_init(apic_id: u32) {
    command(apic_id, ICR_ASSERT | 5 << 8 | 1 << 15);
    time::delay_ns(10_000_000);
}

/// Sends a start-up IPI: the CPU begins in real mode at `page` * 4096.
pub fn send_startup(apic_id: u32, page: u8) {
    command(apic_id, ICR_ASSERT | 6 << 8 | u32::from(page));
    time::delay_ns(200_000);
}
