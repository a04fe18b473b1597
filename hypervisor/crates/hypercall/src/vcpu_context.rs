//! A whole PV vcpu context in and out: [`install`] and [`capture`], for `VCPUOP_initialise` and the domctls.
use crate::descriptors::{fix_selector, release_gdt, take_gdt};
use crate::misc::check_debug_register;
use crate::mmu::{WORK_UNITS, guest_address};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use domain::pv::{Callback, FpuArea, PvVcpu};
use domain::{Domain, Host, PF_BLOCKED, PF_DOWN, PF_POLLING, Vcpu};
use mm::{Budget, Paging, PvTables, RootRef};
use xen_abi::xen::*;
use xen_abi::{Errno, Mfn};

/// Flags a guest may have: CF, PF, AF, ZF, SF, TF, DF, OF, RF, AC, ID; IF and the fixed bit are always on.
const RFLAGS_FREE: u64 = 0x25_0dd5;
const RFLAGS_ON: u64 = 0x202;
/// IOPL, which a PV guest has virtually.
const RFLAGS_IOPL_SHIFT: u32 = 12;
/// CR0.TS.
const CR0_TS: u64 = 1 << 3;
/// Descriptors in the largest LDT.
const MAX_LDT_ENTRIES: u64 = 8192;
/// Offsets in the FXSAVE image of MXCSR, and in the XSAVE image of XSTATE_BV.
const MXCSR: usize = 24;
const XSTATE_BV: usize = 512;
/// The assists a context may carry.
const ASSISTS: u64 = 1 << VMASST_TYPE_WRITABLE_PAGETABLES
    | 1 << VMASST_TYPE_ARCHITECTURAL_IOPL
    | 1 << VMASST_TYPE_RUNSTATE_UPDATE_FLAG
    | 1 << VMASST_TYPE_M2P_STRICT;

/// Checks all of `ctx`, then makes it the state of `v`, which must not run meanwhile.
///
/// `ERESTART`: page tables were validated for a while; repeat the same call. `EINVAL`: something in it may not be.
/// `EOPNOTSUPP`: the vcpu has a context already, and this one has other tables.
pub fn install<H: Host>(
    h: &H,
    dom: &Arc<Domain>,
    v: &Vcpu,
    ctx: &VcpuGuestContext,
) -> Result<(), Errno> {
    if dom.is_hvm() {
        // Its state comes as records (`sethvmcontext`).
        return Err(Errno::EOPNOTSUPP);
    }
    check(ctx)?;
    if v.initialised.load(Ordering::Acquire) {
        let mut pv = v.pv.lock();
        if !same_tables(v, &pv, ctx) {
            return Err(Errno::EOPNOTSUPP);
        }
        commit(dom, v, &mut pv, ctx);
        return Ok(());
    }
    take_roots(h, dom, v, ctx)?;
    let gdt = take_gdt(h, dom, &ctx.gdt_frames, ctx.gdt_ents as u32)?;
    let (old, result) = {
        // Under the page-table lock, so that take_roots sees either a vcpu without context or one that keeps its roots.
        let _tables = dom.paging.lock();
        let mut pv = v.pv.lock();
        if v.initialised.load(Ordering::Acquire) {
            (gdt, Err(Errno::EEXIST))
        } else {
            pv.gdt_entries = ctx.gdt_ents as u32;
            pv.ldt_base = ctx.ldt_base;
            pv.ldt_entries = ctx.ldt_ents as u32;
            let old = core::mem::replace(&mut pv.gdt_frames, gdt);
            commit(dom, v, &mut pv, ctx);
            v.initialised.store(true, Ordering::Release);
            (old, Ok(()))
        }
    };
    release_gdt(h, old);
    result
}

/// Everything that can be seen without looking at pages.
fn check(ctx: &VcpuGuestContext) -> Result<(), Errno> {
    let regs = &ctx.user_regs;
    let addresses = [
        regs.rip,
        ctx.kernel_sp,
        ctx.event_callback_eip,
        ctx.failsafe_callback_eip,
        ctx.syscall_callback_eip,
    ];
    let bases = [ctx.fs_base, ctx.gs_base_kernel, ctx.gs_base_user];
    let ldt_bad = ctx.ldt_ents > MAX_LDT_ENTRIES
        || (ctx.ldt_ents != 0
            && (!guest_address(ctx.ldt_base) || !ctx.ldt_base.is_multiple_of(4096)));
    let user_without_root = ctx.flags & VGCF_IN_KERNEL == 0 && ctx.ctrlreg[1] == 0;
    if !addresses.iter().all(|a| guest_address(*a))
        || !bases.iter().all(|b| canonical(*b))
        || !ctx.trap_ctxt.iter().all(|t| guest_address(t.address))
        || ctx.gdt_ents > u64::from(FIRST_RESERVED_GDT_ENTRY)
        || ldt_bad
        || user_without_root
    {
        return Err(Errno::EINVAL);
    }
    for reg in [0, 1, 2, 3, 6, 7] {
        check_debug_register(reg, ctx.debugreg[reg as usize]).map_err(|_| Errno::EINVAL)?;
    }
    Ok(())
}

