//! `GNTTABOP_copy`: bytes between pages of two domains, by grant or by frame.
use crate::grant_table::{DomGrants, each, resolve};
use crate::{Cx, Ret};
use alloc::sync::Arc;
use domain::{Domain, Host};
use grant::{Access, GntStatus};
use mm::{PageRef, Paging, WritableRef};
use xen_abi::grant_table::*;
use xen_abi::{Gfn, GrantRef, Mfn};

/// Bytes moved at a time through the hypervisor's stack.
const CHUNK: usize = 512;

/// One side of a copy, held until it is done.
struct Side {
    mfn: Mfn,
    write: bool,
    grant: Option<(Arc<Domain>, GrantRef, Access)>,
}

/// Runs a list of copies.
pub fn copy_list<H: Host>(cx: &Cx<H>, list: u64, count: u64) -> Ret {
    each(cx, list, count, |op: &mut Copy| {
        op.status = GntStatus::of(&copy(cx, op))
    })
}

fn copy<H: Host>(cx: &Cx<H>, op: &Copy) -> Result<(), GntStatus> {
    let (from, to, len) = (
        usize::from(op.source.offset),
        usize::from(op.dest.offset),
        usize::from(op.len),
    );
    if from + len > 4096 || to + len > 4096 {
        return Err(GntStatus::BadCopyArg);
    }
    let source = open(cx, &op.source, op.flags & GNTCOPY_SOURCE_GREF != 0, false)?;
    let result = match open(cx, &op.dest, op.flags & GNTCOPY_DEST_GREF != 0, true) {
        Ok(dest) => {
            let moved = move_bytes(cx.h, (source.mfn, from), (dest.mfn, to), len);
            close(cx.h, dest);
            moved
        }
        Err(e) => Err(e),
    };
    close(cx.h, source);
    result
}

fn move_bytes<H: Host>(
    h: &H,
    from: (Mfn, usize),
    to: (Mfn, usize),
    len: usize,
) -> Result<(), GntStatus> {
    let mut chunk = [0u8; CHUNK];
    let mut done = 0;
    while done < len {
        let n = CHUNK.min(len - done);
        let part = chunk.get_mut(..n).ok_or(GntStatus::GeneralError)?;
        h.read_frame(from.0, from.1 + done, part)
            .map_err(|_| GntStatus::BadPage)?;
        h.write_frame(to.0, to.1 + done, part)
            .map_err(|_| GntStatus::BadPage)?;
        done += n;
    }
    Ok(())
}

/// Opens one side: by grant reference of its domain, or by frame of the caller's own.
fn open<H: Host>(cx: &Cx<H>, p: &CopyPtr, by_grant: bool, write: bool) -> Result<Side, GntStatus> {
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
