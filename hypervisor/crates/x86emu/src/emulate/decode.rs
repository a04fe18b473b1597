//! Instructions of all modes as the emulator wants them: [`Insn`].
//!
//! What an instruction is, is read off its opcode here ([`Op`]); the decoder crate, whose modes have types of their own,
//! gives length and operands.
use super::Bits;
use crate::operand::{Gpr, Slice, Width};
use crate::{MAX_LEN, Segment, Unhandled};
use yaxpeax_arch::LengthedInstruction;

/// What is done.
#[rustfmt::skip]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    /// add, or, adc, sbb, and, sub, xor, cmp, as opcodes number them.
    Alu(u8),
    /// rol, ror, rcl, rcr, shl, shr, sal, sar.
    Shift(u8),
    /// bt, bts, btr, btc.
    Bit(u8),
    Test, Not, Neg, Mul, Imul, Div, Idiv, ImulReg, Inc, Dec,
    Mov, Movzx, Movsx, Lea, Xchg, Xadd, Cmpxchg, Cmpxchg8b, Bswap, Bsf, Bsr, Shld, Shrd,
    Cmov(u8), Set(u8), Jcc(u8),
    Convert, Spread, Sahf, Lahf, Xlat, Nop,
    /// clc, stc, cmc, cld, std.
    Flag(u8),
    Push, Pop, PushSegment(Segment), PopSegment(Segment), Pusha, Popa, Pushf, Popf, Enter, Leave,
    Jmp, Call, Ret, Loop(u8), JmpFar, CallFar, RetFar, Iret, Int, Int3, Into,
    LoadFar(Segment), MovFromSegment, MovToSegment,
    Movs, Cmps, Stos, Lods, Scas, Ins, Outs,
    In, Out, Cli, Sti, Hlt, Clts, Wbinvd, Invlpg,
    Sgdt, Sidt, Lgdt, Lidt, Smsw, Lmsw, MovFromCr, MovToCr, MovFromDr, MovToDr,
}

/// An address before segmentation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Address {
    pub base: Option<Gpr>,
    pub index: Option<(Gpr, u8)>,
    pub disp: i64,
    /// Relative to the next instruction.
    pub rip: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Operand {
    None,
    Reg(Slice),
    Segment(u8),
    /// A control or debug register.
    Special(u8),
    Mem(Address),
    Imm(u64),
    Far(u16, u32),
}

/// A decoded instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Insn {
    pub op: Op,
    pub ops: [Operand; 3],
    pub len: u8,
    /// The last byte of the opcode.
    pub opcode: u8,
    pub lock: bool,
    /// f3 and f2.
    pub rep: bool,
    pub repne: bool,
    /// Operand size, address size.
    pub size: Width,
    pub addresses: Width,
    /// An override that counts.
    pub segment: Option<Segment>,
}

/// Prefixes and opcode.
struct Opening {
    lock: bool,
    rep: bool,
    repne: bool,
    short: bool,
    other_addresses: bool,
    segment: Option<Segment>,
    rex: u8,
    two: bool,
    opcode: u8,
    modrm: Option<u8>,
    /// Bytes up to and with the opcode.
    len: usize,
}

impl Opening {
    fn read(bytes: &[u8], bits: Bits) -> Result<Opening, Unhandled> {
        let mut bytes = bytes.iter().copied().take(MAX_LEN);
        let mut next = || bytes.next().ok_or(Unhandled::Truncated);
        let long = bits == Bits::B64;
        let mut o = Opening {
            lock: false,
            rep: false,
            repne: false,
            short: false,
            other_addresses: false,
            segment: None,
            rex: 0,
            two: false,
            opcode: next()?,
            modrm: None,
            len: 1,
        };
        loop {
            match o.opcode {
                0x66 => o.short = true,
                0x67 => o.other_addresses = true,
                0xf0 => o.lock = true,
                0xf2 => (o.rep, o.repne) = (false, true),
                0xf3 => (o.rep, o.repne) = (true, false),
                0x64 => o.segment = Some(Segment::Fs),
                0x65 => o.segment = Some(Segment::Gs),
                0x26 | 0x2e | 0x36 | 0x3e if long => {}
                0x26 => o.segment = Some(Segment::Es),
                0x2e => o.segment = Some(Segment::Cs),
                0x36 => o.segment = Some(Segment::Ss),
                0x3e => o.segment = Some(Segment::Ds),
                _ => break,
            }
            o.opcode = next()?;
            o.len += 1;
        }
        if long && o.opcode & 0xf0 == 0x40 {
            o.rex = o.opcode;
            o.opcode = next()?;
            o.len += 1;
        }
        if o.opcode == 0x0f {
            o.two = true;
            o.opcode = next()?;
            o.len += 1;
        }
        o.modrm = next().ok();
        Ok(o)
    }

