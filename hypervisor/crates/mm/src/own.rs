//! Ownership and counted references.
//!
//! A frame is born with [`FrameTable::assign`], which holds one reference for the owner (ALLOCATED). Whoever names
//! the frame holds a [`PageRef`]. The last one out gets a [`LastRef`]: remove the frame from the owner's list, then
//! [`LastRef::into_token`] gives the [`FreeToken`] that [`crate::Heap::free_page`] demands.
use crate::{FrameTable, Result};
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
    pub fn into_raw(self) -> Mfn {
        self.0
    }
    /// Takes back what [`PageRef::into_raw`] gave. Calling it for anything else corrupts counts.
    pub fn from_raw(mfn: Mfn) -> PageRef {
        PageRef(mfn)
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
        todo!()
    }

    /// Shows a private hypervisor frame to `owner`, who may map it (writable unless `readonly`) but never turn it
    /// into a page table. Undone with [`FrameTable::free_domain_ref`].
    pub fn share(&self, mfn: Mfn, owner: DomId, readonly: bool) -> Result<()> {
        todo!()
    }

    /// A reference to `mfn` if `owner` owns it and has not given it up for good. EINVAL otherwise, EBUSY on overflow.
    pub fn get_page(&self, mfn: Mfn, owner: DomId) -> Result<PageRef> {
        todo!()
    }

    /// A reference to `mfn` whoever owns it, with its owner.
    pub fn get_page_any(&self, mfn: Mfn) -> Result<(PageRef, DomId)> {
        todo!()
    }

    /// Drops a reference; `now` is the TLB clock.
    pub fn put_page(&self, page: PageRef, now: u32) -> Released {
        todo!()
    }

    /// Takes the owner's own reference away, once: `None` if it is gone already (or `owner` does not own it).
    pub fn free_domain_ref(&self, mfn: Mfn, owner: DomId) -> Option<PageRef> {
        todo!()
    }
}
