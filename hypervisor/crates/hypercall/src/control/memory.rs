//! A domain's memory as the toolstack sees it: limits, page types, the hypercall page, what hardware it may touch.
use super::{Outcome, Reply, not_self, write_hypercall_page};
use crate::Cx;
use domain::{Domain, Host};
use mm::{PageType, Paging};
use xen_abi::domctl::*;
use xen_abi::{Errno, Mfn};

/// Most pages per `getpageframeinfo3`.
const MAX_PAGE_INFO: u64 = 1024;
/// KiB per page, as a shift.
const KIB_SHIFT: u32 = 2;

/// `max_mem`: also below what the domain has; then it only cannot get more.
pub(super) fn max_mem(dom: &Domain, op: &Domctl) -> Outcome {
    let pages = op.max_mem().max_memkb >> KIB_SHIFT;
    dom.memory.lock().max_pages = pages.min(u64::from(u32::MAX));
    Ok(Reply::Done)
}

/// `getpageframeinfo3`: frame numbers in, types out, in place.
pub(super) fn page_frame_info<H: Host>(cx: &Cx<H>, dom: &Domain, op: &Domctl) -> Outcome {
    let info = op.getpageframeinfo3();
    if info.num > MAX_PAGE_INFO {
        return Err(Errno::E2BIG.into());
    }
    for i in 0..info.num {
        let mfn = Mfn(cx.read_nth(info.array, i)?);
        cx.write_nth(info.array, i, &u64::from(type_of(cx.h, dom, mfn)))?;
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
    let mfn = Mfn(op.hypercall_init().gmfn.0);
    let page = Paging::new(cx.h.frames(), cx.h).get_writable(mfn, dom.id)?;
    let written = write_hypercall_page(cx.h, mfn);
    domain::put_writable(cx.h, page);
    written?;
    Ok(Reply::Done)
}

/// `shadow_op`: there is no dirty log and no shadow, hence no pool either.
pub(super) fn shadow_op<H: Host>(cx: &Cx<H>, dom: &Domain, op: &mut Domctl) -> Outcome {
    not_self(cx, dom.id)?;
    let mut s = op.shadow_op();
    match s.op {
        SHADOW_OP_OFF => Ok(Reply::Done),
        SHADOW_OP_GET_ALLOCATION | SHADOW_OP_SET_ALLOCATION => {
            s.mb = 0;
            op.set_shadow_op(s);
            Ok(Reply::Data)
        }
        SHADOW_OP_ENABLE
        | SHADOW_OP_CLEAN
        | SHADOW_OP_PEEK
        | SHADOW_OP_ENABLE_TEST
        | SHADOW_OP_ENABLE_LOGDIRTY => Err(Errno::EOPNOTSUPP.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `get_paging_mempool_size`.
pub(super) fn get_mempool(op: &mut Domctl) -> Outcome {
    op.set_paging_mempool(PagingMempool { size: 0 });
    Ok(Reply::Data)
}

/// `iomem_`, `ioport_` and `irq_permission`: the control domain has all hardware, others none.
pub(super) fn permission(dom: &Domain, allow: u8) -> Outcome {
    match (dom.privileged, allow != 0) {
        (true, true) | (false, false) => Ok(Reply::Done),
        _ => Err(Errno::EOPNOTSUPP.into()),
    }
}
