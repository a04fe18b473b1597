# vmx_run(regs: rdi = *mut CpuUserRegs, launched: esi) -> eax: 0 after an exit, 1 when the entry failed without one.
#
# One run of the guest whose VMCS is current (Intel SDM vol. 3, chapter 27 and 28). Interrupts are off before and after;
# those of the machine end the run. rsp, rip and rflags of the guest are in the VMCS.

        .section .text.entry, "ax", @progbits
        .balign 16
        .globl vmx_run
vmx_run:
        pushq %rbx
        pushq %rbp
        pushq %r12
        pushq %r13
        pushq %r14
        pushq %r15
        pushq %rdi
        # HOST_RSP
        movl $0x6c14, %eax
        vmwrite %rsp, %rax
        testl %esi, %esi
        # None of these changes flags.
        movq 0(%rdi), %r15
        movq 8(%rdi), %r14
        movq 16(%rdi), %r13
        movq 24(%rdi), %r12
        movq 32(%rdi), %rbp
        movq 40(%rdi), %rbx
        movq 48(%rdi), %r11
        movq 56(%rdi), %r10
        movq 64(%rdi), %r9
        movq 72(%rdi), %r8
        movq 80(%rdi), %rax
        movq 88(%rdi), %rcx
        movq 96(%rdi), %rdx
        movq 104(%rdi), %rsi
        movq 112(%rdi), %rdi
        jz 1f
        vmresume
        jmp 2f
1:      vmlaunch
2:      # Still here: refused.
        popq %rdi
        movl $1, %eax
        jmp 3f

        # HOST_RIP: every exit arrives here, with HOST_RSP as above.
        .balign 16
        .globl vmx_exit
vmx_exit:
        xchgq %rdi, (%rsp)
        movq %r15, 0(%rdi)
        movq %r14, 8(%rdi)
        movq %r13, 16(%rdi)
        movq %r12, 24(%rdi)
        movq %rbp, 32(%rdi)
        movq %rbx, 40(%rdi)
        movq %r11, 48(%rdi)
        movq %r10, 56(%rdi)
        movq %r9, 64(%rdi)
        movq %r8, 72(%rdi)
        movq %rax, 80(%rdi)
        movq %rcx, 88(%rdi)
        movq %rdx, 96(%rdi)
        movq %rsi, 104(%rdi)
        popq %rax
        movq %rax, 112(%rdi)
        xorl %eax, %eax
3:      popq %r15
        popq %r14
        popq %r13
        popq %r12
        popq %rbp
        popq %rbx
        ret
