//! What the emulator makes of random 64-bit instructions is what the CPU under the tests makes of them: registers, flags and
//! memory. Flags that manuals leave undefined are left out.
#![cfg(target_arch = "x86_64")]
mod common;
#[path = "common/machine.rs"]
mod machine;
#[path = "common/native.rs"]
mod native;

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic as M, OpKind, Register};
use machine::Machine;
use native::{MEMORY, MEMORY_LEN, State};
use x86emu::emulate::Step;

/// Numbers of registers.
const RCX: usize = 1;
const RSI: usize = 6;
const RDI: usize = 7;
/// By default; `X86EMU_CASES` says otherwise, `X86EMU_SEED` begins elsewhere.
const CASES: u32 = 10_000;
const ARITHMETIC: u64 = 0x8d5;
const DF: u64 = 0x400;

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 33) % n
    }
    /// Often a value at an edge.
    fn value(&mut self) -> u64 {
        const EDGES: [u64; 8] = [
            0,
            1,
            u64::MAX,
            i64::MAX as u64,
            1 << 63,
            0x8080,
            0x7fff_ffff,
            0x10,
        ];
        match self.below(2) {
            0 => self.next(),
            _ => EDGES[self.below(8) as usize],
        }
    }
    fn pick(&mut self, of: &[u8]) -> u8 {
        of[self.below(of.len() as u64) as usize]
    }
}

/// Opcodes of one byte and of two that are drawn.
fn opcode(rng: &mut Rng, code: &mut Vec<u8>) {
    const ONE: &[u8] = &[
        0x50, 0x55, 0x58, 0x5d, 0x63, 0x68, 0x69, 0x6a, 0x6b, 0x80, 0x81, 0x83, 0x84, 0x85, 0x86,
        0x87, 0x88, 0x89, 0x8a, 0x8b, 0x8d, 0x8f, 0x90, 0x93, 0x98, 0x99, 0x9c, 0x9e, 0x9f, 0xa4,
        0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 0xb3, 0xb7, 0xb8, 0xbd,
        0xc0, 0xc1, 0xc6, 0xc7, 0xc8, 0xc9, 0xd0, 0xd1, 0xd2, 0xd3, 0xd7, 0xf5, 0xf6, 0xf7, 0xf8,
        0xf9, 0xfc, 0xfd, 0xfe, 0xff,
    ];
    const TWO: &[u8] = &[
        0xa3, 0xab, 0xb3, 0xbb, 0xba, 0xa4, 0xa5, 0xac, 0xad, 0xaf, 0xb0, 0xb1, 0xb6, 0xb7, 0xbe,
        0xbf, 0xbc, 0xbd, 0xc0, 0xc1, 0xc3, 0xc7, 0xc8, 0xcb, 0x1f,
    ];
    match rng.below(8) {
        0 | 1 => code.push((rng.below(8) * 8 + rng.below(6)) as u8),
        2..=4 => code.push(rng.pick(ONE)),
        5 => code.extend([0x0f, 0x40 + rng.below(16) as u8]),
        6 => code.extend([0x0f, 0x90 + rng.below(16) as u8]),
        _ => code.extend([0x0f, rng.pick(TWO)]),
    }
}

fn instruction(rng: &mut Rng) -> Vec<u8> {
    let mut code = Vec::new();
    for _ in 0..rng.below(3) {
        code.push(rng.pick(&[0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x3e]));
    }
    if rng.below(2) == 0 {
        code.push(0x40 | rng.below(16) as u8);
    }
    opcode(rng, &mut code);
    // Any registers, or memory by a register that leads into it, perhaps with a short displacement.
    let mode = rng.pick(&[0xc0, 0xc0, 0x00, 0x40]);
    code.push(mode | (rng.below(8) << 3) as u8 | rng.pick(&[0, 1, 2, 3, 5, 6, 7]));
    code.extend((0..8).map(|_| rng.next() as u8));
    code
}

/// Flags that are defined after an instruction.
fn defined(i: &Instruction, count: u64) -> u64 {
    const CF: u64 = 1;
    const AF: u64 = 0x10;
    const ZF: u64 = 0x40;
    const OF: u64 = 0x800;
    let bits = (i.op0_register().size().max(1) * 8) as u64;
    let bits = if i.op0_kind() == OpKind::Memory {
        i.memory_size().size() as u64 * 8
    } else {
        bits
    };
    let masked = count & if bits == 64 { 63 } else { 31 };
    let flags = match i.mnemonic() {
        M::And | M::Or | M::Xor | M::Test => ARITHMETIC & !AF,
        M::Mul | M::Imul => CF | OF,
        M::Div | M::Idiv => 0,
        M::Bt | M::Bts | M::Btr | M::Btc => CF | ZF,
        M::Bsf | M::Bsr => ZF,
        M::Shl | M::Sal | M::Shr | M::Sar | M::Shld | M::Shrd if masked == 0 => ARITHMETIC,
        // The carry of a shift by more than the operand's size is undefined too (but not of sar).
        M::Shl | M::Sal | M::Shr if masked > bits => ARITHMETIC & !AF & !OF & !CF,
        M::Shl | M::Sal | M::Shr | M::Sar | M::Shld | M::Shrd if masked == 1 => ARITHMETIC & !AF,
        M::Shl | M::Sal | M::Shr | M::Sar | M::Shld | M::Shrd => ARITHMETIC & !AF & !OF,
        M::Rol | M::Ror | M::Rcl | M::Rcr if masked > 1 => ARITHMETIC & !OF,
        _ => ARITHMETIC,
    };
    flags | DF
}

