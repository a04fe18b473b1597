//! Descriptor tables whose every handler leads back to [`probe`](crate::probe), a clock that ends what does not end,
//! and running made-up code in either mode.

use crate::probe::{self, probe};
use core::arch::asm;
use core::ptr::{read_volatile, write_volatile};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Local APIC: registers by their offset.
pub const APIC: u64 = 0xfee0_0000;
const APIC_EOI: u64 = 0xb0;
const APIC_SVR: u64 = 0xf0;
const APIC_ICR: u64 = 0x300;
const APIC_ICR_TO: u64 = 0x310;
const APIC_TIMER: u64 = 0x320;
const APIC_TIMER_COUNT: u64 = 0x380;
const APIC_DIVIDE: u64 = 0x3e0;
/// Enabled, spurious vector 0xff.
const APIC_ON: u32 = 0x1ff;
const TIMER_VECTOR: u32 = 0x40;
/// How long made-up code may run, in ticks of the APIC's clock.
const PATIENCE: u32 = 2_000_000;
/// How long code may that comes to its end by itself, on any machine.
const ALL_THE_TIME: u32 = 1_000_000_000;

const CODE: u64 = 0x8;
/// 32-bit code.
pub const CODE32: u8 = 0x18;
const USER_DATA: u64 = 0x20 | 3;
const USER_CODE: u64 = 0x28 | 3;
const TASK: u16 = 0x30;

#[repr(C, align(4096))]
struct Page([u8; 4096]);
static mut IDT: Page = Page([0; 4096]);
static mut TSS: Page = Page([0; 4096]);
static mut FAULT_STACK: Page = Page([0; 4096]);
static mut USER_STACK: Page = Page([0; 4096]);
static mut CODE_PAGE: Page = Page([0; 4096]);

unsafe extern "C" {
    static mut hvm_gdt: [u64; 8];
}

/// Where made-up code lies.
pub fn code() -> u64 {
    &raw const CODE_PAGE as u64
}

/// Where the segments' descriptors lie.
pub fn descriptors() -> u64 {
    &raw const hvm_gdt as u64
}

/// Has another vcpu begin at a page of low memory.
pub fn start(vcpu: u32, page: u32) {
    // INIT, then the start-up interrupt. Vcpus have every other APIC ID.
    for command in [0x4500, 0x4600 | page] {
        apic_write(APIC_ICR_TO, vcpu << 25);
        apic_write(APIC_ICR, command);
    }
}

/// Sets the tables up.
pub fn init() {
    let (idt, tss) = (&raw const IDT as u64, &raw const TSS as u64);
    let stack = &raw const FAULT_STACK as u64 + 4096;
    // SAFETY: our own tables; the handlers' stack is used by nothing else; nobody holds a reference to any of it.
    unsafe {
        for vector in 0..256 {
            let at = probe::caught_address();
            // Interrupt gates open to user mode, on the first of the interrupt stacks.
            let low = at & 0xffff | CODE << 16 | 1 << 32 | 0xee << 40 | (at >> 16 & 0xffff) << 48;
            write_volatile((idt as *mut u64).add(vector * 2), low);
            write_volatile((idt as *mut u64).add(vector * 2 + 1), at >> 32);
        }
        write_volatile((tss + 4) as *mut u64, stack);
        write_volatile((tss + 36) as *mut u64, stack);
        let low = 0x67 | (tss & 0xff_ffff) << 16 | 0x89 << 40 | (tss >> 24 & 0xff) << 56;
        hvm_gdt[6] = low;
        hvm_gdt[7] = tss >> 32;
        load_table(idt, 4095);
        asm!("ltr {0:x}", in(reg) TASK);
    }
}

/// Loads an interrupt table of any size.
pub fn load_table(base: u64, limit: u16) {
    let mut pointer = [0u8; 10];
    pointer[..2].copy_from_slice(&limit.to_le_bytes());
    pointer[2..].copy_from_slice(&base.to_le_bytes());
    // SAFETY: whatever it leads to befalls this guest only, which is what the callers want.
    unsafe { asm!("lidt [{0}]", in(reg) pointer.as_ptr()) }
}

fn apic_write(register: u64, value: u32) {
    // SAFETY: a register of our own APIC.
    unsafe { write_volatile((APIC + register) as *mut u32, value) }
}

