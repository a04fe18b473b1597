//! What a PVH guest should not do. The ones that end it are named in the stories; the others end in "done".

use super::cpu;
use crate::hammer::Random;
use crate::{hv, misdeeds, say};
use core::arch::asm;
use xen_abi::hypercall::{HVM_OP, IRET, MEMORY_OP, SCHED_OP, SCHED_OP_COMPAT, VCPU_OP};

/// Where the builder puts no memory of ours, as guest-physical addresses: in the hole, and near its ends.
const UNMAPPED: [u64; 6] = [
    0xf000_0000,
    0xf123_4000,
    0xfc10_0000,
    0xfec0_0000,
    0xfed0_0000,
    0xffff_f000,
];

/// Does it; `false` if there is no such thing.
pub fn run(deed: &str, number: u64) -> bool {
    match deed {
        "hello" => {}
        "poweroff" => hv::shutdown(xen_abi::sched::SHUTDOWN_POWEROFF),
        "crash" => hv::shutdown(xen_abi::sched::SHUTDOWN_CRASH),
        "triple" => triple_fault(),
        "spin" => spin(),
        "halt" => halt(),
        "flood" => misdeeds::flood(),
        "jump" => jump(number),
        "no-tables" => no_tables(),
        "random" => random_code(number),
        "registers" => registers(),
        "apic" => apic(number),
        "unmapped" => unmapped(),
        "remap" => super::remap::remap(number),
        "calls" => calls(number),
        "priority" => super::priority::priority(),
        "tsc" => super::tsc::tsc(),
        "strings" => super::strings::strings(),
        _ => return false,
    }
    true
}

fn triple_fault() {
    cpu::load_table(0, 0);
    misdeeds::fault();
}

fn spin() {
    say!("microguest: spinning");
    // SAFETY: ends never, which is what it is asked to do.
    unsafe { asm!("cli", "2: jmp 2b") }
}

fn halt() {
    say!("microguest: halting");
    // SAFETY: ends never, which is what it is asked to do.
    unsafe { asm!("cli", "2: hlt", "jmp 2b") }
}

/// Goes on where no memory is, the handlers gone too.
fn jump(which: u64) {
    cpu::load_table(0, 0);
    // SAFETY: ends this guest, which is what it is asked to do.
    unsafe { asm!("jmp {0}", in(reg) UNMAPPED[which as usize % UNMAPPED.len()]) }
}

/// Page tables where no memory is.
fn no_tables() {
    // SAFETY: ends this guest, which is what it is asked to do.
    unsafe { asm!("mov cr3, {0}", "mov rax, [rsp]", in(reg) UNMAPPED[1], out("rax") _) }
}

/// Random bytes as code, in user mode and in the kernel's by turns.
fn random_code(seed: u64) {
    let mut random = Random::new(seed);
    let (mut faults, rounds) = (0u32, 4000);
    for round in 0..rounds {
        let mut bytes = [0u8; 16];
        for word in bytes.chunks_mut(8) {
            word.copy_from_slice(&random.next().to_le_bytes());
        }
        // Every other one begins with what has two bytes.
        if round % 4 < 2 {
            bytes[0] = 0x0f;
        }
        let registers = core::array::from_fn(|_| match random.below(4) {
            0 => random.below(0x1_0000),
            1 => cpu::code() + 64 + random.below(1024),
            2 => 0xc000_0080 + random.below(8),
            _ => random.next(),
        });
        faults += u32::from(cpu::run(&bytes, registers, round % 2 == 0));
        if round % 1000 == 0 {
            say!("random: {round} rounds");
        }
    }
    say!("random: {rounds} rounds, {faults} faults");
}

