//! x86-64: boot, CPU set-up, page tables, interrupts.

pub mod boot;
pub mod cpu;
pub mod entry;
pub mod irq;
pub mod mm;
pub mod pv;
pub mod svm;
pub mod vmx;
