//! Ownership and counted references.
//!
//! A frame is born with [`FrameTable::assign`], which holds one reference for the owner (ALLOCATED). Whoever names
//! the frame holds a [`PageRef`]. The last one out gets a [`LastRef`]: remove the frame from the owner's list, then
//! [`LastRef::into_token`] gives the [`FreeToken`] that [`crate::Heap::free_page`] demands.
use crate::frame::State;
use crate::pv::{PageType, word};
use crate::{FrameTable, Result};
use core::sync::atomic::Ordering;
use xen_abi::Errno::{EBUSY, EINVAL};
use xen_abi::{DomId, Mfn};

/// One counted reference to a frame: it will not be freed or change owner. Give it back with `put_page`.
#[must_use = "a reference must be stored or put"]
#[derive(Debug, PartialEq, Eq)]
pub struct PageRef(Mfn);

impl PageRef {
    /// The frame referred to.
    pub fn mfn(&self) -> Mfn {
        self.0
    }
    /// For storage in a table; the reference stays counted.
    #[allow(clippy::forget_non_drop)] // it does implement Drop in our tests
    pub fn into_raw(self) -> Mfn {
        let mfn = self.0;
        core::mem::forget(self);
        mfn
    }
    /// Takes back what [`PageRef::into_raw`] gave. Calling it for anything else corrupts counts.
    pub fn from_raw(mfn: Mfn) -> PageRef {
        PageRef(mfn)
    }
}

/// In this crate's own tests a forgotten reference is a failure on the spot.
#[cfg(test)]
impl Drop for PageRef {
    fn drop(&mut self) {
        assert!(
            std::thread::panicking(),
            "reference to {} dropped on the floor",
            self.0
        );
    }
}

/// What dropping a reference left behind.
#[must_use = "the last reference has to be freed"]
#[derive(Debug, PartialEq, Eq)]
pub enum Released {
    /// Others still refer to the frame.
    StillReferenced,
    /// That was the last one.
    LastRef(LastRef),
}

/// The frame nobody refers to any more, still on its owner's list.
#[must_use = "a frame without references must be freed"]
#[derive(Debug, PartialEq, Eq)]
pub struct LastRef {
    mfn: Mfn,
    owner: DomId,
    stamp: u32,
    shared: bool,
}

impl LastRef {
    /// The frame.
    pub fn mfn(&self) -> Mfn {
        self.mfn
    }
    /// Whose it was: take it off that domain's [`crate::PageList`] and page count.
    pub fn owner(&self) -> DomId {
        self.owner
    }
    /// True for a hypervisor page shared with [`FrameTable::share`]: it is on no list.
    pub fn is_shared(&self) -> bool {
        self.shared
    }
    /// Once it is off the owner's list: the right to free it.
    pub fn into_token(self) -> FreeToken {
        FreeToken {
            mfn: self.mfn,
            stamp: self.stamp,
        }
    }
}

/// The right to put one frame back into the heap; carries the TLB clock of its last use.
#[must_use = "a frame without references must be freed"]
#[derive(Debug, PartialEq, Eq)]
pub struct FreeToken {
    pub(crate) mfn: Mfn,
    pub(crate) stamp: u32,
}

impl FreeToken {
    /// The frame.
    pub fn mfn(&self) -> Mfn {
        self.mfn
    }
}

impl<'a> FrameTable<'a> {
    /// Gives a frame fresh from the heap to `owner`: one reference (ALLOCATED), no type. EINVAL if it is not a
    /// private RAM frame.
    pub fn assign(&self, mfn: Mfn, owner: DomId) -> Result<()> {
        self.adopt(mfn, owner, 0, word::NONE)
    }

    /// Shows a private hypervisor frame to `owner`, who may map it (writable unless `readonly`) but never turn it
    /// into a page table. Undone with [`FrameTable::free_domain_ref`].
    pub fn share(&self, mfn: Mfn, owner: DomId, readonly: bool) -> Result<()> {
        // A type reference that nobody ever puts keeps the type as it is.
        let ty = if readonly {
            PageType::None
        } else {
            PageType::Writable
        };
        self.adopt(mfn, owner, State::SHARED, word::held(ty))
    }

