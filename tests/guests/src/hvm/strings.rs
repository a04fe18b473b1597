//! What a CPU leaves to its hypervisor: strings of ports, device registers as operands of other instructions than moves, and
//! both in 32-bit code. Everything must come out as on a machine of metal.

use super::cpu::{self, APIC};
use crate::say;
use core::ptr::{read_volatile, write_volatile};

/// Nobody's port.
const PORT: u64 = 0x1234;
const BUFFER: usize = 1024;
const APIC_VERSION: u64 = APIC + 0x30;
const APIC_TPR: u64 = APIC + 0x80;

static mut ROOM: [u8; BUFFER] = [0; BUFFER];
/// What made-up code leaves behind: two registers.
static mut RESULTS: [u64; 2] = [0; 2];

fn room() -> u64 {
    &raw const ROOM as u64
}

fn results() -> [u64; 2] {
    // SAFETY: nobody holds a reference; made-up code that wrote it has come to its end.
    unsafe { read_volatile(&raw const RESULTS) }
}

fn fill(byte: u8) {
    for i in 0..BUFFER {
        // SAFETY: as above.
        unsafe { write_volatile((room() as *mut u8).add(i), byte) }
    }
}

/// How many bytes from `first` on are `byte`.
fn run_of(first: usize, byte: u8) -> usize {
    // SAFETY: as above; the index is within.
    let at = |i: usize| unsafe { read_volatile((room() as *const u8).add(i)) };
    (first..BUFFER).take_while(|i| at(*i) == byte).count()
}

/// Runs `code` with these in rax, rcx, rdx and rdi; then keeps rcx and `rdi` or `rsi` (`kept`) in [`RESULTS`].
fn run(code: &[u8], registers: [u64; 4], kept: Kept) -> bool {
    let mut bytes = [0x90u8; 64];
    let mut n = 0;
    let mut add = |part: &[u8]| {
        bytes[n..n + part.len()].copy_from_slice(part);
        n += part.len();
    };
    // mov rsi, rdi
    add(&[0x48, 0x89, 0xfe]);
    add(code);
    // movabs r8, RESULTS; cld; mov [r8], rcx; mov [r8 + 8], rdi (or rsi, or rax)
    add(&[0x49, 0xb8]);
    add(&(&raw const RESULTS as u64).to_le_bytes());
    add(&[0xfc, 0x49, 0x89, 0x08, 0x49, 0x89, kept as u8, 0x08]);
    cpu::run_to_its_end(&bytes, registers)
}

/// The second operand of the last move in [`run`].
#[derive(Clone, Copy)]
enum Kept {
    Rax = 0x40,
    Rsi = 0x70,
    Rdi = 0x78,
}

