//! A domain's memory as the toolstack sees it: limits, page types, the hypercall page, what hardware it may touch.
use super::{Outcome, Reply, not_self, write_hypercall_page};
use crate::{Cx, Stop};
use core::sync::atomic::{AtomicU32, Ordering};
use domain::{Domain, Host};
use mm::{PageType, Paging};
use xen_abi::domctl::*;
use xen_abi::{Errno, Mfn};

/// Most pages per `getpageframeinfo3`.
const MAX_PAGE_INFO: u64 = 1024;
/// Pages per MiB, as a shift.
const MIB_SHIFT: u32 = 8;
/// Bytes of a bitmap of dirty pages that are told at once, and before others get their turn.
const DIRTY_CHUNK: usize = 512;
const DIRTY_STEP: u64 = 16 * DIRTY_CHUNK as u64;
/// How far an interrupted call has come: its bytes, and above them its operation.
const TOLD_OP_SHIFT: u32 = 48;
const TOLD_AT: u64 = (1 << TOLD_OP_SHIFT) - 1;
/// KiB per page, as a shift.
const KIB_SHIFT: u32 = 2;

/// `max_mem`: also below what the domain has; then it only cannot get more.
pub(super) fn max_mem(dom: &Domain, op: &Domctl) -> Outcome {
    let pages = op.max_mem().max_memkb >> KIB_SHIFT;
    dom.memory.lock().max_pages = pages.min(u64::from(u32::MAX));
    if let Some(hvm) = &dom.hvm {
        hvm.allow_tables_for(pages);
    }
    Ok(Reply::Done)
}

/// `getpageframeinfo3`: frame numbers in, types out, in place.
pub(super) fn page_frame_info<H: Host>(cx: &Cx<H>, dom: &Domain, op: &Domctl) -> Outcome {
    let info = op.getpageframeinfo3();
    if info.num > MAX_PAGE_INFO {
        return Err(Errno::E2BIG.into());
    }
    for i in 0..info.num {
        let frame: u64 = cx.read_nth(info.array, i)?;
        let ty = match domain::hvm::frame_of(cx.h, dom, frame) {
            Ok(mfn) => type_of(cx.h, dom, mfn),
            Err(_) => PFINFO_XTAB,
        };
        cx.write_nth(info.array, i, &u64::from(ty))?;
    }
    Ok(Reply::Done)
}

fn type_of<H: Host>(h: &H, dom: &Domain, mfn: Mfn) -> u32 {
    let paging = Paging::new(h.frames(), h);
    let Ok(page) = paging.frames.get_page(mfn, dom.id) else {
        return PFINFO_XTAB;
    };
    let special = mfn == dom.shared_info || dom.grant_frames.read().contains(&mfn);
    let (ty, pinned) = paging.page_type(mfn);
    domain::put_page(h, page);
    let table = match ty {
        _ if special => return PFINFO_XTAB,
        PageType::L1 => PFINFO_L1TAB,
        PageType::L2 => PFINFO_L2TAB,
        PageType::L3 => PFINFO_L3TAB,
        PageType::L4 => PFINFO_L4TAB,
        PageType::None | PageType::SegDesc | PageType::Writable => PFINFO_NOTAB,
    };
    if pinned {
        table | PFINFO_LPINTAB
    } else {
        table
    }
}

/// `hypercall_init`.
pub(super) fn hypercall_init<H: Host>(cx: &Cx<H>, dom: &Domain, op: &Domctl) -> Outcome {
    let page = domain::hvm::get_writable(cx.h, dom, op.hypercall_init().gmfn.0)?;
    let written = write_hypercall_page(cx.h, page.mfn());
    domain::put_writable(cx.h, page);
    written?;
    Ok(Reply::Done)
}

