//! What ended a run, from the VMCB's words to [`GuestExit`], and what the loop asks of the vcpu ([`VirtualCpu`]).

use super::Svm;
use super::vmcb::field;
use crate::arch::x86::cpu::features;
use crate::exit::{Access, GuestExit, PortAccess};
use crate::hvm::{Event, Reg, VirtualCpu, combined};
use domain::hvm_vcpu::{Seg, Segment};
use domain::tsc::Counter;

const VALID: u64 = 1 << 31;
const ERROR_VALID: u64 = 1 << 11;
/// Types of events (APM vol. 2, 15.20).
const TYPE_INTERRUPT: u64 = 0;
const TYPE_NMI: u64 = 2;
const TYPE_EXCEPTION: u64 = 3;
/// Intercepts of VINTR and IRET in the first word of them.
const INTERCEPT_VINTR: u32 = 1 << 4;
const INTERCEPT_IRET: u32 = 1 << 20;
/// Fields of INT_CTL.
const V_TPR: u32 = 0xf;
const V_IRQ: u32 = 1 << 8;
/// The highest priority.
const V_PRIO: u32 = 0xf << 16;

fn offset(reg: Reg) -> usize {
    match reg {
        Reg::Rip => field::RIP,
        Reg::Rsp => field::RSP,
        Reg::Rflags => field::RFLAGS,
        Reg::Cr0 => field::CR0,
        Reg::Cr2 => field::CR2,
        Reg::Cr3 => field::CR3,
        Reg::Cr4 => field::CR4,
        Reg::Efer => field::EFER,
        Reg::Pat => field::PAT,
        Reg::DebugCtl => field::DEBUGCTL,
    }
}

impl Svm {
    fn change_intercepts(&mut self, bits: u32, on: bool) {
        let old: u32 = self.vmcb.get(field::INTERCEPT_MISC1);
        let new = if on { old | bits } else { old & !bits };
        self.vmcb.set(field::INTERCEPT_MISC1, new);
    }

    /// Intercepts writes of CR8. (V_IRQ of that priority would do as well; QEMU aborts when a guest's CR8 lets one in.)
    fn intercept_cr8(&mut self, on: bool) {
        const WRITE: u32 = 1 << (16 + 8);
        self.vmcb
            .set(field::INTERCEPT_CR, if on { WRITE } else { 0 });
    }

    fn decode(&mut self) -> GuestExit {
        let (code, info1) = (
            self.vmcb.get64(field::EXIT_CODE),
            self.vmcb.get64(field::EXIT_INFO1),
        );
        match code {
            0x18 => {
                self.intercept_cr8(false);
                GuestExit::TaskPriority
            }
            0x40..=0x5f => GuestExit::Exception((code - 0x40) as u8, info1 as u32),
            0x60 => GuestExit::Interrupt,
            0x61..=0x63 => GuestExit::NonMaskable,
            0x64 => GuestExit::InterruptWindow,
            0x6e => GuestExit::Rdtsc,
            0x6f => GuestExit::Refused,
            0x72 => GuestExit::Cpuid,
            0x74 => GuestExit::NmiWindow,
            0x76 | 0x89 => GuestExit::CacheFlush,
            0x77 => GuestExit::Spin,
            0x78 => GuestExit::Hlt,
            0x7b => GuestExit::Port(self.port_access(info1)),
            0x7c if info1 & 1 != 0 => GuestExit::WriteMsr,
            0x7c => GuestExit::ReadMsr,
            0x7f => GuestExit::TripleFault,
            0x81 => GuestExit::Hypercall,
            0x87 => GuestExit::Rdtscp,
            0x8d => GuestExit::Xsetbv,
            0x7a | 0x80 | 0x82..=0x86 | 0x8a | 0x8b => GuestExit::Undefined,
            0x400 => GuestExit::Memory(Access {
                gpa: self.vmcb.get(field::EXIT_INFO2),
                present: info1 & 1 != 0,
                write: info1 & 1 << 1 != 0,
                fetch: info1 & 1 << 4 != 0,
                table_walk: info1 & 1 << 33 != 0,
            }),
            other => GuestExit::Failed(other),
        }
    }

    fn port_access(&self, info: u64) -> PortAccess {
        PortAccess {
            port: (info >> 16) as u16,
            size: match info >> 4 & 7 {
                1 => 1,
                2 => 2,
                _ => 4,
            },
            read: info & 1 != 0,
            string: info & 1 << 2 != 0,
            length: self
                .vmcb
                .get64(field::EXIT_INFO2)
                .wrapping_sub(self.vmcb.get(field::RIP)),
        }
    }

    /// An event whose delivery the exit interrupted is delivered again; software interrupts are, by their instruction.
    fn keep_interrupted_event(&mut self) {
        let was = self.vmcb.get64(field::EXIT_INT_INFO);
        let again = was & VALID != 0
            && match was >> 8 & 7 {
                TYPE_INTERRUPT | TYPE_NMI => true,
                TYPE_EXCEPTION => !matches!(was as u8, 3 | 4),
                _ => false,
            };
        self.vmcb.set(field::EVENT_INJ, if again { was } else { 0 });
    }

