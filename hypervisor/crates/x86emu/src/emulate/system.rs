//! What the emulator asks of a processor: [`System`], and the values that go back and forth.
use crate::{Cpu, Segment, Unhandled, Width};

/// A segment register with its hidden part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SegmentState {
    /// What the guest sees.
    pub selector: u16,
    /// Bits 0-3 type, 4 not a system segment, 5-6 DPL, 7 present, 8 available, 9 long, 10 big, 11 granular (as in a VMCB).
    pub access: u16,
    /// In bytes, the last that is within.
    pub limit: u32,
    /// Linear address of the first byte.
    pub base: u64,
}

impl SegmentState {
    pub(crate) const ACCESSED: u16 = 1;
    pub(crate) const WRITABLE: u16 = 2;
    pub(crate) const READABLE: u16 = 2;
    /// Expand-down of data, conforming of code.
    pub(crate) const DOWN: u16 = 4;
    pub(crate) const CODE: u16 = 8;
    pub(crate) const NOT_SYSTEM: u16 = 0x10;
    pub(crate) const PRESENT: u16 = 0x80;

    /// Unpacks an 8-byte descriptor.
    pub fn unpack(selector: u16, raw: u64) -> SegmentState {
        let access = (raw >> 40 & 0xff | raw >> 44 & 0xf00) as u16;
        let limit = (raw & 0xffff | raw >> 32 & 0xf_0000) as u32;
        SegmentState {
            selector,
            access,
            limit: match access & 0x800 {
                0 => limit,
                _ => limit << 12 | 0xfff,
            },
            base: raw >> 16 & 0xff_ffff | raw >> 32 & 0xff00_0000,
        }
    }

    /// Of real mode.
    pub fn real(selector: u16) -> SegmentState {
        SegmentState {
            selector,
            access: 0x93,
            limit: 0xffff,
            base: u64::from(selector) << 4,
        }
    }

    pub(crate) fn dpl(&self) -> u8 {
        (self.access >> 5 & 3) as u8
    }
    pub(crate) fn has(&self, bits: u16) -> bool {
        self.access & bits == bits
    }
    pub(crate) fn is_long(&self) -> bool {
        self.has(1 << 9)
    }
    pub(crate) fn is_big(&self) -> bool {
        self.has(1 << 10)
    }
}

/// Where descriptors are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Table {
    Gdt,
    Idt,
    Ldt,
    Task,
}

/// An exception to be raised in the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// #DE.
    Divide,
    /// #UD.
    InvalidOpcode,
    /// #NP with its error code.
    NotPresent(u16),
    /// #SS.
    Stack(u16),
    /// #GP.
    GeneralProtection(u16),
    /// #PF.
    Page {
        /// The linear address, for CR2.
        address: u64,
        /// Error code.
        error: u32,
    },
}

impl Fault {
    /// #GP(0).
    pub const GP0: Fault = Fault::GeneralProtection(0);

    /// The vector.
    pub fn vector(self) -> u8 {
        match self {
            Fault::Divide => 0,
            Fault::InvalidOpcode => 6,
            Fault::NotPresent(_) => 11,
            Fault::Stack(_) => 12,
            Fault::GeneralProtection(_) => 13,
            Fault::Page { .. } => 14,
        }
    }

    /// The error code, which real mode does not push.
    pub fn error(self) -> Option<u32> {
        match self {
            Fault::Divide | Fault::InvalidOpcode => None,
            Fault::NotPresent(e) | Fault::Stack(e) | Fault::GeneralProtection(e) => Some(e.into()),
            Fault::Page { error, .. } => Some(error),
        }
    }
}

/// Why an instruction is not (yet) complete. Its registers are as before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// Raise this in the guest.
    Fault(Fault),
    /// A device has been asked and will answer: call [`step`](super::step) again then. The instruction begins anew and
    /// repeats its accesses in the same order; those answered since [`System::committed`] are to be answered from memory.
    Later,
    /// Not an instruction of ours, or not all of it could be fetched.
    Unhandled(Unhandled),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        Stop::Fault(fault)
    }
}

impl From<Unhandled> for Stop {
    fn from(unhandled: Unhandled) -> Stop {
        Stop::Unhandled(unhandled)
    }
}

/// How an instruction ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// It is complete.
    Done,
    /// Part of it is; RIP is where it was. Call again (after interrupts, if any).
    Again,
    /// It is complete, and interrupts wait for the next one (sti, mov ss).
    Shadow,
    /// The processor halts until an interrupt.
    Halt,
    /// A software interrupt of protected mode: inject it. RIP is the next instruction's.
    Interrupt(u8),
}

/// What a locked exchange found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Locked {
    /// What was expected; memory has the new value.
    Exchanged,
    /// Something else; memory is as it was.
    Differs,
}

/// A whole processor with its memory and ports. [`Cpu::set_flags`] changes all of RFLAGS here.
///
/// Linear addresses outside long mode have 32 bits. Paging, permissions and what is RAM are the implementer's:
/// each access is checked whole (it may cross pages) before any of it is done.
pub trait System: Cpu {
    /// A segment register.
    fn segment(&self, segment: Segment) -> SegmentState;
    /// Loads a segment register; the value has been checked.
    fn set_segment(&mut self, segment: Segment, state: SegmentState);
    /// A table register (of GDT and IDT only base and limit count).
    fn table(&self, table: Table) -> SegmentState;
    /// Loads GDTR or IDTR.
    fn set_table(&mut self, table: Table, base: u64, limit: u16);
    /// The current privilege level.
    fn cpl(&self) -> u8;
    /// IA32_EFER.
    fn efer(&self) -> u64;
    /// Control register 0, 2, 3, 4 or 8.
    fn cr(&self, number: u8) -> u64;
    /// Writes a control register, with all checks and consequences.
    fn set_cr(&mut self, number: u8, value: u64) -> Result<(), Stop>;
    /// Debug register 0 to 7.
    fn dr(&self, number: u8) -> u64;
    /// Writes a debug register.
    fn set_dr(&mut self, number: u8, value: u64) -> Result<(), Stop>;
    /// Reads at most 32 bytes of RAM or MMIO; `system`: as the processor does for itself (descriptors).
    fn read(&mut self, address: u64, bytes: &mut [u8], system: bool) -> Result<(), Stop>;
    /// Writes at most 32 bytes.
    fn write(&mut self, address: u64, bytes: &[u8], system: bool) -> Result<(), Stop>;
    /// Exchanges atomically if memory holds `old`.
    fn exchange(&mut self, address: u64, width: Width, old: u64, new: u64) -> Result<Locked, Stop>;
    /// Reads a port, if the guest may (IOPL, I/O bitmap).
    fn port_in(&mut self, port: u16, width: Width) -> Result<u32, Stop>;
    /// Writes a port, if the guest may.
    fn port_out(&mut self, port: u16, width: Width, value: u32) -> Result<(), Stop>;
    /// Forgets the translation of a linear address.
    fn invlpg(&mut self, address: u64);
    /// Writes back caches.
    fn wbinvd(&mut self) {}
    /// An instruction or an element of a string is complete: answers kept for [`Stop::Later`] are used up.
    fn committed(&mut self) {}
}
