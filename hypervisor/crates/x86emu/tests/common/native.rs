//! Real execution: one instruction between two thunks, with all registers of its own, on the CPU the tests run on.
use std::sync::Mutex;

/// Where the instruction's memory is: three pages, of which the operands use the middle.
pub const MEMORY: u64 = 0x2000_0000;
pub const MEMORY_LEN: usize = 0x3000;
const CODE: u64 = 0x2100_0000;
/// `jmp [rip+0]` and the address that follows it.
const JUMP: [u8; 6] = [0xff, 0x25, 0, 0, 0, 0];

/// General registers in hardware order, then the flags.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct State {
    pub gpr: [u64; 16],
    pub flags: u64,
}

std::arch::global_asm!(
    ".pushsection .data",
    "x86emu_state: .quad 0",
    "x86emu_stack: .quad 0",
    "x86emu_rax: .quad 0",
    ".popsection",
    ".globl x86emu_native, x86emu_native_back",
    "x86emu_native:",
    "push rbx; push rbp; push r12; push r13; push r14; push r15; pushfq",
    "mov [rip + x86emu_state], rdi",
    "mov [rip + x86emu_rax], rsi",
    "mov [rip + x86emu_stack], rsp",
    "push qword ptr [rdi + 128]; popfq",
    "mov rax, [rdi]; mov rcx, [rdi + 8]; mov rdx, [rdi + 16]; mov rbx, [rdi + 24]",
    "mov rsp, [rdi + 32]; mov rbp, [rdi + 40]; mov rsi, [rdi + 48]",
    "mov r8, [rdi + 64]; mov r9, [rdi + 72]; mov r10, [rdi + 80]; mov r11, [rdi + 88]",
    "mov r12, [rdi + 96]; mov r13, [rdi + 104]; mov r14, [rdi + 112]; mov r15, [rdi + 120]",
    "mov rdi, [rdi + 56]",
    "jmp [rip + x86emu_rax]",
    "x86emu_native_back:",
    "mov [rip + x86emu_rax], rax",
    "mov rax, [rip + x86emu_state]",
    "mov [rax + 8], rcx; mov [rax + 16], rdx; mov [rax + 24], rbx; mov [rax + 32], rsp",
    "mov [rax + 40], rbp; mov [rax + 48], rsi; mov [rax + 56], rdi",
    "mov [rax + 64], r8; mov [rax + 72], r9; mov [rax + 80], r10; mov [rax + 88], r11",
    "mov [rax + 96], r12; mov [rax + 104], r13; mov [rax + 112], r14; mov [rax + 120], r15",
    "mov rsp, [rip + x86emu_stack]",
    "pushfq; pop qword ptr [rax + 128]",
    "mov rcx, [rip + x86emu_rax]",
    "mov [rax], rcx",
    "popfq; pop r15; pop r14; pop r13; pop r12; pop rbp; pop rbx",
    "ret",
);

unsafe extern "sysv64" {
    fn x86emu_native(state: *mut State, code: u64);
    fn x86emu_native_back();
}

fn map(at: u64, len: usize, executable: bool) {
    let execute = if executable { libc::PROT_EXEC } else { 0 };
    // SAFETY: fresh pages at an address where nothing is (else the call fails, which is asserted).
    let got = unsafe {
        libc::mmap(
            at as *mut libc::c_void,
            len,
            libc::PROT_READ | libc::PROT_WRITE | execute,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
            -1,
            0,
        )
    };
    assert_eq!(got as u64, at, "no memory at {at:x}");
}

/// Executes `code` on `state` and `memory`, as if memory were at [`MEMORY`]. The code must be one that does not fault, jumps
/// nowhere and writes nowhere else.
pub fn execute(code: &[u8], state: &mut State, memory: &mut [u8]) {
    static MAPPED: Mutex<bool> = Mutex::new(false);
    assert!(code.len() <= 15 && memory.len() == MEMORY_LEN);
    let mut mapped = MAPPED.lock().unwrap();
    if !*mapped {
        map(MEMORY, MEMORY_LEN, false);
        map(CODE, 0x1000, true);
        *mapped = true;
    }
    let back = x86emu_native_back as *const () as u64;
    let mut whole = code.to_vec();
    whole.extend(JUMP);
    whole.extend(back.to_le_bytes());
    // SAFETY: both areas are mapped, and the lock makes them ours; the thunk restores what the ABI asks for. The caller
    // promises that the instruction stays within its memory.
    unsafe {
        std::ptr::copy_nonoverlapping(whole.as_ptr(), CODE as *mut u8, whole.len());
        std::ptr::copy_nonoverlapping(memory.as_ptr(), MEMORY as *mut u8, MEMORY_LEN);
        x86emu_native(state, CODE);
        std::ptr::copy_nonoverlapping(MEMORY as *const u8, memory.as_mut_ptr(), MEMORY_LEN);
    }
}