fn canonical(va: u64) -> bool {
    ((va as i64) << 16 >> 16) as u64 == va
}

fn roots(ctx: &VcpuGuestContext) -> [u64; 2] {
    [cr3_to_pfn(ctx.ctrlreg[3]), cr3_to_pfn(ctx.ctrlreg[1])]
}

/// Do the context's tables agree with those in force?
fn same_tables(v: &Vcpu, pv: &PvVcpu, ctx: &VcpuGuestContext) -> bool {
    let pages = (ctx.gdt_ents as usize).div_ceil(512);
    [
        v.kernel_l4.load(Ordering::Acquire),
        v.user_l4.load(Ordering::Acquire),
    ] == roots(ctx)
        && u64::from(pv.gdt_entries) == ctx.gdt_ents
        && pv
            .gdt_frames
            .iter()
            .zip(&ctx.gdt_frames)
            .take(pages)
            .all(|(a, b)| a == b)
        && pv.ldt_base == ctx.ldt_base
        && u64::from(pv.ldt_entries) == ctx.ldt_ents
}

/// Gives a vcpu without context its roots. Each is kept as soon as it is there, so that a repetition goes on
/// from it; a root without context does no harm and is dropped with the domain.
fn take_roots<H: Host>(h: &H, dom: &Domain, v: &Vcpu, ctx: &VcpuGuestContext) -> Result<(), Errno> {
    let paging = Paging::new(h.frames(), h);
    let mut tables = dom.paging.lock();
    if dom.is_dying() || v.initialised.load(Ordering::Acquire) {
        return Err(Errno::EINVAL);
    }
    let [kernel, user] = roots(ctx);
    for (slot, wanted) in [(&v.kernel_l4, kernel), (&v.user_l4, user)] {
        if slot.load(Ordering::Relaxed) == wanted && wanted != 0 {
            continue;
        }
        drop_root(&paging, &mut tables, slot)?;
        if wanted == 0 && core::ptr::eq(slot, &v.user_l4) {
            continue;
        }
        let root = paging.get_root(&mut tables, Mfn(wanted), &mut Budget(WORK_UNITS))?;
        slot.store(root.into_raw().0, Ordering::Release);
    }
    Ok(())
}

/// Empties a root slot that no CPU uses.
fn drop_root<H: Host>(
    paging: &Paging<'_, H>,
    tables: &mut PvTables,
    slot: &AtomicU64,
) -> Result<(), Errno> {
    let old = slot.swap(0, Ordering::AcqRel);
    if old == 0 {
        return Ok(());
    }
    paging
        .put_root(tables, RootRef::from_raw(Mfn(old)), &mut Budget(WORK_UNITS))
        .map_err(|back| {
            slot.store(back.into_raw().0, Ordering::Release);
            Errno::ERESTART
        })
}

/// Makes the checked context the vcpu's.
fn commit(dom: &Domain, v: &Vcpu, pv: &mut PvVcpu, ctx: &VcpuGuestContext) {
    pv.regs = ctx.user_regs;
    pv.regs.cs = fix_selector(ctx.user_regs.cs);
    pv.regs.ss = fix_selector(ctx.user_regs.ss);
    pv.iopl = (ctx.user_regs.rflags >> RFLAGS_IOPL_SHIFT) as u32 & 3;
    pv.regs.rflags = (ctx.user_regs.rflags & RFLAGS_FREE) | RFLAGS_ON;
    let r = &ctx.user_regs;
    pv.selectors = [r.ds, r.es, r.fs, r.gs].map(|s| if s & !3 == 0 { 0 } else { fix_selector(s) });
    for (slot, trap) in pv.traps.iter_mut().zip(&ctx.trap_ctxt) {
        *slot = TrapInfo {
            cs: fix_selector(trap.cs),
            ..*trap
        };
    }
    v.kernel_sp.store(ctx.kernel_sp, Ordering::Relaxed);
    pv.kernel_ss = u64::from(fix_selector(ctx.kernel_ss as u16));
    let masks = |bit: u64| ctx.flags & bit != 0;
    pv.event = Callback {
        address: ctx.event_callback_eip,
        mask_events: true,
    };
    pv.failsafe = Callback {
        address: ctx.failsafe_callback_eip,
        mask_events: masks(VGCF_FAILSAFE_DISABLES_EVENTS),
    };
    pv.syscall = Callback {
        address: ctx.syscall_callback_eip,
        mask_events: masks(VGCF_SYSCALL_DISABLES_EVENTS),
    };
    (pv.fs_base, pv.gs_kernel, pv.gs_user) = (ctx.fs_base, ctx.gs_base_kernel, ctx.gs_base_user);
    pv.cr0 = (pv.cr0 & !CR0_TS) | (ctx.ctrlreg[0] & CR0_TS);
    pv.cr2 = ctx.ctrlreg[2];
    for reg in [0u32, 1, 2, 3, 6, 7] {
        // Checked before; a value that is refused now would be left as it was.
        if let Ok(value) = check_debug_register(reg, ctx.debugreg[reg as usize]) {
            pv.debug[reg as usize] = value;
        }
    }
    if ctx.flags & VGCF_I387_VALID != 0 {
        // What lies beyond x87 and SSE has no place in a context and stays as it was.
        load_fxsave(&mut pv.fpu, &ctx.fpu_ctxt);
    } else {
        *pv.fpu = FpuArea::reset();
    }
    v.kernel_mode
        .store(ctx.flags & VGCF_IN_KERNEL != 0, Ordering::Release);
    if v.id.0 == 0 {
        dom.assists
            .store(ctx.vm_assist & ASSISTS, Ordering::Relaxed);
    }
}

