//! `CpuInfo`: what lies at the top of every CPU's stack, found by masking the stack pointer.

/// Lies at the very top of each CPU's 32 KiB stack.
#[repr(C, align(16))]
pub struct CpuInfo {
    /// The interrupted guest's registers.
    pub guest_regs: [u64; 25],
    /// This CPU's number.
    pub cpu: u32,
    /// Keeps `percpu` aligned.
    pub _pad: u32,
    /// This CPU's data.
    pub percpu: *const (),
}
