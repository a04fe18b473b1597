//! Real and protected mode: boot code as firmware and loaders have it, interrupts, descriptors, and what is refused.
mod common;
#[path = "common/machine.rs"]
mod machine;

use machine::Machine;
use x86emu::emulate::{Fault, Step, Stop, Table};

const GDT: u64 = 0x800;
/// Code and data of 32 bits, not accessed yet; data that is absent; data of 16 bits at 0x3000.
const DESCRIPTORS: [u64; 5] = [
    0,
    0x00cf_9a00_0000_ffff,
    0x00cf_9200_0000_ffff,
    0x00cf_1200_0000_ffff,
    0x0000_9200_3000_00ff,
];

/// Runs code from memory for at most `steps` instructions; the last outcome.
fn run(m: &mut Machine, steps: usize) -> Result<Step, Stop> {
    let mut last = Ok(Step::Done);
    for _ in 0..steps {
        let at = (m.segments[1].base + m.regs.rip) as usize;
        let code: Vec<u8> = m.memory.iter().skip(at).take(15).copied().collect();
        last = m.step(&code);
        if !matches!(last, Ok(Step::Done | Step::Again | Step::Shadow)) {
            break;
        }
    }
    last
}

fn with_gdt(mut m: Machine) -> Machine {
    for (n, d) in (0..).zip(DESCRIPTORS) {
        m.put(GDT + n * 8, &d.to_le_bytes());
    }
    m.tables[Table::Gdt as usize].base = GDT;
    m.tables[Table::Gdt as usize].limit = 5 * 8 - 1;
    m
}

fn fault(fault: Fault) -> Result<Step, Stop> {
    Err(Stop::Fault(fault))
}

#[test]
fn a_loader_enters_protected_mode() {
    let mut m = with_gdt(Machine::real());
    m.tables[Table::Gdt as usize].base = 0;
    m.put(0x900, &[0x27, 0, 0x00, 0x08, 0, 0]);
    m.put(
        0x1000,
        &[
            0xfa, // cli
            0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xd0, // xor ax, ax; mov ds, ax; mov ss, ax
            0x0f, 0x01, 0x16, 0x00, 0x09, // lgdt [0x900]
            0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22,
            0xc0, // mov eax, cr0; or al, 1; mov cr0, eax
            0x66, 0xea, 0x00, 0x20, 0, 0, 0x08, 0, // jmp far 0x08:0x2000
        ],
    );
    m.put(
        0x2000,
        &[
            0xb8, 0x10, 0, 0, 0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e,
            0xd0, // mov eax, 0x10; mov ds/es/ss, ax
            0xbc, 0x00, 0x70, 0, 0, // mov esp, 0x7000
            0xbf, 0x00, 0x50, 0, 0, 0xb9, 0x00, 0x04, 0, 0, // mov edi, 0x5000; mov ecx, 0x400
            0xb8, 0x78, 0x56, 0x34, 0x12, 0xf3, 0xab, // mov eax, 0x12345678; rep stosd
            0xe8, 0x01, 0, 0, 0,    // call over the hlt
            0xf4, // hlt
            0xb0, 0x41, 0xe6, 0xe9, 0xc3, // mov al, 'A'; out 0xe9, al; ret
        ],
    );
    assert_eq!(run(&mut m, 100), Ok(Step::Halt));
    assert_eq!(m.regs.rip, 0x2000 + 39);
    assert_eq!((m.segments[1].selector, m.segments[1].limit), (8, u32::MAX));
    assert_eq!(
        (m.word(0x5000), m.word(0x5ff8)),
        (0x1234_5678_1234_5678, 0x1234_5678_1234_5678)
    );
    assert_eq!((m.word(0x6000), m.out.clone()), (0, vec![(0xe9, 0x41)]));
    // The descriptors that were loaded are marked.
    assert_eq!(
        m.word(GDT + 8) >> 40 & 1 | (m.word(GDT + 24) >> 40 & 1) << 1,
        1
    );
}

#[test]
fn a_real_mode_interrupt_comes_back() {
    let mut m = Machine::real();
    m.segments[1].selector = 0x100;
    m.segments[1].base = 0x1000;
    m.regs.rip = 0;
    m.regs.flags = 0x202;
    m.put(0x10 * 4, &[0x34, 0x00, 0x00, 0x02]);
    m.put(0x1000, &[0xcd, 0x10, 0xf4]); // int 0x10; hlt
    m.put(0x2034, &[0xf9, 0xcf]); // stc; iret
    assert_eq!(run(&mut m, 1), Ok(Step::Done));
    assert_eq!(
        (m.segments[1].base, m.regs.rip, m.regs.flags),
        (0x2000, 0x34, 2)
    );
    assert_eq!(m.word(0xffa) & 0xffff_ffff_ffff, 0x0202_0100_0002);
    assert_eq!(run(&mut m, 10), Ok(Step::Halt));
    assert_eq!(
        (m.segments[1].selector, m.regs.rip, m.regs.flags),
        (0x100, 3, 0x202)
    );
    assert_eq!(m.regs.gpr[4], 0x1000);
}

