//! Instructions that write memory, for faults on read-only page tables.
//!
//! How to use: [`decode_mem_write`], read the old value at [`MemOp::addr`], [`MemOp::value`] says what to store (store it
//! atomically against `old`, or read and try again), then [`MemOp::retire`].
use crate::opening::{Map, Opening};
use crate::operand::{Gpr, Slice, Width, decode, immediate, length, memory};
use crate::{Cpu, Unhandled, alu};
use yaxpeax_x86::long_mode::{Instruction, Opcode, Operand};

/// A write to memory with its operands fetched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemOp {
    addr: u64,
    width: Width,
    len: u8,
    op: Op,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Op {
    Mov(u64),
    And(u64),
    Or(u64),
    Xor(u64),
    Add(u64),
    Sub(u64),
    Inc,
    Dec,
    Not,
    Neg,
    Bts(u32),
    Btr(u32),
    Btc(u32),
    Xchg(Slice),
    Xadd(Slice),
    Cmpxchg { expected: u64, new: u64 },
    Stos { value: u64, rep: bool },
}

impl MemOp {
    /// Linear address written to.
    pub fn addr(&self) -> u64 {
        self.addr
    }
    /// How much is written.
    pub fn width(&self) -> Width {
        self.width
    }
    /// Length of the instruction.
    pub fn len(&self) -> usize {
        self.len as usize
    }
    /// Never.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the instruction stores where `old` is now; `None`: it stores nothing new (a failed cmpxchg).
    pub fn value<C: Cpu + ?Sized>(&self, old: u64, cpu: &C) -> Option<u64> {
        let mask = self.width.mask();
        let old = old & mask;
        let new = match self.op {
            Op::Mov(v) | Op::Stos { value: v, .. } => v,
            Op::And(v) => old & v,
            Op::Or(v) => old | v,
            Op::Xor(v) => old ^ v,
            Op::Add(v) => old.wrapping_add(v),
            Op::Sub(v) => old.wrapping_sub(v),
            Op::Inc => old.wrapping_add(1),
            Op::Dec => old.wrapping_sub(1),
            Op::Not => !old,
            Op::Neg => old.wrapping_neg(),
            Op::Bts(b) => old | 1 << b,
            Op::Btr(b) => old & !(1 << b),
            Op::Btc(b) => old ^ 1 << b,
            Op::Xchg(reg) => reg.read(cpu),
            Op::Xadd(reg) => old.wrapping_add(reg.read(cpu)),
            Op::Cmpxchg { expected, new } if expected & mask == old => new,
            Op::Cmpxchg { .. } => return None,
        };
        Some(new & mask)
    }

    /// Registers, flags and rip after the instruction met `old` in memory. Not for `old` that was not replaced.
    pub fn retire<C: Cpu + ?Sized>(&self, old: u64, cpu: &mut C) {
        let (w, f) = (self.width, cpu.flags());
        let old = old & w.mask();
        let new = self.value(old, cpu).unwrap_or(old);
        let flags = match self.op {
            Op::Mov(_) | Op::Not | Op::Xchg(_) | Op::Stos { .. } => f,
            Op::And(_) | Op::Or(_) | Op::Xor(_) => alu::logic(f, new, w),
            Op::Add(v) => alu::add(f, old, v, w),
            Op::Sub(v) => alu::sub(f, old, v, w),
            Op::Neg => alu::sub(f, 0, old, w),
            Op::Inc => alu::keep_carry(f, alu::add(f, old, 1, w)),
            Op::Dec => alu::keep_carry(f, alu::sub(f, old, 1, w)),
            Op::Bts(b) | Op::Btr(b) | Op::Btc(b) => alu::bit(f, old >> b & 1 != 0),
            Op::Xadd(reg) => alu::add(f, old, reg.read(cpu), w),
            Op::Cmpxchg { expected, .. } => alu::sub(f, expected, old, w),
        };
        match self.op {
            Op::Xchg(reg) | Op::Xadd(reg) => reg.write(cpu, old),
            Op::Cmpxchg { .. } if flags & alu::ZF == 0 => Slice {
                reg: Gpr::RAX,
                shift: 0,
                width: w,
            }
            .write(cpu, old),
            Op::Stos { rep, .. } if self.step_string(rep, cpu) => return,
            _ => (),
        }
        cpu.set_flags(flags);
        cpu.set_rip(cpu.rip().wrapping_add(self.len as u64));
    }

    /// Moves rdi on; true if the instruction is to be executed again for the next element.
    fn step_string<C: Cpu + ?Sized>(&self, rep: bool, cpu: &mut C) -> bool {
        const DIRECTION: u64 = 1 << 10;
        let step = match cpu.flags() & DIRECTION {
            0 => self.width.bytes(),
            _ => self.width.bytes().wrapping_neg(),
        };
        cpu.set_gpr(Gpr::RDI, cpu.gpr(Gpr::RDI).wrapping_add(step));
        if !rep {
            return false;
        }
        let left = cpu.gpr(Gpr::RCX).wrapping_sub(1);
        cpu.set_gpr(Gpr::RCX, left);
        left != 0
    }
}

