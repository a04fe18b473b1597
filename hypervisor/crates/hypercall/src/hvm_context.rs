//! Start and saved state of hardware-virtualised vcpus: between the interface's structs and [`HvmState`].
use core::sync::atomic::Ordering;
use domain::Vcpu;
use domain::hvm_vcpu::{HvmState, Seg, Segment, SyscallMsrs};
use xen_abi::Errno;
use xen_abi::hvm::save::{HwCpu, HwMtrr, XEN_X86_FPU_INITIALISED};
use xen_abi::hvm::{VCPU_MODE_32B, VCPU_MODE_64B, VcpuContext, VcpuX8632, VcpuX8664};

/// SCE, LME, LMA, NXE.
const EFER_KNOWN: u64 = 0xd01;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
const CR0_PE: u64 = 1;
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
/// Bits of CR4 there are: VME to UMIP, FSGSBASE, PCIDE, OSXSAVE, SMEP, SMAP; no VMXE, no LA57.
const CR4_KNOWN: u64 = 0x37_0fff & !(1 << 12);
/// RFLAGS: the bit that is always one, and those there are.
const RFLAGS_ONE: u64 = 2;
const RFLAGS_KNOWN: u64 = 0x3f_7fd7;
/// Where MXCSR and XSTATE_BV are in an extended state area, and what they may hold.
const MXCSR: core::ops::Range<usize> = 24..28;
const MXCSR_KNOWN: u32 = 0xffff;
const XSTATE_BV: core::ops::Range<usize> = 512..520;
const X87_SSE: u64 = 3;
/// "Valid" of a pending event.
const EVENT_VALID: u32 = 1 << 31;

/// Control registers that agree with each other.
fn check(cr0: u64, cr4: u64, efer: u64, rflags: u64) -> Result<(), Errno> {
    let paging = cr0 & CR0_PG != 0;
    let long = paging && efer & EFER_LME != 0;
    let bad = cr0 >> 32 != 0
        || paging && cr0 & CR0_PE == 0
        || cr4 & !CR4_KNOWN != 0
        || efer & !EFER_KNOWN != 0
        || long && cr4 & CR4_PAE == 0
        || rflags & !RFLAGS_KNOWN != 0;
    if bad { Err(Errno::EINVAL) } else { Ok(()) }
}

fn canonical(address: u64) -> bool {
    ((address as i64) << 16 >> 16) as u64 == address
}

/// EFER with LMA as the other bits demand.
fn active(cr0: u64, efer: u64) -> u64 {
    match cr0 & CR0_PG != 0 && efer & EFER_LME != 0 {
        true => efer | EFER_LMA,
        false => efer & !EFER_LMA,
    }
}

fn segment(base: u64, limit: u32, attributes: u16) -> Segment {
    Segment {
        selector: 0,
        attributes: attributes & 0xfff,
        limit,
        base,
    }
}

/// `VCPUOP_initialise`. `EEXIST`: it has a state already; `EINVAL`: it cannot be.
pub fn initialise(v: &Vcpu, ctx: &VcpuContext) -> Result<(), Errno> {
    let hvm = v.hvm.as_ref().ok_or(Errno::EINVAL)?;
    let mut state = match ctx.mode {
        VCPU_MODE_32B => from_32(&ctx.cpu_regs.get())?,
        VCPU_MODE_64B => from_64(&ctx.cpu_regs.get())?,
        _ => return Err(Errno::EINVAL),
    };
    let mut slot = hvm.state.lock();
    if v.initialised.swap(true, Ordering::AcqRel) {
        return Err(Errno::EEXIST);
    }
    state.mtrr = slot.mtrr;
    *slot = state;
    Ok(())
}

fn from_32(r: &VcpuX8632) -> Result<HvmState, Errno> {
    let (cr0, cr4) = (u64::from(r.cr0) | CR0_ET, u64::from(r.cr4));
    let rflags = u64::from(r.eflags) | RFLAGS_ONE;
    check(cr0, cr4, r.efer, rflags)?;
    let mut s = HvmState::reset();
    (s.cr0, s.cr3, s.cr4) = (cr0, r.cr3.into(), cr4);
    s.efer = active(cr0, r.efer);
    for (seg, base, limit, attributes) in [
        (Seg::Cs, r.cs_base, r.cs_limit, r.cs_ar),
        (Seg::Ds, r.ds_base, r.ds_limit, r.ds_ar),
        (Seg::Ss, r.ss_base, r.ss_limit, r.ss_ar),
        (Seg::Es, r.es_base, r.es_limit, r.es_ar),
        (Seg::Tr, r.tr_base, r.tr_limit, r.tr_ar),
    ] {
        s.segments[seg as usize] = segment(base.into(), limit, attributes);
    }
    let g = &mut s.regs;
    (g.rax, g.rbx) = (r.eax.into(), r.ebx.into());
    (g.rcx, g.rdx) = (r.ecx.into(), r.edx.into());
    (g.rsi, g.rdi) = (r.esi.into(), r.edi.into());
    (g.rbp, g.rsp) = (r.ebp.into(), r.esp.into());
    (g.rip, g.rflags) = (r.eip.into(), rflags);
    Ok(s)
}