#[test]
fn limits_types_and_privilege_are_kept() {
    let mut m = Machine::real();
    m.regs.gpr[3] = 0xffff;
    assert_eq!(m.step(&[0x8b, 0x07]), fault(Fault::GP0)); // mov ax, [bx]: the second byte is beyond
    m.regs.gpr[5] = 0xffff;
    assert_eq!(m.step(&[0x8b, 0x46, 0x00]), fault(Fault::Stack(0))); // mov ax, [bp]
    let mut m = with_gdt(Machine::flat(false));
    let load = |m: &mut Machine, selector: u16, to: u8| {
        m.regs.gpr[0] = selector.into();
        m.step(&[0x8e, 0xc0 | to << 3]) // mov sreg, ax
    };
    assert_eq!(load(&mut m, 0x18, 3), fault(Fault::NotPresent(0x18)));
    assert_eq!(load(&mut m, 0x18, 2), fault(Fault::Stack(0x18)));
    assert_eq!(load(&mut m, 0x28, 3), fault(Fault::GeneralProtection(0x28)));
    assert_eq!(load(&mut m, 0x08, 2), fault(Fault::GeneralProtection(0x08)));
    assert_eq!(load(&mut m, 0, 2), fault(Fault::GP0));
    // No encoding of anything.
    assert_eq!(
        load(&mut m, 0x08, 1),
        Err(Stop::Unhandled(x86emu::Unhandled::Unknown))
    );
    assert_eq!(load(&mut m, 0x20, 3), Ok(Step::Done));
    assert_eq!(load(&mut m, 0x10, 2), Ok(Step::Shadow));
    assert_eq!((m.segments[3].base, m.segments[3].limit), (0x3000, 0xff));
    m.regs.gpr[3] = 0xfc;
    assert_eq!(m.step(&[0x8b, 0x03]), Ok(Step::Done)); // mov eax, [ebx]
    m.regs.gpr[3] = 0xfd;
    assert_eq!(m.step(&[0x8b, 0x03]), fault(Fault::GP0));
    // Code cannot be written.
    assert_eq!(m.step(&[0x2e, 0x89, 0x03]), fault(Fault::GP0));
    for s in &mut m.segments {
        s.access |= 0x60;
    }
    for privileged in [
        &[0xf4][..],
        &[0x0f, 0x06],
        &[0x0f, 0x22, 0xc0],
        &[0xfa],
        &[0x0f, 0x09],
    ] {
        assert_eq!(m.step(privileged), fault(Fault::GP0), "{privileged:x?}");
    }
    assert_eq!(m.step(&[0xcd, 0x80]), Ok(Step::Interrupt(0x80)));
    assert_eq!(m.step(&[0x31, 0xc9, 0xf7, 0xf1]), Ok(Step::Done)); // xor ecx, ecx
    assert_eq!(m.step(&[0xf7, 0xf1]), fault(Fault::Divide)); // div ecx
}

#[test]
fn repetitions_go_on_where_they_waited() {
    let mut m = Machine::flat(true);
    m.regs.gpr[2] = 0x3f8;
    (m.regs.gpr[1], m.regs.gpr[7]) = (300, 0x4000);
    let (mut later, mut calls) = (0, 0);
    // rep insb, in pieces.
    loop {
        calls += 1;
        match m.step(&[0xf3, 0x6c]) {
            Ok(Step::Again) => {}
            Ok(Step::Done) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((calls, m.regs.gpr[1], m.regs.gpr[7]), (5, 0, 0x4000 + 300));
    assert_eq!(m.word(0x4000 + 292), 0xf8f8_f8f8_f8f8_f8f8);
    // rep stosb to a device that makes each write wait once.
    m.waits = Some(0);
    (m.regs.gpr[0], m.regs.gpr[1], m.regs.gpr[7]) = (0x5a, 20, 0x5000);
    while m.regs.gpr[1] != 0 {
        match m.step(&[0xf3, 0xaa]) {
            Err(Stop::Later) => later += 1,
            other => assert_eq!(other, Ok(Step::Done)),
        }
    }
    assert_eq!(
        (later, m.regs.gpr[7], m.word(0x500c)),
        (20, 0x5014, 0x5a5a_5a5a_5a5a_5a5a)
    );
    assert_eq!(m.word(0x5014), 0);
}