    /// The middle field of ModRM.
    fn reg(&self) -> Option<u8> {
        Some(self.modrm? >> 3 & 7)
    }

    fn classify(&self, bits: Bits) -> Option<Op> {
        match (self.two, self.opcode) {
            (false, 0x00..=0x7f) => self.low(bits),
            (false, _) => self.high(bits),
            (true, _) => self.two(),
        }
    }

    /// Opcodes up to 7f.
    fn low(&self, bits: Bits) -> Option<Op> {
        let old = bits != Bits::B64;
        Some(match self.opcode {
            0x00..=0x3f if self.opcode & 7 < 6 => Op::Alu(self.opcode >> 3),
            0x06 | 0x0e | 0x16 | 0x1e if old => Op::PushSegment(segment(self.opcode >> 3)?),
            0x07 | 0x17 | 0x1f if old => Op::PopSegment(segment(self.opcode >> 3)?),
            0x40..=0x47 if old => Op::Inc,
            0x48..=0x4f if old => Op::Dec,
            0x50..=0x57 | 0x68 | 0x6a => Op::Push,
            0x58..=0x5f => Op::Pop,
            0x60 if old => Op::Pusha,
            0x61 if old => Op::Popa,
            0x63 if !old => Op::Movsx,
            0x69 | 0x6b => Op::ImulReg,
            0x6c | 0x6d => Op::Ins,
            0x6e | 0x6f => Op::Outs,
            0x70..=0x7f => Op::Jcc(self.opcode & 15),
            _ => return None,
        })
    }

    /// Opcodes from 80.
    fn high(&self, bits: Bits) -> Option<Op> {
        let old = bits != Bits::B64;
        Some(match self.opcode {
            0x82 if !old => return None,
            0x80..=0x83 => Op::Alu(self.reg()?),
            0x84 | 0x85 | 0xa8 | 0xa9 => Op::Test,
            0x86 | 0x87 => Op::Xchg,
            0x88..=0x8b | 0xa0..=0xa3 | 0xb0..=0xbf => Op::Mov,
            0x8c => Op::MovFromSegment,
            0x8d => Op::Lea,
            0x8e => Op::MovToSegment,
            0x8f if self.reg()? == 0 => Op::Pop,
            0x90 if self.rex & 1 == 0 => Op::Nop,
            0x90..=0x97 => Op::Xchg,
            0x98 => Op::Convert,
            0x99 => Op::Spread,
            0x9a if old => Op::CallFar,
            0x9c => Op::Pushf,
            0x9d => Op::Popf,
            0x9e => Op::Sahf,
            0x9f => Op::Lahf,
            0xa4 | 0xa5 => Op::Movs,
            0xa6 | 0xa7 => Op::Cmps,
            0xaa | 0xab => Op::Stos,
            0xac | 0xad => Op::Lods,
            0xae | 0xaf => Op::Scas,
            0xc0 | 0xc1 | 0xd0..=0xd3 => Op::Shift(self.reg()?),
            0xc2 | 0xc3 => Op::Ret,
            0xc4 | 0xc5 if old && self.modrm? < 0xc0 => Op::LoadFar(match self.opcode {
                0xc4 => Segment::Es,
                _ => Segment::Ds,
            }),
            0xc6 | 0xc7 if self.reg()? == 0 => Op::Mov,
            0xc8 => Op::Enter,
            0xc9 => Op::Leave,
            0xca | 0xcb => Op::RetFar,
            0xcc => Op::Int3,
            0xcd => Op::Int,
            0xce if old => Op::Into,
            0xcf => Op::Iret,
            0xd7 => Op::Xlat,
            0xe0..=0xe3 => Op::Loop(self.opcode & 3),
            0xe4 | 0xe5 | 0xec | 0xed => Op::In,
            0xe6 | 0xe7 | 0xee | 0xef => Op::Out,
            0xe8 => Op::Call,
            0xe9 | 0xeb => Op::Jmp,
            0xea if old => Op::JmpFar,
            0xf4 => Op::Hlt,
            0xf5 | 0xf8 | 0xf9 | 0xfc | 0xfd => Op::Flag(self.opcode & 15),
            0xfa => Op::Cli,
            0xfb => Op::Sti,
            0xf6 | 0xf7 | 0xfe | 0xff => return self.group(),
            _ => return None,
        })
    }

