//! Every byte sequence means to us what it means to a second, unrelated decoder: iced-x86.
//!
//! Sequences are random prefixes before an opcode that is likely to be one of ours, and plain noise. Both directions are
//! checked: what we accept, iced reads as the same instruction with the same length, operands and address; what iced
//! reads as one of ours, we accept.
mod common;

use common::Regs;
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic as M, OpKind, Register};
use proptest::prelude::*;
use x86emu::{Cpu, Gpr, MemOp, Port, PrivOp, RegMem, Segment, Unhandled, Width};
use x86emu::{decode_mem_write, decode_priv};

const RIP: u64 = 0xffff_ffff_8100_1234;

/// A register as iced names it.
fn value(reg: Register, regs: &Regs) -> u64 {
    match reg {
        Register::FS => common::FS_BASE,
        Register::GS => common::GS_BASE,
        reg if reg.is_segment_register() => 0,
        reg => {
            let full = regs.gpr[reg.full_register().number()];
            let high = matches!(
                reg,
                Register::AH | Register::CH | Register::DH | Register::BH
            );
            let value = if high { full >> 8 } else { full };
            value & u64::MAX >> (64 - 8 * reg.size())
        }
    }
}

fn iced(bytes: &[u8]) -> Option<Instruction> {
    let i = Decoder::with_ip(64, bytes, RIP, DecoderOptions::NONE).decode();
    (!i.is_invalid()).then_some(i)
}

/// One of ours by iced's reading, with memory as its destination (or, for xchg, as either operand).
fn writes(i: &Instruction) -> bool {
    let string = i.mnemonic() == M::Stosb
        || i.mnemonic() == M::Stosw
        || i.mnemonic() == M::Stosd
        || i.mnemonic() == M::Stosq;
    if string {
        return i.op0_kind() == OpKind::MemoryESRDI;
    }
    let ours = matches!(
        i.mnemonic(),
        M::Mov
            | M::Movnti
            | M::And
            | M::Or
            | M::Xor
            | M::Add
            | M::Sub
            | M::Inc
            | M::Dec
            | M::Not
            | M::Neg
    ) || matches!(
        i.mnemonic(),
        M::Xchg | M::Xadd | M::Cmpxchg | M::Bts | M::Btr | M::Btc
    );
    let segment = i.op_count() == 2
        && i.op1_kind() == OpKind::Register
        && i.op1_register().is_segment_register();
    ours && i.op0_kind() == OpKind::Memory && !segment
}

/// What iced says about the memory operand: address and size.
fn target(i: &Instruction, regs: &Regs) -> (u64, usize) {
    let at = i.virtual_address(0, 0, |reg, _, _| Some(value(reg, regs)));
    let mut at = at.expect("a memory operand");
    let size = i.memory_size().size();
    // A bit beyond the operand is in one of its neighbours; iced speaks of the operand.
    if matches!(i.mnemonic(), M::Bts | M::Btr | M::Btc) && i.op1_kind() == OpKind::Register {
        let bit = value(i.op1_register(), regs);
        let bit = match size {
            2 => bit as i16 as i64,
            4 => bit as i32 as i64,
            _ => bit as i64,
        };
        let size = size as i64;
        at = at.wrapping_add_signed(bit.div_euclid(size * 8) * size);
    }
    (at, size)
}

/// A REX prefix that another prefix follows, which makes it void. No compiler does that, and we decline.
fn void_rex(bytes: &[u8]) -> bool {
    let rex = bytes.iter().position(|b| b & 0xf0 == 0x40);
    let prefixes = bytes.iter().take_while(|b| PREFIXES.contains(b)).count();
    rex == Some(prefixes)
        && bytes
            .get(prefixes + 1)
            .is_some_and(|b| PREFIXES.contains(b) || b & 0xf0 == 0x40)
}

