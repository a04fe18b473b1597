//! The local APIC: [`Lapic`], one register table behind the MMIO page (xAPIC) and the MSRs (x2APIC).
//!
//! Sources: Intel SDM vol. 3 chapter "APIC", AMD APM vol. 2 chapter 16. [`icr`] decodes what is sent, [`timer`] counts.
pub mod icr;
pub mod saved;
pub mod timer;
mod vectors;

pub use icr::{Action, Dest, Ipi};
pub use saved::Saved;
pub use timer::Deadline;

use crate::{GeneralProtection, Now};
use timer::{Mode, Timer};
use vectors::Vectors;

/// Where the page is; it does not move.
pub const BASE: u64 = 0xfee0_0000;
const BSP: u64 = 1 << 8;
const EXTD: u64 = 1 << 10;
const EN: u64 = 1 << 11;
/// Six LVT entries, integrated APIC.
const VERSION: u32 = 0x0005_0014;
const LVT_MASKED: u32 = 1 << 16;
const SVR_ENABLED: u32 = 1 << 8;
const ESR_SEND_VECTOR: u32 = 1 << 5;
const ESR_RECEIVED_VECTOR: u32 = 1 << 6;
const ESR_REGISTER: u32 = 1 << 7;

/// Register numbers: MMIO offset / 16, MSR - 0x800.
mod reg {
    pub const ID: u32 = 0x02;
    pub const VERSION: u32 = 0x03;
    pub const TPR: u32 = 0x08;
    pub const APR: u32 = 0x09;
    pub const PPR: u32 = 0x0a;
    pub const EOI: u32 = 0x0b;
    pub const LDR: u32 = 0x0d;
    pub const DFR: u32 = 0x0e;
    pub const SVR: u32 = 0x0f;
    pub const ISR: u32 = 0x10;
    pub const TMR: u32 = 0x18;
    pub const IRR: u32 = 0x20;
    pub const ESR: u32 = 0x28;
    pub const ICR: u32 = 0x30;
    pub const ICR2: u32 = 0x31;
    pub const LVT: u32 = 0x32;
    pub const LVT_LAST: u32 = 0x37;
    pub const INITIAL: u32 = 0x38;
    pub const CURRENT: u32 = 0x39;
    pub const DIVIDE: u32 = 0x3e;
    pub const SELF_IPI: u32 = 0x3f;
}

/// Writable bits of timer, thermal, performance, LINT0, LINT1, error.
const LVT_BITS: [u32; 6] = [0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff];
const TIMER: usize = 0;
const ERROR: usize = 5;

/// What the caller has to do after a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Nothing (look for pending vectors as on each entry).
    None,
    /// A level-triggered vector ended: tell the IO-APICs.
    EoiBroadcast(u8),
    /// Deliver this, with [`Lapic::is_addressed`].
    Send(Ipi),
    /// [`Lapic::deadline`] may have changed.
    Timer,
}

/// The mode of `IA32_APIC_BASE`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ApicMode {
    /// Switched off.
    Disabled,
    /// By MMIO.
    XApic,
    /// By MSR.
    X2Apic,
}

/// One vcpu's local APIC.
#[derive(Clone, Debug)]
pub struct Lapic {
    id: u32,
    base: u64,
    tpr: u8,
    ldr: u32,
    dfr: u32,
    svr: u32,
    esr: u32,
    errors: u32,
    icr: u64,
    lvt: [u32; 6],
    irr: Vectors,
    isr: Vectors,
    tmr: Vectors,
    timer: Timer,
}

/// An interrupt message that has arrived: see [`Lapic::waiting`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// None, or none that is above what is in service.
    Nothing,
    /// The vector to inject next.
    Deliverable(u8),
    /// Nothing but the task priority keeps back one of this class: it is delivered as soon as CR8 is below that.
    HeldBack(u8),
}

impl Lapic {
    /// After reset: xAPIC mode, software-disabled.
    pub const fn new(id: u32, bootstrap: bool) -> Lapic {
        Lapic {
            id,
            base: BASE | EN | if bootstrap { BSP } else { 0 },
            tpr: 0,
            ldr: 0,
            dfr: u32::MAX,
            svr: 0xff,
            esr: 0,
            errors: 0,
            icr: 0,
            lvt: [LVT_MASKED; 6],
            irr: Vectors::EMPTY,
            isr: Vectors::EMPTY,
            tmr: Vectors::EMPTY,
            timer: Timer::NEW,
        }
    }

    /// INIT: everything but the id and the base register as after reset.
    pub fn init(&mut self) {
        let base = self.base;
        *self = Lapic::new(self.id, false);
        self.base = base;
    }

