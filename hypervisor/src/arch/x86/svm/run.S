# svm_run(vmcb: rdi = physical address, regs: rsi = *mut CpuUserRegs): one run of the guest (AMD APM vol. 2, 15.5).
#
# Physical interrupts are held back by GIF until VMRUN has begun and, since interrupts are intercepted and the host's IF is
# then set (V_INTR_MASKING), end it. rax, rsp, rip and rflags of the guest are in the VMCB.

        .section .text.entry, "ax", @progbits
        .balign 16
        .globl svm_run
svm_run:
        pushq %rbx
        pushq %rbp
        pushq %r12
        pushq %r13
        pushq %r14
        pushq %r15
        pushq %rsi
        movq %rdi, %rax
        movq 0(%rsi), %r15
        movq 8(%rsi), %r14
        movq 16(%rsi), %r13
        movq 24(%rsi), %r12
        movq 32(%rsi), %rbp
        movq 40(%rsi), %rbx
        movq 48(%rsi), %r11
        movq 56(%rsi), %r10
        movq 64(%rsi), %r9
        movq 72(%rsi), %r8
        movq 88(%rsi), %rcx
        movq 96(%rsi), %rdx
        movq 112(%rsi), %rdi
        movq 104(%rsi), %rsi
        clgi
        sti
        vmrun %rax
        cli
        movq (%rsp), %rax
        movq %r15, 0(%rax)
        movq %r14, 8(%rax)
        movq %r13, 16(%rax)
        movq %r12, 24(%rax)
        movq %rbp, 32(%rax)
        movq %rbx, 40(%rax)
        movq %r11, 48(%rax)
        movq %r10, 56(%rax)
        movq %r9, 64(%rax)
        movq %r8, 72(%rax)
        movq %rcx, 88(%rax)
        movq %rdx, 96(%rax)
        movq %rsi, 104(%rax)
        movq %rdi, 112(%rax)
        popq %rsi
        popq %r15
        popq %r14
        popq %r13
        popq %r12
        popq %rbp
        popq %rbx
        stgi
        ret
