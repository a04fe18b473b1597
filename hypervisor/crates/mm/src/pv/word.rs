//! The type word: one atomic that decides what a frame is.
//!
//! Bits 28..32 type, 27 VALIDATED, 26 PINNED, 25 PARTIAL, 0..24 the type count. PARTIAL (only page tables, only under
//! the domain's lock): validation or release stopped half way; the type count is one by definition, held by the
//! frame itself along with one general reference, and bits 0..24 say how many leading entries are held instead.
//!
//! With a count of zero the type bits name the *previous* type: TLBs and paging-structure caches may still use the
//! frame as that, so changing it flushes first. A `Writable` frame is VALIDATED once that flush is over: whoever
//! gets a reference before does the flush too, so nobody ever waits and nobody is ever early.
use super::PageType;
use crate::{FrameInfo, FrameTable, Result};
use core::sync::atomic::Ordering;
use xen_abi::Errno::{EBUSY, EINVAL};
use xen_abi::Mfn;

pub(crate) const VALIDATED: u32 = 1 << 27;
pub(crate) const PINNED: u32 = 1 << 26;
pub(crate) const PARTIAL: u32 = 1 << 25;
pub(crate) const COUNT: u32 = (1 << 24) - 1;
const TYPE_SHIFT: u32 = 28;

/// A frame without a type and without a past.
pub(crate) const NONE: u32 = 0;

/// `ty` with one reference that is never put.
pub(crate) fn held(ty: PageType) -> u32 {
    bits(ty) | VALIDATED | 1
}

pub(crate) fn bits(ty: PageType) -> u32 {
    (ty as u32) << TYPE_SHIFT
}

/// The type in (or last in) force.
pub(crate) fn type_of(word: u32) -> PageType {
    match word >> TYPE_SHIFT {
        1 => PageType::L1,
        2 => PageType::L2,
        3 => PageType::L3,
        4 => PageType::L4,
        5 => PageType::SegDesc,
        7 => PageType::Writable,
        _ => PageType::None,
    }
}

/// Is the type in force, that is, can the frame not become anything else?
#[inline]
pub(crate) fn in_use(word: u32) -> bool {
    word & (COUNT | PARTIAL) != 0
}

/// The type count, PARTIAL understood.
pub(crate) fn count(word: u32) -> u32 {
    if word & PARTIAL != 0 { 1 } else { word & COUNT }
}

/// What [`FrameTable::take_type`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    /// One more reference to a type that is ready for use.
    Ready,
    /// The first reference, or a type not ready yet. `flush`: TLBs may hold the frame as another type.
    Fresh { flush: bool },
    /// Half-way page table with so many entries held; nothing was taken.
    Partial(usize),
}

impl FrameInfo {
    #[inline]
    pub(crate) fn word(&self) -> u32 {
        self.typ.load(Ordering::Acquire)
    }

    /// One more type reference, or the start of a type. EINVAL: it is something else, EBUSY: count overflow.
    #[inline]
    pub(crate) fn take_type(&self, ty: PageType) -> Result<Taken> {
        let mut seen = self.word();
        loop {
            let same = seen >> TYPE_SHIFT == ty as u32;
            let (new, taken) = if in_use(seen) {
                if !same {
                    return Err(EINVAL);
                }
                if seen & PARTIAL != 0 {
                    return Ok(Taken::Partial((seen & COUNT) as usize));
                }
                if seen & COUNT == COUNT {
                    return Err(EBUSY);
                }
                let ready = if seen & VALIDATED != 0 {
                    Taken::Ready
                } else {
                    Taken::Fresh { flush: true }
                };
                (seen + 1, ready)
            } else if same && ty == PageType::Writable && seen & VALIDATED != 0 {
                (seen + 1, Taken::Ready)
            } else {
                // A frame that never had a type is known to no TLB; the same type again needs no flush.
                let flush = seen >> TYPE_SHIFT != PageType::None as u32 && !same;
                (bits(ty) | 1, Taken::Fresh { flush })
            };
            match self
                .typ
                .compare_exchange_weak(seen, new, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Ok(taken),
                Err(now) => seen = now,
            }
        }
    }

    /// Drops one reference of a type that needs no release (`Writable`), or one of several.
    #[inline]
    pub(crate) fn drop_type(&self, now: u32) {
        self.touch(now);
        let down = |w: u32| (w & PARTIAL == 0 && w & COUNT != 0).then(|| w - 1);
        let old = self
            .typ
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, down);
        debug_assert!(old.is_ok(), "type count underflow");
    }

    /// Marks the type ready for use.
    pub(crate) fn set_validated(&self) {
        self.typ.fetch_or(VALIDATED, Ordering::AcqRel);
    }

    /// Changes the word of a page table under its domain's lock, where nobody else does.
    pub(crate) fn set_word(&self, word: u32) {
        self.typ.store(word, Ordering::Release);
    }
}

impl FrameTable<'_> {
    /// The type word of a frame, zero if there is no such frame.
    #[inline]
    pub(crate) fn word(&self, mfn: Mfn) -> u32 {
        self.get(mfn).map_or(NONE, FrameInfo::word)
    }
}
