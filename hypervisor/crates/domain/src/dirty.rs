//! Which pages of a hardware-assisted guest were written since somebody last asked: [`enable_step`], [`read`], [`disable_step`].
//!
//! The physmap is its own log: while pages are watched, a clean one is mapped as `LogDirty` (its first write faults, and makes
//! it `Ram`), a dirty one as `Ram`. Pages that others may write, by grants or mappings, count as dirty for as long as they may;
//! [`written`] notes the end of that.
use crate::hvm::{HostTables, Hvm};
use crate::{Domain, Host};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use mm::p2m::{Kind, ORDER_2M, P2m};
use mm::{PageType, Paging};
use xen_abi::{Errno, Mfn};

/// Leaves changed before others get their turn.
const STEP_LEAVES: u32 = 4096;
/// Domains that are watched: without any, writers need not look.
static WATCHED: AtomicU32 = AtomicU32::new(0);

/// What is kept of a domain's watch, beside the physmap.
#[derive(Debug, Default)]
pub struct Watch {
    on: AtomicBool,
    /// How far switching on or off has come.
    at: AtomicU64,
    /// For the caller of [`read`]: how far an interrupted call has come.
    pub told: AtomicU64,
    /// Dirty pages found and faults taken since the last cleaning.
    pub dirty: AtomicU32,
    /// See `dirty`.
    pub faults: AtomicU32,
}

impl Watch {
    /// Are pages watched?
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }

    /// The domain is gone.
    pub(crate) fn close(&self) {
        if self.on.swap(false, Ordering::AcqRel) {
            WATCHED.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

fn hvm(dom: &Domain) -> Result<&Hvm, Errno> {
    dom.hvm.as_deref().ok_or(Errno::EOPNOTSUPP)
}

/// Begins to watch, with all pages clean. `ERESTART`: repeat. `EINVAL`: it is watched, or dying.
pub fn enable_step<H: Host>(h: &H, dom: &Domain) -> Result<(), Errno> {
    let hvm = hvm(dom)?;
    let watch = &hvm.watch;
    if watch.at.load(Ordering::Acquire) == 0 {
        if dom.is_dying() || watch.on.swap(true, Ordering::AcqRel) {
            return Err(Errno::EINVAL);
        }
        WATCHED.fetch_add(1, Ordering::AcqRel);
        watch.dirty.store(0, Ordering::Relaxed);
        watch.faults.store(0, Ordering::Relaxed);
    }
    change_all(h, dom, hvm, Kind::Ram, Kind::LogDirty)
}

/// Stops to watch. `ERESTART`: repeat.
pub fn disable_step<H: Host>(h: &H, dom: &Domain) -> Result<(), Errno> {
    let Ok(hvm) = hvm(dom) else { return Ok(()) };
    if hvm.watch.at.load(Ordering::Acquire) == 0 {
        hvm.watch.close();
    }
    change_all(h, dom, hvm, Kind::LogDirty, Kind::Ram)
}

/// Gives leaves of one kind another, from where the last step ended.
fn change_all<H: Host>(h: &H, dom: &Domain, hvm: &Hvm, from: Kind, to: Kind) -> Result<(), Errno> {
    let t = HostTables(h);
    let mut gfn = hvm.watch.at.load(Ordering::Acquire);
    let mut spent = 0;
    let more = {
        let mut p2m = hvm.p2m.lock();
        loop {
            let Some((at, e)) = p2m.next(&t, gfn) else {
                break false;
            };
            if spent == STEP_LEAVES {
                break true;
            }
            spent += 1;
            if e.kind == from {
                // There, and RAM: it cannot fail, and the flush is below.
                let _ = p2m.change_kind(&t, at, to);
            }
            gfn = (at | ((1 << e.order) - 1)) + 1;
        }
    };
    hvm.watch
        .at
        .store(if more { gfn } else { 0 }, Ordering::Release);
    if !to.writable() {
        h.flush_p2m(dom);
    }
    match more {
        true => Err(Errno::ERESTART),
        false => Ok(()),
    }
}

/// Says of the guest frames from `first` on, one per bit, which are dirty; with `clean`, they are so no more. The number of
/// dirty ones. `EINVAL`: not watched.
pub fn read<H: Host>(
    h: &H,
    dom: &Domain,
    first: u64,
    bits: &mut [u8],
    clean: bool,
) -> Result<u32, Errno> {
    let hvm = hvm(dom)?;
    if !hvm.watch.is_on() {
        return Err(Errno::EINVAL);
    }
    bits.fill(0);
    let end = first.saturating_add(bits.len() as u64 * 8);
    let t = HostTables(h);
    let (mut gfn, mut found, mut changed) = (first, 0, false);
    {
        let mut p2m = hvm.p2m.lock();
        while let Some((at, mut e)) = p2m.next(&t, gfn).filter(|(at, _)| *at < end) {
            if clean
                && e.kind == Kind::Ram
                && e.order > ORDER_2M
                && p2m.split(&t, at, ORDER_2M).is_ok()
            {
                // Ranges are smaller than such leaves, which could not become clean.
                e.order = ORDER_2M;
            }
            let last = (at | ((1 << e.order) - 1)).min(end - 1);
            for (n, at) in (at..=last).enumerate() {
                let mfn = Mfn(e.mfn.0 + n as u64);
                if e.kind == Kind::Ram || e.kind.is_ram() && others_write(h, mfn) {
                    let at = at - first;
                    if let Some(byte) = bits.get_mut((at / 8) as usize) {
                        *byte |= 1 << (at % 8);
                        found += 1;
                    }
                }
            }
            if clean && e.kind == Kind::Ram {
                changed = true;
                clean_leaf(&mut p2m, &t, at, last);
            }
            gfn = last + 1;
        }
    }
    if changed {
        // Before the pages are read: what is written from now on is noticed.
        h.flush_p2m(dom);
    }
    Ok(found)
}

/// The leaf at `gfn` is clean, if all of it up to `last` was told; else it stays dirty.
fn clean_leaf<H: Host>(p2m: &mut P2m, t: &HostTables<'_, H>, gfn: u64, last: u64) {
    let Some(e) = p2m.lookup(t, gfn) else { return };
    let mask = (1u64 << e.order) - 1;
    if gfn & mask == 0 && last == gfn | mask {
        let _ = p2m.change_kind(t, gfn, Kind::LogDirty);
    }
}

/// May anyone but the guest write to it?
fn others_write<H: Host>(h: &H, mfn: Mfn) -> bool {
    matches!(
        Paging::new(h.frames(), h).page_type(mfn),
        (PageType::Writable, _)
    )
}

/// Somebody else has written to a page, perhaps, and is about to give up that right. No lock is held.
#[inline]
pub fn written<H: Host>(h: &H, mfn: Mfn) {
    if WATCHED.load(Ordering::Relaxed) != 0 {
        note(h, mfn);
    }
}

#[cold]
fn note<H: Host>(h: &H, mfn: Mfn) {
    let owner = h.frames().owner(mfn).and_then(|id| h.domains().get(id));
    let Some(hvm) = owner.as_ref().and_then(|dom| dom.hvm.as_deref()) else {
        return;
    };
    if !hvm.watch.is_on() {
        return;
    }
    let gfn = h.m2p_get(mfn);
    let t = HostTables(h);
    let mut p2m = hvm.p2m.lock();
    if p2m.lookup(&t, gfn).is_some_and(|e| e.mfn == mfn) {
        // More of it becomes dirty for want of memory; there is nothing else that could go wrong.
        let _ = p2m.dirtied(&t, gfn);
    }
}
