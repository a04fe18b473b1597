//! `XENMEM_add_to_physmap(_batch)` and `XENMEM_remove_from_physmap`: what a hardware-assisted guest sees at its frame
//! numbers. The rules are in `domain::physmap`. A PV guest has no such map: `EACCES`, as Xen says.
use crate::{Cx, Ret, Stop, grant_table};
use alloc::sync::Arc;
use alloc::vec::Vec;
use domain::hvm::Removed;
use domain::physmap::{Page, place};
use domain::{Domain, Host};
use xen_abi::memory::*;
use xen_abi::{DomId, Errno, Gfn};

/// Pages per call before other work gets its turn, and per flush.
const BATCH: u64 = 64;
/// Where the number of extents already done lies in the command.
const CMD_BITS: u32 = 6;

/// The hardware-assisted domain a call names.
fn translated<H: Host>(cx: &Cx<H>, id: DomId) -> Result<Arc<Domain>, Stop> {
    let dom = cx.target(id)?;
    if dom.is_hvm() {
        Ok(dom)
    } else {
        Err(Errno::EACCES.into())
    }
}

/// `XENMEM_add_to_physmap`.
pub fn add<H: Host>(cx: &Cx<H>, arg: u64) -> Ret {
    let mut op: AddToPhysmap = cx.read(arg)?;
    let dom = translated(cx, op.domid)?;
    let mut removed = Vec::new();
    let ranged = op.space == MAPSPACE_GMFN_RANGE;
    let count = if ranged { u64::from(op.size) } else { 1 };
    let space = if ranged { MAPSPACE_GMFN } else { op.space };
    let mut result = Ok(());
    let mut done = 0;
    while done < count.min(BATCH) && result.is_ok() {
        let (from, to) = (op.idx.checked_add(done), op.gpfn.0.checked_add(done));
        result = match (from, to) {
            (Some(idx), Some(gfn)) => add_one(cx, &dom, space, idx, gfn, None, &mut removed),
            _ => Err(Errno::EINVAL),
        };
        done += 1;
    }
    domain::hvm::release(cx.h, &dom, &removed);
    result?;
    if done < count {
        // The rest of the range, as the guest's own structure says from now on.
        op.idx = op.idx.wrapping_add(done);
        op.gpfn = Gfn(op.gpfn.0.wrapping_add(done));
        op.size = (count - done) as u16;
        cx.write(arg, &op)?;
        return Err(cx.again(&[]));
    }
    Ok(0)
}

/// `XENMEM_add_to_physmap_batch`, of which `start` are done.
pub fn add_batch<H: Host>(cx: &Cx<H>, arg: u64, start: u64) -> Ret {
    let op: AddToPhysmapBatch = cx.read(arg)?;
    let dom = translated(cx, op.domid)?;
    let space = u32::from(op.space);
    let foreign = match space {
        MAPSPACE_GMFN_FOREIGN => Some(foreign_domain(cx, &dom, DomId(op.u))?),
        _ if op.u != 0 => return Err(Errno::EINVAL.into()),
        MAPSPACE_SHARED_INFO | MAPSPACE_GRANT_TABLE | MAPSPACE_GMFN => None,
        _ => return Err(Errno::EOPNOTSUPP.into()),
    };
    let size = u64::from(op.size);
    if start > size {
        return Err(Errno::EINVAL.into());
    }
    let end = size.min(start.saturating_add(BATCH));
    let mut removed = Vec::new();
    let mut result: Result<(), Stop> = Ok(());
    for i in start..end {
        result = (|| {
            let (idx, gfn): (u64, u64) = (cx.read_nth(op.idxs, i)?, cx.read_nth(op.gpfns, i)?);
            let one = add_one(cx, &dom, space, idx, gfn, foreign.as_ref(), &mut removed);
            let err = one.map_or_else(|e| e.as_ret() as i32, |()| 0);
            cx.write_nth(op.errs, i, &err)
        })();
        if result.is_err() {
            break;
        }
    }
    domain::hvm::release(cx.h, &dom, &removed);
    result?;
    if end < size {
        let cmd = (cx.args[0] & ((1 << CMD_BITS) - 1)) | end << CMD_BITS;
        return Err(cx.again(&[(0, cmd)]));
    }
    Ok(0)
}

/// Whose pages are to be mapped: a domain the caller controls, not the one that maps.
fn foreign_domain<H: Host>(cx: &Cx<H>, dom: &Domain, id: DomId) -> Result<Arc<Domain>, Errno> {
    cx.need_privilege()?;
    let foreign = cx.target(id)?;
    if foreign.id == dom.id {
        return Err(Errno::EINVAL);
    }
    Ok(foreign)
}

fn add_one<H: Host>(
    cx: &Cx<H>,
    dom: &Arc<Domain>,
    space: u32,
    idx: u64,
    gfn: u64,
    foreign: Option<&Arc<Domain>>,
    removed: &mut Vec<Removed>,
) -> Result<(), Errno> {
    let frames = cx.h.frames();
    let page = match (space, foreign) {
        (MAPSPACE_SHARED_INFO, _) if idx == 0 => {
            Page::Own(frames.get_page(dom.shared_info, dom.id)?)
        }
        (MAPSPACE_GRANT_TABLE, _) => {
            let index = u32::try_from(idx).map_err(|_| Errno::EINVAL)?;
            if index >= dom.max_grant_frames {
                return Err(Errno::EINVAL);
            }
            grant_table::grow(cx.h, dom, index + 1)?;
            let frame = dom.grant_frames.read().get(index as usize).copied();
            Page::Own(frames.get_page(frame.ok_or(Errno::EINVAL)?, dom.id)?)
        }
        (MAPSPACE_GMFN, _) => Page::Own(domain::hvm::get_page(cx.h, dom, idx)?),
        (MAPSPACE_GMFN_FOREIGN, Some(of)) => {
            Page::Foreign(domain::hvm::get_writable(cx.h, of, idx)?)
        }
        (MAPSPACE_SHARED_INFO, _) => return Err(Errno::EINVAL),
        _ => return Err(Errno::EOPNOTSUPP),
    };
    place(cx.h, dom, gfn, page, removed)
}

/// `XENMEM_remove_from_physmap`: the page stays the domain's, without a frame number. Grants go by unmapping them.
pub fn remove<H: Host>(cx: &Cx<H>, arg: u64) -> Ret {
    let op: RemoveFromPhysmap = cx.read(arg)?;
    let dom = translated(cx, op.domid)?;
    let page = domain::physmap::remove(cx.h, &dom, op.gpfn.0, |e| !e.kind.is_grant())?;
    domain::hvm::release(cx.h, &dom, &[page]);
    Ok(0)
}
