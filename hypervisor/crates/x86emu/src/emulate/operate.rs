//! Instructions that change an operand in place: arithmetic, logic, bits, exchanges.
use super::decode::{Op, Operand};
use super::execute::{Exec, Outcome, UNKNOWN};
use super::memory::Want;
use super::shift;
use super::system::{Locked, Step, Stop, System};
use crate::{Width, alu};

/// How often a locked operation is tried before others get their turn.
const TRIES: u32 = 16;

/// What becomes of the operand, of the flags, and of the other register.
struct Change {
    new: Option<u64>,
    flags: u64,
    register: Option<(u8, u64)>,
}

impl<S: System + ?Sized> Exec<'_, S> {
    pub fn operate(&mut self) -> Outcome {
        match self.insn.op {
            Op::Cmpxchg8b => return self.cmpxchg8b(),
            // Written either way round.
            Op::Xchg if matches!(self.op(1), Operand::Mem(_)) => self.insn.ops.swap(0, 1),
            _ => {}
        }
        let width = self.operand_width();
        let source = self.source(width)?;
        let mut place = match self.op(0) {
            Operand::Mem(address) => Some(self.place(address)),
            Operand::Reg(_) => None,
            _ => return Err(UNKNOWN),
        };
        if let (Op::Bit(_), Some(place), Operand::Reg(_)) = (self.insn.op, &mut place, self.op(1)) {
            *place = place.plus(beyond(source, width), self.insn.addresses);
        }
        let locked = self.insn.lock || self.insn.op == Op::Xchg;
        for _ in 0..TRIES {
            let old = match place {
                Some(place) => self.load(place, width)?,
                None => self.get(0, width)?,
            };
            let change = self.change(old, source, width)?;
            // A comparison that fails writes nevertheless: a page that is read-only faults.
            if let (Some(place), Some(new)) = (place, change.new)
                && !self.replace(place, width, (old, new), locked)?
            {
                continue;
            }
            if let (None, Some(new), true) = (place, change.new, self.insn.op != Op::Xadd) {
                self.put(0, width, new)?;
            }
            if let Some((register, value)) = change.register {
                self.write_register(register, width, value);
            }
            // If both are the same register, the sum stays.
            if let (None, Some(new), Op::Xadd) = (place, change.new, self.insn.op) {
                self.put(0, width, new)?;
            }
            self.cpu.set_flags(change.flags);
            return self.done();
        }
        Ok(Step::Again)
    }

    fn operand_width(&self) -> Width {
        match (self.insn.op, self.op(0)) {
            (_, Operand::Reg(slice)) => slice.width,
            (Op::Bit(_) | Op::Shld | Op::Shrd, _) => self.insn.size,
            _ => self.width(),
        }
    }

    /// The other operand; of shifts the count.
    fn source(&mut self, width: Width) -> Result<u64, Stop> {
        match (self.insn.op, self.insn.opcode) {
            (Op::Not | Op::Neg | Op::Inc | Op::Dec, _) => Ok(0),
            (Op::Shift(_), 0xd0 | 0xd1) => Ok(1),
            (Op::Shift(_), 0xd2 | 0xd3) => Ok(self.gpr(1, Width::B1)),
            (Op::Shift(_), _) => self.get(1, Width::B1),
            _ => self.get(1, width),
        }
    }

    /// 0xff names operand 1, anything else a register.
    fn write_register(&mut self, register: u8, width: Width, value: u64) {
        match (register, self.op(1)) {
            (0xff, Operand::Reg(slice)) => slice.write(self.cpu, value),
            (0xff, _) => {}
            (register, _) => self.set_gpr(register, width, value),
        }
    }

    fn change(&mut self, old: u64, source: u64, width: Width) -> Result<Change, Stop> {
        let f = self.cpu.flags();
        let keep = |flags| Change {
            new: None,
            flags,
            register: None,
        };
        let set = |(new, flags)| Change {
            new: Some(new & width.mask()),
            flags,
            register: None,
        };
        Ok(match self.insn.op {
            Op::Alu(7) => keep(alu::sub(f, old, source, width)),
            Op::Alu(n) => set(alu::binary(n, f, old, source, width)),
            Op::Test => keep(alu::logic(f, old & source, width)),
            Op::Not => set((!old, f)),
            Op::Neg => set((old.wrapping_neg(), alu::sub(f, 0, old, width))),
            Op::Inc => {
                let flags = alu::keep_carry(f, alu::add(f, old, 1, width));
                set((old.wrapping_add(1), flags))
            }
            Op::Dec => {
                let flags = alu::keep_carry(f, alu::sub(f, old, 1, width));
                set((old.wrapping_sub(1), flags))
            }
            Op::Shift(n) => set(shift::shift(n, f, old, source, width)),
            Op::Shld | Op::Shrd => {
                let count = match self.insn.opcode & 1 {
                    0 => self.get(2, Width::B1)?,
                    _ => self.gpr(1, Width::B1),
                };
                set(shift::double(
                    self.insn.op == Op::Shld,
                    f,
                    old,
                    source,
                    count,
                    width,
                ))
            }
            Op::Bit(n) => {
                let bit = source as u32 & (width.bits() - 1);
                let flags = alu::bit(f, old >> bit & 1 != 0);
                match n {
                    0 => keep(flags),
                    1 => set((old | 1 << bit, flags)),
                    2 => set((old & !(1 << bit), flags)),
                    _ => set((old ^ 1 << bit, flags)),
                }
            }
            _ => return self.exchanged(old, source, width),
        })
    }

    /// [`change`](Self::change) of what has a register to write as well.
    fn exchanged(&self, old: u64, source: u64, width: Width) -> Result<Change, Stop> {
        let f = self.cpu.flags();
        let set = |new, flags| Change {
            new: Some(new & width.mask()),
            flags,
            register: Some((0xff, old)),
        };
        Ok(match self.insn.op {
            Op::Xchg => set(source, f),
            Op::Xadd => set(old.wrapping_add(source), alu::add(f, old, source, width)),
            Op::Cmpxchg => {
                let expected = self.gpr(0, width);
                let flags = alu::sub(f, expected, old, width);
                match (expected == old, self.op(0)) {
                    (true, _) => Change {
                        register: None,
                        ..set(source, flags)
                    },
                    // Memory is written with what it has; a register is not touched at all.
                    (false, operand) => Change {
                        new: matches!(operand, Operand::Mem(_)).then_some(old),
                        flags,
                        register: Some((0, old)),
                    },
                }
            }
            _ => return Err(UNKNOWN),
        })
    }

    /// cmpxchg8b; its double with REX.W is not ours.
    fn cmpxchg8b(&mut self) -> Outcome {
        if self.insn.size == Width::B8 {
            return Err(UNKNOWN);
        }
        let place = self.memory(0)?;
        let pair =
            |this: &Self, high, low| this.gpr(high, Width::B4) << 32 | this.gpr(low, Width::B4);
        let (expected, new) = (pair(self, 2, 0), pair(self, 1, 3));
        let flags = self.cpu.flags() & !alu::ZF;
        let address = self.linear(place, 8, Want::Write)?;
        for _ in 0..TRIES {
            let old = self.load(place, Width::B8)?;
            let value = if old == expected { new } else { old };
            if self.cpu.exchange(address, Width::B8, old, value)? == Locked::Differs {
                continue;
            }
            if old == expected {
                self.cpu.set_flags(flags | alu::ZF);
            } else {
                self.cpu.set_flags(flags);
                self.set_gpr(0, Width::B4, old & 0xffff_ffff);
                self.set_gpr(2, Width::B4, old >> 32);
            }
            return self.done();
        }
        Ok(Step::Again)
    }
}

/// How many bytes further on the operand lies that has bit `offset`: a register counts beyond its operand.
fn beyond(offset: u64, width: Width) -> u64 {
    let unused = 64 - width.bits();
    let signed = ((offset << unused) as i64) >> unused;
    ((signed >> width.bits().trailing_zeros()) as u64).wrapping_mul(width.bytes())
}
