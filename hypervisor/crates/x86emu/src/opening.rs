//! Prefixes and opcode, read before the decoder sees an instruction.
//!
//! Guests choose these bytes, and a decoder for all of x86 is large: whatever is none of ours (vector encodings above all)
//! stops here. Operand widths are decided here too, for they follow from prefixes and opcode alone.
use crate::{MAX_LEN, Segment, Unhandled, Width};

/// Where an opcode is listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Map {
    /// One byte.
    One,
    /// After 0f.
    Two,
}

/// How an instruction begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Opening {
    pub map: Map,
    pub opcode: u8,
    rex_w: bool,
    short: bool,
    /// Prefix 67: the addresses of the other size.
    pub other_addresses: bool,
    /// Segment of data: the last override that counts, or DS.
    pub segment: Segment,
}

impl Opening {
    /// Reads the opening; `long`: as 64-bit code, where 40 to 4f are REX prefixes.
    pub fn read(bytes: &[u8], long: bool) -> Result<Opening, Unhandled> {
        let mut bytes = bytes.iter().copied().take(MAX_LEN);
        let mut next = || bytes.next().ok_or(Unhandled::Truncated);
        let (mut short, mut other_addresses, mut rex) = (false, false, 0);
        let mut segment = Segment::Ds;
        let mut byte = next()?;
        loop {
            match byte {
                0x66 => short = true,
                0x67 => other_addresses = true,
                0x64 => segment = Segment::Fs,
                0x65 => segment = Segment::Gs,
                // Without effect in 64-bit code.
                0x26 | 0x2e | 0x36 | 0x3e if long => {}
                0x26 => segment = Segment::Es,
                0x2e => segment = Segment::Cs,
                0x36 => segment = Segment::Ss,
                0x3e => segment = Segment::Ds,
                0xf0 | 0xf2 | 0xf3 => {}
                _ => break,
            }
            byte = next()?;
        }
        if long && byte & 0xf0 == 0x40 {
            rex = byte;
            // Further prefixes would undo this one: legal, and nobody writes it. They are no opcodes of ours.
            byte = next()?;
        }
        let (map, opcode) = match byte {
            0x0f => (Map::Two, next()?),
            opcode => (Map::One, opcode),
        };
        Ok(Opening {
            map,
            opcode,
            rex_w: rex & 8 != 0,
            short,
            other_addresses,
            segment,
        })
    }

    /// Width of an operand of more than a byte.
    pub fn wide(&self) -> Width {
        match (self.rex_w, self.short) {
            (true, _) => Width::B8,
            (false, true) => Width::B2,
            (false, false) => Width::B4,
        }
    }

    /// Width by the usual rule: even opcodes are about bytes.
    pub fn width(&self) -> Width {
        match self.opcode & 1 {
            0 => Width::B1,
            _ => self.wide(),
        }
    }

    /// [`width`](Self::width) of port I/O, which REX.W does not widen.
    pub fn io_width(&self) -> Width {
        match self.width() {
            Width::B8 => Width::B4,
            width => width,
        }
    }
}