    /// Unary operations, by ModRM.
    fn group(&self) -> Option<Op> {
        Some(match (self.opcode, self.reg()?) {
            (0xf6 | 0xf7, 0) => Op::Test,
            (0xf6 | 0xf7, 2) => Op::Not,
            (0xf6 | 0xf7, 3) => Op::Neg,
            (0xf6 | 0xf7, 4) => Op::Mul,
            (0xf6 | 0xf7, 5) => Op::Imul,
            (0xf6 | 0xf7, 6) => Op::Div,
            (0xf6 | 0xf7, 7) => Op::Idiv,
            (0xfe | 0xff, 0) => Op::Inc,
            (0xfe | 0xff, 1) => Op::Dec,
            (0xff, 2) => Op::Call,
            (0xff, 3) => Op::CallFar,
            (0xff, 4) => Op::Jmp,
            (0xff, 5) => Op::JmpFar,
            (0xff, 6) => Op::Push,
            _ => return None,
        })
    }

    /// Opcodes after 0f.
    fn two(&self) -> Option<Op> {
        let memory = self.modrm.is_some_and(|byte| byte < 0xc0);
        Some(match self.opcode {
            0x01 => match (self.reg()?, memory) {
                (0, true) => Op::Sgdt,
                (1, true) => Op::Sidt,
                (2, true) => Op::Lgdt,
                (3, true) => Op::Lidt,
                (4, _) => Op::Smsw,
                (6, _) => Op::Lmsw,
                (7, true) => Op::Invlpg,
                _ => return None,
            },
            0x06 => Op::Clts,
            0x09 => Op::Wbinvd,
            0x1f if self.reg()? == 0 => Op::Nop,
            0x20 => Op::MovFromCr,
            0x21 => Op::MovFromDr,
            0x22 => Op::MovToCr,
            0x23 => Op::MovToDr,
            0x40..=0x4f => Op::Cmov(self.opcode & 15),
            0x80..=0x8f => Op::Jcc(self.opcode & 15),
            0x90..=0x9f => Op::Set(self.opcode & 15),
            0xa0 | 0xa8 => Op::PushSegment(segment(self.opcode >> 3 & 1 | 4)?),
            0xa1 | 0xa9 => Op::PopSegment(segment(self.opcode >> 3 & 1 | 4)?),
            0xa3 | 0xab | 0xb3 | 0xbb => Op::Bit(self.opcode >> 3 & 3),
            0xba if self.reg()? >= 4 => Op::Bit(self.reg()? & 3),
            0xa4 | 0xa5 => Op::Shld,
            0xac | 0xad => Op::Shrd,
            0xaf => Op::ImulReg,
            0xb0 | 0xb1 => Op::Cmpxchg,
            0xb2 if memory => Op::LoadFar(Segment::Ss),
            0xb4 if memory => Op::LoadFar(Segment::Fs),
            0xb5 if memory => Op::LoadFar(Segment::Gs),
            0xb6 | 0xb7 => Op::Movzx,
            0xbe | 0xbf => Op::Movsx,
            0xbc if !self.rep => Op::Bsf,
            0xbd if !self.rep => Op::Bsr,
            0xc0 | 0xc1 => Op::Xadd,
            0xc3 if memory && !self.short && !self.rep && !self.repne => Op::Mov,
            0xc7 if memory && self.reg()? == 1 => Op::Cmpxchg8b,
            0xc8..=0xcf => Op::Bswap,
            _ => return None,
        })
    }
}

/// A segment register by its number.
pub(crate) fn segment(number: u8) -> Option<Segment> {
    use Segment::*;
    [Es, Cs, Ss, Ds, Fs, Gs].get(usize::from(number)).copied()
}

