//! Arithmetic flags, as the CPU sets them.
use crate::Width;

const CF: u64 = 1 << 0;
const PF: u64 = 1 << 2;
const AF: u64 = 1 << 4;
pub(crate) const ZF: u64 = 1 << 6;
const SF: u64 = 1 << 7;
const OF: u64 = 1 << 11;

/// Result flags (zero, sign, parity) of `value`.
fn result(value: u64, width: Width) -> u64 {
    let value = value & width.mask();
    let zf = if value == 0 { ZF } else { 0 };
    let sf = if value >> (width.bits() - 1) & 1 != 0 {
        SF
    } else {
        0
    };
    let pf = if (value as u8).count_ones() & 1 == 0 {
        PF
    } else {
        0
    };
    zf | sf | pf
}

/// Flags after and, or, xor.
pub(crate) fn logic(flags: u64, value: u64, width: Width) -> u64 {
    flags & !(CF | PF | AF | ZF | SF | OF) | result(value, width)
}

/// Flags after `a + b`.
pub(crate) fn add(flags: u64, a: u64, b: u64, width: Width) -> u64 {
    let (a, b) = (a & width.mask(), b & width.mask());
    let r = a.wrapping_add(b) & width.mask();
    arithmetic(flags, r < a, (a ^ r) & (b ^ r), a ^ b ^ r, r, width)
}

/// Flags after `a - b`, also those of a comparison.
pub(crate) fn sub(flags: u64, a: u64, b: u64, width: Width) -> u64 {
    let (a, b) = (a & width.mask(), b & width.mask());
    let r = a.wrapping_sub(b) & width.mask();
    arithmetic(flags, a < b, (a ^ b) & (a ^ r), a ^ b ^ r, r, width)
}

fn arithmetic(flags: u64, carry: bool, overflow: u64, adjust: u64, r: u64, width: Width) -> u64 {
    let cf = if carry { CF } else { 0 };
    let of = if overflow >> (width.bits() - 1) & 1 != 0 {
        OF
    } else {
        0
    };
    let af = if adjust & 0x10 != 0 { AF } else { 0 };
    flags & !(CF | PF | AF | ZF | SF | OF) | cf | of | af | result(r, width)
}

/// Flags with the carry that a bit test leaves.
pub(crate) fn bit(flags: u64, set: bool) -> u64 {
    flags & !CF | if set { CF } else { 0 }
}

/// `new` with the carry of `old`: inc and dec leave it alone.
pub(crate) fn keep_carry(old: u64, new: u64) -> u64 {
    new & !CF | old & CF
}