    fn adopt(&self, mfn: Mfn, owner: DomId, flags: u64, typ: u32) -> Result<()> {
        let f = self.get(mfn).ok_or(EINVAL)?;
        let s = f.state();
        if !s.has(State::RAM) || s.has(State::FREE | State::HYPERVISOR) || s.refs() != 0 {
            return Err(EINVAL);
        }
        // The frame is the caller's alone until the count is published.
        f.typ.store(typ, Ordering::Relaxed);
        let new = State(s.0 & State::FIXED | flags | State::ALLOCATED | 1).with_owner(owner);
        f.state
            .compare_exchange(s.0, new.0, Ordering::AcqRel, Ordering::Relaxed)
            .map_err(|_| EINVAL)?;
        Ok(())
    }

    /// A reference to `mfn` if `owner` owns it and somebody still refers to it. EINVAL otherwise, EBUSY on overflow.
    #[inline]
    pub fn get_page(&self, mfn: Mfn, owner: DomId) -> Result<PageRef> {
        let f = self.get(mfn).ok_or(EINVAL)?;
        let mut full = false;
        f.update_state(|s| {
            full = s.refs() == State::REFS;
            (s.refs() != 0 && s.owner() == owner && !full).then_some(State(s.0 + 1))
        })
        .map(|_| PageRef(mfn))
        .ok_or(if full { EBUSY } else { EINVAL })
    }

    /// A reference to `mfn` whoever owns it, with its owner.
    pub fn get_page_any(&self, mfn: Mfn) -> Result<(PageRef, DomId)> {
        let f = self.get(mfn).ok_or(EINVAL)?;
        f.update_state(|s| (s.refs() != 0 && s.refs() != State::REFS).then_some(State(s.0 + 1)))
            .map(|s| (PageRef(mfn), s.owner()))
            .ok_or(EINVAL)
    }

    /// Drops a reference; `now` is the TLB clock.
    #[inline]
    pub fn put_page(&self, page: PageRef, now: u32) -> Released {
        let mfn = page.into_raw();
        let Some(f) = self.get(mfn) else {
            return Released::StillReferenced;
        };
        // Before the count can be seen as zero, for whoever reuses the frame.
        f.touch(now);
        let old = f.update_state(|s| match s.refs() {
            0 => None,
            1 => Some(State(s.0 & State::FIXED).with_owner(s.owner())),
            _ => Some(State(s.0 - 1)),
        });
        match old {
            Some(s) if s.refs() == 1 => {
                // A type that outlives its last reference would be a bug in the counting; shared pages keep theirs.
                debug_assert!(s.has(State::SHARED) || !word::in_use(f.typ.load(Ordering::Acquire)));
                f.typ.store(word::NONE, Ordering::Relaxed);
                let stamp = f.stamp.load(Ordering::Acquire);
                Released::LastRef(LastRef {
                    mfn,
                    owner: s.owner(),
                    stamp,
                    shared: s.has(State::SHARED),
                })
            }
            Some(_) => Released::StillReferenced,
            None => {
                debug_assert!(false, "put of a frame nobody refers to");
                Released::StillReferenced
            }
        }
    }

    /// Takes the owner's own reference away, once: `None` if it is gone already (or `owner` does not own it).
    pub fn free_domain_ref(&self, mfn: Mfn, owner: DomId) -> Option<PageRef> {
        self.get(mfn)?
            .update_state(|s| {
                (s.refs() != 0 && s.owner() == owner && s.has(State::ALLOCATED))
                    .then_some(State(s.0 & !State::ALLOCATED))
            })
            .map(|_| PageRef(mfn))
    }

    /// A hypervisor page shown to a domain ([`FrameTable::share`])?
    pub fn is_shared(&self, mfn: Mfn) -> bool {
        self.get(mfn).is_some_and(|f| f.state().has(State::SHARED))
    }

    /// Has the owner not yet given `mfn` up?
    pub fn is_allocated(&self, mfn: Mfn) -> bool {
        self.get(mfn)
            .is_some_and(|f| f.state().has(State::ALLOCATED))
    }
}