    /// The present mode.
    pub fn mode(&self) -> ApicMode {
        match (self.base & EN != 0, self.base & EXTD != 0) {
            (false, _) => ApicMode::Disabled,
            (true, false) => ApicMode::XApic,
            (true, true) => ApicMode::X2Apic,
        }
    }

    /// `IA32_APIC_BASE`.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Writes `IA32_APIC_BASE`. The page cannot be moved, nor may a mode be skipped on the way to x2APIC.
    pub fn set_base(&mut self, value: u64) -> Result<(), GeneralProtection> {
        use ApicMode::*;
        if value & !(BSP | EXTD | EN) != BASE || value & (EXTD | EN) == EXTD {
            return Err(GeneralProtection);
        }
        let next = Lapic {
            base: value,
            ..*self
        };
        match (self.mode(), next.mode()) {
            (Disabled, X2Apic) | (X2Apic, XApic) => return Err(GeneralProtection),
            (Disabled, Disabled) | (XApic, XApic) | (X2Apic, X2Apic) => {}
            (XApic, X2Apic) => self.icr = 0,
            (_, Disabled) | (Disabled, XApic) => self.init(),
        }
        self.base = value;
        Ok(())
    }

    /// Whether software has enabled it.
    pub fn is_enabled(&self) -> bool {
        self.base & EN != 0 && self.svr & SVR_ENABLED != 0
    }

    fn is_x2(&self) -> bool {
        self.mode() == ApicMode::X2Apic
    }

    /// The logical id in x2APIC mode: cluster and bit from the id.
    fn logical(&self) -> u32 {
        match self.is_x2() {
            true => (self.id >> 4 << 16) | 1 << (self.id & 15),
            false => self.ldr,
        }
    }

    /// Processor priority: the higher class of TPR and what is in service.
    pub fn ppr(&self) -> u8 {
        let serving = self.isr.highest().unwrap_or(0) & 0xf0;
        if self.tpr & 0xf0 >= serving {
            self.tpr
        } else {
            serving
        }
    }

    /// CR8.
    pub fn cr8(&self) -> u8 {
        self.tpr >> 4
    }

    /// Writes CR8; the decoder has refused values above 15.
    pub fn set_cr8(&mut self, value: u8) {
        self.tpr = value << 4;
    }

    /// An interrupt message arrives. Returns whether it was accepted.
    pub fn raise(&mut self, vector: u8, level: bool) -> bool {
        if !self.is_enabled() {
            return false;
        }
        if vector < 16 {
            self.error(ESR_RECEIVED_VECTOR);
            return false;
        }
        self.irr.set(vector, true);
        self.tmr.set(vector, level);
        true
    }

    /// What waits for the processor, by what stands in its way.
    #[inline]
    pub fn waiting(&self) -> Waiting {
        let Some(vector) = self.irr.highest() else {
            return Waiting::Nothing;
        };
        let class = vector >> 4;
        if !self.is_enabled() || class <= self.isr.highest().unwrap_or(0) >> 4 {
            Waiting::Nothing
        } else if class <= self.cr8() {
            Waiting::HeldBack(class)
        } else {
            Waiting::Deliverable(vector)
        }
    }

    /// The vector to inject next, if its class is above the processor's.
    pub fn pending(&self) -> Option<u8> {
        match self.waiting() {
            Waiting::Deliverable(vector) => Some(vector),
            _ => None,
        }
    }

    /// The vector of [`Lapic::pending`] is being delivered: into service with it.
    pub fn accept(&mut self) -> Option<u8> {
        let vector = self.pending()?;
        self.irr.set(vector, false);
        self.isr.set(vector, true);
        Some(vector)
    }

    fn eoi(&mut self) -> Effect {
        let Some(vector) = self.isr.highest() else {
            return Effect::None;
        };
        self.isr.set(vector, false);
        match self.tmr.has(vector) {
            true => Effect::EoiBroadcast(vector),
            false => Effect::None,
        }
    }

    fn error(&mut self, bit: u32) {
        self.errors |= bit;
        let lvt = self.lvt[ERROR];
        let vector = lvt as u8;
        // A bad vector here raises no second error.
        if lvt & LVT_MASKED == 0 && vector >= 16 && self.is_enabled() {
            self.irr.set(vector, true);
            self.tmr.set(vector, false);
        }
    }