    /// A run that begins with the interrupt `event`, which is made pending and not injected. Nothing keeps the guest from taking it
    /// at once but an interrupt of the machine's, which ends the run before its first instruction. A window that is wanted besides
    /// has to wait until the run after this one.
    fn run_with_pending(&mut self, event: u64) {
        let wanted: u32 = self.vmcb.get(field::INT_CTL);
        let window = self.vmcb.get::<u32>(field::INTERCEPT_MISC1) & INTERCEPT_VINTR != 0;
        self.vmcb.set(field::EVENT_INJ, 0u64);
        self.vmcb.set(field::INT_VECTOR, event as u32 & 0xff);
        self.vmcb.set(field::INT_CTL, wanted | V_IRQ | V_PRIO);
        self.change_intercepts(INTERCEPT_VINTR, false);
        self.run();
        self.keep_interrupted_event();
        let left: u32 = self.vmcb.get(field::INT_CTL);
        if left & V_IRQ != 0 {
            self.vmcb.set(field::EVENT_INJ, event);
        }
        self.vmcb.set(
            field::INT_CTL,
            left & !(V_IRQ | V_PRIO) | wanted & (V_IRQ | V_PRIO),
        );
        self.change_intercepts(INTERCEPT_VINTR, window);
    }

    fn waiting_exception(&self) -> Option<u8> {
        let event = self.vmcb.get64(field::EVENT_INJ);
        (event & VALID != 0 && event >> 8 & 7 == TYPE_EXCEPTION).then_some(event as u8)
    }
}

impl VirtualCpu for Svm {
    #[inline]
    fn reg(&self, reg: Reg) -> u64 {
        self.vmcb.get(offset(reg))
    }
    fn set_reg(&mut self, reg: Reg, value: u64) {
        let svme = if reg == Reg::Efer { 1 << 12 } else { 0 };
        self.vmcb.set(offset(reg), value | svme);
        if reg == Reg::DebugCtl {
            self.record_branches(value != 0);
        }
    }
    fn segment(&self, seg: Seg) -> Segment {
        if matches!(seg, Seg::Fs | Seg::Gs | Seg::Tr | Seg::Ldtr) {
            // These stay in the CPU between runs.
            super::vmsave(self.vmcb.pa);
        }
        self.vmcb.segment(seg)
    }
    fn cpl(&self) -> u8 {
        self.vmcb.get(field::CPL)
    }
    #[inline]
    fn retire(&mut self, length: u64) {
        let rip = self.vmcb.get64(field::RIP).wrapping_add(length);
        let rip = if self.long_mode() {
            rip
        } else {
            rip & 0xffff_ffff
        };
        self.vmcb.set(field::RIP, rip);
        self.vmcb.set(field::INT_SHADOW, 0u64);
    }
    fn inject(&mut self, event: Event) {
        let first = self.waiting_exception();
        let code = |vector: u8, kind: u64, error: Option<u32>| {
            let error = error.map_or(0, |e| ERROR_VALID | u64::from(e) << 32);
            VALID | u64::from(vector) | kind << 8 | error
        };
        let word = match combined(first, event) {
            Some(Event::Interrupt(vector)) => code(vector, TYPE_INTERRUPT, None),
            Some(Event::Nmi) => code(2, TYPE_NMI, None),
            Some(Event::Exception(vector, error)) => code(vector, TYPE_EXCEPTION, error),
            None => return crate::hvm::crash(self, "triple fault"),
        };
        self.vmcb.set(field::EVENT_INJ, word);
    }
    #[inline]
    fn has_event(&self) -> bool {
        self.vmcb.get64(field::EVENT_INJ) & VALID != 0
    }
    #[inline]
    fn in_shadow(&self) -> bool {
        self.vmcb.get64(field::INT_SHADOW) & 1 != 0
    }
    fn nmi_masked(&self) -> bool {
        self.vmcb.get::<u32>(field::INTERCEPT_MISC1) & INTERCEPT_IRET != 0
    }
    fn want_window(&mut self, wanted: bool) {
        let ctl: u32 = self.vmcb.get(field::INT_CTL);
        let new = match wanted {
            true => ctl | V_IRQ | V_PRIO,
            false => ctl & !(V_IRQ | V_PRIO),
        };
        if new != ctl {
            self.vmcb.set(field::INT_CTL, new);
            self.change_intercepts(INTERCEPT_VINTR, wanted);
        }
    }
    fn want_priority_below(&mut self, _: u8) {
        self.intercept_cr8(true);
    }
    fn want_nmi_window(&mut self) {
        self.change_intercepts(INTERCEPT_IRET, true);
    }
    #[inline]
    fn task_priority(&self) -> u8 {
        (self.vmcb.get::<u32>(field::INT_CTL) & V_TPR) as u8
    }
    fn set_task_priority(&mut self, class: u8) {
        let ctl: u32 = self.vmcb.get(field::INT_CTL);
        self.vmcb
            .set(field::INT_CTL, ctl & !V_TPR | u32::from(class & 15));
    }
    fn last_branch(&self, n: usize) -> Option<u64> {
        field::LAST_BRANCH.get(n).map(|at| self.vmcb.get(*at))
    }
    fn follow_tsc(&mut self, tsc: &Counter) {
        self.vmcb.set(field::TSC_OFFSET, tsc.line().offset);
    }
    fn flush(&mut self) {
        let (_, v) = crate::arch::x86::pv::guest();
        self.choose_asid(crate::hvm::vcpu(v), true);
    }
    #[inline]
    fn instruction_length(&self) -> Option<u64> {
        super::tells_next_rip().then(|| {
            let next = self.vmcb.get64(field::NEXT_RIP);
            next.wrapping_sub(self.vmcb.get(field::RIP))
        })
    }
    #[inline]
    fn enter(&mut self) -> GuestExit {
        let event = self.vmcb.get64(field::EVENT_INJ);
        let interrupt = event & VALID != 0 && event >> 8 & 7 == TYPE_INTERRUPT;
        if interrupt && !features().injects_interrupts {
            self.run_with_pending(event);
        } else {
            self.run();
            self.keep_interrupted_event();
        }
        let exit = self.decode();
        if exit == GuestExit::NmiWindow {
            self.change_intercepts(INTERCEPT_IRET, false);
        }
        exit
    }
}
