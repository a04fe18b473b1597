//! String instructions. A repeated one is done [`CHUNK`] elements at a time; each element is complete in itself.
use super::DF;
use super::decode::Op;
use super::execute::{Exec, Outcome};
use super::memory::Place;
use super::system::{Step, Stop, System};
use crate::{Gpr, Segment, Width, alu};

/// Elements per call.
const CHUNK: u32 = 64;

impl<S: System + ?Sized> Exec<'_, S> {
    pub fn string(&mut self) -> Outcome {
        let addresses = self.insn.addresses;
        if !self.insn.rep && !self.insn.repne {
            self.element()?;
            return self.done();
        }
        for _ in 0..CHUNK {
            let left = self.gpr(1, addresses);
            if left == 0 {
                return self.done();
            }
            self.element()?;
            self.set_gpr(1, addresses, left.wrapping_sub(1) & addresses.mask());
            // f3 compares while equal, f2 while different.
            let compares = matches!(self.insn.op, Op::Cmps | Op::Scas);
            let equal = self.cpu.flags() & alu::ZF != 0;
            if left == 1 || compares && equal != self.insn.rep {
                return self.done();
            }
            self.cpu.committed();
        }
        Ok(Step::Again)
    }

    fn string_width(&self) -> Width {
        match (self.insn.op, self.insn.opcode & 1, self.insn.size) {
            (_, 0, _) => Width::B1,
            (Op::Ins | Op::Outs, _, Width::B8) => Width::B4,
            (_, _, size) => size,
        }
    }

    /// One element; registers change when all of it has been done.
    fn element(&mut self) -> Result<(), Stop> {
        let width = self.string_width();
        let mask = self.insn.addresses.mask();
        let from = Place {
            segment: self.insn.segment.unwrap_or(Segment::Ds),
            offset: self.cpu.gpr(Gpr::RSI) & mask,
        };
        let to = Place {
            segment: Segment::Es,
            offset: self.cpu.gpr(Gpr::RDI) & mask,
        };
        let flags = self.cpu.flags();
        let port = self.gpr(2, Width::B2) as u16;
        match self.insn.op {
            Op::Movs => {
                let value = self.load(from, width)?;
                self.store(to, width, value)?;
            }
            Op::Stos => self.store(to, width, self.gpr(0, width))?,
            Op::Lods => {
                let value = self.load(from, width)?;
                self.set_gpr(0, width, value);
            }
            Op::Cmps => {
                let (a, b) = (self.load(from, width)?, self.load(to, width)?);
                self.cpu.set_flags(alu::sub(flags, a, b, width));
            }
            Op::Scas => {
                let b = self.load(to, width)?;
                let a = self.gpr(0, width);
                self.cpu.set_flags(alu::sub(flags, a, b, width));
            }
            Op::Ins => {
                // Where it will be written is checked before the device is asked.
                self.linear(to, width.bytes(), super::memory::Want::Write)?;
                let value = self.cpu.port_in(port, width)?;
                self.store(to, width, value.into())?;
            }
            _ => {
                let value = self.load(from, width)?;
                self.cpu.port_out(port, width, value as u32)?;
            }
        }
        let step = match flags & DF {
            0 => width.bytes(),
            _ => width.bytes().wrapping_neg(),
        };
        if matches!(self.insn.op, Op::Movs | Op::Lods | Op::Cmps | Op::Outs) {
            self.advance(6, step);
        }
        if matches!(
            self.insn.op,
            Op::Movs | Op::Stos | Op::Cmps | Op::Scas | Op::Ins
        ) {
            self.advance(7, step);
        }
        Ok(())
    }

    fn advance(&mut self, register: u8, step: u64) {
        let addresses = self.insn.addresses;
        let value = self.gpr(register, addresses).wrapping_add(step);
        self.set_gpr(register, addresses, value & addresses.mask());
    }
}
