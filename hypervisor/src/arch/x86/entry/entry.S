# Every way into the hypervisor and the one way out.
#
# AT&T syntax. The saved frame is `CpuUserRegs` (public arch-x86/xen-x86_64.h), lowest address first:
#   r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi | error,vector | rip cs rflags rsp ss | es ds fs gs
# A guest's frame always lies at the top of the CPU's stack, inside `CpuInfo`, at an address that is 8 modulo 16:
# the CPU aligns rsp to 16 before it pushes ss, so the slot above ss (es) must be aligned.

.set FRAME_ERR,  120
.set FRAME_VEC,  124
.set FRAME_RIP,  128
.set FRAME_CS,   136
.set FRAME_RFL,  144
.set FRAME_RSP,  152
.set FRAME_BYTES, 168
# `STACK_SIZE`, the size of `CpuInfo`, and where in it the guest's frame is; cpuinfo.rs asserts these.
.set STACK_BYTES, 65536
.set INFO_BYTES,  256
.set INFO_REGS,   8

.macro SAVE_GPRS
        pushq %rdi
        pushq %rsi
        pushq %rdx
        pushq %rcx
        pushq %rax
        pushq %r8
        pushq %r9
        pushq %r10
        pushq %r11
        pushq %rbx
        pushq %rbp
        pushq %r12
        pushq %r13
        pushq %r14
        pushq %r15
.endm

.macro RESTORE_GPRS
        popq %r15
        popq %r14
        popq %r13
        popq %r12
        popq %rbp
        popq %rbx
        popq %r11
        popq %r10
        popq %r9
        popq %r8
        popq %rax
        popq %rcx
        popq %rdx
        popq %rsi
        popq %rdi
.endm

        .section .text.entry, "ax", @progbits

# --- 256 interrupt gates, 16 bytes each -------------------------------------------------------------------
# The CPU pushes an error code for vectors 8, 10-14, 17, 21, 29, 30 (SDM vol. 3, 6.13); the others push 0 here.
        .balign 16
        .globl trap_stubs
trap_stubs:
        .set vec, 0
        .rept 256
        .balign 16
        .if !(vec == 8 || (vec >= 10 && vec <= 14) || vec == 17 || vec == 21 || vec == 29 || vec == 30)
        pushq $0
        .endif
        movl $vec, 4(%rsp)
        jmp trap_common
        .set vec, vec + 1
        .endr

        .balign 16
trap_common:
        SAVE_GPRS
        cld
        testb $1, have_smap(%rip)
        jz 1f
        clac
1:      movq %rsp, %rdi
        testb $3, FRAME_CS(%rsp)
        jz 2f
        # A guest's #DB or NMI came in on an interrupt stack: its frame goes where guests' frames are, so that the
        # handler may schedule and the next one finds the interrupt stack free.
        movq %rsp, %rsi
        orq $(STACK_BYTES - 1), %rdi
        subq $(INFO_BYTES - 1 - INFO_REGS), %rdi
        cmpq %rsi, %rdi
        je 3f
        movl $(FRAME_BYTES / 8), %ecx
        rep movsq
        leaq -FRAME_BYTES(%rdi), %rsp
3:      subq $8, %rsp
        call trap_from_guest
        addq $8, %rsp
        jmp resume_guest

# A trap that interrupted the hypervisor itself (idle, or a guest access that faulted): return where it was.
2:      movq %rsp, %rbx
        andq $-16, %rsp
        call trap_from_hypervisor
        movq %rbx, %rsp
        RESTORE_GPRS
        addq $8, %rsp
        iretq

# --- Back to the guest whose frame is at the top of the stack ----------------------------------------------
        .balign 16
        .globl resume_guest
resume_guest:
        testl $0x100, FRAME_VEC(%rsp)
        jz 1f
        # TRAP_syscall: rcx and r11 may be clobbered, and Rust has checked that SYSRET is safe.
        RESTORE_GPRS
        movq 8(%rsp), %rcx
        movq 24(%rsp), %r11
        movq 32(%rsp), %rsp
        sysretq
1:      RESTORE_GPRS
        addq $8, %rsp
        .globl guest_iretq
guest_iretq:
        iretq

        .globl resume_guest_at
# resume_guest_at(frame: *const CpuUserRegs) -> !
resume_guest_at:
        movq %rdi, %rsp
        jmp resume_guest

