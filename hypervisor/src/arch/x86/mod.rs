//! x86-64: boot, CPU set-up, page tables, interrupts.

pub mod boot;
pub mod entry;
