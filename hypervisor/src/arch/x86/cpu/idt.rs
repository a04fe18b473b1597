//! The interrupt descriptor table, shared by all CPUs.

use super::gdt::{HV_CS, IST_DB, IST_DF, IST_MC, IST_NMI};
use core::arch::asm;
use core::cell::UnsafeCell;

#[repr(align(4096))]
struct Table(UnsafeCell<[[u64; 2]; 256]>);
// SAFETY: written on CPU 0 before other CPUs run, then only read, by the CPUs themselves.
unsafe impl Sync for Table {}

static IDT: Table = Table(UnsafeCell::new([[0; 2]; 256]));
/// The same without interrupt stacks, for while a hardware guest's task register is loaded.
static PLAIN: Table = Table(UnsafeCell::new([[0; 2]; 256]));

/// A 64-bit interrupt gate (type 14) to `handler`.
fn gate(handler: u64, selector: u16, ist: u8, dpl: u8) -> [u64; 2] {
    let attributes = 0x8e00 | u64::from(dpl) << 13 | u64::from(ist);
    let low = handler & 0xffff
        | u64::from(selector) << 16
        | attributes << 32
        | (handler >> 16 & 0xffff) << 48;
    [low, handler >> 32]
}

/// Points all vectors at `stubs`, 256 entry points `stride` bytes apart, on code segment `selector`.
///
/// # Safety
/// The stubs must be entry points for their vector. Before other CPUs run.
pub unsafe fn set_all(stubs: u64, stride: u64, selector: u16) {
    for vector in 0..256u64 {
        let ist = match vector {
            1 if selector == HV_CS => IST_DB,
            8 if selector == HV_CS => IST_DF,
            2 if selector == HV_CS => IST_NMI,
            18 if selector == HV_CS => IST_MC,
            _ => 0,
        };
        // Guests may raise #BP and #OF with INT3 and INTO, and system calls with INT 0x80; other software interrupts
        // arrive as #GP.
        let dpl = if matches!(vector, 3 | 4 | 0x80) { 3 } else { 0 };
        // SAFETY: in bounds; alone on this table (the caller's promise).
        unsafe {
            (*IDT.0.get())[vector as usize] = gate(stubs + vector * stride, selector, ist, dpl);
            (*PLAIN.0.get())[vector as usize] = gate(stubs + vector * stride, selector, 0, dpl);
        };
    }
}

/// The table's address.
pub fn base() -> u64 {
    IDT.0.get() as u64
}

/// Loads the table on the running CPU.
pub fn load() {
    load_table(&IDT);
}

/// Loads the table that asks nothing of the task register. Without PV guests on the CPU nothing needs interrupt stacks.
pub fn load_without_stacks() {
    load_table(&PLAIN);
}

fn load_table(table: &'static Table) {
    #[repr(C, packed)]
    struct Idtr(u16, u64);
    let idtr = Idtr(4095, table.0.get() as u64);
    // SAFETY: the table is static; not-present gates fault like any other exception.
    unsafe { asm!("lidt [{}]", in(reg) &idtr, options(readonly, nostack, preserves_flags)) };
}

/// Loads a table without entries: the next exception resets the machine.
///
/// # Safety
/// Resetting must be what the caller wants.
pub unsafe fn load_empty() {
    #[repr(C, packed)]
    struct Idtr(u16, u64);
    let idtr = Idtr(0, 0);
    // SAFETY: the caller's promise.
    unsafe { asm!("lidt [{}]", in(reg) &idtr, options(readonly, nostack, preserves_flags)) };
}