/// Decodes the memory write at `bytes` (64-bit code) and computes its address and operands.
pub fn decode_mem_write<C: Cpu + ?Sized>(bytes: &[u8], cpu: &C) -> Result<MemOp, Unhandled> {
    let opening = Opening::read(bytes, true)?;
    if !is_write(&opening) {
        return Err(Unhandled::Unknown);
    }
    let i = decode(bytes)?;
    if i.opcode() == Opcode::STOS {
        return stos(&i, opening.width(), cpu);
    }
    // xchg may be written either way round.
    let (mem, other) = if memory(&i, 0).is_some() {
        (0, 1)
    } else {
        (1, 0)
    };
    let mut addr = memory(&i, mem).ok_or(Unhandled::Unknown)?.linear(cpu);
    let width = match i.opcode() {
        // No forms for bytes, hence odd and even opcodes.
        Opcode::BTS | Opcode::BTR | Opcode::BTC => opening.wide(),
        _ => opening.width(),
    };
    if mem == 1 && !matches!(i.opcode(), Opcode::XCHG) {
        return Err(Unhandled::Unknown);
    }
    let source = || value_of(&i, other, cpu);
    let register = || match i.operand(other) {
        Operand::Register { reg } => Slice::of(reg).ok_or(Unhandled::Unknown),
        _ => Err(Unhandled::Unknown),
    };
    let op = match i.opcode() {
        Opcode::MOV | Opcode::MOVNTI => Op::Mov(source()?),
        Opcode::AND => Op::And(source()?),
        Opcode::OR => Op::Or(source()?),
        Opcode::XOR => Op::Xor(source()?),
        Opcode::ADD => Op::Add(source()?),
        Opcode::SUB => Op::Sub(source()?),
        Opcode::INC => Op::Inc,
        Opcode::DEC => Op::Dec,
        Opcode::NOT => Op::Not,
        Opcode::NEG => Op::Neg,
        Opcode::XCHG => Op::Xchg(register()?),
        Opcode::XADD => Op::Xadd(register()?),
        Opcode::CMPXCHG => Op::Cmpxchg {
            expected: cpu.gpr(Gpr::RAX),
            new: source()?,
        },
        Opcode::BTS | Opcode::BTR | Opcode::BTC => {
            let (bit, beyond) = bit_position(&i, width, source()?);
            addr = addr.wrapping_add(beyond);
            match i.opcode() {
                Opcode::BTS => Op::Bts(bit),
                Opcode::BTR => Op::Btr(bit),
                _ => Op::Btc(bit),
            }
        }
        _ => return Err(Unhandled::Unknown),
    };
    Ok(MemOp {
        addr,
        width,
        len: length(&i),
        op,
    })
}

/// Opcodes among which those carried out here are found.
fn is_write(opening: &Opening) -> bool {
    match opening.map {
        Map::One => matches!(
            opening.opcode,
            0x00 | 0x01
                | 0x08
                | 0x09
                | 0x20
                | 0x21
                | 0x28
                | 0x29
                | 0x30
                | 0x31
                | 0x80
                | 0x81
                | 0x83
                | 0x86
                ..=0x89 | 0xa2 | 0xa3 | 0xaa | 0xab | 0xc6 | 0xc7 | 0xf6 | 0xf7 | 0xfe | 0xff
        ),
        Map::Two => matches!(
            opening.opcode,
            0xab | 0xb0 | 0xb1 | 0xb3 | 0xba | 0xbb | 0xc0 | 0xc1 | 0xc3
        ),
    }
}

/// The bit within its operand, and how many bytes further on that operand lies: a register counts beyond it.
fn bit_position(i: &Instruction, width: Width, offset: u64) -> (u32, u64) {
    let bit = offset as u32 & (width.bits() - 1);
    if immediate(i.operand(1)).is_some() {
        return (bit, 0);
    }
    // Sign-extend the register from the operand's width.
    let unused = 64 - width.bits();
    let signed = ((offset << unused) as i64) >> unused;
    let operands = signed >> width.bits().trailing_zeros();
    (bit, (operands as u64).wrapping_mul(width.bytes()))
}

fn value_of<C: Cpu + ?Sized>(i: &Instruction, op: u8, cpu: &C) -> Result<u64, Unhandled> {
    match i.operand(op) {
        Operand::Register { reg } => Ok(Slice::of(reg).ok_or(Unhandled::Unknown)?.read(cpu)),
        o => immediate(o).ok_or(Unhandled::Unknown),
    }
}

fn stos<C: Cpu + ?Sized>(i: &Instruction, width: Width, cpu: &C) -> Result<MemOp, Unhandled> {
    let rep = i.prefixes.rep_any();
    // Nothing to do means nothing faulted; 32-bit addresses are no kernel's.
    if i.prefixes.address_size() || rep && cpu.gpr(Gpr::RCX) == 0 {
        return Err(Unhandled::Unknown);
    }
    let op = Op::Stos {
        value: cpu.gpr(Gpr::RAX),
        rep,
    };
    Ok(MemOp {
        addr: cpu.gpr(Gpr::RDI),
        width,
        len: length(i),
        op,
    })
}