fn check_write(bytes: &[u8], regs: &Regs) {
    let ours: Result<MemOp, Unhandled> = decode_mem_write(bytes, regs);
    let theirs = iced(bytes);
    match (&ours, &theirs) {
        (Ok(op), Some(i)) => {
            assert!(writes(i), "{i:?} is none of ours: {op:?}");
            let (at, size) = target(i, regs);
            assert_eq!(op.len(), i.len(), "length of {i:?}");
            assert_eq!(op.width().bytes(), size as u64, "size of {i:?}");
            assert_eq!(op.addr(), at, "address of {i:?}: {op:?}");
        }
        (Ok(op), None) => panic!("{bytes:02x?} is no instruction, yet {op:?}"),
        (Err(_), Some(i))
            if writes(i)
                && !void_rex(bytes)
                && !(i.has_rep_prefix() && regs.gpr(Gpr::RCX) == 0) =>
        {
            panic!("{i:?} is one of ours, yet {ours:?}")
        }
        _ => {}
    }
    if let Ok(op) = ours {
        // Nor does anything that follows panic or leave the operand.
        for old in [0, u64::MAX, regs.gpr(Gpr::RAX)] {
            let new = op.value(old, regs).unwrap_or(0);
            assert_eq!(new & !op.width().mask(), 0);
            op.retire(old, &mut regs.clone());
        }
    }
}

fn register(reg: Register) -> Gpr {
    Gpr(reg.number() as u8)
}

fn width(reg: Register) -> Width {
    match reg.size() {
        1 => Width::B1,
        2 => Width::B2,
        4 => Width::B4,
        _ => Width::B8,
    }
}

fn port(i: &Instruction, op: u32) -> Port {
    match i.op_kind(op) {
        OpKind::Immediate8 => Port::Imm(i.immediate8()),
        _ => Port::Dx,
    }
}

/// Like `expect`, an operand that is a register or memory whose address is to be compared.
fn same_place(ours: RegMem, i: &Instruction, regs: &Regs) {
    match ours {
        RegMem::Reg(r) => assert_eq!(r, register(i.op0_register()), "{i:?}"),
        RegMem::Mem(ea) => assert_eq!(ea.linear(regs), target(i, regs).0, "{i:?}"),
    }
}

/// iced's reading as a privileged operation, if it is one of those without memory operands.
fn expect(i: &Instruction) -> Option<PrivOp> {
    let string = |width| (width, i.has_rep_prefix() || i.has_repne_prefix());
    let (w, rep) = match i.mnemonic() {
        M::Insb | M::Outsb => string(Width::B1),
        M::Insw | M::Outsw => string(Width::B2),
        _ => string(Width::B4),
    };
    Some(match i.mnemonic() {
        M::In => PrivOp::In {
            port: port(i, 1),
            width: width(i.op0_register()),
        },
        M::Out => PrivOp::Out {
            port: port(i, 0),
            width: width(i.op1_register()),
        },
        M::Insb | M::Insw | M::Insd => PrivOp::Ins {
            width: w,
            rep,
            addr32: i.op0_kind() == OpKind::MemoryESEDI,
        },
        M::Outsb | M::Outsw | M::Outsd => PrivOp::Outs {
            width: w,
            rep,
            addr32: i.op1_kind() == OpKind::MemorySegESI,
            segment: segment(i.memory_segment()),
        },
        M::Cli => PrivOp::Cli,
        M::Sti => PrivOp::Sti,
        M::Hlt => PrivOp::Hlt,
        M::Cpuid => PrivOp::Cpuid { forced: false },
        M::Rdmsr => PrivOp::Rdmsr,
        M::Wrmsr => PrivOp::Wrmsr,
        M::Rdtsc => PrivOp::Rdtsc,
        M::Rdtscp => PrivOp::Rdtscp,
        M::Rdpmc => PrivOp::Rdpmc,
        M::Clts => PrivOp::Clts,
        M::Invd => PrivOp::Invd,
        M::Wbinvd | M::Wbnoinvd => PrivOp::Wbinvd,
        M::Xsetbv => PrivOp::Xsetbv,
        M::Mov => moves(i.op0_register(), i.op1_register())?,
        _ => return None,
    })
}

