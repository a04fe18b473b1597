//! Execution: [`Exec`] has an instruction and a processor, [`Exec::run`] sends it to its family.
use super::decode::{Insn, Op, Operand};
use super::memory::{Place, Want};
use super::system::{Fault, Step, Stop, System, Table};
use super::{Bits, IF, IOPL, Mode, VM};
use crate::{Gpr, Segment, Unhandled, Width, alu};

/// An instruction being carried out.
pub(crate) struct Exec<'a, S: ?Sized> {
    pub cpu: &'a mut S,
    pub insn: Insn,
    pub mode: Mode,
    pub bits: Bits,
}

pub(crate) type Outcome = Result<Step, Stop>;
/// Not as an encoding of ours should be.
pub(crate) const UNKNOWN: Stop = Stop::Unhandled(Unhandled::Unknown);

impl<S: System + ?Sized> Exec<'_, S> {
    pub fn run(mut self) -> Outcome {
        let step = self.dispatch()?;
        self.cpu.committed();
        Ok(step)
    }

    fn dispatch(&mut self) -> Outcome {
        use Op::*;
        match self.insn.op {
            Alu(_) | Shift(_) | Bit(_) | Test | Not | Neg | Inc | Dec | Xchg | Xadd | Cmpxchg
            | Cmpxchg8b | Shld | Shrd => self.operate(),
            Mul | Imul | Div | Idiv | ImulReg => self.multiply(),
            Mov | Movzx | Movsx | Lea | Bswap | Bsf | Bsr | Cmov(_) | Set(_) | Convert | Spread
            | Sahf | Lahf | Xlat | Nop | Flag(_) => self.data(),
            Push | Pop | PushSegment(_) | PopSegment(_) | Pusha | Popa | Pushf | Popf | Enter
            | Leave => self.stack_operation(),
            Jmp | Call | Ret | Loop(_) | Jcc(_) => self.near(),
            JmpFar | CallFar | RetFar | Iret | Int | Int3 | Into | LoadFar(_) | MovFromSegment
            | MovToSegment => self.far(),
            Movs | Cmps | Stos | Lods | Scas | Ins | Outs => self.string(),
            _ => self.system(),
        }
    }

    /// RIP as wide as code has it.
    pub fn next_rip(&self) -> u64 {
        let next = self.cpu.rip().wrapping_add(self.insn.len.into());
        match self.bits {
            Bits::B64 => next,
            _ => next & 0xffff_ffff,
        }
    }

    /// The instruction is complete: on to the next.
    pub fn done(&mut self) -> Outcome {
        let next = self.next_rip();
        self.cpu.set_rip(next);
        Ok(Step::Done)
    }

    pub fn op(&self, n: usize) -> Operand {
        self.insn.ops.get(n).copied().unwrap_or(Operand::None)
    }

    /// Operand size by the usual rule: that of a register, else even opcodes are about bytes.
    pub fn width(&self) -> Width {
        match (self.op(0), self.insn.opcode & 1) {
            (Operand::Reg(slice), _) => slice.width,
            (_, 0) => Width::B1,
            _ => self.insn.size,
        }
    }

    pub fn get(&mut self, n: usize, width: Width) -> Result<u64, Stop> {
        match self.op(n) {
            Operand::Reg(slice) => Ok(slice.read(self.cpu) & width.mask()),
            Operand::Imm(value) => Ok(value & width.mask()),
            Operand::Mem(address) => self.load(self.place(address), width),
            _ => Err(UNKNOWN),
        }
    }

    /// Writes a register as wide as its name, or memory.
    pub fn put(&mut self, n: usize, width: Width, value: u64) -> Result<(), Stop> {
        match self.op(n) {
            Operand::Reg(slice) => {
                slice.write(self.cpu, value);
                Ok(())
            }
            Operand::Mem(address) => self.store(self.place(address), width, value),
            _ => Err(UNKNOWN),
        }
    }

    pub fn memory(&self, n: usize) -> Result<Place, Stop> {
        match self.op(n) {
            Operand::Mem(address) => Ok(self.place(address)),
            _ => Err(UNKNOWN),
        }
    }

    pub fn gpr(&self, number: u8, width: Width) -> u64 {
        self.cpu.gpr(Gpr(number)) & width.mask()
    }

    /// Writes the low part of a register, as the CPU does.
    pub fn set_gpr(&mut self, number: u8, width: Width, value: u64) {
        crate::operand::Slice {
            reg: Gpr(number),
            shift: 0,
            width,
        }
        .write(self.cpu, value);
    }

    /// Whether condition `cc` of the sixteen holds.
    pub fn condition(&self, cc: u8) -> bool {
        alu::condition(self.cpu.flags(), cc)
    }

    pub fn iopl(&self) -> u8 {
        ((self.cpu.flags() & IOPL) >> 12) as u8
    }

    fn privileged(&self) -> Result<(), Stop> {
        match self.mode == Mode::Real || self.cpu.cpl() == 0 && self.cpu.flags() & VM == 0 {
            true => Ok(()),
            false => Err(Fault::GP0.into()),
        }
    }

    /// Interrupts, ports, tables, control registers.
    fn system(&mut self) -> Outcome {
        match self.insn.op {
            Op::In | Op::Out => self.port()?,
            Op::Cli | Op::Sti => return self.interrupts(),
            Op::Sgdt | Op::Sidt => self.store_table()?,
            Op::Smsw => {
                let value = self.cpu.cr(0);
                match self.op(0) {
                    Operand::Mem(_) => self.put(0, Width::B2, value)?,
                    _ => self.put(0, self.insn.size, value)?,
                }
            }
            op => {
                self.privileged()?;
                match op {
                    Op::Hlt => {
                        self.done()?;
                        return Ok(Step::Halt);
                    }
                    Op::Clts => self.cpu.set_cr(0, self.cpu.cr(0) & !8)?,
                    Op::Lmsw => {
                        // It sets PE and never clears it.
                        let (old, new) = (self.cpu.cr(0), self.get(0, Width::B2)?);
                        self.cpu.set_cr(0, old & !0xe | new & 0xf)?;
                    }
                    Op::Wbinvd => self.cpu.wbinvd(),
                    Op::Invlpg => self.invlpg()?,
                    Op::Lgdt | Op::Lidt => self.load_table()?,
                    _ => self.special_register()?,
                }
            }
        }
        self.done()
    }

    fn invlpg(&mut self) -> Result<(), Stop> {
        let Place { segment, offset } = self.memory(0)?;
        let base = match (self.mode, segment) {
            (Mode::Long, Segment::Fs | Segment::Gs) => self.cpu.segment(segment).base,
            (Mode::Long, _) => 0,
            _ => self.cpu.segment(segment).base,
        };
        let address = base.wrapping_add(offset);
        self.cpu.invlpg(match self.mode {
            Mode::Long => address,
            _ => address & 0xffff_ffff,
        });
        Ok(())
    }

    fn port(&mut self) -> Result<(), Stop> {
        let width = match self.insn.opcode & 1 {
            0 => Width::B1,
            _ if self.insn.size == Width::B2 => Width::B2,
            _ => Width::B4,
        };
        let port = match self.insn.opcode & 8 {
            0 => match [self.op(0), self.op(1)] {
                [Operand::Imm(port), _] | [_, Operand::Imm(port)] => port as u8 as u16,
                _ => return Err(UNKNOWN),
            },
            _ => self.gpr(2, Width::B2) as u16,
        };
        if self.insn.op == Op::Out {
            let value = self.gpr(0, width) as u32;
            return self.cpu.port_out(port, width, value);
        }
        let value = self.cpu.port_in(port, width)?;
        self.set_gpr(0, width, u64::from(value) & width.mask());
        Ok(())
    }

    fn interrupts(&mut self) -> Outcome {
        if self.mode != Mode::Real && self.cpu.cpl() > self.iopl() {
            return Err(Fault::GP0.into());
        }
        let flags = self.cpu.flags();
        self.done()?;
        if self.insn.op == Op::Cli {
            self.cpu.set_flags(flags & !IF);
            return Ok(Step::Done);
        }
        self.cpu.set_flags(flags | IF);
        Ok(match flags & IF {
            0 => Step::Shadow,
            _ => Step::Done,
        })
    }

    /// Width of a table's base.
    fn table_base(&self) -> Width {
        match self.bits {
            Bits::B64 => Width::B8,
            _ => Width::B4,
        }
    }

    fn store_table(&mut self) -> Result<(), Stop> {
        let table = match self.insn.op {
            Op::Sgdt => Table::Gdt,
            _ => Table::Idt,
        };
        let state = self.cpu.table(table);
        let mut bytes = [0; 10];
        bytes[..2].copy_from_slice(&(state.limit as u16).to_le_bytes());
        bytes[2..].copy_from_slice(&state.base.to_le_bytes());
        let size = 2 + self.table_base().bytes();
        let address = self.linear(self.memory(0)?, size, Want::Write)?;
        self.cpu.write(address, &bytes[..size as usize], false)
    }

    fn load_table(&mut self) -> Result<(), Stop> {
        let table = match self.insn.op {
            Op::Lgdt => Table::Gdt,
            _ => Table::Idt,
        };
        let mut bytes = [0; 10];
        let size = 2 + self.table_base().bytes();
        let address = self.linear(self.memory(0)?, size, Want::Read)?;
        self.cpu.read(address, &mut bytes[..size as usize], false)?;
        let [l0, l1, base @ ..] = bytes;
        let mut base = u64::from_le_bytes(base);
        if self.bits == Bits::B64 && !super::memory::is_canonical(base) {
            return Err(Fault::GP0.into());
        } else if self.bits != Bits::B64 && self.insn.size == Width::B2 {
            base &= 0xff_ffff;
        }
        self.cpu
            .set_table(table, base, u16::from_le_bytes([l0, l1]));
        Ok(())
    }

    fn special_register(&mut self) -> Result<(), Stop> {
        let width = self.table_base();
        match (self.insn.op, self.op(0), self.op(1)) {
            (Op::MovFromCr, Operand::Reg(to), Operand::Special(cr @ (0 | 2 | 3 | 4 | 8))) => {
                let value = self.cpu.cr(cr);
                self.set_gpr(to.reg.0, width, value & width.mask());
            }
            (Op::MovToCr, Operand::Special(cr @ (0 | 2 | 3 | 4 | 8)), Operand::Reg(from)) => {
                self.cpu.set_cr(cr, self.gpr(from.reg.0, width))?;
            }
            (Op::MovFromDr, Operand::Reg(to), Operand::Special(dr @ 0..=7)) => {
                let value = self.cpu.dr(dr);
                self.set_gpr(to.reg.0, width, value & width.mask());
            }
            (Op::MovToDr, Operand::Special(dr @ 0..=7), Operand::Reg(from)) => {
                self.cpu.set_dr(dr, self.gpr(from.reg.0, width))?;
            }
            _ => return Err(UNKNOWN),
        }
        Ok(())
    }
}
