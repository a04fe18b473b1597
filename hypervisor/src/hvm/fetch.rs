//! Lengths of intercepted instructions. Where the CPU does not tell, the bytes at rip are read through the guest's tables.

use super::memory;
use super::{Reg, VirtualCpu};
use crate::exit::code_address;
use x86emu::MAX_LEN;

/// The bytes at rip, as many as can be read.
pub fn at_rip(cpu: &impl VirtualCpu, code: &mut [u8; MAX_LEN]) -> usize {
    let address = code_address(cpu, cpu.reg(Reg::Rip));
    memory::read_some(&cpu.paging(), address, code)
}

/// Prefixes that change nothing about an instruction without operands; in 64-bit code REX comes last.
fn prefixes(code: &[u8], long: bool) -> usize {
    let legacy = code
        .iter()
        .take_while(|b| {
            matches!(
                b,
                0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3
            )
        })
        .count();
    let rex = code.get(legacy).is_some_and(|b| long && b & 0xf0 == 0x40);
    legacy + usize::from(rex)
}

/// Length of the instruction at rip if its bytes after prefixes satisfy `is`, which says how many they are.
fn length(cpu: &impl VirtualCpu, is: impl Fn(&[u8]) -> Option<usize>) -> Option<u64> {
    let told = cpu.instruction_length();
    if told.is_some() {
        return told;
    }
    let mut code = [0; MAX_LEN];
    let n = at_rip(cpu, &mut code);
    let code = code.get(..n)?;
    let skipped = prefixes(code, cpu.long_mode());
    let rest = is(code.get(skipped..)?)?;
    Some((skipped + rest) as u64)
}

/// `opcode`.
pub fn length_of_byte(cpu: &impl VirtualCpu, opcode: u8) -> Option<u64> {
    length(cpu, |code| (code.first() == Some(&opcode)).then_some(1))
}

/// `0f` and one of `opcodes`.
pub fn length_of_two_byte(cpu: &impl VirtualCpu, opcodes: &[u8]) -> Option<u64> {
    length(cpu, |code| match code {
        [0x0f, opcode, ..] if opcodes.contains(opcode) => Some(2),
        _ => None,
    })
}

/// VMCALL or VMMCALL.
pub fn length_of_call(cpu: &impl VirtualCpu) -> Option<u64> {
    length(cpu, |code| match code {
        [0x0f, 0x01, 0xc1 | 0xd9, ..] => Some(3),
        _ => None,
    })
}

/// RDTSCP.
pub fn length_of_rdtscp(cpu: &impl VirtualCpu) -> Option<u64> {
    length(cpu, |code| match code {
        [0x0f, 0x01, 0xf9, ..] => Some(3),
        _ => None,
    })
}

/// XSETBV.
pub fn length_of_xsetbv(cpu: &impl VirtualCpu) -> Option<u64> {
    length(cpu, |code| match code {
        [0x0f, 0x01, 0xd1, ..] => Some(3),
        _ => None,
    })
}