/// `shadow_op`: there is no shadow; a dirty log and a pool for tables are what hardware-assisted guests have. Of PV guests, see [`pv_dirty_log`].
pub(super) fn shadow_op<H: Host>(cx: &Cx<H>, dom: &Domain, op: &mut Domctl) -> Outcome {
    not_self(cx, dom.id)?;
    let mut s = op.shadow_op();
    if dom.hvm.is_none() {
        return pv_dirty_log(cx, dom, op, s);
    }
    match s.op {
        SHADOW_OP_OFF => again(cx, domain::dirty::disable_step(cx.h, dom)),
        SHADOW_OP_ENABLE_LOGDIRTY => again(cx, domain::dirty::enable_step(cx.h, dom)),
        SHADOW_OP_ENABLE if s.mode == SHADOW_ENABLE_LOG_DIRTY => {
            again(cx, domain::dirty::enable_step(cx.h, dom))
        }
        SHADOW_OP_CLEAN | SHADOW_OP_PEEK => {
            dirty_pages(cx, dom, &mut s)?;
            op.set_shadow_op(s);
            Ok(Reply::Data)
        }
        SHADOW_OP_GET_ALLOCATION | SHADOW_OP_SET_ALLOCATION => {
            s.mb = match &dom.hvm {
                Some(hvm) if s.op == SHADOW_OP_SET_ALLOCATION => {
                    hvm.set_table_limit(u64::from(s.mb) << MIB_SHIFT);
                    s.mb
                }
                Some(hvm) => hvm.p2m.lock().limit().div_ceil(1 << MIB_SHIFT),
                None => 0,
            };
            op.set_shadow_op(s);
            Ok(Reply::Data)
        }
        SHADOW_OP_ENABLE | SHADOW_OP_ENABLE_TEST => Err(Errno::EOPNOTSUPP.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// The dirty log of a PV guest, for toolstacks that move guests by one. Its page tables are its own and in use as they are, so
/// that nobody sees what it writes: every page counts as written since it was last asked for.
fn pv_dirty_log<H: Host>(cx: &Cx<H>, dom: &Domain, op: &mut Domctl, mut s: ShadowOp) -> Outcome {
    let log = &dom.dirty_log;
    match s.op {
        SHADOW_OP_OFF => log.store(0, Ordering::Release),
        SHADOW_OP_ENABLE_LOGDIRTY => log.store(1, Ordering::Release),
        SHADOW_OP_ENABLE if s.mode == SHADOW_ENABLE_LOG_DIRTY => log.store(1, Ordering::Release),
        SHADOW_OP_CLEAN | SHADOW_OP_PEEK if log.load(Ordering::Acquire) != 0 => {
            let most = dom.tot_pages.load(Ordering::Relaxed).saturating_mul(4);
            s.pages = s.pages.min(most.saturating_add(1 << 20));
            all_dirty(cx, dom, &s)?;
            s.stats.dirty_count = u32::try_from(s.pages).unwrap_or(u32::MAX);
            s.stats.fault_count = 0;
            op.set_shadow_op(s);
            return Ok(Reply::Data);
        }
        SHADOW_OP_CLEAN | SHADOW_OP_PEEK => return Err(Errno::EINVAL.into()),
        SHADOW_OP_GET_ALLOCATION | SHADOW_OP_SET_ALLOCATION => {
            s.mb = 0;
            op.set_shadow_op(s);
            return Ok(Reply::Data);
        }
        SHADOW_OP_ENABLE | SHADOW_OP_ENABLE_TEST => return Err(Errno::EOPNOTSUPP.into()),
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(Reply::Done)
}

/// Fills the caller's bitmap, if it gives one, with ones. Goes on where it was interrupted.
fn all_dirty<H: Host>(cx: &Cx<H>, dom: &Domain, s: &ShadowOp) -> Result<(), Stop> {
    if s.dirty_bitmap.is_null() {
        return Ok(());
    }
    let ones = [0xff; DIRTY_CHUNK];
    let bytes = s.pages.div_ceil(8);
    // An interrupted call is always repeated, before its caller makes another.
    let mut at = dom.dirty_log.swap(1, Ordering::AcqRel).saturating_sub(1);
    let stop = at.saturating_add(DIRTY_STEP);
    while at < bytes {
        if at >= stop {
            dom.dirty_log.store(at + 1, Ordering::Release);
            return Err(cx.again(&[]));
        }
        let part = (bytes - at).min(DIRTY_CHUNK as u64);
        let bits = ones.get(..part as usize).ok_or(Errno::EINVAL)?;
        cx.write_bytes(place(s, at)?, bits)?;
        at += part;
    }
    Ok(())
}

/// Byte `at` of the caller's bitmap.
fn place(s: &ShadowOp, at: u64) -> Result<u64, Errno> {
    s.dirty_bitmap.addr().checked_add(at).ok_or(Errno::EFAULT)
}

/// One step of something that is repeated until it is done.
fn again<H: Host>(cx: &Cx<H>, step: Result<(), Errno>) -> Outcome {
    match step {
        Ok(()) => Ok(Reply::Done),
        Err(Errno::ERESTART) => Err(cx.again(&[])),
        Err(e) => Err(e.into()),
    }
}

/// `SHADOW_OP_CLEAN`, `SHADOW_OP_PEEK`: which of the first `pages` guest frames were written since they were last cleaned. Without
/// a bitmap, only the counters. Goes on where it was interrupted.
fn dirty_pages<H: Host>(cx: &Cx<H>, dom: &Domain, s: &mut ShadowOp) -> Result<(), Stop> {
    let hvm = dom.hvm.as_deref().ok_or(Errno::EOPNOTSUPP)?;
    if !hvm.watch.is_on() {
        return Err(Errno::EINVAL.into());
    }
    let clean = s.op == SHADOW_OP_CLEAN;
    if !s.dirty_bitmap.is_null() {
        let bytes = s.pages.min(1 << mm::p2m::GFN_BITS).div_ceil(8);
        let mut chunk = [0u8; DIRTY_CHUNK];
        let tag = u64::from(s.op) << TOLD_OP_SHIFT;
        // An interrupted call is always repeated, before its caller makes another.
        let told = hvm.watch.told.swap(0, Ordering::AcqRel);
        let mut at = if told & !TOLD_AT == tag {
            told & TOLD_AT
        } else {
            0
        };
        let stop = at.saturating_add(DIRTY_STEP);
        while at < bytes {
            if at >= stop {
                hvm.watch.told.store(tag | at, Ordering::Release);
                return Err(cx.again(&[]));
            }
            let part = (bytes - at).min(DIRTY_CHUNK as u64);
            let bits = chunk.get_mut(..part as usize).ok_or(Errno::EINVAL)?;
            let found = domain::dirty::read(cx.h, dom, at * 8, bits, clean)?;
            hvm.watch.dirty.fetch_add(found, Ordering::Relaxed);
            cx.write_bytes(place(s, at)?, bits)?;
            at += part;
        }
    }
    let counter = |c: &AtomicU32| match clean {
        true => c.swap(0, Ordering::Relaxed),
        false => c.load(Ordering::Relaxed),
    };
    s.stats.fault_count = counter(&hvm.watch.faults);
    s.stats.dirty_count = counter(&hvm.watch.dirty);
    Ok(())
}

/// `set_paging_mempool_size`: how much a hardware-assisted guest's nested page tables may take.
pub(super) fn set_mempool(dom: &Domain, op: &Domctl) -> Outcome {
    let Some(hvm) = &dom.hvm else {
        return Err(Errno::EOPNOTSUPP.into());
    };
    hvm.set_table_limit(op.paging_mempool().size >> 12);
    Ok(Reply::Done)
}

/// `get_paging_mempool_size`.
pub(super) fn get_mempool(dom: &Domain, op: &mut Domctl) -> Outcome {
    let frames = dom.hvm.as_ref().map_or(0, |hvm| hvm.p2m.lock().limit());
    op.set_paging_mempool(PagingMempool {
        size: u64::from(frames) << 12,
    });
    Ok(Reply::Data)
}

/// `iomem_`, `ioport_` and `irq_permission`: the control domain has all hardware, others none.
pub(super) fn permission(dom: &Domain, allow: u8) -> Outcome {
    match (dom.privileged, allow != 0) {
        (true, true) | (false, false) => Ok(Reply::Done),
        _ => Err(Errno::EOPNOTSUPP.into()),
    }
}
