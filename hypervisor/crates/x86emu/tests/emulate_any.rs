//! Whatever bytes and state a guest has: emulation returns, changes nothing when it stops, and reads code as iced does.
mod common;
#[path = "common/machine.rs"]
mod machine;

use iced_x86::{Decoder, DecoderOptions};
use machine::Machine;
use proptest::prelude::*;
use x86emu::Unhandled;
use x86emu::emulate::{Bits, Stop, explain};

fn code() -> impl Strategy<Value = Vec<u8>> {
    let prefix = prop::sample::select(vec![
        0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x48, 0x41, 0x4f,
    ]);
    let opcode = prop_oneof![
        any::<u8>().prop_map(|b| vec![b]),
        any::<u8>().prop_map(|b| vec![0x0f, b]),
    ];
    (
        prop::collection::vec(prefix, 0..4),
        opcode,
        any::<[u8; 14]>(),
    )
        .prop_map(|(mut bytes, opcode, rest)| {
            bytes.extend(opcode);
            bytes.extend(rest);
            bytes
        })
}

/// A REX prefix that another prefix follows is void.
fn void_rex(bytes: &[u8]) -> bool {
    let legacy = [
        0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65,
    ];
    let first = bytes.iter().position(|b| !legacy.contains(b)).unwrap_or(0);
    bytes[first] & 0xf0 == 0x40
        && bytes
            .get(first + 1)
            .is_some_and(|b| legacy.contains(b) || b & 0xf0 == 0x40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn anything_returns(code in code(), kind in 0..3, gpr: [u64; 16], small in any::<bool>(), flags: u32, ring in 0u16..4, cut in 0usize..20) {
        let mut m = match kind {
            0 => Machine::real(),
            kind => Machine::flat(kind == 2),
        };
        m.regs.gpr = gpr.map(|v| if small { v & 0x3fff } else { v });
        m.regs.flags = u64::from(flags & 0x3f_7fd7 | 2);
        if kind != 0 && ring != 0 {
            for s in &mut m.segments {
                s.access |= ring << 5;
            }
        }
        let before = m.clone();
        let code = &code[..cut.min(code.len())];
        match m.step(code) {
            Ok(_) => {}
            Err(_) if code.iter().any(|b| matches!(b, 0xf2 | 0xf3)) => {}
            Err(_) => {
                prop_assert_eq!(&m.regs, &before.regs);
                prop_assert_eq!(&m.segments, &before.segments);
            }
        }
    }

    #[test]
    fn waiting_changes_nothing(code in code(), gpr: [u64; 16], kind in 0..3) {
        let mut m = match kind {
            0 => Machine::real(),
            kind => Machine::flat(kind == 2),
        };
        m.regs.gpr = gpr.map(|v| v & 0x3fff);
        let mut waiting = m.clone();
        waiting.waits = Some(0);
        let plain = m.step(&code);
        // Only a single access per attempt is answered here: enough for those that make one.
        let mut patient = waiting.step(&code);
        for _ in 0..3 {
            if patient == Err(Stop::Later) {
                patient = waiting.step(&code);
            }
        }
        if patient != Err(Stop::Later) && patient == plain && m.out.len() <= 1 {
            prop_assert_eq!(&m.regs, &waiting.regs);
            prop_assert_eq!(&m.memory, &waiting.memory);
        }
    }

    #[test]
    fn lengths_are_those_of_another_decoder(code in code(), bits in prop::sample::select(vec![16u32, 32, 64])) {
        let mode = match bits { 16 => Bits::B16, 32 => Bits::B32, _ => Bits::B64 };
        let theirs = Decoder::with_ip(bits, &code, 0, DecoderOptions::NONE).decode();
        let ours = explain(&code, mode);
        if let Ok((len, insn)) = &ours
            && !(bits == 64 && void_rex(&code))
        {
            prop_assert!(!theirs.is_invalid(), "{code:02x?} {insn:?}");
            prop_assert_eq!(*len, theirs.len(), "{:02x?} {:?}", code, insn);
        }
        prop_assert!(!matches!(ours, Err(Unhandled::Truncated)) || theirs.is_invalid());
    }
}