fn moves(to: Register, from: Register) -> Option<PrivOp> {
    Some(if to.is_cr() {
        PrivOp::WriteCr {
            cr: to.number() as u8,
            from: register(from),
        }
    } else if from.is_cr() {
        PrivOp::ReadCr {
            cr: from.number() as u8,
            to: register(to),
        }
    } else if to.is_dr() {
        PrivOp::WriteDr {
            dr: to.number() as u8,
            from: register(from),
        }
    } else if from.is_dr() {
        PrivOp::ReadDr {
            dr: from.number() as u8,
            to: register(to),
        }
    } else {
        return None;
    })
}

fn segment(reg: Register) -> Segment {
    match reg {
        Register::FS => Segment::Fs,
        Register::GS => Segment::Gs,
        _ => Segment::Ds,
    }
}

fn check_priv(bytes: &[u8], regs: &Regs) {
    let ours = decode_priv(bytes, true);
    let theirs = iced(bytes);
    let Some(i) = theirs else {
        assert!(
            ours.is_err(),
            "{bytes:02x?} is no instruction, yet {ours:?}"
        );
        return;
    };
    let Ok((op, len)) = ours else {
        let placed = matches!(i.mnemonic(), M::Invlpg | M::Smsw | M::Lmsw);
        assert!(
            expect(&i).is_none() && !placed || void_rex(bytes),
            "{i:?} is one of ours, yet {ours:?}"
        );
        return;
    };
    assert_eq!(len, i.len(), "length of {i:?}");
    match op {
        PrivOp::Invlpg(ea) => {
            assert_eq!(i.mnemonic(), M::Invlpg);
            same_place(RegMem::Mem(ea), &i, regs);
        }
        PrivOp::Lmsw { from } => {
            assert_eq!(i.mnemonic(), M::Lmsw);
            same_place(from, &i, regs);
        }
        PrivOp::Smsw { to, width: w } => {
            assert_eq!(i.mnemonic(), M::Smsw);
            same_place(to, &i, regs);
            if let RegMem::Reg(_) = to {
                assert_eq!(w, width(i.op0_register()), "{i:?}");
            }
        }
        op => assert_eq!(Some(flat(op)), expect(&i), "{i:?}"),
    }
}

/// Segments without a base of their own in 64-bit mode are all one.
fn flat(op: PrivOp) -> PrivOp {
    match op {
        PrivOp::Outs {
            width,
            rep,
            addr32,
            segment: Segment::Cs | Segment::Ds | Segment::Es | Segment::Ss,
        } => PrivOp::Outs {
            width,
            rep,
            addr32,
            segment: Segment::Ds,
        },
        op => op,
    }
}

/// The same for code of a 32-bit program.
fn check_priv32(bytes: &[u8]) {
    let ours = decode_priv(bytes, false);
    let i = Decoder::with_ip(32, bytes, RIP & 0xffff_ffff, DecoderOptions::NONE).decode();
    if i.is_invalid() {
        assert!(
            ours.is_err(),
            "{bytes:02x?} is no instruction, yet {ours:?}"
        );
        return;
    }
    match ours {
        Ok((op, len)) => {
            assert_eq!(len, i.len(), "length of {i:?}");
            assert_eq!(Some(flat(op)), expect(&i), "{i:?}");
        }
        Err(_) => {
            let everyday = matches!(
                i.mnemonic(),
                M::In
                    | M::Out
                    | M::Insb
                    | M::Insw
                    | M::Insd
                    | M::Outsb
                    | M::Outsw
                    | M::Outsd
                    | M::Cli
                    | M::Sti
                    | M::Cpuid
                    | M::Rdtsc
            );
            let addresses16 = bytes[..i.len()].contains(&0x67);
            assert!(
                !everyday || addresses16,
                "{i:?} is one of ours, yet {ours:?}"
            );
        }
    }
}

