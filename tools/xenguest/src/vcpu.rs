//! The registers that a guest's first vcpu starts with: of a 64-bit PV guest (public/arch-x86/xen.h,
//! `vcpu_guest_context`), and of a PVH guest (public/arch-x86/hvm/start_info.h), as a record of saved state.
use loader::{PvLayout, PvhLayout};
use xen_abi::Mfn;
use xen_abi::arch_x86::{
    FLAT_KERNEL_CS, FLAT_KERNEL_DS, FLAT_KERNEL_SS, VGCF_IN_KERNEL, VGCF_ONLINE, VcpuGuestContext,
    pfn_to_cr3,
};

use xen_abi::hvm::save::{CPU, Descriptor, END, HEADER, HwCpu, HwMtrr, MTRR};
use zerocopy::{FromBytes, IntoBytes};

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

/// The bit of `rflags` that is always set.
const RFLAGS_ALWAYS: u64 = 1 << 1;
/// Protected mode, and a coprocessor that is there.
const CR0: u64 = 1 | 1 << 4;
/// Flat, accessed, 32-bit code, in the way that hardware keeps a descriptor's attributes.
const CODE: u32 = 0xc9b;
/// The same of data.
const DATA: u32 = 0xc93;
/// A busy 32-bit task.
const TASK: u32 = 0x8b;
/// All memory is write-back unless a range says otherwise; ranges count.
const MTRR_WRITE_BACK: u64 = 6 | 1 << 11;

/// A PVH guest's start: 32-bit flat protected mode without paging, the start info in `ebx`.
fn pvh_start(layout: &PvhLayout) -> HwCpu {
    HwCpu {
        rip: layout.entry.into(),
        rbx: layout.start_info,
        rflags: RFLAGS_ALWAYS,
        cr0: CR0,
        dr6: DR6_DEFAULT,
        dr7: DR7_DEFAULT,
        cs_limit: u32::MAX,
        ds_limit: u32::MAX,
        es_limit: u32::MAX,
        ss_limit: u32::MAX,
        tr_limit: 0x67,
        cs_arbytes: CODE,
        ds_arbytes: DATA,
        es_arbytes: DATA,
        ss_arbytes: DATA,
        tr_arbytes: TASK,
        ..Default::default()
    }
}

/// What is to be loaded into a PVH domain of which the hypervisor said `saved`: the header as it was, memory types for
/// every vcpu, and the registers of the first. `None` if `saved` has no header.
pub(crate) fn hvm_records(layout: &PvhLayout, saved: &[u8], vcpus: u32) -> Option<Vec<u8>> {
    let mut records = Vec::new();
    push(&mut records, HEADER, 0, find(saved, HEADER)?);
    // Its limits are the hypervisor's; where it does not keep memory types, there are none to set.
    let mtrr = find(saved, MTRR).and_then(|m| HwMtrr::read_from_prefix(m).ok());
    if let Some((mut mtrr, _)) = mtrr {
        mtrr.msr_mtrr_def_type = MTRR_WRITE_BACK;
        for vcpu in 0..vcpus {
            push(&mut records, MTRR, vcpu as u16, mtrr.as_bytes());
        }
    }
    push(&mut records, CPU, 0, pvh_start(layout).as_bytes());
    push(&mut records, END, 0, &[]);
    Some(records)
}

fn push(records: &mut Vec<u8>, typecode: u16, instance: u16, data: &[u8]) {
    let descriptor = Descriptor {
        typecode,
        instance,
        length: data.len() as u32,
    };
    records.extend_from_slice(descriptor.as_bytes());
    records.extend_from_slice(data);
}

/// The first record of a type.
fn find(mut records: &[u8], wanted: u16) -> Option<&[u8]> {
    while let Ok((descriptor, rest)) = Descriptor::read_from_prefix(records) {
        let (data, behind) = rest.split_at_checked(descriptor.length as usize)?;
        match descriptor.typecode {
            t if t == wanted => return Some(data),
            END => return None,
            _ => records = behind,
        }
    }
    None
}
