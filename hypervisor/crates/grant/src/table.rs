//! [`GrantTable`]: the granting side. Growth, and the protocol that opens and ends a use of a grant.
use crate::entry::{Active, Use};
use crate::{Access, ENTRIES_PER_FRAME, GntStatus, SharedGrants};
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::Ordering::SeqCst;
use spin::Mutex;
use xen_abi::{DomId, Errno, Gfn, GrantRef, Mfn};

/// What a domain grants to others, version 1.
///
/// Locking: the owner keeps it behind a reader-writer lock; growth takes it for writing, everything else for
/// reading. Each entry has a spin lock of its own, held for a few instructions (and during `resolve`).
pub struct GrantTable {
    max_frames: u32,
    /// One chunk per frame.
    active: Vec<Vec<Mutex<Active>>>,
}

/// A use of a grant that was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapInfo {
    /// The granted machine frame.
    pub mfn: Mfn,
    /// The same frame as the granter numbers it.
    pub gfn: Gfn,
    /// Only reading is allowed.
    pub readonly: bool,
    /// The first use of the entry: `resolve` was called.
    pub first: bool,
}

impl GrantTable {
    /// A table without frames, which may grow to `max_frames`.
    pub fn new(max_frames: u32) -> GrantTable {
        GrantTable {
            max_frames,
            active: Vec::new(),
        }
    }

    /// Frames it has (`GNTTABOP_query_size`).
    pub fn nr_frames(&self) -> u32 {
        self.active.len() as u32
    }

    /// Frames it may have.
    pub fn max_frames(&self) -> u32 {
        self.max_frames
    }

    /// Entries it has.
    pub fn nr_entries(&self) -> u32 {
        self.nr_frames() * ENTRIES_PER_FRAME
    }

    /// The frames a growth to `nr_frames` must add (empty if it has them): the caller allocates and clears
    /// them, then calls [`GrantTable::grow`]. `GeneralError`: above the limit.
    pub fn plan_growth(&self, nr_frames: u32) -> Result<Range<u32>, GntStatus> {
        if nr_frames > self.max_frames {
            return Err(GntStatus::GeneralError);
        }
        let have = self.nr_frames();
        Ok(have..nr_frames.max(have))
    }

    /// Grows to `nr_frames` frames; the shared ones are there already. `NoSpace`: out of memory, nothing changed.
    pub fn grow(&mut self, nr_frames: u32) -> Result<(), GntStatus> {
        let new = self.plan_growth(nr_frames)?;
        let mut chunks = Vec::new();
        chunks
            .try_reserve_exact(new.len())
            .map_err(|_| GntStatus::NoSpace)?;
        for _ in new {
            let mut chunk = Vec::new();
            chunk
                .try_reserve_exact(ENTRIES_PER_FRAME as usize)
                .map_err(|_| GntStatus::NoSpace)?;
            chunk.resize_with(ENTRIES_PER_FRAME as usize, Mutex::default);
            chunks.push(chunk);
        }
        self.active
            .try_reserve_exact(chunks.len())
            .map_err(|_| GntStatus::NoSpace)?;
        self.active.append(&mut chunks);
        Ok(())
    }

    /// `GNTTABOP_get_version`: always 1.
    pub fn version(&self) -> u32 {
        1
    }

    /// `GNTTABOP_set_version`. ENOSYS: version 2, which we do not offer; EINVAL: no such version.
    pub fn set_version(&self, version: u32) -> Result<(), Errno> {
        match version {
            1 => Ok(()),
            2 => Err(Errno::ENOSYS),
            _ => Err(Errno::EINVAL),
        }
    }

    fn active(&self, gref: GrantRef) -> Result<&Mutex<Active>, GntStatus> {
        let i = gref.0 as usize;
        let per = ENTRIES_PER_FRAME as usize;
        let chunk = self.active.get(i / per).ok_or(GntStatus::BadGntref)?;
        chunk.get(i % per).ok_or(GntStatus::BadGntref)
    }

