//! The first instructions of a CPU that is started: real mode below 1 MiB, straight to long mode, on to `smp::ap_entry`.

use crate::arch::x86::mm::phys_to_virt;
use core::arch::global_asm;

global_asm!(
    r#"
    .section .rodata.trampoline, "a", @progbits
    .balign 16
    .globl trampoline_start, trampoline_end, trampoline_stack, trampoline_closed
    .code16
trampoline_start:
    cli
    cld
    movw    %cs, %ax
    movw    %ax, %ds
    xorl    %ebx, %ebx
    movw    %ax, %bx
    shll    $4, %ebx                    // EBX: where this page lies
    cmpl    $0, (trampoline_closed - trampoline_start)
    jne     3f
    leal    (trampoline_gdt - trampoline_start)(%ebx), %eax
    movl    %eax, (trampoline_gdtr - trampoline_start + 2)
    leal    (trampoline_long - trampoline_start)(%ebx), %eax
    movl    %eax, (trampoline_far - trampoline_start)
    lgdtl   (trampoline_gdtr - trampoline_start)
    movl    $0x20, %eax                 // CR4: PAE
    movl    %eax, %cr4
    movl    $phys_boot_l4, %eax
    movl    %eax, %cr3
    movl    $0xc0000080, %ecx           // EFER: LME, NXE
    xorl    %edx, %edx
    movl    $0x900, %eax
    wrmsr
    movl    $0x80010033, %eax           // CR0: PG WP NE ET MP PE
    movl    %eax, %cr0
    ljmpl   *(trampoline_far - trampoline_start)
3:  hlt
    jmp     3b

    .code64
trampoline_long:
    movl    $0x10, %eax
    movl    %eax, %ds
    movl    %eax, %es
    movl    %eax, %ss
    movq    trampoline_stack(%rip), %rsp
    lgdtq   trampoline_gdtr_high(%rip)
    movq    trampoline_entry(%rip), %rax
    xorl    %ebp, %ebp
    call    *%rax
    ud2

    .balign 8
trampoline_gdt:
    .quad   0
    .quad   0x00af9b000000ffff
    .quad   0x00cf93000000ffff
trampoline_gdt_end:
trampoline_gdtr:
    .short  trampoline_gdt_end - trampoline_gdt - 1
    .long   0
    .balign 8
trampoline_gdtr_high:
    .short  trampoline_gdt_end - trampoline_gdt - 1
    .quad   trampoline_gdt
    .balign 8
trampoline_far:
    .long   0
    .short  0x08
    .balign 8
trampoline_stack:
    .quad   0
trampoline_entry:
    .quad   {entry}
trampoline_closed:
    .long   0
trampoline_end:
"#,
    entry = sym crate::smp::ap_entry,
    options(att_syntax)
);

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_end: u8;
    static trampoline_stack: u8;
    static trampoline_closed: u8;
}

fn offset_of(label: *const u8) -> usize {
    label as usize - &raw const trampoline_start as usize
}

/// Copies the code to the page at physical address `page`; the next CPU gets its stack at `stack_top`.
pub fn install(page: u64, stack_top: u64) {
    let to = phys_to_virt(page);
    // SAFETY: the page is ours, in the direct map, and large enough for the code between the labels; no CPU runs there now.
    unsafe {
        core::ptr::copy_nonoverlapping(
            &raw const trampoline_start,
            to,
            offset_of(&raw const trampoline_end),
        );
        to.add(offset_of(&raw const trampoline_stack))
            .cast::<u64>()
            .write_unaligned(stack_top);
    }
}

/// A CPU that comes late halts.
pub fn close(page: u64) {
    // SAFETY: a word of the page written by `install`.
    unsafe {
        phys_to_virt(page)
            .add(offset_of(&raw const trampoline_closed))
            .cast::<u32>()
            .write_volatile(1)
    };
}

const _: () = assert!(cfg!(target_arch = "x86_64"));
