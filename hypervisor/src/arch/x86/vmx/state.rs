//! Getting a vcpu into this CPU's VMCS and out of it ([`load`], [`save`]), and the fields that never change ([`set_up_vmcs`]).

use super::bits::{BRANCHES, FLAG_TF, SINGLE_STEP, blocking, cpu, cpu2, entry, pin};
use super::controls::Controls;
use super::vmcs::{Field, change, read, segment, set_segment, write};
use super::{SWITCHED, Shared, Vmx, cr, shared, this_cpu, vmx_exit};
use crate::arch::x86::cpu::{features, gdt, idt};
use crate::arch::x86::mm::phys_to_virt;
use crate::arch::x86::pv::context::{self, rdmsr, wrmsr};
use crate::arch::x86::pv::info;
use crate::exit::PAUSE_GAP;
use crate::hvm;
use crate::{percpu, time};
use core::arch::asm;
use core::sync::atomic::Ordering;
use domain::hvm_vcpu::{HvmState, SEGMENTS, Seg, Segment};
use domain::tsc::{self, Counter};
use domain::{Domain, Vcpu};

const MSR_EFER: u32 = 0xc000_0080;
const MSR_PAT: u32 = 0x277;
const MSR_KERNEL_GS_BASE: u32 = 0xc000_0102;
const MSR_TSC_AUX: u32 = 0xc000_0103;
const EFER_LMA: u64 = 1 << 10;
/// DR6 as it is when nothing has happened.
const DR6_NOTHING: u64 = 0xffff_0ff0;
/// #DB, #AC: their endless delivery must not keep the CPU; #MC is the machine's.
const EXCEPTIONS: u64 = 1 << 1 | 1 << 17 | 1 << 18;
/// After so much of guests' time interrupts are taken, whatever else happens: Bochs keeps them back from a guest that was entered
/// with its own off.
const LONGEST_RUN_PER_SECOND: u64 = 200;
/// A loop of PAUSEs may take so many cycles.
const PAUSE_WINDOW: u64 = 4096;
/// Write-back tables of four levels.
const EPT_FORMAT: u64 = 6 | 3 << 3;

/// Fields of the CPU's VMCS that no guest changes. `apic`: a page for the task priority.
pub(super) fn set_up_vmcs(shared: &Shared, apic: u64) {
    let c = &shared.controls;
    let me = percpu::current();
    for (field, value) in [
        (Field::PinControls, c.pin.into()),
        (Field::CpuControls, c.cpu.into()),
        (Field::CpuControls2, c.cpu2.into()),
        (Field::ExitControls, c.exit.into()),
        (Field::EntryControls, c.entry.into()),
        (Field::ExceptionBitmap, EXCEPTIONS),
        (Field::IoBitmapA, shared.io_bitmaps),
        (Field::IoBitmapB, shared.io_bitmaps + 4096),
        (Field::MsrBitmap, shared.msr_bitmap),
        (Field::VirtualApic, apic),
        (Field::TprThreshold, 0),
        (Field::LinkPointer, u64::MAX),
        (Field::Cr3Targets, 0),
        (Field::ExitMsrStores, 0),
        (Field::ExitMsrLoads, 0),
        (Field::EntryMsrLoads, 0),
        (Field::Activity, 0),
        (Field::HostCs, gdt::HV_CS.into()),
        (Field::HostSs, gdt::HV_DS.into()),
        (Field::HostDs, gdt::HV_DS.into()),
        (Field::HostEs, gdt::HV_DS.into()),
        (Field::HostFs, 0),
        (Field::HostGs, 0),
        (Field::HostTr, gdt::TSS.into()),
        (Field::HostFsBase, 0),
        (Field::HostGsBase, 0),
        (Field::HostTrBase, me.tss.get() as u64),
        (Field::HostGdtrBase, gdt::window(me.cpu)),
        (Field::HostIdtrBase, idt::base()),
        (Field::HostSysenterCs, rdmsr(0x174)),
        (Field::HostSysenterEsp, rdmsr(0x175)),
        (Field::HostSysenterEip, rdmsr(0x176)),
        (Field::HostPat, rdmsr(MSR_PAT)),
        (Field::HostEfer, rdmsr(MSR_EFER)),
        (Field::HostRip, vmx_exit as *const () as u64),
    ] {
        write(field, value);
    }
    if c.cpu2 & cpu2::PAUSE_LOOP != 0 {
        write(Field::PauseGap, PAUSE_GAP.into());
        write(Field::PauseWindow, PAUSE_WINDOW);
    }
    limit_run(c);
}