/// Every CPUID leaf with a name and many without; every port; many model-specific registers.
fn registers() {
    let mut faults = 0u32;
    for leaf in (0..0x40u64)
        .chain(0x4000_0000..0x4000_0200)
        .chain(0x8000_0000..0x8000_0030)
    {
        for sub in 0..4 {
            faults += u32::from(cpu::run(
                &[0x53, 0x0f, 0xa2, 0x5b],
                [leaf, sub, 0, 0],
                false,
            ));
        }
    }
    say!("registers: cpuid, {faults} faults");
    // in al, dx; in eax, dx; out dx, al; out dx, eax
    for code in [0xec, 0xed, 0xee, 0xef] {
        for port in (0..0x1_0000u64).step_by(if code == 0xec { 13 } else { 61 }) {
            // That one is the hypervisor's log.
            if port != 0xe9 {
                faults += u32::from(cpu::run(&[code], [port * 0x101, 0, port, 0], false));
            }
        }
    }
    say!("registers: ports, {faults} faults");
    let ranges = [
        0..0x1900u64,
        0x4000_0000..0x4000_0120,
        0xc000_0000..0xc000_0200,
        0xc001_0000..0xc001_0300,
    ];
    // What this guest itself needs: the mode, and the APIC's place.
    let spared = [0x1b, 0xc000_0080];
    for msr in ranges.into_iter().flatten().filter(|m| !spared.contains(m)) {
        // Read, then write 0 with garbage above; pages written over are far from ours.
        faults += u32::from(cpu::run(&[0x0f, 0x32], [0, msr, 0, 0], false));
        faults += u32::from(cpu::run(
            &[0x0f, 0x30],
            [0x00f0_0000, msr, msr & 1, 0],
            false,
        ));
    }
    say!("registers: model-specific ones, {faults} faults");
}

/// Garbage into the local APIC, as memory and as registers, without what would end this vcpu's run.
fn apic(seed: u64) {
    let mut random = Random::new(seed);
    for _ in 0..20_000 {
        let register = (random.below(0x100) << 4) | (random.below(2) * random.below(16) / 4 * 4);
        let value = random.next() as u32;
        // INIT and start-up interrupts to oneself are a reset.
        if register & !0xf != 0x300 || !matches!(value >> 8 & 7, 5 | 6) {
            cpu::poke(cpu::APIC + (register & 0xff0), value);
        }
    }
    let mut faults = 0u32;
    for msr in 0x800..0x900u64 {
        faults += u32::from(cpu::run(&[0x0f, 0x32], [0, msr, 0, 0], false));
        faults += u32::from(cpu::run(
            &[0x0f, 0x30],
            [random.next() & 0xff, msr, 0, 0],
            false,
        ));
    }
    say!("apic: survived, {faults} faults");
}

fn unmapped() {
    let mut faults = 0u32;
    for at in UNMAPPED {
        for offset in [0, 0x10, 0x20, 0xff0] {
            let (read, written) = cpu::touch(at + offset);
            faults += u32::from(read) + u32::from(written);
        }
    }
    say!("unmapped: touched, {faults} faults");
}

/// Random calls whose pointers lead to random words, or nowhere.
fn calls(seed: u64) {
    #[repr(C, align(4096))]
    struct Words([u64; 512]);
    let mut words = Words([0; 512]);
    let mut random = Random::new(seed);
    let mut succeeded = 0u32;
    for n in 0..20_000 {
        if n % 8 == 0 {
            words.0.fill_with(|| match random.below(3) {
                0 => random.below(64),
                1 => 0x1000 + random.below(0x800),
                _ => random.next(),
            });
        }
        let base = words.0.as_ptr() as u64;
        let number = random.below(60) as u32;
        let args = core::array::from_fn(|_| match random.below(6) {
            0..=2 => random.below(40),
            3 => base + random.below(64) * 8,
            4 => 0x7ff0 + random.below(8),
            _ => random.next(),
        });
        // These would end or suspend the run at once, or take the tables away that this code stands on.
        let ends = matches!(
            number,
            IRET | SCHED_OP | SCHED_OP_COMPAT | MEMORY_OP | VCPU_OP
        );
        if !(ends || number == HVM_OP && args[0] == 0) {
            succeeded += u32::from(hv::call(number, args) >= 0);
        }
    }
    say!("calls: 20000 made, {succeeded} succeeded");
}