/// Sets the clock that ends the next probe.
fn wind(ticks: u32) {
    apic_write(APIC_EOI, 0);
    apic_write(APIC_SVR, APIC_ON);
    apic_write(APIC_DIVIDE, 0xb);
    apic_write(APIC_TIMER, TIMER_VECTOR);
    apic_write(APIC_TIMER_COUNT, ticks);
}

/// The timer goes by the time-stamp counter from now on.
pub fn wait_for_tsc_deadlines() {
    const TSC_DEADLINE_MODE: u32 = 2 << 17;
    apic_write(APIC_SVR, APIC_ON);
    apic_write(APIC_TIMER, TIMER_VECTOR | TSC_DEADLINE_MODE);
}

/// Sends an interrupt to this vcpu; its vector.
pub fn interrupt_self() -> u8 {
    const TO_SELF: u32 = 1 << 18;
    apic_write(APIC_SVR, APIC_ON);
    apic_write(APIC_ICR, TO_SELF | TIMER_VECTOR);
    TIMER_VECTOR as u8
}

/// The interrupt that has come is done with.
pub fn end_interrupt() {
    apic_write(APIC_EOI, 0);
}

/// Stops it.
fn stop() {
    apic_write(APIC_TIMER_COUNT, 0);
    apic_write(APIC_EOI, 0);
}

/// Registers that made-up code finds.
static REGISTERS: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

extern "C" fn in_kernel(at: u64) {
    let value = |n: usize| REGISTERS[n].load(Relaxed);
    // SAFETY: what comes back comes back through a handler, or with `ret`; the probe restores all that it needs.
    unsafe {
        asm!("sti", "call {at}", "cli", at = in(reg) at, inlateout("rax") value(0) => _, inlateout("rcx") value(1) => _,
            inlateout("rdx") value(2) => _, inlateout("rdi") value(3) => _, out("rsi") _, out("r8") _, out("r9") _,
            out("r10") _, out("r11") _)
    }
}

extern "C" fn in_user(at: u64) {
    let value = |n: usize| REGISTERS[n].load(Relaxed);
    let stack = &raw const USER_STACK as u64 + 2048;
    // SAFETY: as above; user mode is left through a handler only.
    unsafe {
        asm!("push {ss}", "push {stack}", "push 0x202", "push {cs}", "push {at}", "iretq",
            ss = in(reg) USER_DATA, stack = in(reg) stack, cs = in(reg) USER_CODE, at = in(reg) at, in("rax") value(0),
            in("rcx") value(1), in("rdx") value(2), in("rdi") value(3), options(noreturn))
    }
}

/// Runs `bytes`; whether it faulted, or was ended by the clock.
pub fn run(bytes: &[u8], registers: [u64; 4], user: bool) -> bool {
    run_within(bytes, registers, user, PATIENCE)
}

/// As [`run`], for code that comes to its end.
pub fn run_to_its_end(bytes: &[u8], registers: [u64; 4]) -> bool {
    run_within(bytes, registers, false, ALL_THE_TIME)
}

fn run_within(bytes: &[u8], registers: [u64; 4], user: bool, ticks: u32) -> bool {
    // A fault, lest it run into what was there before; from user mode there is no other way back.
    let end = if user { [0xcd, 0x81] } else { [0xc3, 0xcc] };
    for (i, byte) in bytes.iter().chain(&end).enumerate() {
        // SAFETY: our own page, which no reference exists to; callers pass less than a page.
        unsafe { write_volatile((code() as *mut u8).add(i), *byte) }
    }
    for (slot, value) in REGISTERS.iter().zip(registers) {
        slot.store(value, Relaxed);
    }
    wind(ticks);
    let faulted = probe(if user { in_user } else { in_kernel }, code());
    stop();
    faulted
}

extern "C" fn peek(at: u64) {
    // SAFETY: faults, or reads.
    unsafe { read_volatile(at as *const u32) };
}

extern "C" fn scribble(at: u64) {
    // SAFETY: callers pass what is not memory of ours.
    unsafe { write_volatile(at as *mut u32, 0x5a5a_5a5a) }
}

/// Reads and writes where no memory is. Whether each of them faulted.
pub fn touch(at: u64) -> (bool, bool) {
    (probe(peek, at), probe(scribble, at))
}

/// Writes a word anywhere.
pub fn poke(at: u64, value: u32) {
    // SAFETY: callers pass device registers, or memory whose contents do not matter.
    unsafe { write_volatile(at as *mut u32, value) }
}
