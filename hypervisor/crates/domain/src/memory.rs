//! Pages given to domains and taken back. A page on a domain's list is counted in `tot_pages`; it leaves the list
//! when its last reference goes, through [`release_last`].
use crate::{Domain, Host};
use core::sync::atomic::Ordering;
use mm::{LastRef, PageRef, Paging, Released, WritableRef};
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
    {
        // Reserve under the lock, so that concurrent callers cannot exceed the limit together.
        let mut mem = dom.memory.lock();
        if dom.is_dying() {
            return Err(Errno::EINVAL);
        }
        let now = dom.tot_pages.load(Ordering::Relaxed);
        if now.saturating_add(count) > mem.max_pages.saturating_add(slack) {
            return Err(Errno::ENOMEM);
        }
        mem.claimed = mem.claimed.saturating_sub(count);
        dom.tot_pages.store(now + count, Ordering::Relaxed);
    }
    let fresh = h.with_heap(|heap| heap.alloc(order, max_bits));
    let Some(fresh) = fresh else {
        let _mem = dom.memory.lock();
        dom.tot_pages.fetch_sub(count, Ordering::Relaxed);
        return Err(Errno::ENOMEM);
    };
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
    finish(h, Paging::new(h.frames(), h).put_writable(page));
}
