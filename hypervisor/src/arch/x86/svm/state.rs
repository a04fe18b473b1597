//! Getting a vcpu onto this CPU's VMCB and off it: [`load`], [`save`].

use super::vmcb::{Vmcb, field};
use super::{Svm, pages, set_tsc_ratio, shared, vmload, vmsave};
use crate::arch::x86::cpu::{features, idt};
use crate::arch::x86::pv::context::{self, rdmsr, wrmsr};
use crate::arch::x86::pv::info;
use crate::exit::PAUSE_GAP;
use crate::hvm::{self, VirtualCpu};
use core::arch::asm;
use core::sync::atomic::Ordering;
use domain::hvm_vcpu::{HvmState, SEGMENTS, Seg};
use domain::tsc::Counter;
use domain::{Domain, Vcpu};
use x86_64::registers::xcontrol::XCr0;

const MSR_TSC_AUX: u32 = 0xc000_0103;
const EFER_SVME: u64 = 1 << 12;
/// INTR, NMI, SMI, INIT (not VINTR); RDPMC; CPUID; INVD; HLT, INVLPGA, I/O, MSRs, task switches, shutdown.
const MISC1: u32 =
    0xf | 1 << 15 | 1 << 18 | 1 << 22 | 1 << 24 | 1 << 26 | 1 << 27 | 1 << 28 | 1 << 29 | 1 << 31;
/// VMRUN to SKINIT, ICEBP not, WBINVD, MONITOR, MWAIT, XSETBV.
const MISC2: u32 = 0x7f | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 13;
/// Of the same two words.
const INTERCEPT_RDTSC: u32 = 1 << 14;
const INTERCEPT_RDTSCP: u32 = 1 << 7;
/// PAUSE, of which the CPU lets so many pass.
const INTERCEPT_PAUSE: u32 = 1 << 23;
const PAUSES: u16 = 4000;
/// #DB, #AC: their endless delivery must not keep the CPU; #MC is the machine's.
const EXCEPTIONS: u32 = 1 << 1 | 1 << 17 | 1 << 18;
/// V_INTR_MASKING.
const INT_CTL: u32 = 1 << 24;
const NESTED_PAGING: u64 = 1;

/// Puts a vcpu onto this CPU. `dom` stays referenced by the scheduler for as long as it is loaded.
pub fn load(dom: &'static alloc::sync::Arc<Domain>, v: &'static Vcpu) {
    let info = info();
    info.vcpu = v;
    info.dom = dom;
    context::set_upcall(v);
    let hvm = hvm::vcpu(v);
    let mut cpu = Svm::this_cpu();
    let state = hvm.state.lock();
    info.regs = state.regs;
    fill(&cpu.vmcb, &state);
    cpu.set_task_priority(hvm.lapic.lock().cr8());
    cpu.record_branches(state.debugctl != 0);
    set_counter(&cpu.vmcb, &v.tsc);
    cpu.vmcb.set(field::NESTED_CR3, hvm::p2m::root(dom));
    cpu.choose_asid(hvm, false);
    idt::load_without_stacks();
    vmload(cpu.vmcb.pa);
    for (n, value) in state.debug.iter().enumerate().take(4) {
        write_dr(n, *value);
    }
    if features().rdtscp {
        wrmsr(MSR_TSC_AUX, state.tsc_aux);
    }
    context::load_fpu(&state.fpu, state.xcr0);
}

fn set_counter(vmcb: &Vmcb, tsc: &Counter) {
    let line = tsc.line();
    vmcb.set(field::TSC_OFFSET, line.offset);
    if tsc.is_trapped() {
        let misc1: u32 = vmcb.get(field::INTERCEPT_MISC1);
        vmcb.set(field::INTERCEPT_MISC1, misc1 | INTERCEPT_RDTSC);
        vmcb.set(field::INTERCEPT_MISC2, MISC2 | INTERCEPT_RDTSCP);
    } else {
        set_tsc_ratio(line.ratio);
    }
}

