//! Instructions that read memory into a register, for registers of devices in memory: [`decode_mem_read`].
use crate::opening::{Map, Opening};
use crate::operand::{Slice, Width, decode, length, memory};
use crate::{Cpu, Unhandled};
use yaxpeax_x86::long_mode::{Opcode, Operand};

/// A read of memory into a general register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemRead {
    width: Width,
    to: Slice,
    signed: bool,
    len: u8,
}

impl MemRead {
    /// How much is read.
    pub fn width(&self) -> Width {
        self.width
    }

    /// The register and rip after the instruction has read `value`.
    pub fn retire<C: Cpu + ?Sized>(&self, value: u64, cpu: &mut C) {
        let value = value & self.width.mask();
        let unused = 64 - self.width.bits();
        let value = match self.signed {
            true => ((value << unused) as i64 >> unused) as u64,
            false => value,
        };
        self.to.write(cpu, value);
        cpu.set_rip(cpu.rip().wrapping_add(self.len.into()));
    }
}

/// Decodes the read at `bytes` (64-bit code): MOV, MOVZX, MOVSX, MOVSXD.
pub fn decode_mem_read(bytes: &[u8]) -> Result<MemRead, Unhandled> {
    let opening = Opening::read(bytes, true)?;
    let width = match (opening.map, opening.opcode) {
        (Map::One, 0x8a | 0x8b | 0xa0 | 0xa1) => opening.width(),
        (Map::One, 0x63) => Width::B4,
        (Map::Two, 0xb6 | 0xbe) => Width::B1,
        (Map::Two, 0xb7 | 0xbf) => Width::B2,
        _ => return Err(Unhandled::Unknown),
    };
    let i = decode(bytes)?;
    memory(&i, 1).ok_or(Unhandled::Unknown)?;
    let Operand::Register { reg } = i.operand(0) else {
        return Err(Unhandled::Unknown);
    };
    let signed = match i.opcode() {
        Opcode::MOV | Opcode::MOVZX => false,
        Opcode::MOVSX | Opcode::MOVSXD => true,
        _ => return Err(Unhandled::Unknown),
    };
    Ok(MemRead {
        width,
        to: Slice::of(reg).ok_or(Unhandled::Unknown)?,
        signed,
        len: length(&i),
    })
}
