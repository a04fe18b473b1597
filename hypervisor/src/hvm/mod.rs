//! Hardware-virtualised guests on the CPU, whoever made it: [`VirtualCpu`] is what `arch::x86::svm` and its like offer,
//! [`run`] the loop of entries and exits.
//!
//! `exit` (at the top) answers exits; [`events`] delivers interrupts, [`memory`] reads and writes guests' memory, [`mmio`]
//! carries out accesses to the local APIC's page, [`apic`] its registers and messages; [`cpuid`] and [`msr`] say what a guest
//! sees.

pub mod apic;
pub mod cpuid;
pub mod emulate;
pub mod events;
pub mod fetch;
pub mod ioapic;
pub mod memory;
pub mod mmio;
pub mod msr;
pub mod p2m;
pub mod vendor;

use crate::arch::x86::pv;
use crate::exit::GuestExit;
use crate::schedule;
use domain::hvm_vcpu::{Seg, Segment};
use domain::tsc::Counter;
use domain::{Domain, GuestPaging, HvmVcpu, Vcpu};

/// An event to deliver on entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// An external interrupt.
    Interrupt(u8),
    /// A non-maskable interrupt.
    Nmi,
    /// An exception, with its error code.
    Exception(u8, Option<u32>),
}

/// #UD.
pub const UD: Event = Event::Exception(6, None);
/// #GP(0).
pub const GP: Event = Event::Exception(13, Some(0));

/// Contributory exceptions (SDM vol. 3, table 6-5).
fn contributory(vector: u8) -> bool {
    matches!(vector, 0 | 10..=13)
}

/// What a second exception during the delivery of a first one makes; `None`: shutdown.
pub fn combined(first: Option<u8>, event: Event) -> Option<Event> {
    let vector = match event {
        Event::Exception(vector, _) => vector,
        _ => return Some(event),
    };
    match first {
        Some(8) => None,
        Some(14) if contributory(vector) || vector == 14 => Some(Event::Exception(8, Some(0))),
        Some(first) if contributory(first) && contributory(vector) => {
            Some(Event::Exception(8, Some(0)))
        }
        _ => Some(event),
    }
}

/// Registers that neither vendor keeps with the general ones; of the vcpu that is loaded on this CPU.
#[allow(missing_docs)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reg {
    Rip,
    Rsp,
    Rflags,
    Cr0,
    Cr2,
    Cr3,
    Cr4,
    Efer,
    Pat,
    DebugCtl,
}

/// The loaded vcpu, as exits are answered.
pub trait VirtualCpu {
    /// A register. General ones are in this CPU's guest frame.
    fn reg(&self, reg: Reg) -> u64;
    /// Changes a register to a value that has been checked.
    fn set_reg(&mut self, reg: Reg, value: u64);
    /// A segment register.
    fn segment(&self, seg: Seg) -> Segment;
    /// Privilege level.
    fn cpl(&self) -> u8;
    /// An instruction of so many bytes has been carried out.
    fn retire(&mut self, length: u64);
    /// Delivers an event on the next entry, unless one waits already; an exception while one waits becomes what the
    /// architecture says (#DF, or the end).
    fn inject(&mut self, event: Event);
    /// An event waits for the next entry.
    fn has_event(&self) -> bool;
    /// No interrupt may be delivered before the next instruction.
    fn in_shadow(&self) -> bool;
    /// NMIs wait for IRET.
    fn nmi_masked(&self) -> bool;
    /// An exit as soon as an interrupt can be delivered, or not any more.
    fn want_window(&mut self, wanted: bool);
    /// An exit as soon as CR8 is below this class, or already when it is written.
    fn want_priority_below(&mut self, class: u8);
    /// An exit at the next IRET.
    fn want_nmi_window(&mut self);
    /// CR8.
    fn task_priority(&self) -> u8;
    /// Sets CR8.
    fn set_task_priority(&mut self, class: u8);
    /// Where the last branch, and the last interrupt, came from and went to, if the CPU keeps that for guests.
    fn last_branch(&self, _n: usize) -> Option<u64> {
        None
    }
    /// The vcpu's TSC has been set.
    fn follow_tsc(&mut self, tsc: &Counter);
    /// Translations of the guest in this CPU's TLB are no longer good.
    fn flush(&mut self);
    /// Length in bytes of the instruction that the last exit was for, where the CPU tells it.
    fn instruction_length(&self) -> Option<u64>;
    /// Runs until the next exit. With interrupts off.
    fn enter(&mut self) -> GuestExit;

    /// RFLAGS.IF.
    fn interrupts_on(&self) -> bool {
        self.reg(Reg::Rflags) & 1 << 9 != 0
    }

    /// How addresses are translated.
    fn paging(&self) -> GuestPaging {
        GuestPaging {
            cr0: self.reg(Reg::Cr0),
            cr3: self.reg(Reg::Cr3),
            cr4: self.reg(Reg::Cr4),
            efer: self.reg(Reg::Efer),
        }
    }

    /// Runs 64-bit code.
    fn long_mode(&self) -> bool {
        self.reg(Reg::Efer) & 1 << 10 != 0 && self.segment(Seg::Cs).attributes & 1 << 9 != 0
    }
}

/// The hardware part of the vcpu that is loaded on this CPU.
pub fn vcpu(v: &Vcpu) -> &HvmVcpu {
    match &v.hvm {
        Some(hvm) => hvm,
        None => panic!("a PV vcpu taken for a hardware-virtualised one"),
    }
}

/// Runs the loaded vcpu until this CPU should choose anew.
fn run_on(mut cpu: impl VirtualCpu, dom: &Domain, v: &Vcpu) {
    let hvm = vcpu(v);
    loop {
        events::deliver(&mut cpu, dom, v, hvm);
        if schedule::wanted() {
            return;
        }
        p2m::before_entry(&mut cpu, hvm);
        let exit = cpu.enter();
        apic::take_priority(&cpu, hvm);
        crate::exit::answer(&mut cpu, dom, v, hvm, exit);
        if schedule::wanted() {
            return;
        }
    }
}

/// Copies rip, rsp, rflags and selectors into the frame where logs and the toolstack look for them.
pub fn complete_frame(cpu: &impl VirtualCpu) {
    let regs = &mut pv::info().regs;
    regs.rip = cpu.reg(Reg::Rip);
    regs.rsp = cpu.reg(Reg::Rsp);
    regs.rflags = cpu.reg(Reg::Rflags);
    regs.cs = cpu.segment(Seg::Cs).selector;
    regs.ss = cpu.segment(Seg::Ss).selector;
}

/// The guest is beyond help: it crashes, with its registers in the log.
pub fn crash(cpu: &impl VirtualCpu, why: &str) {
    complete_frame(cpu);
    pv::crash(&pv::info().regs, why);
    log::info!(
        "  cr0 {:08x} cr2 {:016x} cr3 {:016x} cr4 {:08x} efer {:03x} cpl {}",
        cpu.reg(Reg::Cr0),
        cpu.reg(Reg::Cr2),
        cpu.reg(Reg::Cr3),
        cpu.reg(Reg::Cr4),
        cpu.reg(Reg::Efer),
        cpu.cpl()
    );
}