/// Whether the instruction's outcome is defined, and within its memory.
fn is_fit(i: &Instruction, m: &Machine) -> bool {
    let count = shift_count(i, m);
    let bits = if i.op0_kind() == OpKind::Memory {
        i.memory_size().size()
    } else {
        i.op0_register().size()
    } as u64
        * 8;
    let undefined = match i.mnemonic() {
        M::Bswap => i.op0_register().size() == 2,
        M::Shld | M::Shrd => count & if bits == 64 { 63 } else { 31 } > bits,
        M::Bsf | M::Bsr => true,
        _ => false,
    };
    // Far jumps and calls are tested otherwise.
    let leaves = matches!(i.mnemonic(), M::Call | M::Jmp | M::Popf | M::Popfq);
    !undefined && !leaves && !i.is_ip_rel_memory_operand()
}

fn shift_count(i: &Instruction, m: &Machine) -> u64 {
    let last = i.op_count().saturating_sub(1);
    match i.op_kind(last) {
        OpKind::Immediate8
        | OpKind::Immediate8to16
        | OpKind::Immediate8to32
        | OpKind::Immediate8to64 => i.immediate8().into(),
        OpKind::Register if i.op_register(last) == Register::CL => m.regs.gpr[1] & 0xff,
        _ => 1,
    }
}

/// Most registers lead into the middle page; some have a value of their own.
fn draw(rng: &mut Rng) -> Machine {
    let mut m = Machine::flat(true);
    m.at = MEMORY;
    m.memory = vec![0; MEMORY_LEN];
    for word in m.memory[0xf00..0x2100].chunks_mut(8) {
        word.copy_from_slice(&rng.value().to_le_bytes());
    }
    for (n, r) in m.regs.gpr.iter_mut().enumerate() {
        *r = match rng.below(3) {
            1 if n != 4 && n != 5 => rng.value(),
            _ => MEMORY + 0x1000 + rng.below(0x1000),
        };
    }
    m.regs.gpr[4] = MEMORY + 0x1800;
    // Repetitions end before the memory does.
    if rng.below(2) == 0 {
        m.regs.gpr[1] = rng.below(20);
    }
    m.regs.flags = rng.next() & (ARITHMETIC | DF) | 0x202;
    m
}

/// What happened: `None` if the emulator said that it faults or is not its own.
fn compare(code: &[u8], before: &Machine) -> Option<()> {
    let i = Decoder::with_ip(64, code, before.regs.rip, DecoderOptions::NONE).decode();
    if i.is_invalid() || !is_fit(&i, before) {
        return None;
    }
    let code = &code[..i.len()];
    let mut ours = before.clone();
    let mut step = ours.step(code);
    while step == Ok(Step::Again) {
        step = ours.step(code);
    }
    if step != Ok(Step::Done) || i.mnemonic() == M::Enter && i.immediate8_2nd() & 31 > 4 {
        return None;
    }
    let mut theirs = State {
        gpr: before.regs.gpr,
        flags: before.regs.flags,
    };
    let mut memory = before.memory.clone();
    native::execute(code, &mut theirs, &mut memory);
    let mask = defined(&i, shift_count(&i, before));
    // Pushed flags have more in them than ours.
    if matches!(i.mnemonic(), M::Pushf | M::Pushfq) {
        for m in [&mut memory, &mut ours.memory] {
            m[0x1700..0x1808].fill(0);
        }
    }
    // Whether a repetition by 32-bit registers, none times, clears their upper halves is the processor's choice.
    if code.contains(&0x67) && i.is_string_instruction() && before.regs.gpr[RCX] as u32 == 0 {
        for n in [RCX, RSI, RDI] {
            theirs.gpr[n] &= u64::from(u32::MAX);
            ours.regs.gpr[n] &= u64::from(u32::MAX);
        }
    }
    let what = format!("{:?} at {:#x}, {code:02x?}", i.code(), before.regs.rip);
    assert_eq!(
        ours.regs.rip,
        before.regs.rip + code.len() as u64,
        "rip after {what}"
    );
    for n in 0..16 {
        assert!(
            ours.regs.gpr[n] == theirs.gpr[n],
            "register {n}: {:x}, not {:x}, after {what}",
            ours.regs.gpr[n],
            theirs.gpr[n]
        );
    }
    let (a, b) = (ours.regs.flags & mask, theirs.flags & mask);
    assert!(a == b, "flags: {a:x}, not {b:x}, after {what}");
    assert!(ours.memory == memory, "memory after {what}");
    Some(())
}

#[test]
fn outcomes_are_those_of_this_cpu() {
    let asked = |name| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let cases = asked("X86EMU_CASES").unwrap_or(CASES);
    let seed = u64::from(asked("X86EMU_SEED").unwrap_or(0));
    let mut rng = Rng(0x9e37_79b9_7f4a_7c15 ^ seed);
    let mut compared = 0;
    for _ in 0..cases {
        let (m, code) = (draw(&mut rng), instruction(&mut rng));
        compared += u32::from(compare(&code, &m).is_some());
    }
    println!("{compared} of {cases} were executed");
    assert!(
        compared > cases / 3,
        "only {compared} of {cases} were executed"
    );
}