fn from_64(r: &VcpuX8664) -> Result<HvmState, Errno> {
    let rflags = r.rflags | RFLAGS_ONE;
    check(r.cr0, r.cr4, r.efer, rflags)?;
    if r.cr0 & CR0_PG == 0 || r.efer & EFER_LME == 0 {
        return Err(Errno::EINVAL);
    }
    let mut s = HvmState::reset();
    (s.cr0, s.cr3, s.cr4) = (r.cr0 | CR0_ET, r.cr3, r.cr4);
    s.efer = active(r.cr0, r.efer);
    for seg in [Seg::Ds, Seg::Es, Seg::Ss] {
        s.segments[seg as usize] = segment(0, !0, 0xc93);
    }
    s.segments[Seg::Cs as usize] = segment(0, !0, 0xa9b);
    s.segments[Seg::Tr as usize] = segment(0, 0xff, 0x8b);
    let g = &mut s.regs;
    (g.rax, g.rbx, g.rcx, g.rdx) = (r.rax, r.rbx, r.rcx, r.rdx);
    (g.rsi, g.rdi, g.rbp, g.rsp) = (r.rsi, r.rdi, r.rbp, r.rsp);
    (g.rip, g.rflags) = (r.rip, rflags);
    Ok(s)
}

macro_rules! segments {
    ($do:ident, $s:expr, $c:expr) => {
        $do!($s, $c, Es, es_sel, es_base, es_limit, es_arbytes);
        $do!($s, $c, Cs, cs_sel, cs_base, cs_limit, cs_arbytes);
        $do!($s, $c, Ss, ss_sel, ss_base, ss_limit, ss_arbytes);
        $do!($s, $c, Ds, ds_sel, ds_base, ds_limit, ds_arbytes);
        $do!($s, $c, Fs, fs_sel, fs_base, fs_limit, fs_arbytes);
        $do!($s, $c, Gs, gs_sel, gs_base, gs_limit, gs_arbytes);
        $do!($s, $c, Ldtr, ldtr_sel, ldtr_base, ldtr_limit, ldtr_arbytes);
        $do!($s, $c, Tr, tr_sel, tr_base, tr_limit, tr_arbytes);
    };
}

macro_rules! from_record {
    ($s:expr, $c:expr, $seg:ident, $sel:ident, $base:ident, $limit:ident, $ar:ident) => {
        $s.segments[Seg::$seg as usize] = Segment {
            selector: $c.$sel as u16,
            ..segment($c.$base, $c.$limit, $c.$ar as u16)
        };
    };
}

macro_rules! to_record {
    ($s:expr, $c:expr, $seg:ident, $sel:ident, $base:ident, $limit:ident, $ar:ident) => {
        let seg = &$s.segments[Seg::$seg as usize];
        $c.$sel = seg.selector.into();
        $c.$base = seg.base;
        $c.$limit = seg.limit;
        $c.$ar = seg.attributes.into();
    };
}

