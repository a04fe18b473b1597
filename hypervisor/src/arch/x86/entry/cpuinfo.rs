//! `CpuInfo`: what lies at the top of every CPU's stack, found by masking the stack pointer. It holds the frame of
//! the guest that runs on this CPU and the few pointers the entry path needs.
use crate::arch::x86::cpu::STACK_SIZE;
use crate::percpu::PerCpu;
use core::sync::atomic::AtomicU64;
use domain::{Domain, Vcpu};
use xen_abi::xen::CpuUserRegs;

/// Lies at the very top of each CPU's stack. `regs` is at 8 modulo 16: see `entry.S`.
#[repr(C, align(16))]
pub struct CpuInfo {
    _align: u64,
    /// The guest's registers while the hypervisor runs on its behalf.
    pub regs: CpuUserRegs,
    /// This CPU's number.
    pub cpu: u32,
    _pad: u32,
    /// This CPU's data.
    pub percpu: *const PerCpu,
    /// The vcpu whose state is loaded, null while idle.
    pub vcpu: *const Vcpu,
    /// Its domain.
    pub dom: *const alloc::sync::Arc<Domain>,
    /// First word of the running vcpu's `vcpu_info` (pending and mask bytes), or a dummy while idle.
    pub upcall: *const AtomicU64,
}

const _: () = assert!(core::mem::offset_of!(CpuInfo, regs) % 16 == 8);
const _: () = assert!(size_of::<CpuInfo>().is_multiple_of(16));
// What `entry.S` calculates with.
const _: () = assert!(STACK_SIZE == 65536 && size_of::<CpuInfo>() == 256);

/// Address of this CPU's `CpuInfo`.
#[inline(always)]
pub fn info_ptr() -> *mut CpuInfo {
    let rsp: usize;
    // SAFETY: reads the stack pointer only.
    unsafe {
        core::arch::asm!("mov {}, rsp", out(reg) rsp, options(nomem, nostack, preserves_flags))
    };
    ((rsp | (STACK_SIZE - 1)) + 1 - size_of::<CpuInfo>()) as *mut CpuInfo
}

/// The vcpu and domain whose state is loaded on this CPU, if any. The reference is good until the next
/// `schedule::run` on this CPU, which every caller outlives: handlers return before the exit path schedules.
#[inline(always)]
pub fn current() -> Option<(&'static alloc::sync::Arc<Domain>, &'static Vcpu)> {
    // SAFETY: set by `schedule::run`, which keeps the domain's Arc in PerCpu for as long as these are set.
    unsafe {
        let info = &*info_ptr();
        if info.vcpu.is_null() {
            None
        } else {
            Some((&*info.dom, &*info.vcpu))
        }
    }
}