/// Opcodes that are ours, or near.
const OPCODES: &[&[u8]] = &[
    &[0x00],
    &[0x01],
    &[0x08],
    &[0x09],
    &[0x10],
    &[0x11],
    &[0x20],
    &[0x21],
    &[0x28],
    &[0x29],
    &[0x30],
    &[0x31],
    &[0x38],
    &[0x39],
    &[0x80],
    &[0x81],
    &[0x83],
    &[0x86],
    &[0x87],
    &[0x88],
    &[0x89],
    &[0x8c],
    &[0x8f],
    &[0xa2],
    &[0xa3],
    &[0xa4],
    &[0xa5],
    &[0xaa],
    &[0xab],
    &[0xc6],
    &[0xc7],
    &[0xd0],
    &[0xd1],
    &[0xf6],
    &[0xf7],
    &[0xfe],
    &[0xff],
    &[0x6c],
    &[0x6d],
    &[0x6e],
    &[0x6f],
    &[0xe4],
    &[0xe5],
    &[0xe6],
    &[0xe7],
    &[0xec],
    &[0xed],
    &[0xee],
    &[0xef],
    &[0xf4],
    &[0xfa],
    &[0xfb],
    &[0xc5],
    &[0xc4],
    &[0x62],
    &[0x0f, 0x00],
    &[0x0f, 0x01],
    &[0x0f, 0x06],
    &[0x0f, 0x08],
    &[0x0f, 0x09],
    &[0x0f, 0x20],
    &[0x0f, 0x21],
    &[0x0f, 0x22],
    &[0x0f, 0x23],
    &[0x0f, 0x30],
    &[0x0f, 0x31],
    &[0x0f, 0x32],
    &[0x0f, 0x33],
    &[0x0f, 0xa2],
    &[0x0f, 0xab],
    &[0x0f, 0xb0],
    &[0x0f, 0xb1],
    &[0x0f, 0xb3],
    &[0x0f, 0xba],
    &[0x0f, 0xbb],
    &[0x0f, 0xc0],
    &[0x0f, 0xc1],
    &[0x0f, 0xc3],
    &[0x0f, 0xc7],
    &[0x0f, 0x01, 0xd1],
    &[0x0f, 0x01, 0xf8],
    &[0x0f, 0x01, 0xf9],
    &[0x0f, 0x38, 0xf1],
    &[0x0f],
    &[],
];
const PREFIXES: &[u8] = &[
    0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x66,
];

fn likely() -> impl Strategy<Value = Vec<u8>> {
    let prefixes = prop::collection::vec(prop::sample::select(PREFIXES), 0..3);
    let rex = prop::collection::vec(0x40u8..0x50, 0..2);
    let opcode = prop::sample::select(OPCODES);
    (prefixes, rex, opcode, any::<[u8; 15]>()).prop_map(|(prefixes, rex, opcode, rest)| {
        let mut bytes = [&prefixes, &rex, opcode, &rest[..]].concat();
        bytes.truncate(x86emu::MAX_LEN);
        bytes
    })
}

fn regs() -> impl Strategy<Value = Regs> {
    any::<[u64; 16]>().prop_map(|gpr| Regs {
        gpr,
        rip: RIP,
        flags: 2,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn likely_sequences_are_read_alike(bytes in likely(), regs in regs()) {
        check_write(&bytes, &regs);
        check_priv(&bytes, &regs);
        check_priv32(&bytes);
    }

    #[test]
    fn noise_is_read_alike(bytes in prop::collection::vec(any::<u8>(), 0..20), regs in regs()) {
        let bytes = &bytes[..bytes.len().min(15)];
        check_write(bytes, &regs);
        check_priv(bytes, &regs);
        check_priv32(bytes);
    }

    #[test]
    fn an_instruction_cut_short_is_never_taken_for_another(bytes in likely(), regs in regs()) {
        if let Ok(op) = decode_mem_write(&bytes, &regs) {
            for end in 0..op.len() {
                prop_assert_eq!(decode_mem_write(&bytes[..end], &regs), Err(Unhandled::Truncated));
            }
        }
        if let Ok((_, len)) = decode_priv(&bytes, true) {
            for end in 0..len {
                prop_assert_eq!(decode_priv(&bytes[..end], true), Err(Unhandled::Truncated));
            }
        }
    }
}
