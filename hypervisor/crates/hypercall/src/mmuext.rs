//! `mmuext_op`: pinning, address-space switches, TLB and cache flushes, the LDT.
use crate::mmu::{Progress, WORK_UNITS, guest_address, page_owner, vcpu_mask_to_cpus};
use crate::{Cx, Ret, Stop};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use domain::{Domain, Host};
use mm::{Budget, Level, Paging, RootRef};
use xen_abi::xen::*;
use xen_abi::{DomId, Errno, Mfn};

/// Most LDT entries (8192 descriptors of 8 bytes).
const MAX_LDT_ENTRIES: u64 = 8192;

/// `mmuext_op(list, count, pdone, foreigndom)`.
pub fn mmuext_op<H: Host>(cx: &Cx<H>) -> Ret {
    let owner = page_owner(cx, DomId(cx.args[3] as u16))?;
    let target = if owner == cx.dom.id {
        Some(cx.dom.clone())
    } else {
        cx.h.domains().get(owner)
    };
    if target.as_ref().is_some_and(|d| d.is_hvm()) {
        return Err(Errno::EINVAL.into());
    }
    let mut budget = Budget(WORK_UNITS);
    Progress::new(cx, size_of::<MmuextOp>())?.run(cx, |addr| {
        let op: MmuextOp = cx.read(addr)?;
        one_op(cx, target.as_ref(), &op, &mut budget)
    })
}

fn one_op<H: Host>(
    cx: &Cx<H>,
    target: Option<&Arc<Domain>>,
    op: &MmuextOp,
    budget: &mut Budget,
) -> Result<(), Stop> {
    let owner = || target.ok_or(Errno::ESRCH);
    match op.cmd {
        MMUEXT_PIN_L1_TABLE => pin(cx, owner()?, Level::L1, Mfn(op.arg1), budget),
        MMUEXT_PIN_L2_TABLE => pin(cx, owner()?, Level::L2, Mfn(op.arg1), budget),
        MMUEXT_PIN_L3_TABLE => pin(cx, owner()?, Level::L3, Mfn(op.arg1), budget),
        MMUEXT_PIN_L4_TABLE => pin(cx, owner()?, Level::L4, Mfn(op.arg1), budget),
        MMUEXT_UNPIN_TABLE => {
            let mut tables = owner()?.paging.lock();
            Ok(Paging::new(cx.h.frames(), cx.h).unpin(&mut tables, Mfn(op.arg1), budget)?)
        }
        _ if target.is_none_or(|d| d.id != cx.dom.id) => Err(Errno::EPERM.into()),
        MMUEXT_NEW_BASEPTR => switch_root(cx, &cx.v.kernel_l4, Mfn(op.arg1), false, budget),
        MMUEXT_NEW_USER_BASEPTR => switch_root(cx, &cx.v.user_l4, Mfn(op.arg1), true, budget),
        MMUEXT_SET_LDT => set_ldt(cx, op.arg1, u64::from(op.nr_ents())),
        MMUEXT_CLEAR_PAGE => clear_page(cx, Mfn(op.arg1)),
        MMUEXT_COPY_PAGE => copy_page(cx, Mfn(op.arg1), Mfn(op.arg2)),
        _ => flush(cx, op),
    }
}

fn pin<H: Host>(
    cx: &Cx<H>,
    dom: &Arc<Domain>,
    level: Level,
    mfn: Mfn,
    budget: &mut Budget,
) -> Result<(), Stop> {
    let mut tables = dom.paging.lock();
    // Under the lock: what is pinned later nobody would unpin.
    if dom.is_dying() {
        return Err(Errno::EINVAL.into());
    }
    Ok(Paging::new(cx.h.frames(), cx.h).pin(&mut tables, level, mfn, budget)?)
}