fn fill(vmcb: &Vmcb, state: &HvmState) {
    let (iopm, msrpm, pauses) =
        shared().map_or((0, 0, false), |s| (s.iopm, s.msrpm, s.pause_filter));
    // Control registers and debug registers are the guest's own.
    vmcb.set(field::INTERCEPT_CR, 0u32);
    vmcb.set(field::INTERCEPT_DR, 0u32);
    vmcb.set(field::INTERCEPT_EXCEPTIONS, EXCEPTIONS);
    let iret = if state.nmi_masked { 1 << 20 } else { 0 };
    let pause = if pauses { INTERCEPT_PAUSE } else { 0 };
    vmcb.set(field::INTERCEPT_MISC1, MISC1 | iret | pause);
    vmcb.set(field::PAUSE_COUNT, PAUSES);
    vmcb.set(field::PAUSE_THRESHOLD, PAUSE_GAP);
    vmcb.set(field::INTERCEPT_MISC2, MISC2);
    vmcb.set(field::IOPM, iopm);
    vmcb.set(field::MSRPM, msrpm);
    vmcb.set(field::TLB_CONTROL, 0u8);
    vmcb.set(field::INT_CTL, INT_CTL);
    vmcb.set(field::INT_SHADOW, u64::from(state.shadow));
    vmcb.set(field::NESTED_CTL, NESTED_PAGING);
    vmcb.set(field::EVENT_INJ, state.pending_event);
    vmcb.set(field::CLEAN, 0u32);
    for seg in SEGMENTS {
        vmcb.set_segment(seg, &state.segments[seg as usize]);
    }
    vmcb.set_tables(&state.gdtr, &state.idtr);
    let ss = state.segments[Seg::Ss as usize];
    vmcb.set(field::CPL, (ss.attributes >> 5 & 3) as u8);
    let m = &state.msrs;
    for (at, value) in [
        (field::EFER, state.efer | EFER_SVME),
        (field::CR0, state.cr0),
        (field::CR2, state.cr2),
        (field::CR3, state.cr3),
        (field::CR4, state.cr4),
        (field::DR6, state.debug[6]),
        (field::DR7, state.debug[7]),
        (field::RFLAGS, state.regs.rflags),
        (field::RIP, state.regs.rip),
        (field::RSP, state.regs.rsp),
        (field::PAT, state.pat),
        (field::DEBUGCTL, state.debugctl),
        (field::STAR, m.star),
        (field::LSTAR, m.lstar),
        (field::CSTAR, m.cstar),
        (field::SFMASK, m.sfmask),
        (field::KERNEL_GS_BASE, m.kernel_gs_base),
        (field::SYSENTER_CS, m.sysenter_cs),
        (field::SYSENTER_ESP, m.sysenter_esp),
        (field::SYSENTER_EIP, m.sysenter_eip),
    ] {
        vmcb.set(at, value);
    }
    for (at, value) in field::LAST_BRANCH.into_iter().zip(state.last_branch) {
        vmcb.set(at, value);
    }
}

/// Takes the vcpu off this CPU, whose own values come back.
pub fn save(v: &Vcpu) {
    let info = info();
    let hvm = hvm::vcpu(v);
    let cpu = Svm::this_cpu();
    vmsave(cpu.vmcb.pa);
    vmload(pages().host.load(Ordering::Relaxed));
    idt::load();
    hvm::complete_frame(&cpu);
    let mut state = hvm.state.lock();
    let state = &mut *state;
    state.regs = info.regs;
    read_back(&cpu.vmcb, state);
    state.nmi_masked = cpu.nmi_masked();
    for (n, slot) in state.debug.iter_mut().enumerate().take(4) {
        *slot = read_dr(n);
    }
    if features().rdtscp {
        state.tsc_aux = rdmsr(MSR_TSC_AUX);
        // PV guests can read it.
        if state.tsc_aux != 0 {
            wrmsr(MSR_TSC_AUX, 0);
        }
    }
    save_extended(state);
    info.vcpu = core::ptr::null();
    info.dom = core::ptr::null();
    info.upcall = &raw const context::IDLE_UPCALL[0];
}

