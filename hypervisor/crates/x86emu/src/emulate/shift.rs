//! Shifts and rotations with their flags.
use crate::{Width, alu};

/// Operation `n` (rol, ror, rcl, rcr, shl, shr, sal, sar) on `a`: result and flags. What manuals leave undefined is as for
/// a count of one.
pub(super) fn shift(n: u8, flags: u64, a: u64, count: u64, width: Width) -> (u64, u64) {
    let bits = width.bits();
    let count = count as u32 & if width == Width::B8 { 63 } else { 31 };
    if count == 0 {
        return (a, flags);
    }
    let mask = width.mask();
    let top = |v: u64| v >> (bits - 1) & 1 != 0;
    let second = |v: u64| v >> (bits - 2) & 1 != 0;
    let wide = u128::from(a);
    match n {
        0 | 1 => {
            let by = count % bits;
            let by = if n == 0 { by } else { (bits - by) % bits };
            let r = (a << by | if by == 0 { 0 } else { a >> (bits - by) }) & mask;
            let carry = if n == 0 { r & 1 != 0 } else { top(r) };
            let overflow = if n == 0 {
                top(r) != carry
            } else {
                top(r) != second(r)
            };
            (r, alu::carry_overflow(flags, carry, overflow))
        }
        2 | 3 => {
            // With the carry on top there is one bit more to rotate.
            let ring = bits + 1;
            let whole = wide | u128::from(flags & 1) << bits;
            let by = count % ring;
            let by = if n == 2 { by } else { (ring - by) % ring };
            let turned = whole << by | if by == 0 { 0 } else { whole >> (ring - by) };
            let (r, carry) = (turned as u64 & mask, turned >> bits & 1 != 0);
            let overflow = if n == 2 {
                top(r) != carry
            } else {
                top(r) != second(r)
            };
            (r, alu::carry_overflow(flags, carry, overflow))
        }
        4 | 6 => {
            let r = wide << count;
            let carry = r >> bits & 1 != 0;
            let r = r as u64 & mask;
            let flags = alu::logic(flags, r, width);
            (r, alu::carry_overflow(flags, carry, top(r) != carry))
        }
        5 => {
            let r = (wide >> count) as u64;
            let carry = wide >> (count - 1) & 1 != 0;
            let flags = alu::logic(flags, r, width);
            (r, alu::carry_overflow(flags, carry, top(a)))
        }
        _ => {
            let signed = i128::from((a << (64 - bits)) as i64 >> (64 - bits));
            let r = (signed >> count) as u64 & mask;
            let carry = signed >> (count - 1) & 1 != 0;
            let flags = alu::logic(flags, r, width);
            (r, alu::carry_overflow(flags, carry, false))
        }
    }
}

/// shld (`left`) or shrd of `a`, filled from `b`.
pub(super) fn double(
    left: bool,
    flags: u64,
    a: u64,
    b: u64,
    count: u64,
    width: Width,
) -> (u64, u64) {
    let bits = width.bits();
    let count = count as u32 & if width == Width::B8 { 63 } else { 31 };
    // Beyond the operand's size everything is undefined: nothing happens.
    if count == 0 || count > bits {
        return (a, flags);
    }
    let (wide_a, wide_b) = (u128::from(a), u128::from(b));
    let (r, carry) = match left {
        true => {
            let both = (wide_a << bits | wide_b) << count;
            ((both >> bits) as u64, (wide_a >> (bits - count)) & 1 != 0)
        }
        false => {
            let both = wide_b << bits | wide_a;
            ((both >> count) as u64, wide_a >> (count - 1) & 1 != 0)
        }
    };
    let r = r & width.mask();
    let overflow = (a ^ r) >> (bits - 1) & 1 != 0;
    let flags = alu::logic(flags, r, width);
    (r, alu::carry_overflow(flags, carry, overflow))
}
