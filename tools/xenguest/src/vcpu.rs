//! The registers that a 64-bit PV guest's first vcpu starts with (public/arch-x86/xen.h, `vcpu_guest_context`).
use loader::PvLayout;
use xen_abi::Mfn;
use xen_abi::arch_x86::{
    FLAT_KERNEL_CS, FLAT_KERNEL_DS, FLAT_KERNEL_SS, VGCF_IN_KERNEL, VGCF_ONLINE, VcpuGuestContext,
    pfn_to_cr3,
};

/// Interrupt flag.
const RFLAGS_IF: u64 = 1 << 9;
const DR6_DEFAULT: u64 = 0xffff_0ff0;
const DR7_DEFAULT: u64 = 0x400;

/// Start of the kernel: entry point, boot stack, start_info in `rsi`, the pinned tables in `cr3`.
pub(crate) fn context(layout: &PvLayout, root: Mfn) -> VcpuGuestContext {
    let mut ctx = VcpuGuestContext {
        flags: VGCF_IN_KERNEL | VGCF_ONLINE,
        ..Default::default()
    };
    let regs = &mut ctx.user_regs;
    regs.rip = layout.entry;
    regs.rsp = layout.stack_top();
    regs.rsi = layout.start_info;
    regs.rflags = RFLAGS_IF;
    regs.cs = FLAT_KERNEL_CS;
    regs.ss = FLAT_KERNEL_SS;
    for selector in [&mut regs.ds, &mut regs.es, &mut regs.fs, &mut regs.gs] {
        *selector = FLAT_KERNEL_DS;
    }
    ctx.kernel_ss = u64::from(ctx.user_regs.ss);
    ctx.kernel_sp = ctx.user_regs.rsp;
    ctx.ctrlreg[3] = pfn_to_cr3(root.0);
    ctx.debugreg[6] = DR6_DEFAULT;
    ctx.debugreg[7] = DR7_DEFAULT;
    ctx
}
