//! PV guests on the CPU: how traps, calls and events cross the border, and how a vcpu's state gets on and off.
//!
//! [`traps`] and [`syscall`] are the ways in, [`exit`] the way out, [`bounce`] hands something to the guest,
//! [`emulate`] does privileged instructions, [`context`] switches vcpus. Assembly and layout: `entry`.

pub mod bounce;
pub mod context;
pub mod emulate;
pub mod exit;
pub mod failsafe;
pub mod msr;
pub mod ports;
pub mod syscall;
pub mod traps;

use crate::arch::x86::entry::cpuinfo::{CpuInfo, current, info_ptr};
use crate::console;
use alloc::sync::Arc;
use bootcfg::LogLevel;
use core::sync::atomic::Ordering;
use domain::{Domain, ShutdownState, Vcpu};
use xen_abi::xen::CpuUserRegs;

/// `entry_vector` mark: the frame may be left with SYSRET (rcx and r11 are free).
pub const TRAP_SYSCALL: u32 = 0x100;

/// This CPU's info block. Handlers run to completion on their CPU, so the reference does not outlive the entry.
pub fn info() -> &'static mut CpuInfo {
    // SAFETY: lies at the top of this CPU's own stack; only code on this CPU reaches it, one entry at a time.
    unsafe { &mut *info_ptr() }
}

/// The guest that was interrupted. Only for handlers of traps from guests, where there is one.
pub fn guest() -> (&'static Arc<Domain>, &'static Vcpu) {
    match current() {
        Some(g) => g,
        None => panic!("a guest entry without a guest"),
    }
}

/// Switches the running vcpu between its kernel and user mode: page tables and %gs base.
pub fn toggle_mode(v: &Vcpu) {
    let kernel = !v.kernel_mode.load(Ordering::Relaxed);
    v.kernel_mode.store(kernel, Ordering::Relaxed);
    // SAFETY: the hypervisor itself uses neither %gs base, and both address spaces hold the hypervisor's slots.
    unsafe { core::arch::asm!("swapgs", options(nostack, preserves_flags)) };
    context::load_root(v);
    if kernel && v.areas_stale.load(Ordering::Relaxed) {
        crate::guest_time::catch_up(guest().0, v);
    }
}

/// Ends the running guest because of `why`, with its registers in the log.
pub fn crash(regs: &CpuUserRegs, why: &str) {
    let (dom, v) = guest();
    // A domain crashes once: that line is never one too many.
    let first = dom.shutdown_state() == ShutdownState::Up;
    if first || console::may_log_guest(LogLevel::Error) {
        log::error!("{}{} crashed: {why}", dom.id, v.id);
        log_registers(regs);
    }
    domain::crash(&crate::host::HOST, dom);
    crate::schedule::request();
}

/// Prints a guest's registers.
pub fn log_registers(r: &CpuUserRegs) {
    let mode = match current() {
        Some((_, v)) if v.kernel_mode.load(Ordering::Relaxed) => "kernel",
        _ => "user",
    };
    log::info!(
        "  rip {:04x}:{:016x} rflags {:08x} rsp {:04x}:{:016x} ({mode})",
        r.cs,
        r.rip,
        r.rflags,
        r.ss,
        r.rsp
    );
    log::info!(
        "  rax {:016x} rbx {:016x} rcx {:016x} rdx {:016x}",
        r.rax,
        r.rbx,
        r.rcx,
        r.rdx
    );
    log::info!(
        "  rsi {:016x} rdi {:016x} rbp {:016x} r8  {:016x}",
        r.rsi,
        r.rdi,
        r.rbp,
        r.r8
    );
    log::info!(
        "  r9  {:016x} r10 {:016x} r11 {:016x} r12 {:016x}",
        r.r9,
        r.r10,
        r.r11,
        r.r12
    );
    log::info!("  r13 {:016x} r14 {:016x} r15 {:016x}", r.r13, r.r14, r.r15);
}

/// Sets up the running CPU's entry points: SYSCALL, SYSENTER.
pub fn init_cpu() {
    use crate::arch::x86::entry::symbols::{self, addr};
    use context::wrmsr;
    let cpu = u64::from(info().cpu);
    let top = &raw const info().regs.es as u64;
    // SAFETY: this CPU's own slot of the scratch array, before it runs guests.
    unsafe {
        let slots = (&raw mut symbols::syscall_scratch).cast::<[u64; 8]>();
        (*slots.add(cpu as usize % crate::percpu::MAX_CPUS))[1] = top;
        if crate::arch::x86::cpu::features().smap {
            (&raw mut symbols::have_smap).write(1);
        }
    }
    // STAR: SYSCALL loads CS 0xe008 and SS 0xe010; SYSRET CS 0xe033 and SS 0xe02b (public arch-x86/xen-x86_64.h).
    wrmsr(0xc000_0081, 0xe008 << 32 | 0xe023 << 48);
    wrmsr(0xc000_0082, addr!(syscall_stubs) + cpu * 32);
    wrmsr(0xc000_0083, addr!(syscall32_stubs) + cpu * 32);
    // SFMASK: TF, IF, DF, IOPL, NT, RF, VM, AC off on entry.
    wrmsr(0xc000_0084, 0x0007_7700);
    wrmsr(0x174, 0xe008);
    wrmsr(0x175, top);
    wrmsr(0x176, addr!(sysenter_entry));
    crate::hvm::vendor::init_cpu();
}