    /// Opens a mapping of `gref` by `mapper`.
    ///
    /// For the first use, `resolve` translates the granter's frame number and may refuse; later uses get the
    /// same frame, whatever the entry says by then. The caller then takes its page reference and writes its page
    /// table; if that fails it calls [`GrantTable::end`]. Errors: `BadGntref` beyond the table; `GeneralError` if
    /// the entry does not grant this, is used by another domain, or keeps changing; what `resolve` says.
    ///
    /// The first user must hold a page reference before it ends its use, or later users lose the frame: take one
    /// reference per use.
    pub fn begin_map(
        &self,
        shared: &impl SharedGrants,
        gref: GrantRef,
        mapper: DomId,
        access: Access,
        resolve: impl FnOnce(Gfn) -> Result<Mfn, GntStatus>,
    ) -> Result<MapInfo, GntStatus> {
        self.begin(shared, gref, mapper, access, Use::Map, resolve)
    }

    /// Opens one side of a `GNTTABOP_copy` ([`Access::COPY_FROM`] or [`Access::COPY_TO`]); otherwise like
    /// [`GrantTable::begin_map`].
    pub fn begin_copy(
        &self,
        shared: &impl SharedGrants,
        gref: GrantRef,
        mapper: DomId,
        access: Access,
        resolve: impl FnOnce(Gfn) -> Result<Mfn, GntStatus>,
    ) -> Result<MapInfo, GntStatus> {
        self.begin(shared, gref, mapper, access, Use::Copy, resolve)
    }

    fn begin(
        &self,
        shared: &impl SharedGrants,
        gref: GrantRef,
        mapper: DomId,
        access: Access,
        usage: Use,
        resolve: impl FnOnce(Gfn) -> Result<Mfn, GntStatus>,
    ) -> Result<MapInfo, GntStatus> {
        let mut active = self.active(gref)?.lock();
        let entry = shared.entry(gref).ok_or(GntStatus::BadGntref)?;
        let first = !active.pins.any();
        if !first && active.mapper != mapper {
            return Err(GntStatus::GeneralError);
        }
        let pins = active.pins.plus(access).ok_or(GntStatus::GeneralError)?;
        if first || (access.write && !active.pins.writing()) {
            entry.claim(mapper, access.write, usage)?;
        }
        if first {
            // Read after the claim: from now on a sane granter leaves the frame alone.
            let gfn = Gfn(u64::from(entry.frame.load(SeqCst)));
            match resolve(gfn) {
                Ok(mfn) => {
                    *active = Active {
                        pins: active.pins,
                        mapper,
                        gfn,
                        mfn,
                    };
                }
                Err(status) => {
                    entry.unclaim(&active.pins);
                    return Err(status);
                }
            }
        }
        active.pins = pins;
        Ok(MapInfo {
            mfn: active.mfn,
            gfn: active.gfn,
            readonly: !access.write,
            first,
        })
    }

    /// Ends (part of) a use opened with the same `access`. Call it after the page table entry is gone, the TLBs
    /// are flushed and the page reference is dropped: the granter sees the page as its own again from here.
    /// Works when the granter is dying and its shared frames are gone. `BadGntref`: there was no such use.
    pub fn end(
        &self,
        shared: &impl SharedGrants,
        gref: GrantRef,
        access: Access,
    ) -> Result<(), GntStatus> {
        let mut active = self.active(gref)?.lock();
        active.pins = active.pins.minus(access).ok_or(GntStatus::BadGntref)?;
        if let Some(entry) = shared.entry(gref) {
            entry.unclaim(&active.pins);
        }
        Ok(())
    }

    /// The frame and the domain of an entry in use.
    pub fn in_use(&self, gref: GrantRef) -> Option<(Mfn, DomId)> {
        let active = self.active(gref).ok()?.lock();
        active.pins.any().then_some((active.mfn, active.mapper))
    }

    /// `GNTTABOP_swap_grant_ref`: swaps two shared entries. `Eagain`: one is in use; `BadGntref`.
    pub fn swap(
        &self,
        shared: &impl SharedGrants,
        a: GrantRef,
        b: GrantRef,
    ) -> Result<(), GntStatus> {
        let (first, second) = (self.active(a.min(b))?, self.active(a.max(b))?);
        if a == b {
            return Ok(());
        }
        let (first, second) = (first.lock(), second.lock());
        if first.pins.any() || second.pins.any() {
            return Err(GntStatus::Eagain);
        }
        let ea = shared.entry(a).ok_or(GntStatus::BadGntref)?;
        let eb = shared.entry(b).ok_or(GntStatus::BadGntref)?;
        for (x, y) in [(ea.flags_domid, eb.flags_domid), (ea.frame, eb.frame)] {
            let old = x.load(SeqCst);
            x.store(y.swap(old, SeqCst), SeqCst);
        }
        Ok(())
    }
}
