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

/// Operation `n` of add, or, adc, sbb, and, sub, xor, cmp: result and flags.
pub(crate) fn binary(n: u8, flags: u64, a: u64, b: u64, width: Width) -> (u64, u64) {
    let carry = flags & CF;
    let r = match n & 7 {
        0 => a.wrapping_add(b),
        1 => a | b,
        2 => a.wrapping_add(b).wrapping_add(carry),
        3 => a.wrapping_sub(b).wrapping_sub(carry),
        4 => a & b,
        6 => a ^ b,
        _ => a.wrapping_sub(b),
    } & width.mask();
    let (a, b) = (a & width.mask(), b & width.mask());
    let flags = match n & 7 {
        0 => add(flags, a, b, width),
        2 => {
            let over = r < a || carry != 0 && r == a;
            arithmetic(flags, over, (a ^ r) & (b ^ r), a ^ b ^ r, r, width)
        }
        3 => {
            let over = a < b || carry != 0 && a == b;
            arithmetic(flags, over, (a ^ b) & (a ^ r), a ^ b ^ r, r, width)
        }
        5 | 7 => sub(flags, a, b, width),
        _ => logic(flags, r, width),
    };
    (r, flags)
}

/// `flags` with another carry and overflow.
pub(crate) fn carry_overflow(flags: u64, carry: bool, overflow: bool) -> u64 {
    let of = if overflow { OF } else { 0 };
    bit(flags & !OF | of, carry)
}

/// Whether condition `cc` holds: o, b, z, be, s, p, l, le; odd ones are the opposites.
pub(crate) fn condition(flags: u64, cc: u8) -> bool {
    let is = |flag| flags & flag != 0;
    let less = is(SF) != is(OF);
    let holds = match cc >> 1 & 7 {
        0 => is(OF),
        1 => is(CF),
        2 => is(ZF),
        3 => is(CF | ZF),
        4 => is(SF),
        5 => is(PF),
        6 => less,
        _ => is(ZF) || less,
    };
    holds != (cc & 1 != 0)
}
