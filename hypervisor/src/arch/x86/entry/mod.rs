//! The border between guests and the hypervisor: entry points in assembly, the frame they build, and guest memory.

pub mod cpuinfo;
pub mod symbols;
pub mod uaccess;

/// Points all exceptions and interrupts at the final entry points. Before other CPUs run.
pub fn install() {
    use crate::arch::x86::cpu::{gdt, idt};
    // SAFETY: the stubs are 16 bytes apart, one per vector, and expect the hypervisor's own code segment.
    unsafe { idt::set_all(symbols::addr!(trap_stubs), 16, gdt::HV_CS) };
}