/// A mode of the decoder crate: its addresses and registers in our terms.
macro_rules! reader {
    ($name:ident, $disp:ident, [$($gpr:ident)*], [$($rip:ident)*], $($more:tt)*) => {
        mod $name {
            use super::{Address, Gpr, Operand, Slice, Unhandled, Width};
            use yaxpeax_x86::$name::*;
            use register_class as class;

            pub fn read(bytes: &[u8]) -> Result<Instruction, Unhandled> {
                InstDecoder::default().decode_slice(bytes).map_err(|e| match e {
                    DecodeError::ExhaustedInput => Unhandled::Truncated,
                    _ => Unhandled::Unknown,
                })
            }

            fn gpr(r: RegSpec) -> Option<Gpr> {
                [$(class::$gpr),*].contains(&r.class()).then(|| Gpr(r.num() & 15))
            }

            fn address(base: Option<RegSpec>, index: Option<(RegSpec, u8)>, disp: i64) -> Option<Operand> {
                let rip = base.is_some_and(|_r| false $(|| _r.class() == class::$rip)*);
                Some(Operand::Mem(Address {
                    base: match base {
                        Some(r) if !rip => Some(gpr(r)?),
                        _ => None,
                    },
                    index: match index {
                        Some((r, scale)) => Some((gpr(r)?, scale)),
                        None => None,
                    },
                    disp,
                    rip,
                }))
            }

            fn register(r: RegSpec) -> Option<Operand> {
                let num = r.num();
                if r.class() == class::S {
                    return Some(Operand::Segment(num));
                } else if r.class() == class::CR || r.class() == class::DR {
                    return Some(Operand::Special(num));
                }
                let (num, shift) = if r.class() == class::B && num >= 4 { (num & 3, 8) } else { (num & 15, 0) };
                // Bytes with a REX prefix have a class of their own, which only one mode knows.
                if r.width() != 1 {
                    gpr(r)?;
                }
                Some(Operand::Reg(Slice { reg: Gpr(num), shift, width: Width::from_bytes(r.width()).ok()? }))
            }

            pub fn operand(i: &Instruction, n: u8) -> Option<Operand> {
                use yaxpeax_x86::$name::Operand as O;
                if n >= i.operand_count() {
                    return Some(Operand::None);
                }
                match i.operand(n) {
                    O::ImmediateI8 { imm } => Some(Operand::Imm(imm as u64)),
                    O::ImmediateU8 { imm } => Some(Operand::Imm(imm.into())),
                    O::ImmediateI16 { imm } => Some(Operand::Imm(imm as u64)),
                    O::ImmediateU16 { imm } => Some(Operand::Imm(imm.into())),
                    O::ImmediateI32 { imm } => Some(Operand::Imm(imm as u64)),
                    O::ImmediateU32 { imm } => Some(Operand::Imm(imm.into())),
                    O::Register { reg } => register(reg),
                    O::AbsoluteU32 { addr } => address(None, None, addr as i32 as i64),
                    O::MemDeref { base } => address(Some(base), None, 0),
                    O::$disp { base, disp } => address(Some(base), None, disp.into()),
                    O::MemIndexScale { index, scale } => address(None, Some((index, scale)), 0),
                    O::MemIndexScaleDisp { index, scale, disp } => address(None, Some((index, scale)), disp.into()),
                    O::MemBaseIndexScale { base, index, scale } => address(Some(base), Some((index, scale)), 0),
                    O::MemBaseIndexScaleDisp { base, index, scale, disp } => {
                        address(Some(base), Some((index, scale)), disp.into())
                    }
                    O::Nothing => Some(Operand::None),
                    $($more)*
                    _ => None,
                }
            }
        }
    };
}
reader!(long_mode, Disp, [Q D W], [RIP EIP],
    O::ImmediateI64 { imm } => Some(Operand::Imm(imm as u64)),
    O::ImmediateU64 { imm } => Some(Operand::Imm(imm)),
    O::AbsoluteU64 { addr } => address(None, None, addr as i64),
);
reader!(protected_mode, Disp, [D W], [],
    O::AbsoluteU16 { addr } => address(None, None, addr.into()),
    O::AbsoluteFarAddress { segment, address } => Some(Operand::Far(segment, address)),
);
reader!(real_mode, MemDisp, [D W], [],
    O::AbsoluteU16 { addr } => address(None, None, addr.into()),
    O::AbsoluteFarAddress { segment, address } => Some(Operand::Far(segment, address)),
);

