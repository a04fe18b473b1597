//! `GNTTABOP_copy`: bytes between pages of two domains, by grant or by frame.
use crate::grant_table::{DomGrants, each, resolve};
use crate::{Cx, Ret};
use alloc::sync::Arc;
use domain::{Domain, Host};
use grant::{Access, GntStatus};
use mm::{PageRef, Paging, WritableRef};
use xen_abi::grant_table::*;
use xen_abi::{DomId, Gfn, GrantRef, Mfn};

/// One side of a copy, held from its first use to the first copy that names another page.
struct Side {
    /// What it was opened as.
    key: (u64, DomId, bool),
    mfn: Mfn,
    write: bool,
    grant: Option<(Arc<Domain>, GrantRef, Access)>,
}

/// Runs a list of copies. Consecutive ones to or from the same page open it once: a network back end fills a page of its
/// guest from several of its own.
pub fn copy_list<H: Host>(cx: &Cx<H>, list: u64, count: u64) -> Ret {
    let mut sides = [None, None];
    let ret = each(cx, list, count, |op: &mut Copy| {
        op.status = GntStatus::of(&copy(cx, op, &mut sides))
    });
    for side in sides.into_iter().rev().flatten() {
        close(cx.h, side);
    }
    ret
}

fn copy<H: Host>(cx: &Cx<H>, op: &Copy, sides: &mut [Option<Side>; 2]) -> Result<(), GntStatus> {
    let (from, to, len) = (
        usize::from(op.source.offset),
        usize::from(op.dest.offset),
        usize::from(op.len),
    );
    if from + len > 4096 || to + len > 4096 {
        return Err(GntStatus::BadCopyArg);
    }
    let [source, dest] = sides;
    let source = ready(
        cx,
        source,
        &op.source,
        op.flags & GNTCOPY_SOURCE_GREF != 0,
        false,
    )?;
    let dest = ready(cx, dest, &op.dest, op.flags & GNTCOPY_DEST_GREF != 0, true)?;
    cx.h.copy_frame((source, from), (dest, to), len)
        .map_err(|_| GntStatus::BadPage)
}

/// The frame of a side: as it is held, or opened in the place of what is held.
fn ready<H: Host>(
    cx: &Cx<H>,
    held: &mut Option<Side>,
    p: &CopyPtr,
    by_grant: bool,
    write: bool,
) -> Result<Mfn, GntStatus> {
    let key = (p.u, p.domid, by_grant);
    if let Some(side) = held
        && side.key == key
    {
        return Ok(side.mfn);
    }
    if let Some(side) = held.take() {
        close(cx.h, side);
    }
    Ok(held.insert(open(cx, p, key, write)?).mfn)
}

/// Opens one side: by grant reference of its domain, or by frame of the caller's own.
fn open<H: Host>(
    cx: &Cx<H>,
    p: &CopyPtr,
    key: (u64, DomId, bool),
    write: bool,
) -> Result<Side, GntStatus> {
    let by_grant = key.2;
    let dom = cx.peer(p.domid).map_err(|_| GntStatus::BadDomain)?;
    let (mfn, grant) = if by_grant {
        let access = if write {
            Access::COPY_TO
        } else {
            Access::COPY_FROM
        };
        let gref = GrantRef(p.u as u32);
        let shared = DomGrants { h: cx.h, dom: &dom };
        let info = dom
            .grants
            .read()
            .begin_copy(&shared, gref, cx.dom.id, access, |gfn: Gfn| {
                resolve(cx.h, &dom, gfn)
            })?;
        (info.mfn, Some((gref, access)))
    } else if dom.id == cx.dom.id {
        (resolve(cx.h, &dom, Gfn(p.u))?, None)
    } else {
        return Err(GntStatus::PermissionDenied);
    };
    let paging = Paging::new(cx.h.frames(), cx.h);
    let held = if write {
        paging.get_writable(mfn, dom.id).map(|p| p.into_raw())
    } else {
        paging.frames.get_page(mfn, dom.id).map(|p| p.into_raw())
    };
    match held {
        Ok(mfn) => Ok(Side {
            key,
            mfn,
            write,
            grant: grant.map(|(gref, access)| (dom, gref, access)),
        }),
        Err(_) => {
            if let Some((gref, access)) = grant {
                let shared = DomGrants { h: cx.h, dom: &dom };
                let _ = dom.grants.read().end(&shared, gref, access);
            }
            Err(GntStatus::BadPage)
        }
    }
}

fn close<H: Host>(h: &H, side: Side) {
    if side.write {
        domain::put_writable(h, WritableRef::from_raw(side.mfn));
    } else {
        domain::put_page(h, PageRef::from_raw(side.mfn));
    }
    if let Some((dom, gref, access)) = side.grant {
        let shared = DomGrants { h, dom: &dom };
        let _ = dom.grants.read().end(&shared, gref, access);
    }
}