/// Makes `mfn` the root in `slot`: takes the new one, lets the CPU use it, then lets the old one go.
fn switch_root<H: Host>(
    cx: &Cx<H>,
    slot: &AtomicU64,
    mfn: Mfn,
    may_be_none: bool,
    budget: &mut Budget,
) -> Result<(), Stop> {
    let old = slot.load(Ordering::Relaxed);
    if old == mfn.0 {
        cx.h.reload_cr3(cx.v);
        return Ok(());
    }
    let paging = Paging::new(cx.h.frames(), cx.h);
    let mut tables = cx.dom.paging.lock();
    // With nothing left over from earlier releases, put_root below cannot fail.
    paging.drain(&mut tables, budget)?;
    let new = if mfn.0 == 0 && may_be_none {
        0
    } else {
        paging.get_root(&mut tables, mfn, budget)?.into_raw().0
    };
    slot.store(new, Ordering::Relaxed);
    cx.h.reload_cr3(cx.v);
    if old != 0 {
        let mut root = RootRef::from_raw(Mfn(old));
        while let Err(back) = paging.put_root(&mut tables, root, &mut Budget(WORK_UNITS)) {
            let _ = paging.drain(&mut tables, &mut Budget(WORK_UNITS));
            root = back;
        }
    }
    Ok(())
}

fn set_ldt<H: Host>(cx: &Cx<H>, base: u64, entries: u64) -> Result<(), Stop> {
    if entries > MAX_LDT_ENTRIES
        || !base.is_multiple_of(4096)
        || (entries != 0 && !guest_address(base))
    {
        return Err(Errno::EINVAL.into());
    }
    {
        let mut pv = cx.v.pv.lock();
        pv.ldt_base = base;
        pv.ldt_entries = entries as u32;
    }
    cx.h.reload_descriptors(cx.v);
    Ok(())
}

fn clear_page<H: Host>(cx: &Cx<H>, mfn: Mfn) -> Result<(), Stop> {
    let paging = Paging::new(cx.h.frames(), cx.h);
    let page = paging.get_writable(mfn, cx.dom.id)?;
    cx.h.zero_frame(mfn);
    domain::put_writable(cx.h, page);
    Ok(())
}

fn copy_page<H: Host>(cx: &Cx<H>, to: Mfn, from: Mfn) -> Result<(), Stop> {
    let paging = Paging::new(cx.h.frames(), cx.h);
    let source = paging.frames.get_page(from, cx.dom.id)?;
    let result = match paging.get_writable(to, cx.dom.id) {
        Ok(page) => {
            let mut chunk = [0u8; 512];
            let copied = (0..8).try_for_each(|i| {
                cx.h.read_frame(from, i * 512, &mut chunk)?;
                cx.h.write_frame(to, i * 512, &chunk)
            });
            domain::put_writable(cx.h, page);
            copied.map_err(Stop::from)
        }
        Err(e) => Err(e.into()),
    };
    domain::put_page(cx.h, source);
    result
}

fn flush<H: Host>(cx: &Cx<H>, op: &MmuextOp) -> Result<(), Stop> {
    let all = || cx.dom.dirty_cpus.load(Ordering::Acquire);
    match op.cmd {
        MMUEXT_TLB_FLUSH_LOCAL => cx.h.flush_tlb_local(),
        MMUEXT_TLB_FLUSH_ALL => cx.h.flush_tlb_mask(all(), None),
        MMUEXT_TLB_FLUSH_MULTI => cx.h.flush_tlb_mask(vcpu_mask_to_cpus(cx, op.arg2)?, None),
        MMUEXT_INVLPG_LOCAL | MMUEXT_INVLPG_ALL | MMUEXT_INVLPG_MULTI
            if !guest_address(op.arg1) => {}
        MMUEXT_INVLPG_LOCAL => cx.h.flush_page_local(op.arg1),
        MMUEXT_INVLPG_ALL => cx.h.flush_tlb_mask(all(), Some(op.arg1)),
        MMUEXT_INVLPG_MULTI => {
            cx.h.flush_tlb_mask(vcpu_mask_to_cpus(cx, op.arg2)?, Some(op.arg1))
        }
        // Only those with real devices can have anything in the caches that matters; theirs are coherent.
        MMUEXT_FLUSH_CACHE | MMUEXT_FLUSH_CACHE_GLOBAL => cx.need_privilege()?,
        MMUEXT_MARK_SUPER | MMUEXT_UNMARK_SUPER => return Err(Errno::EOPNOTSUPP.into()),
        _ => return Err(Errno::ENOSYS.into()),
    }
    Ok(())
}