# --- SYSCALL: one stub per CPU finds that CPU's stack without a free register -------------------------------
        .balign 32
        .globl syscall_stubs
syscall_stubs:
        .set cpu, 0
        .rept 64
        .balign 32
        movq %rsp, syscall_scratch + cpu * 64(%rip)
        movq syscall_scratch + cpu * 64 + 8(%rip), %rsp
        pushq $0xe02b
        pushq syscall_scratch + cpu * 64(%rip)
        jmp syscall_common
        .set cpu, cpu + 1
        .endr

        .balign 32
        .globl syscall32_stubs
syscall32_stubs:
        .set cpu, 0
        .rept 64
        .balign 32
        movq %rsp, syscall_scratch + cpu * 64(%rip)
        movq syscall_scratch + cpu * 64 + 8(%rip), %rsp
        pushq $0xe02b
        pushq syscall_scratch + cpu * 64(%rip)
        jmp syscall32_common
        .set cpu, cpu + 1
        .endr

        .balign 16
syscall_common:
        pushq %r11
        pushq $0xe033
        pushq %rcx
        pushq $0
        movl $0x100, 4(%rsp)
        SAVE_GPRS
        movq %rsp, %rdi
        subq $8, %rsp
        call syscall_from_guest
        addq $8, %rsp
        jmp resume_guest

        .balign 16
syscall32_common:
        pushq %r11
        pushq $0xe023
        pushq %rcx
        pushq $0
        SAVE_GPRS
        movq %rsp, %rdi
        subq $8, %rsp
        call syscall32_from_guest
        addq $8, %rsp
        jmp resume_guest

# SYSENTER saves neither rip nor rsp; MSR_IA32_SYSENTER_ESP points just above the frame's ss slot.
        .balign 16
        .globl sysenter_entry
sysenter_entry:
        pushq $0xe02b
        pushq $0
        pushfq
        pushq $3
        pushq $0
        pushq $0
        # SYSENTER leaves TF, NT and AC as they were; with NT set, IRETQ would fault.
        pushq $2
        popfq
        SAVE_GPRS
        movq %rsp, %rdi
        subq $8, %rsp
        call sysenter_from_guest
        addq $8, %rsp
        jmp resume_guest

# --- Guest memory access: the only instructions that may fault on a guest's address ------------------------
# copy_guest(dst: rdi, src: rsi, len: rdx) -> 0, or 1 after a fault. Eight bytes at a time, then the tail.
        .balign 16
        .globl copy_guest
copy_guest:
        movq %rdx, %rcx
        shrq $3, %rcx
        rep movsq
        andl $7, %edx
        jnz 1f
        xorl %eax, %eax
        ret
1:      movl %edx, %ecx
        rep movsb
        xorl %eax, %eax
        ret
        .globl copy_guest_end
copy_guest_end:
        movl $1, %eax
        ret

# read_msr_safe(msr: edi, out: *mut u64) -> 0 or 1 on #GP.
        .balign 16
        .globl read_msr_safe
read_msr_safe:
        movl %edi, %ecx
        .globl rdmsr_fault
rdmsr_fault:
        rdmsr
        shlq $32, %rdx
        orq %rdx, %rax
        movq %rax, (%rsi)
        xorl %eax, %eax
        ret
        .globl msr_fixup
msr_fixup:
        movl $1, %eax
        ret

# load_gs_selector(sel: edi): loads %gs inside a swapgs pair's shadow so that the guest's inactive base survives.
# A selector that faults loads null instead.
        .globl load_fs_selector
load_fs_selector:
        movl %edi, %fs
        ret
        .globl load_gs_selector
load_gs_selector:
        movl %edi, %gs
        ret
        .globl load_ds_selector
load_ds_selector:
        movl %edi, %ds
        ret
        .globl load_es_selector
load_es_selector:
        movl %edi, %es
        ret
        .globl load_selector_fixup
load_selector_fixup:
        xorl %edi, %edi
        ret

        .section .data.entry, "aw", @progbits
        .balign 64
        .globl syscall_scratch
# Per CPU: [saved guest rsp, stack pointer to use, 6 words of padding to a cache line].
syscall_scratch:
        .skip 64 * 64
        .globl have_smap
have_smap:
        .byte 0
