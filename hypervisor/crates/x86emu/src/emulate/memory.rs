//! Segmentation: offsets become linear addresses here, checked against limits, types and canonical form.
use super::decode::Address;
use super::execute::Exec;
use super::system::{Fault, Locked, SegmentState, Stop, System};
use super::{Bits, Mode};
use crate::{Gpr, Segment, Width};

/// What memory is wanted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Want {
    Read,
    Write,
}

/// An operand in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub segment: Segment,
    pub offset: u64,
}

impl Place {
    /// So many bytes on, within the same address size.
    pub fn plus(self, bytes: u64, addresses: Width) -> Place {
        Place {
            offset: self.offset.wrapping_add(bytes) & addresses.mask(),
            ..self
        }
    }
}

pub(crate) fn is_canonical(address: u64) -> bool {
    (address as i64) << 16 >> 16 == address as i64
}

impl<S: System + ?Sized> Exec<'_, S> {
    /// The place of a memory operand.
    pub fn place(&self, a: Address) -> Place {
        let base = match a.base {
            _ if a.rip => self.next_rip(),
            Some(r) => self.cpu.gpr(r),
            None => 0,
        };
        let index = a
            .index
            .map_or(0, |(r, scale)| self.cpu.gpr(r).wrapping_mul(scale.into()));
        let offset = base.wrapping_add(index).wrapping_add_signed(a.disp);
        // Addresses by stack and frame pointer are in the stack.
        let usual = match a.base {
            Some(Gpr(4 | 5)) => Segment::Ss,
            _ => Segment::Ds,
        };
        Place {
            segment: self.insn.segment.unwrap_or(usual),
            offset: offset & self.insn.addresses.mask(),
        }
    }

    /// The linear address of `size` bytes.
    pub fn linear(&self, place: Place, size: u64, want: Want) -> Result<u64, Stop> {
        let Place { segment, offset } = place;
        let fault = match segment {
            Segment::Ss => Fault::Stack(0),
            _ => Fault::GP0,
        };
        let last = offset.wrapping_add(size.wrapping_sub(1));
        let state = self.cpu.segment(segment);
        if self.mode == Mode::Long {
            let base = match segment {
                Segment::Fs | Segment::Gs => state.base,
                _ => 0,
            };
            let (first, last) = (base.wrapping_add(offset), base.wrapping_add(last));
            return match is_canonical(first) && is_canonical(last) {
                true => Ok(first),
                false => Err(fault.into()),
            };
        }
        if self.mode == Mode::Protected && !permits(&state, want) {
            return Err(fault.into());
        }
        let data_down = state.access & (SegmentState::CODE | SegmentState::DOWN);
        let within = match data_down == SegmentState::DOWN {
            false => last <= state.limit.into() && last >= offset,
            true => {
                let top: u64 = if state.is_big() { 0xffff_ffff } else { 0xffff };
                offset > state.limit.into() && last <= top && last >= offset
            }
        };
        match within {
            true => Ok(state.base.wrapping_add(offset) & 0xffff_ffff),
            false => Err(fault.into()),
        }
    }

    pub fn load(&mut self, place: Place, width: Width) -> Result<u64, Stop> {
        let address = self.linear(place, width.bytes(), Want::Read)?;
        self.load_linear(address, width, false)
    }

    pub fn load_linear(&mut self, address: u64, width: Width, system: bool) -> Result<u64, Stop> {
        let mut bytes = [0; 8];
        self.cpu
            .read(address, &mut bytes[..width.bytes() as usize], system)?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub fn store(&mut self, place: Place, width: Width, value: u64) -> Result<(), Stop> {
        let address = self.linear(place, width.bytes(), Want::Write)?;
        let bytes = value.to_le_bytes();
        self.cpu
            .write(address, &bytes[..width.bytes() as usize], false)
    }

    /// Replaces `old` by `new`, atomically if that was asked for; false: it is no longer `old`.
    pub fn replace(
        &mut self,
        place: Place,
        width: Width,
        (old, new): (u64, u64),
        locked: bool,
    ) -> Result<bool, Stop> {
        if !locked {
            self.store(place, width, new)?;
            return Ok(true);
        }
        let address = self.linear(place, width.bytes(), Want::Write)?;
        let found = self.cpu.exchange(address, width, old, new)?;
        Ok(found == Locked::Exchanged)
    }

    /// The place of the stack's top and the width of its pointer.
    pub fn stack(&self) -> (u64, Width) {
        let width = match self.bits {
            Bits::B64 => Width::B8,
            _ if self.cpu.segment(Segment::Ss).is_big() => Width::B4,
            _ => Width::B2,
        };
        (self.cpu.gpr(Gpr(4)) & width.mask(), width)
    }
}

fn permits(state: &SegmentState, want: Want) -> bool {
    if !state.has(SegmentState::PRESENT | SegmentState::NOT_SYSTEM) {
        return false;
    }
    match (state.has(SegmentState::CODE), want) {
        (true, Want::Read) => state.has(SegmentState::READABLE),
        (true, Want::Write) => false,
        (false, Want::Read) => true,
        (false, Want::Write) => state.has(SegmentState::WRITABLE),
    }
}