    /// Whether a message from an APIC with id `sender` is meant for this one.
    pub fn is_addressed(&self, ipi: &Ipi, sender: u32) -> bool {
        let broadcast = if ipi.wide { u32::MAX } else { 0xff };
        match ipi.dest {
            _ if self.mode() == ApicMode::Disabled => false,
            Dest::Own => self.id == sender,
            Dest::All => true,
            Dest::Others => self.id != sender,
            Dest::Physical(id) | Dest::Logical(id) if id == broadcast => true,
            Dest::Physical(id) => self.id == id,
            Dest::Logical(id) if self.is_x2() => {
                let logical = self.logical();
                let cluster = if ipi.wide { id >> 16 } else { 0 };
                cluster == logical >> 16 && id & logical & 0xffff != 0
            }
            Dest::Logical(id) => {
                let logical = self.ldr >> 24;
                match self.dfr >> 28 {
                    0xf => id & logical & 0xff != 0,
                    0 => id >> 4 & 0xf == logical >> 4 && id & logical & 0xf != 0,
                    _ => false,
                }
            }
        }
    }

    /// When [`Lapic::expire`] is to be called.
    pub fn deadline(&self) -> Deadline {
        match self.mode() {
            ApicMode::Disabled => Deadline::Never,
            _ => self.timer.deadline(Mode::of(self.lvt[TIMER])),
        }
    }

    /// Time has passed: raises the timer's vector if it is due.
    pub fn expire(&mut self, now: Now) {
        let lvt = self.lvt[TIMER];
        if self.timer.expire(Mode::of(lvt), now) && lvt & LVT_MASKED == 0 {
            self.raise(lvt as u8, false);
        }
    }

    /// `IA32_TSC_DEADLINE`; zero in other modes.
    pub fn tsc_deadline(&self) -> u64 {
        self.timer.tsc_deadline
    }

    /// Writes `IA32_TSC_DEADLINE`; ignored in other modes.
    pub fn set_tsc_deadline(&mut self, value: u64) -> Effect {
        if Mode::of(self.lvt[TIMER]) != Mode::TscDeadline {
            return Effect::None;
        }
        self.timer.tsc_deadline = value;
        Effect::Timer
    }

    /// A register that both interfaces have.
    fn read(&self, register: u32, now: Now) -> Option<u32> {
        Some(match register {
            reg::VERSION => VERSION,
            reg::TPR => self.tpr.into(),
            reg::PPR => self.ppr().into(),
            reg::LDR => self.logical(),
            reg::SVR => self.svr,
            reg::ISR..reg::TMR => self.isr.word(register - reg::ISR),
            reg::TMR..reg::IRR => self.tmr.word(register - reg::TMR),
            reg::IRR..reg::ESR => self.irr.word(register - reg::IRR),
            reg::ESR => self.esr,
            reg::ICR => self.icr as u32,
            reg::LVT..=reg::LVT_LAST => *self.lvt.get((register - reg::LVT) as usize)?,
            reg::INITIAL => self.timer.initial,
            reg::CURRENT => self.timer.count(Mode::of(self.lvt[TIMER]), now),
            reg::DIVIDE => self.timer.divide,
            _ => return None,
        })
    }

    /// Bits that may be written; none: not a writable register.
    fn writable(register: u32) -> Option<u32> {
        Some(match register {
            reg::TPR => 0xff,
            reg::EOI | reg::ESR => 0,
            reg::SVR => 0x1ff,
            reg::ICR => 0xc_cfff,
            reg::LVT..=reg::LVT_LAST => *LVT_BITS.get((register - reg::LVT) as usize)?,
            reg::INITIAL => u32::MAX,
            reg::DIVIDE => 0xb,
            _ => return None,
        })
    }

    /// Writes a register of [`Lapic::writable`], with only those bits.
    fn write(&mut self, register: u32, value: u32, now: Now) -> Effect {
        match register {
            reg::TPR => self.tpr = value as u8,
            reg::EOI => return self.eoi(),
            reg::ESR => self.esr = core::mem::take(&mut self.errors),
            reg::SVR => {
                self.svr = value;
                if value & SVR_ENABLED == 0 {
                    self.lvt.iter_mut().for_each(|lvt| *lvt |= LVT_MASKED);
                }
            }
            reg::ICR => {
                self.icr = self.icr & !0xffff_ffff | u64::from(value);
                return self.send();
            }
            reg::LVT..=reg::LVT_LAST => {
                return self.write_lvt((register - reg::LVT) as usize, value);
            }
            reg::INITIAL if Mode::of(self.lvt[TIMER]) != Mode::TscDeadline => {
                self.timer.start(value, now);
                return Effect::Timer;
            }
            reg::DIVIDE => {
                self.timer.set_divide(Mode::of(self.lvt[TIMER]), value, now);
                return Effect::Timer;
            }
            _ => {}
        }
        Effect::None
    }