/// Takes over an FXSAVE image, made harmless: MXCSR without reserved bits, and an XSAVE header that says x87 and SSE.
fn load_fxsave(area: &mut FpuArea, image: &[u8; 512]) {
    area.0[..512].copy_from_slice(image);
    // The upper half of MXCSR is reserved, and so is what software left behind the registers.
    area.0[MXCSR + 2..MXCSR + 4].fill(0);
    area.0[XSTATE_BV] |= 3;
}

/// The state of a vcpu that does not run. `ENODATA` if it has none.
pub fn capture(dom: &Domain, v: &Vcpu, ctx: &mut VcpuGuestContext) -> Result<(), Errno> {
    if dom.is_hvm() {
        return Err(Errno::EOPNOTSUPP);
    }
    if !v.initialised.load(Ordering::Acquire) {
        return Err(Errno::ENODATA);
    }
    let pv = v.pv.lock();
    let flag = |on: bool, bit: u64| if on { bit } else { 0 };
    ctx.flags = VGCF_I387_VALID
        | flag(v.kernel_mode.load(Ordering::Acquire), VGCF_IN_KERNEL)
        | flag(!v.is_down(), VGCF_ONLINE)
        | flag(pv.failsafe.mask_events, VGCF_FAILSAFE_DISABLES_EVENTS)
        | flag(pv.syscall.mask_events, VGCF_SYSCALL_DISABLES_EVENTS);
    ctx.fpu_ctxt.copy_from_slice(&pv.fpu.0[..512]);
    ctx.user_regs = pv.regs;
    ctx.user_regs.rflags |= u64::from(pv.iopl & 3) << RFLAGS_IOPL_SHIFT;
    let [ds, es, fs, gs] = pv.selectors;
    (
        ctx.user_regs.ds,
        ctx.user_regs.es,
        ctx.user_regs.fs,
        ctx.user_regs.gs,
    ) = (ds, es, fs, gs);
    ctx.trap_ctxt = *pv.traps;
    (ctx.ldt_base, ctx.ldt_ents) = (pv.ldt_base, u64::from(pv.ldt_entries));
    for (slot, frame) in ctx.gdt_frames.iter_mut().zip(&pv.gdt_frames) {
        *slot = *frame;
    }
    ctx.gdt_ents = u64::from(pv.gdt_entries);
    ctx.kernel_ss = pv.kernel_ss;
    ctx.kernel_sp = v.kernel_sp.load(Ordering::Relaxed);
    ctx.ctrlreg[0] = pv.cr0;
    ctx.ctrlreg[1] = pfn_to_cr3(v.user_l4.load(Ordering::Acquire));
    ctx.ctrlreg[2] = pv.cr2;
    ctx.ctrlreg[3] = pfn_to_cr3(v.kernel_l4.load(Ordering::Acquire));
    ctx.ctrlreg[4] = pv.cr4;
    ctx.debugreg = pv.debug;
    ctx.event_callback_eip = pv.event.address;
    ctx.failsafe_callback_eip = pv.failsafe.address;
    ctx.syscall_callback_eip = pv.syscall.address;
    ctx.vm_assist = dom.assists.load(Ordering::Relaxed);
    (ctx.fs_base, ctx.gs_base_kernel, ctx.gs_base_user) = (pv.fs_base, pv.gs_kernel, pv.gs_user);
    Ok(())
}

/// Takes a vcpu's context away: it is down and may be initialised anew. It must not run. Repeat on `ERESTART`.
pub fn reset<H: Host>(h: &H, dom: &Domain, v: &Vcpu) -> Result<(), Errno> {
    let gdt = {
        let paging = Paging::new(h.frames(), h);
        let mut tables = dom.paging.lock();
        v.set_flags(PF_DOWN);
        v.initialised.store(false, Ordering::Release);
        drop_root(&paging, &mut tables, &v.kernel_l4)?;
        drop_root(&paging, &mut tables, &v.user_l4)?;
        let mut pv = v.pv.lock();
        pv.gdt_entries = 0;
        pv.ldt_entries = 0;
        *pv.fpu = FpuArea::reset();
        core::mem::take(&mut pv.gdt_frames)
    };
    release_gdt(h, gdt);
    dom.events.read().poll_end(v.id);
    v.clear_flags(PF_BLOCKED | PF_POLLING);
    Ok(())
}
