//! Segments: loads of segment registers, far jumps, interrupts and their returns.
//!
//! In protected mode transfers stay within their privilege level; gates, tasks and changes of level are not ours
//! ([`Unhandled::Unknown`](crate::Unhandled)), and a software interrupt is handed back for the hardware to deliver.
use super::decode::{Op, Operand};
use super::execute::{Exec, Outcome, UNKNOWN};
use super::memory::{Want, is_canonical};
use super::stack::shadow;
use super::system::{Fault, Locked, SegmentState, Step, Stop, System, Table};
use super::{AC, EFER_LMA, IF, Mode, NT, RF, TF};
use crate::{Segment, Width};

const RPL: u16 = 3;
const OF: u64 = 1 << 11;

impl<S: System + ?Sized> Exec<'_, S> {
    pub fn far(&mut self) -> Outcome {
        match self.insn.op {
            Op::MovFromSegment => {
                let Operand::Segment(number) = self.op(1) else {
                    return Err(UNKNOWN);
                };
                let segment = super::decode::segment(number).ok_or(UNKNOWN)?;
                let selector = self.cpu.segment(segment).selector.into();
                match self.op(0) {
                    Operand::Reg(slice) => self.set_gpr(slice.reg.0, self.insn.size, selector),
                    _ => self.put(0, Width::B2, selector)?,
                }
                self.done()
            }
            Op::MovToSegment => {
                let Operand::Segment(number) = self.op(0) else {
                    return Err(UNKNOWN);
                };
                let segment = super::decode::segment(number).ok_or(UNKNOWN)?;
                let selector = self.get(1, Width::B2)? as u16;
                if segment == Segment::Cs {
                    return Err(Fault::InvalidOpcode.into());
                }
                let state = self.check_segment(segment, selector)?;
                self.cpu.set_segment(segment, state);
                self.done()?;
                Ok(shadow(segment))
            }
            Op::LoadFar(segment) => {
                let (offset, selector) = self.far_pointer(1)?;
                let state = self.check_segment(segment, selector)?;
                self.put(0, self.insn.size, offset)?;
                self.cpu.set_segment(segment, state);
                self.done()?;
                Ok(shadow(segment))
            }
            Op::JmpFar | Op::CallFar => self.transfer(),
            Op::RetFar => self.return_far(),
            Op::Iret => self.return_from_interrupt(),
            Op::Into if self.cpu.flags() & OF == 0 => self.done(),
            _ => self.interrupt(),
        }
    }

    /// An offset and a selector in memory.
    fn far_pointer(&mut self, n: usize) -> Result<(u64, u16), Stop> {
        let (size, place) = (self.insn.size, self.memory(n)?);
        self.linear(place, size.bytes() + 2, Want::Read)?;
        let offset = self.load(place, size)?;
        let after = place.plus(size.bytes(), self.insn.addresses);
        Ok((offset, self.load(after, Width::B2)? as u16))
    }

    fn is_real(&self) -> bool {
        matches!(self.mode, Mode::Real | Mode::Virtual86)
    }

    /// What a segment register would hold; the accessed bit is set on the way.
    pub fn check_segment(&mut self, segment: Segment, selector: u16) -> Result<SegmentState, Stop> {
        if self.is_real() {
            // Limit and type stay: that is how 16-bit code gets at 4 GiB.
            let old = self.cpu.segment(segment);
            let base = u64::from(selector) << 4;
            return Ok(SegmentState {
                selector,
                base,
                ..old
            });
        }
        let (cpl, rpl) = (self.cpu.cpl(), (selector & RPL) as u8);
        let error = selector & !RPL;
        let bad = Stop::Fault(Fault::GeneralProtection(error));
        if error == 0 {
            let allowed =
                segment != Segment::Ss || self.mode == Mode::Long && cpl < 3 && rpl == cpl;
            return match allowed {
                true => Ok(SegmentState {
                    selector,
                    ..SegmentState::default()
                }),
                false => Err(bad),
            };
        }
        let (address, raw) = self.descriptor(selector)?;
        let state = SegmentState::unpack(selector, raw);
        let is = |bits| state.has(bits);
        let code = is(SegmentState::CODE);
        let fits = is(SegmentState::NOT_SYSTEM)
            && match segment {
                Segment::Ss => {
                    !code && is(SegmentState::WRITABLE) && rpl == cpl && state.dpl() == cpl
                }
                _ if code && !is(SegmentState::READABLE) => false,
                _ => code && is(SegmentState::DOWN) || state.dpl() >= cpl.max(rpl),
            };
        if !fits {
            return Err(bad);
        }
        if !is(SegmentState::PRESENT) {
            return Err(match segment {
                Segment::Ss => Fault::Stack(error),
                _ => Fault::NotPresent(error),
            }
            .into());
        }
        self.touch(address, raw)?;
        Ok(SegmentState {
            access: state.access | SegmentState::ACCESSED,
            ..state
        })
    }

    /// A descriptor and where it is.
    fn descriptor(&mut self, selector: u16) -> Result<(u64, u64), Stop> {
        let error = selector & !RPL;
        let table = self.cpu.table(if selector & 4 != 0 {
            Table::Ldt
        } else {
            Table::Gdt
        });
        let usable = selector & 4 == 0 || table.has(SegmentState::PRESENT);
        if !usable || u32::from(selector | 7) > table.limit {
            return Err(Fault::GeneralProtection(error).into());
        }
        let mut address = table.base.wrapping_add(u64::from(selector & !7));
        if self.cpu.efer() & EFER_LMA == 0 {
            address &= 0xffff_ffff;
        }
        let raw = self.load_linear(address, Width::B8, true)?;
        Ok((address, raw))
    }

    /// Sets the accessed bit.
    fn touch(&mut self, address: u64, raw: u64) -> Result<(), Stop> {
        let accessed = raw | 1 << 40;
        if raw == accessed {
            return Ok(());
        }
        match self.cpu.exchange(address, Width::B8, raw, accessed)? {
            Locked::Exchanged => Ok(()),
            // Somebody is changing it: look again.
            Locked::Differs => Err(Stop::Later),
        }
    }

    /// The code segment that a jump, call or return at this privilege level leads to, and the target within it.
    fn check_code(
        &mut self,
        selector: u16,
        offset: u64,
        returning: bool,
    ) -> Result<SegmentState, Stop> {
        let state = if self.is_real() {
            let old = self.cpu.segment(Segment::Cs);
            SegmentState {
                selector,
                base: u64::from(selector) << 4,
                ..old
            }
        } else {
            self.check_descriptor(selector, returning)?
        };
        let long = state.is_long() && self.cpu.efer() & EFER_LMA != 0 && !self.is_real();
        let within = match long {
            true => is_canonical(offset),
            false => offset <= state.limit.into(),
        };
        match within {
            true => Ok(state),
            false => Err(Fault::GP0.into()),
        }
    }

    fn check_descriptor(&mut self, selector: u16, returning: bool) -> Result<SegmentState, Stop> {
        let (cpl, rpl, error) = (self.cpu.cpl(), (selector & RPL) as u8, selector & !RPL);
        let bad = Stop::Fault(Fault::GeneralProtection(error));
        if error == 0 {
            return Err(bad);
        }
        let (address, raw) = self.descriptor(selector)?;
        let state = SegmentState::unpack(selector & !RPL | u16::from(cpl), raw);
        if !state.has(SegmentState::NOT_SYSTEM) && !returning {
            // A gate or a task.
            return Err(UNKNOWN);
        }
        if returning && rpl > cpl {
            return Err(UNKNOWN);
        }
        let fits = state.has(SegmentState::NOT_SYSTEM | SegmentState::CODE)
            && match (state.has(SegmentState::DOWN), returning) {
                (true, _) => state.dpl() <= cpl,
                (false, true) => state.dpl() == cpl && rpl == cpl,
                (false, false) => state.dpl() == cpl && rpl <= cpl,
            };
        let both = state.is_long() && state.is_big() && self.cpu.efer() & EFER_LMA != 0;
        if !fits || both {
            return Err(bad);
        }
        if !state.has(SegmentState::PRESENT) {
            return Err(Fault::NotPresent(error).into());
        }
        self.touch(address, raw)?;
        Ok(SegmentState {
            access: state.access | SegmentState::ACCESSED,
            ..state
        })
    }

    fn transfer(&mut self) -> Outcome {
        let size = self.insn.size;
        let (offset, selector) = match self.op(0) {
            Operand::Far(selector, offset) => (u64::from(offset) & size.mask(), selector),
            _ => self.far_pointer(0)?,
        };
        let state = self.check_code(selector, offset, false)?;
        if self.insn.op == Op::CallFar {
            let cs = self.cpu.segment(Segment::Cs).selector;
            let next = self.next_rip();
            self.push_all(&[cs.into(), next], size)?;
        }
        self.cpu.set_segment(Segment::Cs, state);
        self.cpu.set_rip(offset);
        Ok(Step::Done)
    }

    fn return_far(&mut self) -> Outcome {
        let size = self.insn.size;
        let offset = self.peek(0, size)?;
        let selector = self.peek(size.bytes(), size)? as u16;
        let released = match self.op(0) {
            Operand::Imm(bytes) => bytes & 0xffff,
            _ => 0,
        };
        let state = self.check_code(selector, offset, true)?;
        self.release(2 * size.bytes() + released);
        self.cpu.set_segment(Segment::Cs, state);
        self.cpu.set_rip(offset);
        Ok(Step::Done)
    }

    fn return_from_interrupt(&mut self) -> Outcome {
        let size = self.insn.size;
        match self.mode {
            Mode::Long => return Err(UNKNOWN),
            Mode::Virtual86 if self.iopl() < 3 => return Err(Fault::GP0.into()),
            Mode::Protected if self.cpu.flags() & NT != 0 => return Err(UNKNOWN),
            _ => {}
        }
        let offset = self.peek(0, size)?;
        let selector = self.peek(size.bytes(), size)? as u16;
        let value = self.peek(2 * size.bytes(), size)?;
        // Back to virtual-8086 mode is a change of level.
        if self.mode == Mode::Protected
            && size == Width::B4
            && value & super::VM != 0
            && self.cpu.cpl() == 0
        {
            return Err(UNKNOWN);
        }
        let state = self.check_code(selector, offset, true)?;
        let flags = self.merge_flags(value, size);
        self.release(3 * size.bytes());
        self.cpu.set_segment(Segment::Cs, state);
        self.cpu.set_rip(offset);
        // Unlike popf this brings RF back.
        self.cpu.set_flags(flags | value & size.mask() & RF);
        Ok(Step::Done)
    }

    fn interrupt(&mut self) -> Outcome {
        let vector = match (self.insn.op, self.op(0)) {
            (Op::Int3, _) => 3,
            (Op::Into, _) => 4,
            (_, Operand::Imm(vector)) => vector as u8,
            _ => return Err(UNKNOWN),
        };
        if self.mode == Mode::Virtual86 && self.insn.op == Op::Int && self.iopl() < 3 {
            return Err(Fault::GP0.into());
        }
        if self.mode != Mode::Real {
            self.done()?;
            return Ok(Step::Interrupt(vector));
        }
        let idt = self.cpu.table(Table::Idt);
        let entry = u32::from(vector) * 4;
        if entry + 3 > idt.limit {
            return Err(Fault::GeneralProtection(u16::from(vector) * 8 + 2).into());
        }
        let address = idt.base.wrapping_add(entry.into()) & 0xffff_ffff;
        let entry = self.load_linear(address, Width::B4, true)?;
        let offset = entry & 0xffff;
        let state = self.check_code((entry >> 16) as u16, offset, false)?;
        let (flags, next) = (self.cpu.flags(), self.next_rip());
        let cs = self.cpu.segment(Segment::Cs).selector;
        self.push_all(&[flags, cs.into(), next], Width::B2)?;
        self.cpu.set_flags(flags & !(IF | TF | RF | AC));
        self.cpu.set_segment(Segment::Cs, state);
        self.cpu.set_rip(offset);
        Ok(Step::Done)
    }
}
