//! Registers, widths and effective addresses, as the decoder names them and as we do.
use crate::{Cpu, Unhandled};
use yaxpeax_arch::{AddressBase, LengthedInstruction};
use yaxpeax_x86::long_mode::{
    DecodeError, InstDecoder, Instruction, Operand, RegSpec, register_class as class,
};

/// A general register by its hardware number (0 rax, 1 rcx, 2 rdx, 3 rbx, 4 rsp, 5 rbp, 6 rsi, 7 rdi, 8.. r8..).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gpr(pub u8);

#[allow(missing_docs)]
impl Gpr {
    pub const RAX: Gpr = Gpr(0);
    pub const RCX: Gpr = Gpr(1);
    pub const RDX: Gpr = Gpr(2);
    pub const RBX: Gpr = Gpr(3);
    pub const RSI: Gpr = Gpr(6);
    pub const RDI: Gpr = Gpr(7);
}

/// Segment registers in hardware order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Segment {
    Es,
    Cs,
    Ss,
    Ds,
    Fs,
    Gs,
}

/// Operand size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Width {
    B1 = 1,
    B2 = 2,
    B4 = 4,
    B8 = 8,
}

impl Width {
    /// In bytes.
    pub const fn bytes(self) -> u64 {
        self as u64
    }
    /// In bits.
    pub const fn bits(self) -> u32 {
        self as u32 * 8
    }
    /// All bits of an operand of this size.
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }
    pub(crate) fn from_bytes(bytes: u8) -> Result<Width, Unhandled> {
        match bytes {
            1 => Ok(Width::B1),
            2 => Ok(Width::B2),
            4 => Ok(Width::B4),
            8 => Ok(Width::B8),
            _ => Err(Unhandled::Unknown),
        }
    }
}

/// An effective address, not yet computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ea {
    base: Base,
    index: Option<(Gpr, u8)>,
    disp: i64,
    segment: Segment,
    addr32: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Base {
    None,
    Gpr(Gpr),
    /// The next instruction, so many bytes after the start of this one.
    Rip(u64),
}

impl Ea {
    /// The linear address at the present register values.
    pub fn linear<C: Cpu + ?Sized>(&self, cpu: &C) -> u64 {
        let base = match self.base {
            Base::None => 0,
            Base::Gpr(r) => cpu.gpr(r),
            Base::Rip(len) => cpu.rip().wrapping_add(len),
        };
        let index = self
            .index
            .map_or(0, |(r, scale)| cpu.gpr(r).wrapping_mul(scale as u64));
        let mut offset = base.wrapping_add(index).wrapping_add_signed(self.disp);
        if self.addr32 {
            offset &= u32::MAX as u64;
        }
        match self.segment {
            Segment::Fs | Segment::Gs => offset.wrapping_add(cpu.segment_base(self.segment)),
            _ => offset,
        }
    }
}

/// A register, or memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegMem {
    /// A general register.
    Reg(Gpr),
    /// Memory.
    Mem(Ea),
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Instruction, Unhandled> {
    InstDecoder::default()
        .decode_slice(bytes.get(..crate::MAX_LEN).unwrap_or(bytes))
        .map_err(|e| match e {
            DecodeError::ExhaustedInput => Unhandled::Truncated,
            _ => Unhandled::Unknown,
        })
}

/// The instruction's length.
pub(crate) fn length(i: &Instruction) -> u8 {
    0u64.wrapping_offset(i.len()) as u8
}

/// The segment that memory operands use: an override, or none that matters in 64-bit mode.
fn segment(i: &Instruction) -> Segment {
    use yaxpeax_x86::long_mode::Segment as S;
    match i.prefixes.segment() {
        S::FS => Segment::Fs,
        S::GS => Segment::Gs,
        S::CS => Segment::Cs,
        S::ES => Segment::Es,
        S::SS => Segment::Ss,
        S::DS => Segment::Ds,
    }
}

/// The address of operand `op`, if it is memory.
pub(crate) fn memory(i: &Instruction, op: u8) -> Option<Ea> {
    let (base, index, disp) = match i.operand(op) {
        Operand::AbsoluteU32 { addr } => (None, None, addr as i32 as i64),
        Operand::AbsoluteU64 { addr } => (None, None, addr as i64),
        Operand::MemDeref { base } => (Some(base), None, 0),
        Operand::Disp { base, disp } => (Some(base), None, disp as i64),
        Operand::MemIndexScale { index, scale } => (None, Some((index, scale)), 0),
        Operand::MemIndexScaleDisp { index, scale, disp } => {
            (None, Some((index, scale)), disp as i64)
        }
        Operand::MemBaseIndexScale { base, index, scale } => (Some(base), Some((index, scale)), 0),
        Operand::MemBaseIndexScaleDisp {
            base,
            index,
            scale,
            disp,
        } => (Some(base), Some((index, scale)), disp as i64),
        _ => return None,
    };
    let base = match base {
        None => Base::None,
        Some(r) if r.class() == class::RIP || r.class() == class::EIP => {
            Base::Rip(length(i) as u64)
        }
        Some(r) => Base::Gpr(gpr(r)?),
    };
    let index = match index {
        None => None,
        Some((r, scale)) => Some((gpr(r)?, scale)),
    };
    Some(Ea {
        base,
        index,
        disp,
        segment: segment(i),
        addr32: i.prefixes.address_size(),
    })
}

/// A register of 16 bits or more.
pub(crate) fn gpr(r: RegSpec) -> Option<Gpr> {
    let wide = [class::Q, class::D, class::W].contains(&r.class());
    wide.then(|| Gpr(r.num() & 15))
}

/// Part of a general register: which, and how far up it starts (8 for ah, ch, dh, bh).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slice {
    pub reg: Gpr,
    pub shift: u32,
    pub width: Width,
}

impl Slice {
    pub fn of(r: RegSpec) -> Option<Slice> {
        let num = r.num() & 15;
        let (num, shift) = match r.class() {
            class::Q | class::D | class::W | class::RB => (num, 0),
            class::B if num < 4 => (num, 0),
            class::B => (num - 4, 8),
            _ => return None,
        };
        Some(Slice {
            reg: Gpr(num),
            shift,
            width: Width::from_bytes(r.width()).ok()?,
        })
    }

    pub fn read<C: Cpu + ?Sized>(self, cpu: &C) -> u64 {
        cpu.gpr(self.reg) >> self.shift & self.width.mask()
    }

    /// As the CPU does: 32-bit results clear the upper half, shorter ones leave the rest.
    pub fn write<C: Cpu + ?Sized>(self, cpu: &mut C, value: u64) {
        let mask = self.width.mask() << self.shift;
        let value = match self.width {
            Width::B8 => value,
            Width::B4 => value & mask,
            _ => cpu.gpr(self.reg) & !mask | value << self.shift & mask,
        };
        cpu.set_gpr(self.reg, value);
    }
}

/// An immediate operand, sign-extended as the instruction has it.
pub(crate) fn immediate(o: Operand) -> Option<u64> {
    Some(match o {
        Operand::ImmediateI8 { imm } => imm as u64,
        Operand::ImmediateU8 { imm } => imm as u64,
        Operand::ImmediateI16 { imm } => imm as u64,
        Operand::ImmediateU16 { imm } => imm as u64,
        Operand::ImmediateI32 { imm } => imm as u64,
        Operand::ImmediateU32 { imm } => imm as u64,
        Operand::ImmediateI64 { imm } => imm as u64,
        Operand::ImmediateU64 { imm } => imm,
        _ => return None,
    })
}
