//! Moves, conversions, searches for bits, flags.
use super::decode::{Op, Operand};
use super::execute::{Exec, Outcome, UNKNOWN};
use super::memory::Place;
use super::system::{Stop, System};
use super::{Bits, DF};
use crate::operand::Slice;
use crate::{Segment, Width, alu};

/// Flags that sahf and lahf move.
const LOW: u64 = 0xd5;

impl<S: System + ?Sized> Exec<'_, S> {
    pub fn data(&mut self) -> Outcome {
        match self.insn.op {
            Op::Mov => {
                let width = match self.op(1) {
                    Operand::Reg(slice) => slice.width,
                    _ => self.width(),
                };
                let value = self.get(1, width)?;
                self.put(0, width, value)?;
            }
            Op::Movzx | Op::Movsx => self.extend()?,
            Op::Lea => {
                let Operand::Mem(address) = self.op(1) else {
                    return Err(UNKNOWN);
                };
                let value = self.place(address).offset;
                self.put(0, self.insn.size, value)?;
            }
            Op::Bswap => {
                let slice = self.register()?;
                let value = slice.read(self.cpu);
                let swapped = value.swap_bytes() >> (64 - slice.width.bits());
                // Of 16 bits it is undefined; zero is what comes of it.
                slice.write(self.cpu, if slice.width == Width::B2 { 0 } else { swapped });
            }
            Op::Bsf | Op::Bsr => self.search()?,
            Op::Cmov(cc) => {
                let slice = self.register()?;
                let value = self.get(1, slice.width)?;
                // Even if nothing is moved, 32 bits clear the upper half.
                let old = slice.read(self.cpu);
                slice.write(self.cpu, if self.condition(cc) { value } else { old });
            }
            Op::Set(cc) => self.put(0, Width::B1, self.condition(cc).into())?,
            Op::Xlat => {
                let place = Place {
                    segment: self.insn.segment.unwrap_or(Segment::Ds),
                    offset: self.cpu.gpr(crate::Gpr::RBX),
                };
                let index = self.gpr(0, Width::B1);
                let value = self.load(place.plus(index, self.insn.addresses), Width::B1)?;
                self.set_gpr(0, Width::B1, value);
            }
            _ => self.small(),
        }
        self.done()
    }

    fn register(&self) -> Result<Slice, Stop> {
        match self.op(0) {
            Operand::Reg(slice) => Ok(slice),
            _ => Err(UNKNOWN),
        }
    }

    fn extend(&mut self) -> Result<(), Stop> {
        let from = match (self.op(1), self.insn.opcode) {
            (Operand::Reg(slice), _) => slice.width,
            (_, 0x63) if self.insn.size == Width::B2 => Width::B2,
            (_, 0x63) => Width::B4,
            (_, opcode) if opcode & 1 == 0 => Width::B1,
            _ => Width::B2,
        };
        let to = self.register()?;
        let value = self.get(1, from)?;
        let unused = 64 - from.bits();
        to.write(
            self.cpu,
            match self.insn.op {
                Op::Movzx => value,
                _ => ((value << unused) as i64 >> unused) as u64 & to.width.mask(),
            },
        );
        Ok(())
    }

    fn search(&mut self) -> Result<(), Stop> {
        let to = self.register()?;
        let value = self.get(1, to.width)?;
        let flags = self.cpu.flags() & !alu::ZF;
        if value == 0 {
            // The destination stays, as AMD documents and Intel does.
            self.cpu.set_flags(flags | alu::ZF);
            return Ok(());
        }
        let bit = match self.insn.op {
            Op::Bsf => value.trailing_zeros(),
            _ => 63 - value.leading_zeros(),
        };
        to.write(self.cpu, bit.into());
        self.cpu.set_flags(flags);
        Ok(())
    }

    /// What has registers and flags only and cannot fail.
    fn small(&mut self) {
        let flags = self.cpu.flags();
        let size = self.insn.size;
        match self.insn.op {
            Op::Convert => {
                // The lower half of al, ax, eax or rax fills the whole.
                let half = size.bits() / 2;
                let value = self.gpr(0, size);
                let value = ((value << (64 - half)) as i64 >> (64 - half)) as u64;
                self.set_gpr(0, size, value & size.mask());
            }
            Op::Spread => {
                let negative = self.gpr(0, size) >> (size.bits() - 1) != 0;
                self.set_gpr(2, size, if negative { size.mask() } else { 0 });
            }
            Op::Sahf => {
                let ah = self.gpr(0, Width::B2) >> 8;
                self.cpu.set_flags(flags & !LOW | ah & LOW);
            }
            Op::Lahf => {
                let ah = flags & LOW | 2;
                let al = self.gpr(0, Width::B1);
                self.set_gpr(0, Width::B2, ah << 8 | al);
            }
            Op::Flag(5) => self.cpu.set_flags(flags ^ 1),
            Op::Flag(8) => self.cpu.set_flags(flags & !1),
            Op::Flag(9) => self.cpu.set_flags(flags | 1),
            Op::Flag(12) => self.cpu.set_flags(flags & !DF),
            Op::Flag(_) => self.cpu.set_flags(flags | DF),
            _ => {}
        }
    }

    /// jmp, call, ret, loop and conditional jumps within the segment.
    pub fn near(&mut self) -> Outcome {
        let size = match self.bits {
            Bits::B64 => Width::B8,
            _ => self.insn.size,
        };
        // A jump that is not taken may lead anywhere.
        let counted = match self.insn.op {
            Op::Jcc(cc) if !self.condition(cc) => return self.done(),
            Op::Loop(kind) => {
                let (left, taken) = self.count(kind);
                if !taken {
                    self.set_gpr(1, self.insn.addresses, left);
                    return self.done();
                }
                Some(left)
            }
            _ => None,
        };
        let target = match self.op(0) {
            _ if self.insn.op == Op::Ret => {
                let released = match self.op(0) {
                    Operand::Imm(bytes) => bytes & 0xffff,
                    _ => 0,
                };
                let value = self.peek(0, size)?;
                let target = self.checked_target(value)?;
                self.release(size.bytes() + released);
                target
            }
            Operand::Imm(distance) => {
                let target = self.next_rip().wrapping_add(distance) & size.mask();
                self.checked_target(target)?
            }
            _ => {
                let value = self.get(0, size)?;
                self.checked_target(value)?
            }
        };
        if self.insn.op == Op::Call {
            let next = self.next_rip();
            self.push_all(&[next], size)?;
        }
        if let Some(left) = counted {
            self.set_gpr(1, self.insn.addresses, left);
        }
        self.cpu.set_rip(target);
        Ok(super::Step::Done)
    }

    /// loopne, loope, loop, jcxz: the count afterwards, and whether they jump.
    fn count(&self, kind: u8) -> (u64, bool) {
        let width = self.insn.addresses;
        let count = self.gpr(1, width);
        if kind == 3 {
            return (count, count == 0);
        }
        let left = count.wrapping_sub(1) & width.mask();
        let zero = self.cpu.flags() & alu::ZF != 0;
        (left, left != 0 && (kind == 2 || zero == (kind == 1)))
    }
}
