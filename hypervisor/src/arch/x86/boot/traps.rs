//! Exceptions and interrupts until `entry` takes over: print registers and stop, or hand an interrupt to `irq`.

use crate::arch::x86::cpu::idt;
use crate::arch::x86::irq;
use core::arch::global_asm;

global_asm!(
    r#"
    .section .text.early_traps, "ax", @progbits
    .balign 16
    .globl early_trap_stubs
early_trap_stubs:
    .set vec, 0
    .rept 256
    .balign 16
    .if !(vec == 8 || (vec >= 10 && vec <= 14) || vec == 17 || vec == 21 || vec == 29 || vec == 30)
    pushq   $0
    .endif
    pushq   $vec
    jmp     early_trap_common
    .set vec, vec + 1
    .endr

early_trap_common:
    pushq   %r15
    pushq   %r14
    pushq   %r13
    pushq   %r12
    pushq   %rbp
    pushq   %rbx
    pushq   %r11
    pushq   %r10
    pushq   %r9
    pushq   %r8
    pushq   %rax
    pushq   %rcx
    pushq   %rdx
    pushq   %rsi
    pushq   %rdi
    cld
    movq    %rsp, %rdi
    call    early_trap
    popq    %rdi
    popq    %rsi
    popq    %rdx
    popq    %rcx
    popq    %rax
    popq    %r8
    popq    %r9
    popq    %r10
    popq    %r11
    popq    %rbx
    popq    %rbp
    popq    %r12
    popq    %r13
    popq    %r14
    popq    %r15
    addq    $16, %rsp
    iretq
"#,
    options(att_syntax)
);

unsafe extern "C" {
    static early_trap_stubs: u8;
}

/// What the stubs push, lowest address first.
#[repr(C)]
struct Frame {
    rdi: u64,
    rsi: u64,
    rdx: u64,
    rcx: u64,
    rax: u64,
    r8: u64,
    r9: u64,
    r10: u64,
    r11: u64,
    rbx: u64,
    rbp: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    vector: u64,
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

const NAMES: [&str; 20] = [
    "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "9", "#TS", "#NP", "#SS", "#GP",
    "#PF", "15", "#MF", "#AC", "#MC", "#XM",
];

/// Installs the early handlers, on the code segment `selector`.
pub fn install(selector: u16) {
    // SAFETY: the stubs are 16 bytes apart, one per vector; boot code runs before other CPUs do.
    unsafe { idt::set_all(&raw const early_trap_stubs as u64, 16, selector) };
    idt::load();
}

#[unsafe(no_mangle)]
extern "C" fn early_trap(frame: &Frame) {
    if frame.vector >= 32 {
        irq::handle_vector(frame.vector as u8);
        return;
    }
    if frame.vector == 2 && crate::panic::dying() {
        crate::smp::stop_forever();
    }
    let name = NAMES.get(frame.vector as usize).unwrap_or(&"exception");
    crate::panic::emergency_console();
    log::error!("{name} in the hypervisor, error {:#x}", frame.error);
    log::error!(
        "rip {:04x}:{:016x} rflags {:x} rsp {:016x}",
        frame.cs,
        frame.rip,
        frame.rflags,
        frame.rsp
    );
    let f = frame;
    log::error!(
        "rax {:016x} rbx {:016x} rcx {:016x} rdx {:016x}",
        f.rax,
        f.rbx,
        f.rcx,
        f.rdx
    );
    log::error!(
        "rsi {:016x} rdi {:016x} rbp {:016x} r8  {:016x}",
        f.rsi,
        f.rdi,
        f.rbp,
        f.r8
    );
    log::error!(
        "r9  {:016x} r10 {:016x} r11 {:016x} r12 {:016x}",
        f.r9,
        f.r10,
        f.r11,
        f.r12
    );
    log::error!(
        "r13 {:016x} r14 {:016x} r15 {:016x} ss  {:016x}",
        f.r13,
        f.r14,
        f.r15,
        f.ss
    );
    let cr2 = x86_64::registers::control::Cr2::read_raw();
    let cr3 = x86_64::registers::control::Cr3::read()
        .0
        .start_address()
        .as_u64();
    log::error!("cr2 {cr2:016x} cr3 {cr3:016x}");
    crate::panic::fatal("an exception in the hypervisor");
}
