//! The few instructions a hypervisor carries out for its guests, decoded with a crate.
//!
//! * [`decode_priv`]: what a PV kernel may not execute in ring 3 ([`PrivOp`]): port I/O, control registers, MSRs.
//! * [`decode_mem_write`]: a write that faulted ([`MemOp`]), for read-only page tables: what value it would store, and
//!   what it does to registers and flags.
//! * [`decode_mem_read`]: a read of a device's register in memory ([`MemRead`]).
//! * [`emulate::step`]: any instruction that a hardware guest may need help with, in any mode.
//!
//! Registers are reached through [`Cpu`]. Nothing here knows of domains, faults or guest memory.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(test)]
extern crate std;

mod alu;
pub mod emulate;
mod memread;
mod memwrite;
mod opening;
mod operand;
mod privop;
#[cfg(test)]
mod tests;

pub use memread::{MemRead, decode_mem_read};
pub use memwrite::{MemOp, decode_mem_write};
pub use operand::{Ea, Gpr, RegMem, Segment, Width};
pub use privop::{Port, PrivOp, decode_priv};

/// The longest instruction of the architecture; so many bytes suffice.
pub const MAX_LEN: usize = 15;

/// Registers of the guest that faulted.
pub trait Cpu {
    /// A general register.
    fn gpr(&self, reg: Gpr) -> u64;
    /// Changes a general register.
    fn set_gpr(&mut self, reg: Gpr, value: u64);
    /// Address of the instruction.
    fn rip(&self) -> u64;
    /// Goes on at `rip`.
    fn set_rip(&mut self, rip: u64);
    /// RFLAGS.
    fn flags(&self) -> u64;
    /// Changes RFLAGS (arithmetic flags only).
    fn set_flags(&mut self, flags: u64);
    /// Base of FS or GS; the others have none in 64-bit mode.
    fn segment_base(&self, segment: Segment) -> u64;
}

/// Why an instruction is not carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unhandled {
    /// The bytes end within the instruction: the rest could not be fetched.
    Truncated,
    /// Not an instruction of ours: reflect the fault.
    Unknown,
}