    fn write_lvt(&mut self, index: usize, value: u32) -> Effect {
        let enabled = self.svr & SVR_ENABLED != 0;
        let Some(lvt) = self.lvt.get_mut(index) else {
            return Effect::None;
        };
        let old = core::mem::replace(lvt, if enabled { value } else { value | LVT_MASKED });
        if index != TIMER {
            return Effect::None;
        }
        let deadline = |lvt| Mode::of(lvt) == Mode::TscDeadline;
        if deadline(old) != deadline(value) {
            self.timer.disarm();
        }
        Effect::Timer
    }

    fn send(&mut self) -> Effect {
        match Ipi::decode(self.icr, self.is_x2()) {
            Some(Ipi {
                action: Action::Fixed(..16) | Action::Lowest(..16),
                ..
            }) => {
                self.error(ESR_SEND_VECTOR);
                Effect::None
            }
            Some(ipi) => Effect::Send(ipi),
            None => Effect::None,
        }
    }

    /// Reads `size` bytes of the MMIO page. What is not there reads as zero.
    pub fn mmio_read(&mut self, offset: u16, size: u8, now: Now) -> u32 {
        let (register, byte) = (u32::from(offset >> 4), offset & 15);
        if self.mode() != ApicMode::XApic || byte + u16::from(size) > 4 || size == 0 {
            return 0;
        }
        let value = match register {
            reg::ID => Some(self.id << 24),
            reg::DFR => Some(self.dfr),
            reg::ICR2 => Some((self.icr >> 32) as u32),
            reg::APR | reg::EOI => Some(0),
            _ => self.read(register, now),
        };
        if value.is_none() {
            self.error(ESR_REGISTER);
        }
        let mask = u32::MAX >> (32 - 8 * u32::from(size));
        value.unwrap_or(0) >> (8 * byte) & mask
    }

    /// Writes to the MMIO page. All but aligned 32-bit accesses are ignored.
    pub fn mmio_write(&mut self, offset: u16, size: u8, value: u32, now: Now) -> Effect {
        if self.mode() != ApicMode::XApic || size != 4 || offset & 15 != 0 {
            return Effect::None;
        }
        let register = u32::from(offset >> 4);
        match register {
            // The id is the topology's, not the guest's.
            reg::ID => {}
            reg::LDR => self.ldr = value & 0xff00_0000,
            reg::DFR => self.dfr = value | 0x0fff_ffff,
            reg::ICR2 => self.icr = u64::from(value & 0xff00_0000) << 32 | self.icr & 0xffff_ffff,
            _ => match Self::writable(register) {
                Some(bits) => return self.write(register, value & bits, now),
                None => self.error(ESR_REGISTER),
            },
        }
        Effect::None
    }

    /// Reads MSR `0x800..=0x8ff`.
    pub fn msr_read(&self, msr: u32, now: Now) -> Result<u64, GeneralProtection> {
        let register = msr.wrapping_sub(0x800);
        if !self.is_x2() {
            return Err(GeneralProtection);
        }
        match register {
            reg::ID => Ok(self.id.into()),
            reg::ICR => Ok(self.icr),
            _ => self
                .read(register, now)
                .map(u64::from)
                .ok_or(GeneralProtection),
        }
    }

    /// Writes MSR `0x800..=0x8ff`. Reserved bits fault.
    pub fn msr_write(
        &mut self,
        msr: u32,
        value: u64,
        now: Now,
    ) -> Result<Effect, GeneralProtection> {
        let register = msr.wrapping_sub(0x800);
        if !self.is_x2() {
            return Err(GeneralProtection);
        }
        if register == reg::SELF_IPI && value <= 0xff {
            // Own, fixed, asserted.
            let ipi = u64::from(1u32 << 18 | 1 << 14) | value;
            return Ok(match value {
                16.. => Ipi::decode(ipi, true).map_or(Effect::None, Effect::Send),
                _ => {
                    self.error(ESR_SEND_VECTOR);
                    Effect::None
                }
            });
        }
        let bits = Self::writable(register).ok_or(GeneralProtection)?;
        let high = if register == reg::ICR { value >> 32 } else { 0 };
        if (value ^ high << 32) & !u64::from(bits) != 0 {
            return Err(GeneralProtection);
        }
        if register == reg::ICR {
            self.icr = value;
        }
        Ok(self.write(register, value as u32, now))
    }
}