/// Winds up the preemption timer, if there is one. What is left of it outlasts exits, where the CPU can save it.
pub(super) fn limit_run(c: &Controls) {
    if c.pin & pin::TIMER != 0 {
        let ticks = (time::tsc_hz() / LONGEST_RUN_PER_SECOND) >> c.timer_shift;
        write(Field::PreemptionTimer, ticks.clamp(1, u32::MAX.into()));
    }
}

/// CR0 and CR4 as they are.
fn control_registers() -> (u64, u64) {
    let (cr0, cr4): (u64, u64);
    // SAFETY: reads registers.
    unsafe {
        asm!("mov {}, cr0", "mov {}, cr4", out(reg) cr0, out(reg) cr4,
            options(nomem, nostack, preserves_flags))
    };
    (cr0, cr4)
}

/// Puts a vcpu onto this CPU. `dom` stays referenced by the scheduler for as long as it is loaded.
pub fn load(dom: &'static alloc::sync::Arc<Domain>, v: &'static Vcpu) {
    let info = info();
    info.vcpu = v;
    info.dom = dom;
    context::set_upcall(v);
    let hvm = hvm::vcpu(v);
    let state = hvm.state.lock();
    info.regs = state.regs;
    context::load_fpu(&state.fpu, state.xcr0);
    let (cr0, cr4) = control_registers();
    write(Field::HostCr0, cr0);
    write(Field::HostCr4, cr4);
    write(Field::EptPointer, hvm::p2m::root(dom) & !0xfff | EPT_FORMAT);
    Vmx.choose_vpid(hvm, false);
    fill(&state);
    set_counter(&v.tsc);
    set_task_priority(hvm.lapic.lock().cr8());
    if !cr::load_pdptes(dom) {
        cr::no_pdptes();
    }
    for (msr, value) in SWITCHED.iter().zip([
        state.msrs.star,
        state.msrs.lstar,
        state.msrs.cstar,
        state.msrs.sfmask,
    ]) {
        wrmsr(*msr, value);
    }
    wrmsr(MSR_KERNEL_GS_BASE, state.msrs.kernel_gs_base);
    if features().rdtscp {
        wrmsr(MSR_TSC_AUX, state.tsc_aux);
    }
    for (n, value) in state.debug.iter().enumerate() {
        if matches!(n, 0..=3 | 6) {
            write_dr(n, *value);
        }
    }
    this_cpu().cr2.store(state.cr2, Ordering::Relaxed);
}

fn set_counter(tsc: &Counter) {
    let (line, trapped) = (tsc.line(), tsc.is_trapped());
    change(Field::CpuControls, cpu::RDTSC.into(), trapped);
    write(Field::TscOffset, line.offset);
    if super::tsc_scaling().is_some() {
        let ratio = if trapped { tsc::ONE } else { line.ratio };
        write(Field::TscMultiplier, ratio);
    }
}

/// Does such a guest stop after each instruction?
pub(super) fn steps(rflags: u64, debugctl: u64) -> bool {
    rflags & FLAG_TF != 0 && debugctl & BRANCHES == 0
}