pub fn strings() {
    let mut wrong = 0u32;
    let mut check = |what: &str, right: bool| {
        if !right {
            wrong += 1;
            say!("strings: WRONG: {what}, {:x?}", results());
        }
    };
    // Longer than what is done at a time.
    let faulted = run(&[0xf3, 0x6e], [0, 600, PORT, room()], Kept::Rsi);
    check("rep outsb", !faulted && results() == [0, room() + 600]);
    fill(0);
    let faulted = run(&[0xf3, 0x6c], [0, 600, PORT, room()], Kept::Rdi);
    let right = run_of(0, 0xff) == 600 && run_of(600, 0) == BUFFER - 600;
    check(
        "rep insb",
        !faulted && right && results() == [0, room() + 600],
    );
    fill(0);
    let last = room() + 8;
    let faulted = run(&[0xfd, 0xf3, 0x6d], [0, 3, PORT, last], Kept::Rdi);
    let right = run_of(0, 0xff) == 12 && results() == [0, last.wrapping_sub(12)];
    check("rep insd, downwards", !faulted && right);
    // Where no memory is, the page fault is the guest's; here, that of an address that no table can translate.
    let nowhere = 0x0000_7000_0000_0000;
    let faulted = run(&[0xf3, 0x6c], [0, 1, PORT, nowhere], Kept::Rdi);
    check("rep insb to an address without memory", faulted);

    // SAFETY: a register of our own APIC.
    let version = unsafe { read_volatile(APIC_VERSION as *const u32) };
    // movsd from a register to memory
    let faulted = run(
        &[0x48, 0x89, 0xd7, 0xa5],
        [0, 0, room(), APIC_VERSION],
        Kept::Rdi,
    );
    // SAFETY: our own memory, to which no reference exists.
    let moved = unsafe { read_volatile(room() as *const u32) };
    check("movsd", !faulted && moved == version);
    // push [rdi]; pop rax
    let faulted = run(&[0xff, 0x37, 0x58], [0, 0, 0, APIC_VERSION], Kept::Rax);
    check("push", !faulted && results()[1] as u32 == version);
    // mov dword [rdi], 0x20; xchg [rdi], eax; then and, back to zero
    let code = [0xc7, 0x07, 0x20, 0, 0, 0, 0x87, 0x07];
    let faulted = run(&code, [0x30, 0, 0, APIC_TPR], Kept::Rax);
    // SAFETY: a register of our own APIC.
    let priority = || unsafe { read_volatile(APIC_TPR as *const u32) };
    check(
        "xchg",
        !faulted && results()[1] == 0x20 && priority() == 0x30,
    );
    let faulted = run(&[0x83, 0x27, 0x0f], [0, 0, 0, APIC_TPR], Kept::Rax);
    check("and", !faulted && priority() == 0);

    let right = narrow(version);
    check("32-bit code", right);
    say!("strings: {wrong} wrong");
}

/// The same from 32-bit code, at the low addresses of its memory: a register is read, a string goes to a port.
fn narrow(version: u32) -> bool {
    static mut STACK: u64 = 0;
    let low = |address: u64| (address as u32 & 0x7fff_ffff).to_le_bytes();
    let stack = (&raw const STACK as u64).to_le_bytes();
    let mut bytes = [0x90u8; 96];
    let mut n = 0;
    let mut add = |part: &[u8]| {
        bytes[n..n + part.len()].copy_from_slice(part);
        n += part.len();
        n
    };
    // movabs rax, STACK; mov [rax], rsp; push CODE32; push the address after; retfq
    add(&[0x48, 0xb8]);
    add(&stack);
    let n = add(&[0x48, 0x89, 0x20, 0x6a, cpu::CODE32, 0x68]);
    add(&low(cpu::code() + n as u64 + 6));
    add(&[0x48, 0xcb]);
    // mov eax, [APIC_VERSION]; mov [RESULTS], eax
    add(&[0xa1]);
    add(&(APIC_VERSION as u32).to_le_bytes());
    add(&[0xa3]);
    add(&low(&raw const RESULTS as u64));
    // mov esi, ROOM; mov ecx, 300; mov edx, PORT; rep outsb; mov [RESULTS + 8], esi
    add(&[0xbe]);
    add(&low(room()));
    add(&[0xb9, 44, 1, 0, 0, 0xba]);
    add(&(PORT as u32).to_le_bytes());
    add(&[0xf3, 0x6e, 0x89, 0x35]);
    add(&low(&raw const RESULTS as u64 + 8));
    // jmp far CODE64:the address after; movabs rax, STACK; mov rsp, [rax]
    let n = add(&[0xea]);
    add(&low(cpu::code() + n as u64 + 6));
    add(&[0x08, 0, 0x48, 0xb8]);
    add(&stack);
    add(&[0x48, 0x8b, 0x20]);
    // SAFETY: nobody holds a reference.
    unsafe { write_volatile(&raw mut RESULTS, [0; 2]) }
    let faulted = cpu::run_to_its_end(&bytes, [0; 4]);
    let end = u64::from(u32::from_le_bytes(low(room()))) + 300;
    !faulted && results() == [version.into(), end]
}
