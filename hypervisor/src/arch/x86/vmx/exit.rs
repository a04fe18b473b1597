//! What ended a run, from the VMCS's words to [`GuestExit`], and what the loop asks of the vcpu ([`VirtualCpu`]).

use super::bits::{FLAG_TF, SINGLE_STEP, blocking, cpu as controls, event};
use super::vmcs::{self, Field, change, read, write};
use super::{NOT_ENTERED, Vmx, cr, state, this_cpu};
use crate::exit::{Access, GuestExit, PortAccess};
use crate::hvm::{Event, Reg, VirtualCpu, combined};
use core::arch::asm;
use core::sync::atomic::Ordering;
use domain::hvm_vcpu::{Seg, Segment};
use domain::tsc::Counter;

const CR0_PE: u64 = 1;
/// Qualification of EPT violations.
const ACCESS_WRITE: u64 = 1 << 1;
const ACCESS_FETCH: u64 = 1 << 2;
const ENTRY_ALLOWS: u64 = 7 << 3;
const LINEAR_VALID: u64 = 1 << 7;
const TRANSLATED: u64 = 1 << 8;
/// Of EPT violations and of exceptions.
const UNBLOCKED_NMI: u64 = 1 << 12;
/// Exit reason: the machine has failed during an entry.
const ENTRY_MACHINE_CHECK: u16 = 41;

fn field(reg: Reg) -> Field {
    match reg {
        Reg::Rip => Field::GuestRip,
        Reg::Rsp => Field::GuestRsp,
        Reg::Rflags => Field::GuestRflags,
        Reg::Cr3 => Field::GuestCr3,
        Reg::Pat => Field::GuestPat,
        Reg::DebugCtl => Field::GuestDebugCtl,
        Reg::Efer => Field::GuestEfer,
        Reg::Cr0 => Field::GuestCr0,
        Reg::Cr4 => Field::GuestCr4,
        // Not in the VMCS: see `reg`.
        Reg::Cr2 => Field::Qualification,
    }
}

impl Vmx {
    fn window(&self, bit: u32, open: bool) {
        change(Field::CpuControls, bit.into(), open);
    }

    /// What the exit says.
    fn decode(&mut self, reason: u64) -> GuestExit {
        let qualification = read(Field::Qualification);
        match reason & 0xffff {
            0 => self.exception(),
            1 => GuestExit::Interrupt,
            52 => {
                if let Some(shared) = super::shared() {
                    state::limit_run(&shared.controls);
                }
                GuestExit::Interrupt
            }
            2 => GuestExit::TripleFault,
            // INIT, start-up IPI, SMIs: nothing of the guest's.
            3..=6 => GuestExit::NonMaskable,
            7 => {
                self.window(controls::INTERRUPT_WINDOW, false);
                GuestExit::InterruptWindow
            }
            8 => {
                self.window(controls::NMI_WINDOW, false);
                GuestExit::NmiWindow
            }
            10 => GuestExit::Cpuid,
            12 => GuestExit::Hlt,
            13 | 54 => GuestExit::CacheFlush,
            15 => GuestExit::Refused,
            16 => GuestExit::Rdtsc,
            18 => GuestExit::Hypercall,
            // The rest of VMX, GETSEC, MWAIT, MONITOR, XSAVES, XRSTORS, SEAMCALL, TDCALL.
            11 | 19..=27 | 36 | 39 | 50 | 53 | 63 | 64 | 76 | 77 => GuestExit::Undefined,
            28 => {
                cr::access(self, qualification);
                // Done with.
                GuestExit::NonMaskable
            }
            30 => GuestExit::Port(port_access(qualification)),
            31 => GuestExit::ReadMsr,
            32 => GuestExit::WriteMsr,
            40 => GuestExit::Spin,
            43 => {
                write(Field::TprThreshold, 0);
                GuestExit::InterruptWindow
            }
            51 => GuestExit::Rdtscp,
            48 => GuestExit::Memory(self.memory_access(qualification)),
            55 => GuestExit::Xsetbv,
            other => GuestExit::Failed(other),
        }
    }

