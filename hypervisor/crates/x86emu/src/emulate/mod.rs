//! Carrying out one instruction of any mode for a guest whose hardware will not: MMIO, string I/O, real mode.
//!
//! [`step`] decodes ([`decode`]), checks segments ([`memory`]) and executes against a [`System`]. Faults and waits are
//! values ([`Stop`]); until an instruction (or one element of a repeated one) is complete, no register has changed, so that
//! it can be begun again. Work per call is bounded: `rep` goes on in the next call.
mod data;
mod decode;
mod execute;
mod far;
mod memory;
mod muldiv;
mod operate;
mod shift;
mod stack;
mod string;
mod system;

pub use system::{Fault, Locked, SegmentState, Step, Stop, System, Table};

use crate::{Segment, Unhandled};
use decode::Insn;

pub(crate) const CR0_PE: u64 = 1;
pub(crate) const EFER_LMA: u64 = 1 << 10;
/// Flags besides the arithmetic ones.
pub(crate) const TF: u64 = 1 << 8;
pub(crate) const IF: u64 = 1 << 9;
pub(crate) const DF: u64 = 1 << 10;
pub(crate) const IOPL: u64 = 3 << 12;
pub(crate) const NT: u64 = 1 << 14;
pub(crate) const RF: u64 = 1 << 16;
pub(crate) const VM: u64 = 1 << 17;
pub(crate) const AC: u64 = 1 << 18;

/// How code is read: by its segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bits {
    /// 16-bit code.
    B16,
    /// 32-bit code.
    B32,
    /// 64-bit code.
    B64,
}

/// What rules hold for segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Real,
    Virtual86,
    Protected,
    Long,
}

/// The mode a processor is in, and how its code reads.
pub(crate) fn mode<S: System + ?Sized>(cpu: &S) -> (Mode, Bits) {
    let cs = cpu.segment(Segment::Cs);
    let bits = if cs.is_big() { Bits::B32 } else { Bits::B16 };
    if cpu.cr(0) & CR0_PE == 0 {
        (Mode::Real, bits)
    } else if cpu.flags() & VM != 0 {
        (Mode::Virtual86, Bits::B16)
    } else if cpu.efer() & EFER_LMA != 0 && cs.is_long() {
        (Mode::Long, Bits::B64)
    } else {
        (Mode::Protected, bits)
    }
}

/// Carries out the instruction whose bytes begin `code`, as much of it as could be fetched (15 suffice).
///
/// After [`Step::Done`] a guest with RFLAGS.TF set before is due a debug trap.
pub fn step<S: System + ?Sized>(code: &[u8], cpu: &mut S) -> Result<Step, Stop> {
    let (mode, bits) = mode(cpu);
    let insn = decode::decode(code, bits)?;
    execute::Exec {
        cpu,
        insn,
        mode,
        bits,
    }
    .run()
}

/// Length and operands of the instruction, for comparison with other decoders: one line, without effect.
#[doc(hidden)]
pub fn explain(code: &[u8], bits: Bits) -> Result<(usize, impl core::fmt::Debug), Unhandled> {
    let insn: Insn = decode::decode(code, bits)?;
    Ok((insn.len.into(), insn))
}