/// The FPU's state and XCR0, which is what the CPU has: QEMU's TCG lets guests' XSETBV pass, whatever the intercept says.
fn save_extended(state: &mut HvmState) {
    let mut loaded = state.xcr0;
    if features().xsave {
        loaded = XCr0::read_raw();
        state.xcr0 = loaded & (features().xcr0 | 3);
    }
    context::save_fpu(&mut state.fpu, loaded);
}

fn read_back(vmcb: &Vmcb, state: &mut HvmState) {
    state.shadow = vmcb.get64(field::INT_SHADOW) & 1 != 0;
    state.pending_event = vmcb.get64(field::EVENT_INJ);
    for seg in SEGMENTS {
        state.segments[seg as usize] = vmcb.segment(seg);
    }
    // The CPU does not keep SS's privilege level up to date.
    let ss = &mut state.segments[Seg::Ss as usize];
    ss.attributes = ss.attributes & !0x60 | u16::from(vmcb.get::<u8>(field::CPL) & 3) << 5;
    (state.gdtr, state.idtr) = (vmcb.gdtr(), vmcb.idtr());
    state.efer = vmcb.get64(field::EFER) & !EFER_SVME;
    state.cr0 = vmcb.get(field::CR0);
    state.cr2 = vmcb.get(field::CR2);
    state.cr3 = vmcb.get(field::CR3);
    state.cr4 = vmcb.get(field::CR4);
    state.debug[6] = vmcb.get(field::DR6);
    state.debug[7] = vmcb.get(field::DR7);
    state.pat = vmcb.get(field::PAT);
    state.debugctl = vmcb.get(field::DEBUGCTL);
    state.last_branch = field::LAST_BRANCH.map(|at| vmcb.get(at));
    let m = &mut state.msrs;
    m.star = vmcb.get(field::STAR);
    m.lstar = vmcb.get(field::LSTAR);
    m.cstar = vmcb.get(field::CSTAR);
    m.sfmask = vmcb.get(field::SFMASK);
    m.kernel_gs_base = vmcb.get(field::KERNEL_GS_BASE);
    m.sysenter_cs = vmcb.get(field::SYSENTER_CS);
    m.sysenter_esp = vmcb.get(field::SYSENTER_ESP);
    m.sysenter_eip = vmcb.get(field::SYSENTER_EIP);
}

fn write_dr(n: usize, value: u64) {
    // SAFETY: breakpoint addresses; DR7, which enables them, is the guest's in the VMCB and off in the hypervisor.
    unsafe {
        match n {
            0 => asm!("mov dr0, {}", in(reg) value, options(nomem, nostack, preserves_flags)),
            1 => asm!("mov dr1, {}", in(reg) value, options(nomem, nostack, preserves_flags)),
            2 => asm!("mov dr2, {}", in(reg) value, options(nomem, nostack, preserves_flags)),
            _ => asm!("mov dr3, {}", in(reg) value, options(nomem, nostack, preserves_flags)),
        }
    }
}

fn read_dr(n: usize) -> u64 {
    let value: u64;
    // SAFETY: reads a register.
    unsafe {
        match n {
            0 => asm!("mov {}, dr0", out(reg) value, options(nomem, nostack, preserves_flags)),
            1 => asm!("mov {}, dr1", out(reg) value, options(nomem, nostack, preserves_flags)),
            2 => asm!("mov {}, dr2", out(reg) value, options(nomem, nostack, preserves_flags)),
            _ => asm!("mov {}, dr3", out(reg) value, options(nomem, nostack, preserves_flags)),
        }
    }
    value
}
