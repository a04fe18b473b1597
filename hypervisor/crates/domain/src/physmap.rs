//! Single pages put into a hardware-assisted domain's p2m and taken out of it, under the reference rules of [`crate::hvm`].
//!
//! Each function checks and allocates first, then changes the map, which then cannot fail. What was there before
//! comes back as [`Removed`] for [`crate::hvm::release`], so that callers can share one flush among many.
use crate::hvm::{HostTables, Hvm, Removed};
use crate::{Domain, Host};
use alloc::vec::Vec;
use mm::p2m::{Entry, Kind, P2m};
use mm::{PageRef, WritableRef};
use xen_abi::{Errno, Mfn};

/// A page to be put into a p2m, with the reference that goes along.
pub enum Page {
    /// A page of the domain's own, or a hypervisor page shown to it. It moves here from where it was.
    Own(PageRef),
    /// A page of another domain.
    Foreign(WritableRef),
    /// A grant; the maptrack holds the page.
    Grant(Mfn, Kind),
}

impl Page {
    fn parts(&self) -> (Mfn, Kind) {
        match self {
            Page::Own(page) => (page.mfn(), Kind::Ram),
            Page::Foreign(page) => (page.mfn(), Kind::Foreign),
            Page::Grant(mfn, kind) => (*mfn, *kind),
        }
    }

    fn drop_reference<H: Host>(self, h: &H) {
        match self {
            Page::Own(page) => crate::put_page(h, page),
            Page::Foreign(page) => crate::put_writable(h, page),
            Page::Grant(..) => {}
        }
    }
}

fn hvm(dom: &Domain) -> Result<&Hvm, Errno> {
    dom.hvm.as_deref().ok_or(Errno::EINVAL)
}

/// Maps `page` at `gfn` instead of what is there, which the domain loses if it is RAM of its own. What is no longer mapped
/// is added to `removed`.
///
/// `EINVAL`: no such guest frame, or the domain is dying; `EBUSY`: a grant is mapped there (or anything, for a grant);
/// `ENOMEM`. The reference is dropped then.
pub fn place<H: Host>(
    h: &H,
    dom: &Domain,
    gfn: u64,
    page: Page,
    removed: &mut Vec<Removed>,
) -> Result<(), Errno> {
    let mut lost = None;
    let placed = hvm(dom).and_then(|hvm| {
        let mut p2m = hvm.p2m.lock();
        // Under the lock: what is mapped later nobody would unmap.
        if dom.is_dying() {
            return Err(Errno::EINVAL);
        }
        place_locked(h, &mut p2m, gfn, &page, removed, &mut lost)
    });
    if let Some(mfn) = lost {
        give_up(h, dom, mfn);
    }
    match placed {
        // The map holds the reference now.
        Ok(true) => {
            if let Page::Own(page) = page {
                let _ = page.into_raw();
            }
            Ok(())
        }
        // It was there already.
        Ok(false) => {
            page.drop_reference(h);
            Ok(())
        }
        Err(e) => {
            page.drop_reference(h);
            Err(e)
        }
    }
}

fn place_locked<H: Host>(
    h: &H,
    p2m: &mut P2m,
    gfn: u64,
    page: &Page,
    removed: &mut Vec<Removed>,
    lost: &mut Option<Mfn>,
) -> Result<bool, Errno> {
    let t = HostTables(h);
    let (mfn, kind) = page.parts();
    let there = p2m.lookup(&t, gfn);
    if there.is_some_and(|e| e.kind.is_grant() || kind.is_grant()) {
        return Err(Errno::EBUSY);
    }
    if there.is_some_and(|e| e.mfn == mfn && e.kind.is_ram() == kind.is_ram()) {
        return Ok(false);
    }
    // One guest frame for a page of its own: where it was it goes.
    let before = h.m2p_get(mfn);
    let moves = |e: &Entry| e.mfn == mfn && e.kind.is_ram() && kind.is_ram() && before != gfn;
    let before = p2m.lookup(&t, before).filter(moves).map(|_| before);
    removed.try_reserve(2).map_err(|_| Errno::ENOMEM)?;
    if there.is_some() {
        p2m.split(&t, gfn, 0)?;
    }
    if let Some(before) = before {
        p2m.split(&t, before, 0)?;
    }
    // With a small leaf there before, its table is there: mapping cannot fail then.
    if let Some(e) = there
        && let Some((_, leaf, _)) = p2m.unmap_leaf(&t, gfn)
    {
        removed.push(leaf.into());
        if e.kind.is_ram() {
            *lost = Some(e.mfn);
        }
    }
    p2m.map(&t, gfn, 0, mfn, kind)?;
    if let Some(before) = before
        && let Some((_, leaf, _)) = p2m.unmap_leaf(&t, before)
    {
        removed.push(leaf.into());
    }
    if kind.is_ram() {
        h.m2p_set(mfn, gfn);
    }
    Ok(true)
}

/// The domain's own claim to a page that is no longer mapped ends. Hypervisor pages stay what they are.
fn give_up<H: Host>(h: &H, dom: &Domain, mfn: Mfn) {
    h.m2p_set(mfn, u64::MAX);
    if !h.frames().is_shared(mfn)
        && let Some(page) = h.frames().free_domain_ref(mfn, dom.id)
    {
        crate::put_page(h, page);
    }
}

/// Unmaps what `wanted` accepts at `gfn`. `EINVAL`: nothing there or not wanted; `ENOMEM` to split a large leaf.
pub fn remove<H: Host>(
    h: &H,
    dom: &Domain,
    gfn: u64,
    wanted: impl FnOnce(&Entry) -> bool,
) -> Result<Removed, Errno> {
    let t = HostTables(h);
    let mut p2m = hvm(dom)?.p2m.lock();
    let e = p2m.lookup(&t, gfn).filter(wanted).ok_or(Errno::EINVAL)?;
    let (entry, _) = p2m.unmap(&t, gfn)?;
    if e.kind.is_ram() {
        h.m2p_set(e.mfn, u64::MAX);
    }
    Ok(entry.into())
}

/// As [`surrender`] for each of `2^order` pages, if they are mapped by one leaf, which then needs no split. `None`: they are not.
pub fn surrender_leaf<H: Host>(h: &H, dom: &Domain, gfn: u64, order: u32) -> Option<Removed> {
    let t = HostTables(h);
    let removed: Removed = {
        let mut p2m = dom.hvm.as_ref()?.p2m.lock();
        let e = p2m.lookup(&t, gfn)?;
        let whole = e.order == order && gfn & ((1u64 << order) - 1) == 0;
        let mut frames = (0..1u64 << order).map(|n| Mfn(e.mfn.0 + n));
        if !whole || !e.kind.is_ram() || frames.any(|mfn| h.frames().is_shared(mfn)) {
            return None;
        }
        p2m.unmap_leaf(&t, gfn).map(|(_, e, _)| e.into())?
    };
    for n in 0..1u64 << order {
        give_up(h, dom, Mfn(removed.mfn.0 + n));
    }
    Some(removed)
}

/// Takes the domain's page at `gfn` away from it: freed once the returned reference and all others are gone.
/// `EINVAL`: not a page of its own.
pub fn surrender<H: Host>(h: &H, dom: &Domain, gfn: u64) -> Result<Removed, Errno> {
    let frames = h.frames();
    let own = |e: &Entry| e.kind.is_ram() && !frames.is_shared(e.mfn);
    let removed = remove(h, dom, gfn, own)?;
    give_up(h, dom, removed.mfn);
    Ok(removed)
}
