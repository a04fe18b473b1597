//! Multiplication and division.
use super::decode::{Op, Operand};
use super::execute::{Exec, Outcome, UNKNOWN};
use super::system::{Fault, Stop, System};
use crate::{Width, alu};

fn signed(value: u64, width: Width) -> i128 {
    let unused = 64 - width.bits();
    i128::from((value << unused) as i64 >> unused)
}

impl<S: System + ?Sized> Exec<'_, S> {
    pub fn multiply(&mut self) -> Outcome {
        if self.insn.op == Op::ImulReg {
            return self.multiply_registers();
        }
        let width = self.width();
        let b = self.get(0, width)?;
        match self.insn.op {
            Op::Mul => {
                let r = u128::from(self.gpr(0, width)) * u128::from(b);
                self.set_product(r, width, r >> width.bits() != 0);
            }
            Op::Imul => {
                let r = signed(self.gpr(0, width), width) * signed(b, width);
                self.set_product(r as u128, width, r != signed(r as u64, width));
            }
            _ => self.divide(b, width)?,
        }
        self.done()
    }

    fn multiply_registers(&mut self) -> Outcome {
        let Operand::Reg(to) = self.op(0) else {
            return Err(UNKNOWN);
        };
        let width = to.width;
        let b = self.get(1, width)?;
        let a = match self.op(2) {
            Operand::Imm(value) => value & width.mask(),
            _ => to.read(self.cpu),
        };
        let r = signed(a, width) * signed(b, width);
        to.write(self.cpu, r as u64 & width.mask());
        let over = r != signed(r as u64, width);
        let flags = alu::carry_overflow(self.cpu.flags(), over, over);
        self.cpu.set_flags(flags);
        self.done()
    }

    /// Writes ax, or dx:ax and wider.
    fn set_pair(&mut self, low: u64, high: u64, width: Width) {
        match width {
            Width::B1 => self.set_gpr(0, Width::B2, low & 0xff | (high & 0xff) << 8),
            _ => {
                self.set_gpr(0, width, low & width.mask());
                self.set_gpr(2, width, high & width.mask());
            }
        }
    }

    fn set_product(&mut self, r: u128, width: Width, over: bool) {
        self.set_pair(r as u64, (r >> width.bits()) as u64, width);
        let flags = alu::carry_overflow(self.cpu.flags(), over, over);
        self.cpu.set_flags(flags);
    }

    fn divide(&mut self, divisor: u64, width: Width) -> Result<(), Stop> {
        let dividend = match width {
            Width::B1 => u128::from(self.gpr(0, Width::B2)),
            _ => u128::from(self.gpr(2, width)) << width.bits() | u128::from(self.gpr(0, width)),
        };
        let fault = Stop::Fault(Fault::Divide);
        let (quotient, remainder) = match self.insn.op {
            Op::Div => {
                let d = u128::from(divisor);
                let q = dividend.checked_div(d).ok_or(fault)?;
                if q >> width.bits() != 0 {
                    return Err(fault);
                }
                (q as u64, (dividend - q * d) as u64)
            }
            _ => {
                let unused = 128 - 2 * width.bits();
                let dividend = (dividend << unused) as i128 >> unused;
                let d = signed(divisor, width);
                let q = dividend.checked_div(d).ok_or(fault)?;
                if q != signed(q as u64, width) {
                    return Err(fault);
                }
                (q as u64, dividend.wrapping_sub(q * d) as u64)
            }
        };
        self.set_pair(quotient, remainder, width);
        Ok(())
    }
}