fn fill(state: &HvmState) {
    let mut interruptibility = 0;
    if state.shadow {
        interruptibility |= blocking::MOV_SS;
    }
    if state.nmi_masked {
        interruptibility |= blocking::NMI;
    }
    // Entries insist on it: a step that the shadow holds back.
    let stepping = steps(state.regs.rflags, state.debugctl);
    let step = if state.shadow && stepping {
        SINGLE_STEP
    } else {
        0
    };
    for seg in SEGMENTS {
        set_segment(seg, &state.segments[seg as usize]);
    }
    cr::set_cr0(state.cr0);
    cr::set_cr4(state.cr4);
    cr::set_efer(state.efer);
    let m = &state.msrs;
    for (field, value) in [
        (Field::Interruptibility, interruptibility),
        (Field::EntryEvent, state.pending_event & 0xffff_ffff),
        (Field::EntryErrorCode, state.pending_event >> 32),
        (Field::PendingDebug, step),
        (Field::GuestDebugCtl, state.debugctl),
        (Field::GuestCr3, state.cr3),
        (Field::GuestDr7, state.debug[7]),
        (Field::GuestRflags, state.regs.rflags),
        (Field::GuestRip, state.regs.rip),
        (Field::GuestRsp, state.regs.rsp),
        (Field::GuestPat, state.pat),
        (Field::GuestSysenterCs, m.sysenter_cs),
        (Field::GuestSysenterEsp, m.sysenter_esp),
        (Field::GuestSysenterEip, m.sysenter_eip),
        (Field::GuestGdtrBase, state.gdtr.base),
        (Field::GuestGdtrLimit, state.gdtr.limit.into()),
        (Field::GuestIdtrBase, state.idtr.base),
        (Field::GuestIdtrLimit, state.idtr.limit.into()),
    ] {
        write(field, value);
    }
}

/// Takes the vcpu off this CPU, whose own values come back.
pub fn save(v: &Vcpu) {
    let info = info();
    let hvm = hvm::vcpu(v);
    hvm::complete_frame(&Vmx);
    let mut state = hvm.state.lock();
    let state = &mut *state;
    state.regs = info.regs;
    read_back(state);
    state.cr2 = this_cpu().cr2.load(Ordering::Relaxed);
    let [star, lstar, cstar, sfmask] = SWITCHED.map(rdmsr);
    (state.msrs.star, state.msrs.lstar) = (star, lstar);
    (state.msrs.cstar, state.msrs.sfmask) = (cstar, sfmask);
    state.msrs.kernel_gs_base = rdmsr(MSR_KERNEL_GS_BASE);
    for (msr, own) in SWITCHED.iter().zip(&this_cpu().msrs) {
        wrmsr(*msr, own.load(Ordering::Relaxed));
    }
    if features().rdtscp {
        state.tsc_aux = rdmsr(MSR_TSC_AUX);
        // PV guests can read it.
        if state.tsc_aux != 0 {
            wrmsr(MSR_TSC_AUX, 0);
        }
    }
    for (n, slot) in state.debug.iter_mut().enumerate() {
        if matches!(n, 0..=3 | 6) {
            *slot = read_dr(n);
        }
    }
    // The CPU only ever adds to it: a PV guest would find there what happened in this one.
    if state.debug[6] != DR6_NOTHING {
        write_dr(6, DR6_NOTHING);
    }
    context::save_fpu(&mut state.fpu, state.xcr0);
    // Exits leave limits of 64 KiB.
    gdt::load_register(percpu::cpu_id());
    idt::load();
    info.vcpu = core::ptr::null();
    info.dom = core::ptr::null();
    info.upcall = &raw const context::IDLE_UPCALL[0];
}