/// Length and operands, by the crate.
fn operands(code: &[u8], bits: Bits) -> Read {
    macro_rules! by {
        ($mode:ident) => {{
            let i = $mode::read(code)?;
            let operand = |n| $mode::operand(&i, n).ok_or(Unhandled::Unknown);
            let len = 0.wrapping_offset(i.len()) as u8;
            Ok((len, [operand(0)?, operand(1)?, operand(2)?]))
        }};
    }
    use yaxpeax_arch::AddressBase;
    match bits {
        Bits::B16 => by!(real_mode),
        Bits::B32 => by!(protected_mode),
        Bits::B64 => by!(long_mode),
    }
}

type Read = Result<(u8, [Operand; 3]), Unhandled>;

/// Targets written in 16- and 32-bit code, whose length with an operand-size prefix the crate (2.2.0) has the wrong way
/// round; far ones it does not know. `None`: not one of these.
fn target(code: &[u8], o: &Opening, size: Width, bits: Bits) -> Option<Read> {
    let far = matches!((o.two, o.opcode), (false, 0x9a | 0xea));
    let near = matches!(
        (o.two, o.opcode),
        (false, 0xe8 | 0xe9) | (true, 0x80..=0x8f)
    );
    if bits == Bits::B64 || !near && !far {
        return None;
    }
    let mut at = o.len;
    let mut next = |bytes: usize| {
        let mut value = [0; 4];
        let part = code.get(at..at + bytes).ok_or(Unhandled::Truncated)?;
        at += bytes;
        value[..bytes].copy_from_slice(part);
        Ok(u32::from_le_bytes(value))
    };
    if o.lock {
        return Some(Err(Unhandled::Unknown));
    }
    let read = |offset: u32, selector: Option<u32>| match (selector, size) {
        (Some(selector), _) => Operand::Far(selector as u16, offset),
        (None, Width::B2) => Operand::Imm(offset as i16 as u64),
        (None, _) => Operand::Imm(offset as i32 as u64),
    };
    let operand = next(size.bytes() as usize).and_then(|offset| {
        let selector = if far { Some(next(2)?) } else { None };
        Ok(read(offset, selector))
    });
    let len = at as u8;
    Some(operand.map(|operand| (len, [operand, Operand::None, Operand::None])))
}

/// Decodes the instruction at the beginning of `code`.
pub(crate) fn decode(code: &[u8], bits: Bits) -> Result<Insn, Unhandled> {
    let code = code.get(..MAX_LEN).unwrap_or(code);
    let o = Opening::read(code, bits)?;
    // Without its ModRM byte an instruction may not be known, yet be one of ours.
    let op = o.classify(bits).ok_or(match o.modrm {
        None => Unhandled::Truncated,
        Some(_) => Unhandled::Unknown,
    })?;
    use Width::*;
    let size = match bits {
        Bits::B16 if o.short => B4,
        Bits::B16 => B2,
        Bits::B64 if o.rex & 8 != 0 => B8,
        _ if o.short => B2,
        _ => B4,
    };
    let (len, mut ops) = match target(code, &o, size, bits) {
        Some(read) => read?,
        None => operands(code, bits)?,
    };
    // Widths follow from opcode and prefixes; the crate has some that do not.
    for (n, operand) in ops.iter_mut().enumerate() {
        if let Operand::Reg(slice) = operand
            && slice.width != B1
        {
            slice.width = match (op, o.opcode) {
                (Op::Movsx, 0x63) if n == 1 && size != B2 => B4,
                (Op::Movsx | Op::Movzx, 0xb7 | 0xbf) if n == 1 => B2,
                _ => size,
            };
        }
    }
    let addresses = match (bits, o.other_addresses) {
        (Bits::B64, false) => B8,
        (Bits::B64, true) | (Bits::B32, false) | (Bits::B16, true) => B4,
        _ => B2,
    };
    Ok(Insn {
        op,
        ops,
        len,
        opcode: o.opcode,
        lock: o.lock,
        rep: o.rep,
        repne: o.repne,
        size,
        addresses,
        segment: o.segment,
    })
}
