//! The stack: push and pop in all their forms.
use super::decode::{Op, Operand};
use super::execute::{Exec, Outcome, UNKNOWN};
use super::memory::{Place, Want, is_canonical};
use super::system::{Fault, Step, Stop, System};
use super::{AC, Bits, IF, IOPL, Mode, NT, RF, TF, VM};
use crate::{Gpr, Segment, Width};

/// Arithmetic flags and DF: anyone's to change.
pub(super) const ANYONES: u64 = 0xcd5 | TF | NT | AC | 1 << 21;
/// The most that is pushed at once (pusha).
const MOST: usize = 8;

impl<S: System + ?Sized> Exec<'_, S> {
    /// Width of what push and pop move.
    pub fn slot(&self) -> Width {
        match (self.bits, self.insn.size) {
            (Bits::B64, Width::B4) => Width::B8,
            (_, size) => size,
        }
    }

    fn top(&self, offset: u64) -> Place {
        let (sp, width) = self.stack();
        Place {
            segment: Segment::Ss,
            offset: sp.wrapping_add(offset) & width.mask(),
        }
    }

    /// What lies so many bytes above the top.
    pub fn peek(&mut self, offset: u64, width: Width) -> Result<u64, Stop> {
        self.load(self.top(offset), width)
    }

    /// Moves the stack pointer up.
    pub fn release(&mut self, bytes: u64) {
        let (sp, width) = self.stack();
        self.set_gpr(4, width, sp.wrapping_add(bytes) & width.mask());
    }

    /// Pushes all or nothing (except where the stack wraps around in their midst).
    pub fn push_all(&mut self, values: &[u64], width: Width) -> Result<(), Stop> {
        let (size, mut bytes) = (width.bytes() as usize, [0; MOST * 8]);
        let total = (values.len() * size) as u64;
        let (sp, _) = self.stack();
        if sp == 0 || sp >= total {
            for (slot, value) in bytes.chunks_mut(size).zip(values.iter().rev()) {
                slot.copy_from_slice(value.to_le_bytes().get(..size).ok_or(UNKNOWN)?);
            }
            let place = self.top(total.wrapping_neg());
            let address = self.linear(place, total, Want::Write)?;
            let bytes = bytes.get(..total as usize).ok_or(UNKNOWN)?;
            self.cpu.write(address, bytes, false)?;
        } else {
            for (n, value) in (1..).zip(values) {
                let place = self.top((n * width.bytes()).wrapping_neg());
                self.store(place, width, *value)?;
            }
        }
        self.release(total.wrapping_neg());
        Ok(())
    }

    pub fn stack_operation(&mut self) -> Outcome {
        let slot = self.slot();
        match self.insn.op {
            Op::Push => {
                let value = match self.op(0) {
                    Operand::Imm(value) => value,
                    Operand::Reg(slice) => self.gpr(slice.reg.0, slot),
                    _ => self.get(0, slot)?,
                };
                self.push_all(&[value], slot)?;
            }
            Op::Pop => self.pop(slot)?,
            Op::PushSegment(segment) => {
                let selector = self.cpu.segment(segment).selector;
                self.push_segment(selector, slot)?;
            }
            Op::PopSegment(segment) => {
                let selector = self.peek(0, Width::B2)? as u16;
                let state = self.check_segment(segment, selector)?;
                self.cpu.set_segment(segment, state);
                self.release(slot.bytes());
                self.done()?;
                return Ok(shadow(segment));
            }
            Op::Pusha => {
                let values = core::array::from_fn::<_, 8, _>(|n| self.cpu.gpr(Gpr(n as u8)));
                self.push_all(&values, slot)?;
            }
            Op::Popa => {
                let mut values = [0; 8];
                for (n, value) in values.iter_mut().rev().enumerate() {
                    *value = self.peek(n as u64 * slot.bytes(), slot)?;
                }
                self.release(8 * slot.bytes());
                for (n, value) in values.into_iter().enumerate().filter(|(n, _)| *n != 4) {
                    self.set_gpr(n as u8, slot, value);
                }
            }
            Op::Pushf => {
                self.virtual86_flags()?;
                let flags = self.cpu.flags() & !(RF | VM);
                self.push_all(&[flags], slot)?;
            }
            Op::Popf => {
                self.virtual86_flags()?;
                let value = self.peek(0, slot)?;
                self.release(slot.bytes());
                let flags = self.merge_flags(value, slot);
                self.cpu.set_flags(flags);
            }
            Op::Enter => self.enter(slot)?,
            _ => self.leave(slot)?,
        }
        self.done()
    }

    fn pop(&mut self, slot: Width) -> Result<(), Stop> {
        let value = self.peek(0, slot)?;
        match self.op(0) {
            Operand::Reg(slice) => {
                self.release(slot.bytes());
                self.set_gpr(slice.reg.0, slot, value);
            }
            Operand::Mem(mut address) => {
                // An address by the stack pointer is meant after the pop.
                if address.base == Some(Gpr(4)) {
                    address.disp = address.disp.wrapping_add_unsigned(slot.bytes());
                }
                self.store(self.place(address), slot, value)?;
                self.release(slot.bytes());
            }
            _ => return Err(UNKNOWN),
        }
        Ok(())
    }

    /// Of a wider slot only 16 bits are written.
    fn push_segment(&mut self, selector: u16, slot: Width) -> Result<(), Stop> {
        if self.bits == Bits::B64 || slot == Width::B2 {
            return self.push_all(&[selector.into()], slot);
        }
        self.store(
            self.top(slot.bytes().wrapping_neg()),
            Width::B2,
            selector.into(),
        )?;
        self.release(slot.bytes().wrapping_neg());
        Ok(())
    }

    fn virtual86_flags(&self) -> Result<(), Stop> {
        match self.mode == Mode::Virtual86 && self.iopl() < 3 {
            true => Err(Fault::GP0.into()),
            false => Ok(()),
        }
    }

    /// RFLAGS after `value` was popped, as far as the guest may change them.
    pub fn merge_flags(&self, value: u64, width: Width) -> u64 {
        let old = self.cpu.flags();
        let (real, cpl) = (self.mode == Mode::Real, self.cpu.cpl());
        let mut may = ANYONES;
        if real || cpl == 0 && self.mode != Mode::Virtual86 {
            may |= IOPL;
        }
        if real || cpl <= self.iopl() {
            may |= IF;
        }
        may &= width.mask();
        (old & !may | value & may) & !RF | 2
    }

    /// enter with its frame pointers; 31 of them at most.
    fn enter(&mut self, slot: Width) -> Result<(), Stop> {
        let (Operand::Imm(size), Operand::Imm(level)) = (self.op(0), self.op(1)) else {
            return Err(UNKNOWN);
        };
        let (sp, width) = self.stack();
        let frame = sp.wrapping_sub(slot.bytes()) & width.mask();
        let bp = self.cpu.gpr(Gpr(5));
        self.store(self.top(slot.bytes().wrapping_neg()), slot, bp)?;
        let level = level & 31;
        for n in 1..=level {
            let value = if n == level {
                frame
            } else {
                let offset = bp.wrapping_sub(n * slot.bytes()) & width.mask();
                self.load(
                    Place {
                        segment: Segment::Ss,
                        offset,
                    },
                    slot,
                )?
            };
            self.store(
                self.top(((n + 1) * slot.bytes()).wrapping_neg()),
                slot,
                value,
            )?;
        }
        let locals = (level * slot.bytes()).wrapping_add(size & 0xffff);
        let offset = frame.wrapping_sub(locals) & width.mask();
        let top = Place {
            segment: Segment::Ss,
            offset,
        };
        // The new top must be there.
        self.linear(top, slot.bytes(), Want::Write)?;
        self.load(top, slot)?;
        self.set_gpr(4, width, offset);
        self.set_gpr(5, slot, frame & slot.mask());
        Ok(())
    }

    fn leave(&mut self, slot: Width) -> Result<(), Stop> {
        let (_, width) = self.stack();
        let offset = self.cpu.gpr(Gpr(5)) & width.mask();
        let value = self.load(
            Place {
                segment: Segment::Ss,
                offset,
            },
            slot,
        )?;
        self.set_gpr(4, width, offset.wrapping_add(slot.bytes()) & width.mask());
        self.set_gpr(5, slot, value);
        Ok(())
    }

    /// An instruction pointer within the code segment.
    pub fn checked_target(&self, target: u64) -> Result<u64, Stop> {
        let within = match self.bits {
            Bits::B64 => is_canonical(target),
            _ => target <= self.cpu.segment(Segment::Cs).limit.into(),
        };
        match within {
            true => Ok(target),
            false => Err(Fault::GP0.into()),
        }
    }
}

/// After a load of SS interrupts wait.
pub(super) fn shadow(segment: Segment) -> Step {
    match segment {
        Segment::Ss => Step::Shadow,
        _ => Step::Done,
    }
}
