//! Pages given to domains and taken back. A page on a domain's list is counted in `tot_pages`; it leaves the list
//! when its last reference goes, through [`release_last`].
use crate::{Domain, Host};
use core::sync::atomic::Ordering;
use mm::{Fresh, LastRef, PageRef, Paging, Released, WritableRef};
use xen_abi::{DomId, Errno, Mfn};

/// Allocates `2^order` contiguous zeroed pages for `dom`, optionally below a physical address width.
///
/// Errors: `ENOMEM` without free memory or over the domain's limit; `EINVAL` while it is dying.
pub fn alloc_pages<H: Host>(
    h: &H,
    dom: &Domain,
    order: u32,
    max_bits: Option<u32>,
) -> Result<Mfn, Errno> {
    alloc(h, dom, order, max_bits, 0)
}

/// Like [`alloc_pages`], but the domain may exceed its limit by this extent: it is about to give up as much.
pub fn alloc_for_exchange<H: Host>(
    h: &H,
    dom: &Domain,
    order: u32,
    max_bits: Option<u32>,
) -> Result<Mfn, Errno> {
    alloc(h, dom, order, max_bits, 1 << MAX_EXCHANGE_ORDER)
}

/// Largest chunk an exchange may hold twice for a moment (log2 of pages).
const MAX_EXCHANGE_ORDER: u32 = 12;

fn alloc<H: Host>(
    h: &H,
    dom: &Domain,
    order: u32,
    max_bits: Option<u32>,
    slack: u64,
) -> Result<Mfn, Errno> {
    let count = 1u64 << order;
    let fresh = {
        // Under the lock, so that concurrent callers cannot exceed the limit together.
        let mut mem = dom.memory.lock();
        if dom.is_dying() {
            return Err(Errno::EINVAL);
        }
        let now = dom.tot_pages.load(Ordering::Relaxed);
        if now.saturating_add(count) > mem.max_pages.saturating_add(slack) {
            return Err(Errno::ENOMEM);
        }
        let claimed = mem.claimed;
        let (fresh, left) = h.with_heap(|heap| heap.alloc_claimed(order, max_bits, claimed));
        mem.claimed = left;
        let fresh = fresh.ok_or(Errno::ENOMEM)?;
        dom.tot_pages.store(now + count, Ordering::Relaxed);
        fresh
    };
    hand_over(h, dom, fresh)
}

/// Frames fresh from the heap, counted in `tot_pages`, become the domain's, zeroed. Returns the first.
fn hand_over<H: Host>(h: &H, dom: &Domain, fresh: Fresh) -> Result<Mfn, Errno> {
    let count = 1u64 << fresh.order();
    // Whose it was is not known: any CPU may remember it.
    let first = fresh.ready(|stamp| h.tlb_sync(DomId::INVALID, stamp));
    for i in 0..count {
        h.zero_frame(Mfn(first.0 + i));
    }
    let frames = h.frames();
    let mut mem = dom.memory.lock();
    for i in 0..count {
        let mfn = Mfn(first.0 + i);
        // Fresh from the heap it is private RAM, which assign accepts.
        frames.assign(mfn, dom.id)?;
        mem.pages.push(frames, mfn);
        h.m2p_set(mfn, u64::MAX);
    }
    Ok(first)
}

/// The very frames from `mfn` on, as many as are free in one block of at most `2^most`, zeroed; returns log2 of their number.
///
/// Errors: `EBUSY` if that frame is not free, else as [`alloc_pages`].
pub fn alloc_at<H: Host>(h: &H, dom: &Domain, mfn: Mfn, most: u32) -> Result<u32, Errno> {
    let fresh = {
        let mem = dom.memory.lock();
        if dom.is_dying() {
            return Err(Errno::EINVAL);
        }
        let now = dom.tot_pages.load(Ordering::Relaxed);
        let room = mem.max_pages.saturating_sub(now);
        let most = most.min(room.checked_ilog2().ok_or(Errno::ENOMEM)?);
        let fresh = h.with_heap(|heap| heap.alloc_at(mfn, most));
        let fresh = fresh.ok_or(Errno::EBUSY)?;
        dom.tot_pages
            .store(now + (1 << fresh.order()), Ordering::Relaxed);
        fresh
    };
    let order = fresh.order();
    hand_over(h, dom, fresh).map(|_| order)
}

/// `XENMEM_claim_pages`: nobody else gets the last pages that `dom` lacks until it has `total`; 0 ends the claim.
///
/// Errors: `EINVAL` for fewer pages than it has or more than it may have, and while it is dying; `ENOMEM` if they are not free.
pub fn set_claim<H: Host>(h: &H, dom: &Domain, total: u64) -> Result<(), Errno> {
    let mut mem = dom.memory.lock();
    let wanted = match total {
        0 => 0,
        _ if dom.is_dying() || total > mem.max_pages => return Err(Errno::EINVAL),
        _ => total
            .checked_sub(dom.tot_pages.load(Ordering::Relaxed))
            .ok_or(Errno::EINVAL)?,
    };
    if !h.with_heap(|heap| heap.claim(mem.claimed, wanted)) {
        return Err(Errno::ENOMEM);
    }
    mem.claimed = wanted;
    Ok(())
}

/// One page for `dom`.
pub fn alloc_page<H: Host>(h: &H, dom: &Domain) -> Result<Mfn, Errno> {
    alloc_pages(h, dom, 0, None)
}

/// One zeroed hypervisor page that domain `id` may map (shared info, grant table). Not on its page list.
pub fn alloc_shared_page<H: Host>(h: &H, id: DomId, readonly: bool) -> Result<Mfn, Errno> {
    let fresh = h
        .with_heap(|heap| heap.alloc(0, None))
        .ok_or(Errno::ENOMEM)?;
    // Whose it was is not known: any CPU may remember it.
    let mfn = fresh.ready(|stamp| h.tlb_sync(DomId::INVALID, stamp));
    h.zero_frame(mfn);
    h.frames().share(mfn, id, readonly)?;
    h.m2p_set(mfn, u64::MAX);
    Ok(mfn)
}

/// Completes the release of a page whose last reference is gone: off the owner's list, back to the heap.
pub fn release_last<H: Host>(h: &H, last: LastRef) {
    let owner = h.domains().get(last.owner());
    let frames = h.frames();
    if let Some(dom) = &owner {
        let mut mem = dom.memory.lock();
        if last.is_shared() {
            mem.shared_pages = mem.shared_pages.saturating_sub(1);
        } else {
            mem.pages.remove(frames, last.mfn());
            dom.tot_pages.fetch_sub(1, Ordering::Relaxed);
        }
    }
    h.m2p_set(last.mfn(), u64::MAX);
    let freed = h.with_heap(|heap| heap.free_page(last.into_token()));
    debug_assert!(freed.is_ok());
    if let Some(dom) = owner {
        crate::lifecycle::forget_if_gone(h, &dom);
    }
}

/// Acts on what dropping a reference left behind.
pub fn finish<H: Host>(h: &H, released: Released) {
    if let Released::LastRef(last) = released {
        release_last(h, last);
    }
}

/// Drops a page reference.
pub fn put_page<H: Host>(h: &H, page: PageRef) {
    finish(h, Paging::new(h.frames(), h).put_page(page));
}

/// Drops a writable reference.
pub fn put_writable<H: Host>(h: &H, page: WritableRef) {
    crate::dirty::written(h, page.mfn());
    finish(h, Paging::new(h.frames(), h).put_writable(page));
}