    /// An exception or NMI. Those of the machine are given to the hypervisor's own handlers.
    fn exception(&mut self) -> GuestExit {
        let what = read(Field::ExitEvent);
        if what & UNBLOCKED_NMI != 0 && read(Field::VectoringEvent) & event::VALID == 0 {
            // By an IRET that has faulted.
            change(Field::Interruptibility, blocking::NMI, true);
        }
        match what as u8 {
            2 => {
                // SAFETY: the handler of NMIs, which are blocked until its IRET.
                unsafe { asm!("int 2") };
                GuestExit::NonMaskable
            }
            18 => {
                machine_check();
                GuestExit::NonMaskable
            }
            1 => {
                // The CPU has told what happened, and has not written it to DR6.
                let happened = read(Field::Qualification) & 0x600f;
                state::write_dr(6, state::read_dr(6) & !0xf | happened);
                if what >> 8 & 7 == event::PRIVILEGED {
                    // INT1 has been executed, unlike what faults.
                    self.retire(read(Field::ExitLength));
                } else if self.in_shadow() && read(Field::GuestRflags) & FLAG_TF != 0 {
                    // The exit does not count the step as the guest's; the entry that delivers it insists on it, stepping by
                    // branches being off by then.
                    change(Field::PendingDebug, SINGLE_STEP, true);
                }
                GuestExit::Exception(1, 0)
            }
            vector => GuestExit::Exception(vector, read(Field::ExitErrorCode) as u32),
        }
    }

    fn memory_access(&mut self, qualification: u64) -> Access {
        if qualification & UNBLOCKED_NMI != 0 && read(Field::VectoringEvent) & event::VALID == 0 {
            // By an IRET that will be executed again.
            change(Field::Interruptibility, blocking::NMI, true);
        }
        Access {
            gpa: read(Field::GuestPhysical),
            present: qualification & ENTRY_ALLOWS != 0,
            write: qualification & ACCESS_WRITE != 0,
            fetch: qualification & ACCESS_FETCH != 0,
            table_walk: qualification & (LINEAR_VALID | TRANSLATED) == LINEAR_VALID,
        }
    }

    /// An event whose delivery the exit interrupted is delivered again; software interrupts are, by their instruction.
    fn keep_interrupted_event(&mut self) {
        let was = read(Field::VectoringEvent);
        if was & event::VALID == 0 {
            return;
        }
        match was >> 8 & 7 {
            event::INTERRUPT | event::EXCEPTION => {}
            event::NMI => change(Field::Interruptibility, blocking::NMI, false),
            _ => return,
        }
        write(Field::EntryErrorCode, read(Field::VectoringErrorCode));
        write(
            Field::EntryEvent,
            was & (event::VALID | event::ERROR_VALID | 0x7ff),
        );
    }

    fn waiting_exception(&self) -> Option<u8> {
        let waits = read(Field::EntryEvent);
        (waits & event::VALID != 0 && waits >> 8 & 7 == event::EXCEPTION).then_some(waits as u8)
    }

    fn deliver_on_entry(&mut self, vector: u8, kind: u64, error: Option<u32>) {
        // Real mode has no error codes.
        let error = error.filter(|_| cr::cr0() & CR0_PE != 0);
        let mut word = event::VALID | u64::from(vector) | kind << 8;
        if let Some(code) = error {
            word |= event::ERROR_VALID;
            write(Field::EntryErrorCode, code.into());
        }
        write(Field::EntryEvent, word);
    }
}

/// The hypervisor's own answer to a machine check that has ended a run or kept one from beginning.
fn machine_check() {
    // SAFETY: the handler of machine checks, as the CPU would have called it in the hypervisor.
    unsafe { asm!("int 18") };
}

/// Does the guest stop after each instruction?
fn stepping() -> bool {
    state::steps(read(Field::GuestRflags), read(Field::GuestDebugCtl))
}