fn read_back(state: &mut HvmState) {
    let interruptibility = read(Field::Interruptibility);
    state.shadow = interruptibility & (blocking::STI | blocking::MOV_SS) != 0;
    state.nmi_masked = interruptibility & blocking::NMI != 0;
    state.pending_event = read(Field::EntryEvent) & 0xffff_ffff | read(Field::EntryErrorCode) << 32;
    for seg in SEGMENTS {
        state.segments[seg as usize] = segment(seg);
    }
    let table = |base: Field, limit: Field| Segment {
        base: read(base),
        limit: read(limit) as u32,
        ..Segment::default()
    };
    state.gdtr = table(Field::GuestGdtrBase, Field::GuestGdtrLimit);
    state.idtr = table(Field::GuestIdtrBase, Field::GuestIdtrLimit);
    state.efer = read(Field::GuestEfer);
    state.cr0 = cr::cr0();
    state.cr3 = read(Field::GuestCr3);
    state.cr4 = cr::cr4();
    state.debug[7] = read(Field::GuestDr7);
    state.pat = read(Field::GuestPat);
    state.debugctl = read(Field::GuestDebugCtl);
    let m = &mut state.msrs;
    m.sysenter_cs = read(Field::GuestSysenterCs);
    m.sysenter_esp = read(Field::GuestSysenterEsp);
    m.sysenter_eip = read(Field::GuestSysenterEip);
}

/// The entry control that says what mode the guest is in.
pub(super) fn set_long_mode(efer: u64) {
    let plain = shared().map_or(0, |s| s.controls.entry);
    let mode = if efer & EFER_LMA != 0 {
        entry::LONG_MODE
    } else {
        0
    };
    write(Field::EntryControls, (plain | mode).into());
}

/// DR0 to DR3 and DR6.
pub(super) fn write_dr(n: usize, value: u64) {
    // SAFETY: breakpoint addresses and what has happened; DR7, which enables them, is the guest's in the VMCS and off in the
    // hypervisor.
    unsafe {
        match n {
            0 => asm!("mov dr0, {}", in(reg) value, options(nomem, nostack, preserves_flags)),
            1 => asm!("mov dr1, {}", in(reg) value, options(nomem, nostack, preserves_flags)),
            2 => asm!("mov dr2, {}", in(reg) value, options(nomem, nostack, preserves_flags)),
            3 => asm!("mov dr3, {}", in(reg) value, options(nomem, nostack, preserves_flags)),
            _ => {
                let value = value & 0xffff_ffff;
                asm!("mov dr6, {}", in(reg) value, options(nomem, nostack, preserves_flags));
            }
        }
    }
}

/// DR0 to DR3 and DR6.
pub(super) fn read_dr(n: usize) -> u64 {
    let value: u64;
    // SAFETY: reads a register.
    unsafe {
        match n {
            0 => asm!("mov {}, dr0", out(reg) value, options(nomem, nostack, preserves_flags)),
            1 => asm!("mov {}, dr1", out(reg) value, options(nomem, nostack, preserves_flags)),
            2 => asm!("mov {}, dr2", out(reg) value, options(nomem, nostack, preserves_flags)),
            3 => asm!("mov {}, dr3", out(reg) value, options(nomem, nostack, preserves_flags)),
            _ => asm!("mov {}, dr6", out(reg) value, options(nomem, nostack, preserves_flags)),
        }
    }
    value
}

/// Where the CPU keeps TPR in its page of APIC registers.
fn tpr() -> *mut u8 {
    phys_to_virt(this_cpu().apic.load(Ordering::Relaxed)).wrapping_add(0x80)
}

/// CR8.
pub(super) fn task_priority() -> u8 {
    // SAFETY: this CPU's own page, which the CPU writes to only while a guest runs.
    unsafe { tpr().read_volatile() >> 4 }
}

/// Sets CR8. The threshold must not be above it when the guest is entered.
pub(super) fn set_task_priority(class: u8) {
    write(Field::TprThreshold, 0);
    // SAFETY: as above.
    unsafe { tpr().write_volatile(class << 4) };
}

/// CPL.
pub(super) fn cpl() -> u8 {
    (super::vmcs::attributes(Seg::Ss) >> 5 & 3) as u8
}