/// The state a CPU record describes.
pub fn from_record(c: &HwCpu, before: &HvmState) -> Result<HvmState, Errno> {
    check(c.cr0, c.cr4, c.msr_efer, c.rflags)?;
    // These are loaded into the CPU's registers, which would fault.
    let addresses = [
        c.msr_lstar,
        c.msr_cstar,
        c.shadow_gs,
        c.sysenter_esp,
        c.sysenter_eip,
    ];
    let narrow = [c.dr6, c.dr7, c.msr_syscall_mask];
    if narrow.iter().any(|r| r >> 32 != 0) || !addresses.iter().all(|a| canonical(*a)) {
        return Err(Errno::EINVAL);
    }
    let mut s = HvmState::reset();
    (s.mtrr, s.pat, s.xcr0) = (before.mtrr, before.pat, before.xcr0);
    (s.cr0, s.cr2, s.cr3, s.cr4) = (c.cr0 | CR0_ET, c.cr2, c.cr3, c.cr4);
    s.efer = active(c.cr0, c.msr_efer);
    segments!(from_record, s, c);
    s.gdtr = segment(c.gdtr_base, c.gdtr_limit, 0);
    s.idtr = segment(c.idtr_base, c.idtr_limit, 0);
    s.msrs = SyscallMsrs {
        star: c.msr_star,
        lstar: c.msr_lstar,
        cstar: c.msr_cstar,
        sfmask: c.msr_syscall_mask,
        kernel_gs_base: c.shadow_gs,
        sysenter_cs: c.sysenter_cs,
        sysenter_esp: c.sysenter_esp,
        sysenter_eip: c.sysenter_eip,
    };
    s.tsc_aux = c.msr_tsc_aux & 0xffff_ffff;
    s.debug = [c.dr0, c.dr1, c.dr2, c.dr3, 0, 0, c.dr6, c.dr7];
    if c.flags & XEN_X86_FPU_INITIALISED != 0 {
        s.fpu.0[..512].copy_from_slice(&c.fpu_regs);
        let mxcsr = u32::from_le_bytes([
            c.fpu_regs[24],
            c.fpu_regs[25],
            c.fpu_regs[26],
            c.fpu_regs[27],
        ]);
        s.fpu.0[MXCSR].copy_from_slice(&(mxcsr & MXCSR_KNOWN).to_le_bytes());
        s.fpu.0[XSTATE_BV].copy_from_slice(&X87_SSE.to_le_bytes());
    }
    if c.pending_event & EVENT_VALID != 0 {
        s.pending_event = u64::from(c.error_code) << 32 | u64::from(c.pending_event & 0x8000_0fff);
    }
    let g = &mut s.regs;
    (g.rax, g.rbx, g.rcx, g.rdx) = (c.rax, c.rbx, c.rcx, c.rdx);
    (g.rsi, g.rdi, g.rbp, g.rsp) = (c.rsi, c.rdi, c.rbp, c.rsp);
    (g.r8, g.r9, g.r10, g.r11) = (c.r8, c.r9, c.r10, c.r11);
    (g.r12, g.r13, g.r14, g.r15) = (c.r12, c.r13, c.r14, c.r15);
    (g.rip, g.rflags) = (c.rip, c.rflags | RFLAGS_ONE);
    Ok(s)
}

/// The CPU record of a state.
pub fn to_record(s: &HvmState, tsc: u64) -> HwCpu {
    let mut c = HwCpu::default();
    (c.cr0, c.cr2, c.cr3, c.cr4) = (s.cr0, s.cr2, s.cr3, s.cr4);
    c.msr_efer = s.efer;
    segments!(to_record, s, c);
    (c.gdtr_base, c.gdtr_limit) = (s.gdtr.base, s.gdtr.limit);
    (c.idtr_base, c.idtr_limit) = (s.idtr.base, s.idtr.limit);
    let m = &s.msrs;
    (c.msr_star, c.msr_lstar, c.msr_cstar) = (m.star, m.lstar, m.cstar);
    (c.msr_syscall_mask, c.shadow_gs) = (m.sfmask, m.kernel_gs_base);
    (c.sysenter_cs, c.sysenter_esp, c.sysenter_eip) =
        (m.sysenter_cs, m.sysenter_esp, m.sysenter_eip);
    (c.msr_tsc_aux, c.tsc) = (s.tsc_aux, tsc);
    let d = &s.debug;
    (c.dr0, c.dr1, c.dr2, c.dr3, c.dr6, c.dr7) = (d[0], d[1], d[2], d[3], d[6], d[7]);
    c.fpu_regs.copy_from_slice(&s.fpu.0[..512]);
    c.flags = XEN_X86_FPU_INITIALISED;
    c.pending_event = s.pending_event as u32;
    c.error_code = (s.pending_event >> 32) as u32;
    let g = &s.regs;
    (c.rax, c.rbx, c.rcx, c.rdx) = (g.rax, g.rbx, g.rcx, g.rdx);
    (c.rsi, c.rdi, c.rbp, c.rsp) = (g.rsi, g.rdi, g.rbp, g.rsp);
    (c.r8, c.r9, c.r10, c.r11) = (g.r8, g.r9, g.r10, g.r11);
    (c.r12, c.r13, c.r14, c.r15) = (g.r12, g.r13, g.r14, g.r15);
    (c.rip, c.rflags) = (g.rip, g.rflags);
    c
}

/// The MTRR record of a state.
pub fn mtrr_record(s: &HvmState) -> HwMtrr {
    HwMtrr {
        msr_pat_cr: s.pat,
        msr_mtrr_var: s.mtrr.variable,
        msr_mtrr_fixed: s.mtrr.fixed,
        msr_mtrr_cap: domain::hvm_vcpu::MTRR_CAP,
        msr_mtrr_def_type: s.mtrr.default,
    }
}

/// Takes an MTRR record. `EINVAL`: a memory type that is none.
pub fn set_mtrr(s: &mut HvmState, m: &HwMtrr) -> Result<(), Errno> {
    let good = |pat: u64| pat.to_le_bytes().iter().all(|t| matches!(t, 0 | 1 | 4..=7));
    if !good(m.msr_pat_cr) {
        return Err(Errno::EINVAL);
    }
    s.pat = m.msr_pat_cr;
    s.mtrr.variable = m.msr_mtrr_var;
    s.mtrr.fixed = m.msr_mtrr_fixed;
    s.mtrr.default = m.msr_mtrr_def_type;
    Ok(())
}