fn port_access(qualification: u64) -> PortAccess {
    PortAccess {
        port: (qualification >> 16) as u16,
        size: (qualification & 7) as u8 + 1,
        read: qualification & 1 << 3 != 0,
        string: qualification & 1 << 4 != 0,
        length: read(Field::ExitLength),
    }
}

impl VirtualCpu for Vmx {
    #[inline]
    fn reg(&self, reg: Reg) -> u64 {
        match reg {
            Reg::Cr0 => cr::cr0(),
            Reg::Cr4 => cr::cr4(),
            Reg::Cr2 => this_cpu().cr2.load(Ordering::Relaxed),
            other => read(field(other)),
        }
    }
    fn set_reg(&mut self, reg: Reg, value: u64) {
        match reg {
            Reg::Cr0 => cr::set_cr0(value),
            Reg::Cr4 => cr::set_cr4(value),
            Reg::Efer => cr::set_efer(value),
            Reg::Cr2 => this_cpu().cr2.store(value, Ordering::Relaxed),
            other => write(field(other), value),
        }
    }
    fn segment(&self, seg: Seg) -> Segment {
        vmcs::segment(seg)
    }
    fn cpl(&self) -> u8 {
        state::cpl()
    }
    #[inline]
    fn retire(&mut self, length: u64) {
        let rip = read(Field::GuestRip).wrapping_add(length);
        let rip = if self.long_mode() {
            rip
        } else {
            rip & 0xffff_ffff
        };
        write(Field::GuestRip, rip);
        change(
            Field::Interruptibility,
            blocking::STI | blocking::MOV_SS,
            false,
        );
        if stepping() {
            change(Field::PendingDebug, SINGLE_STEP, true);
        }
    }
    fn inject(&mut self, what: Event) {
        match combined(self.waiting_exception(), what) {
            Some(Event::Interrupt(vector)) => self.deliver_on_entry(vector, event::INTERRUPT, None),
            Some(Event::Nmi) => self.deliver_on_entry(2, event::NMI, None),
            Some(Event::Exception(vector, error)) => {
                self.deliver_on_entry(vector, event::EXCEPTION, error);
            }
            None => crate::hvm::crash(self, "triple fault"),
        }
    }
    #[inline]
    fn has_event(&self) -> bool {
        read(Field::EntryEvent) & event::VALID != 0
    }
    #[inline]
    fn in_shadow(&self) -> bool {
        read(Field::Interruptibility) & (blocking::STI | blocking::MOV_SS) != 0
    }
    fn nmi_masked(&self) -> bool {
        read(Field::Interruptibility) & blocking::NMI != 0
    }
    fn want_window(&mut self, wanted: bool) {
        self.window(controls::INTERRUPT_WINDOW, wanted);
    }
    fn want_priority_below(&mut self, class: u8) {
        // Above CR8 the CPU would refuse the entry.
        write(Field::TprThreshold, class.min(self.task_priority()).into());
    }
    fn want_nmi_window(&mut self) {
        self.window(controls::NMI_WINDOW, true);
    }
    #[inline]
    fn task_priority(&self) -> u8 {
        state::task_priority()
    }
    fn set_task_priority(&mut self, class: u8) {
        state::set_task_priority(class);
    }
    fn follow_tsc(&mut self, tsc: &Counter) {
        write(Field::TscOffset, tsc.line().offset);
    }
    fn flush(&mut self) {
        self.forget_translations();
    }
    #[inline]
    fn instruction_length(&self) -> Option<u64> {
        Some(read(Field::ExitLength))
    }
    #[inline]
    fn enter(&mut self) -> GuestExit {
        if !self.run() {
            return GuestExit::Failed(read(Field::InstructionError) << 32);
        }
        let reason = read(Field::ExitReason);
        if reason & NOT_ENTERED != 0 {
            if reason as u16 == ENTRY_MACHINE_CHECK {
                machine_check();
            }
            return GuestExit::Failed(reason);
        }
        self.keep_interrupted_event();
        self.decode(reason)
    }
}
