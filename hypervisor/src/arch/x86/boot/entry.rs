//! Multiboot 1 and 2 headers, and the 32-bit entry point that switches to long mode.
//!
//! The boot loader enters `boot_start` in flat 32-bit protected mode with paging off, EAX = its magic number and
//! EBX = the physical address of its information block (Multiboot 1 §3.2, Multiboot 2 §3.3).

use core::arch::global_asm;

use crate::arch::x86::cpu::STACK_SIZE;
use crate::arch::x86::entry::cpuinfo::CpuInfo;

global_asm!(
    r#"
    .section .boot.header, "a"
    .balign 8
    .globl mb1_header
mb1_header:
    .set MB1_FLAGS, 0x00010003          // modules on page boundaries, memory map, address fields below
    .long 0x1badb002
    .long MB1_FLAGS
    .long -(0x1badb002 + MB1_FLAGS)
    .long phys_mb1_header
    .long phys_image_start
    .long phys_data_end
    .long phys_image_end
    .long phys_boot_start

    .balign 8
    .globl mb2_header
mb2_header:
    .long 0xe85250d6
    .long 0                             // protected mode i386
    .long mb2_header_end - mb2_header
    .long -(0xe85250d6 + (mb2_header_end - mb2_header))
    .balign 8
    .short 1, 1                         // information request, optional
    .long 8 + 4 * 8
    .long 1, 2, 3, 6, 8, 14, 15, 17     // cmdline, loader, modules, mmap, framebuffer, RSDP old+new, EFI mmap
    .balign 8
    .short 6, 0                         // modules on page boundaries
    .long 8
    .balign 8
    .short 4, 1                         // console, optional: EGA text will do
    .long 12, 2
    .balign 8
    .short 5, 1                         // frame buffer, optional: of any size and depth
    .long 20, 0, 0, 0
    .balign 8
    .short 0, 0
    .long 8
mb2_header_end:

    .section .boot.text, "ax"
    .code32
    .globl boot_start
boot_start:
    cli
    cld
    movl    %eax, %ebp                  // keep magic in EBP, info in EBX
    // The CPU must know long mode and no-execute (AMD APM vol. 3, CPUID Fn8000_0001 EDX bits 29 and 20).
    movl    $0x80000000, %eax
    movl    %ebx, %esp
    cpuid
    cmpl    $0x80000001, %eax
    jb      boot_no_long_mode
    movl    $0x80000001, %eax
    cpuid
    movl    %esp, %ebx
    testl   $(1 << 29), %edx
    jz      boot_no_long_mode
    testl   $(1 << 20), %edx
    jz      boot_no_long_mode

    // L2 tables: 4 GiB in 2 MiB pages.
    movl    $phys_boot_l2, %edi
    movl    $0x83, %eax
    movl    $2048, %ecx
1:  movl    %eax, (%edi)
    movl    $0, 4(%edi)
    addl    $0x200000, %eax
    addl    $8, %edi
    loop    1b
    // One L3 for the identity map, the direct map and the image.
    movl    $phys_boot_l3, %edi
    movl    $(phys_boot_l2 + 0x3), %eax
    movl    $4, %ecx
2:  movl    %eax, (%edi)
    addl    $4096, %eax
    addl    $8, %edi
    loop    2b
    movl    $(phys_boot_l3 + 0x3), %eax
    movl    %eax, phys_boot_l4
    movl    %eax, phys_boot_l4 + 261 * 8
    movl    %eax, phys_boot_l4 + 262 * 8

    movl    %cr4, %eax
    orl     $0x20, %eax                 // PAE
    movl    %eax, %cr4
    movl    $phys_boot_l4, %eax
    movl    %eax, %cr3
    movl    $0xc0000080, %ecx           // EFER: LME, NXE
    rdmsr
    orl     $0x900, %eax
    wrmsr
    movl    $0x80010033, %eax           // CR0: PG WP NE ET MP PE
    movl    %eax, %cr0
    lgdtl   phys_boot_gdtr
    ljmpl   $0x08, $phys_boot_long

boot_no_long_mode:
    movl    $phys_boot_msg, %esi
    movw    $0x3f8, %dx
3:  lodsb
    testb   %al, %al
    jz      4f
    outb    %al, %dx
    jmp     3b
4:  hlt
    jmp     4b

    .code64
boot_long:
    movabsq $boot_high, %rax
    jmpq    *%rax
boot_high:
    lgdtq   boot_gdtr_high(%rip)
    movl    $0x10, %eax
    movl    %eax, %ds
    movl    %eax, %es
    movl    %eax, %ss
    xorl    %eax, %eax
    movl    %eax, %fs
    movl    %eax, %gs
    leaq    boot_stack + {stack_size} - {cpuinfo_size}(%rip), %rsp
    movl    %ebp, %edi
    movl    %ebx, %esi
    xorl    %ebp, %ebp
    call    boot_rust
    ud2

    .balign 8
boot_gdt:
    .quad   0
    .quad   0x00af9b000000ffff          // 0x08: 64-bit code
    .quad   0x00cf93000000ffff          // 0x10: data
boot_gdt_end:
boot_gdtr:
    .short  boot_gdt_end - boot_gdt - 1
    .quad   phys_boot_gdt
boot_gdtr_high:
    .short  boot_gdt_end - boot_gdt - 1
    .quad   boot_gdt
boot_msg:
    .asciz "Corten: this CPU has no 64-bit mode or no no-execute pages; halted.\r\n"

    .set BASE, 0xffff828000000000
    .globl  boot_l4, boot_l3, boot_l2, boot_long, boot_gdtr, boot_gdt, boot_msg, boot_stack

    .section .bss.stack, "aw", @nobits
    .balign {stack_size}
boot_stack:
    .skip   {stack_size}
    .section .bss.page, "aw", @nobits
    .balign 4096
boot_l4: .skip 4096
boot_l3: .skip 4096
boot_l2: .skip 4 * 4096
"#,
    stack_size = const STACK_SIZE,
    cpuinfo_size = const core::mem::size_of::<CpuInfo>(),
    options(att_syntax)
);
