//! Direct paging: guests' own page tables run on the hardware, because every entry was checked.
//!
//! [`Paging`] is the front: cheap to make, it joins the frame table and the [`Platform`]. A frame has one
//! [`PageType`] while its type count is not zero. Page tables are validated on their first type reference (each
//! entry takes references on what it names) and released on their last. [`PvTables`] sits inside the domain's
//! page-table lock and proves that it is held.
//!
//! **Concurrency.** Operations that take `&mut PvTables` are serialised per domain. `get_writable`/`put_writable` and
//! `get_page`/`put_page` race with them and each other freely: one atomic word decides.
//!
//! **Preemption.** Work on L2 and above is paid from a [`Budget`]. When it runs out while taking, the page stays
//! PARTIAL, owns itself (one reference and one type reference) and the call returns ERESTART: repeat it. When it runs
//! out while releasing, the call has succeeded, and [`PvTables`] remembers the rest; every operation first finishes
//! that, and [`Paging::drain`] does so explicitly.
pub mod entry;
mod ops;
pub mod scan;
pub mod segdesc;
mod table;
mod target;
mod update;
pub(crate) mod word;

#[cfg(test)]
mod tests;

pub use entry::{ENTRIES, RESERVED_SLOTS};
pub use segdesc::check_descriptor;

use crate::FrameTable;
use xen_abi::{DomId, Mfn};

/// What the code below needs from the machine. Implemented once, monomorphised.
pub trait Platform {
    /// Entry `index` (below 512) of `table`.
    fn read(&self, table: Mfn, index: usize) -> u64;
    /// Stores entry `index` of `table` in one 64-bit write.
    fn write(&self, table: Mfn, index: usize, value: u64);
    /// Stores `new` if the entry is still `old`; otherwise what it is.
    fn cmpxchg(
        &self,
        table: Mfn,
        index: usize,
        old: u64,
        new: u64,
    ) -> core::result::Result<(), u64>;
    /// The first present entry of `table` from index `from` on ([`scan`] has a fast way).
    fn first_present(&self, table: Mfn, from: usize) -> Option<usize> {
        (from..ENTRIES).find(|&i| self.read(table, i) & entry::P != 0)
    }
    /// The last present entry of `table` below index `end`.
    fn last_present(&self, table: Mfn, end: usize) -> Option<usize> {
        (0..end.min(ENTRIES))
            .rev()
            .find(|&i| self.read(table, i) & entry::P != 0)
    }
    /// Writes the hypervisor's own entries into slots 256..=271 of an L4 being validated for `domain`.
    fn install_reserved(&self, l4: Mfn, domain: DomId);
    /// May `domain` map `mfn`, which is not RAM?
    fn mmio_access(&self, domain: DomId, mfn: Mfn) -> MmioAccess;
    /// May `domain` choose cache attributes (PWT, PCD, PAT) in L1 entries? True for those with hardware.
    fn cache_attrs_allowed(&self, domain: DomId) -> bool;
    /// Now, in flushes: a counter that has moved on by the time of the next TLB flush. Never zero, which means "never used".
    fn tlb_clock(&self) -> u32;
    /// Returns once every CPU has flushed all its TLB entries after the clock showed `stamp` (global ones and those of other
    /// domains included; waits for flushes, not for guests). `owner` owns the frame, foreign mappings may be elsewhere.
    fn tlb_sync(&self, owner: DomId, stamp: u32);
    /// Frame numbers the CPU accepts: physical address width minus 12.
    fn max_mfn_bits(&self) -> u32;
    /// Does the CPU have no-execute?
    fn has_nx(&self) -> bool;
    /// The last reference to a frame went away inside a page-table operation: unlink it from its owner and free it.
    fn last_ref(&self, last: crate::LastRef);
}

/// Verdict of [`Platform::mmio_access`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MmioAccess {
    /// Refuse with EPERM.
    Denied,
    /// Map, but without RW (silently): config space, MSI-X tables.
    ReadOnly,
    /// Map as asked.
    Full,
}

/// Page-table level; L4 is the root.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum Level {
    L1 = 1,
    L2 = 2,
    L3 = 3,
    L4 = 4,
}

impl Level {
    /// The level of the tables that entries of this one name. An L1 names pages: it answers L1.
    pub(crate) fn below(self) -> Level {
        match self {
            Level::L4 => Level::L3,
            Level::L3 => Level::L2,
            Level::L2 | Level::L1 => Level::L1,
        }
    }

    /// The level of a page-table type.
    pub fn of(ty: PageType) -> Option<Level> {
        match ty {
            PageType::L1 => Some(Level::L1),
            PageType::L2 => Some(Level::L2),
            PageType::L3 => Some(Level::L3),
            PageType::L4 => Some(Level::L4),
            _ => None,
        }
    }
}

impl From<Level> for PageType {
    fn from(level: Level) -> PageType {
        match level {
            Level::L1 => PageType::L1,
            Level::L2 => PageType::L2,
            Level::L3 => PageType::L3,
            Level::L4 => PageType::L4,
        }
    }
}

/// What a frame is, exclusively, while its type count is not zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum PageType {
    /// Nothing in particular.
    None = 0,
    /// Page table of level 1.
    L1 = 1,
    /// Page table of level 2.
    L2 = 2,
    /// Page table of level 3.
    L3 = 3,
    /// Page table of level 4.
    L4 = 4,
    /// Holds descriptors that a GDT or LDT uses.
    SegDesc = 5,
    /// May be mapped or granted writable.
    Writable = 7,
}

/// How much work on tables a call may do: one unit per present entry of a table at level 2 or above, so at most 512 page
/// references. Zero makes no progress.
#[derive(Debug)]
pub struct Budget(pub u32);

/// Per-domain state of direct paging, kept inside the domain's page-table lock.
#[derive(Debug)]
pub struct PvTables {
    domain: DomId,
    unfinished: Option<Mfn>,
}

impl PvTables {
    /// For domain `domain`.
    pub const fn new(domain: DomId) -> Self {
        PvTables {
            domain,
            unfinished: None,
        }
    }
    /// The domain.
    pub fn domain(&self) -> DomId {
        self.domain
    }
    /// Is a release still to be finished ([`Paging::drain`])?
    pub fn is_drained(&self) -> bool {
        self.unfinished.is_none()
    }
}

/// How to change an entry.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// Who owns what the new L1 entry maps; the caller has checked that the guest may map it.
    pub pg_owner: DomId,
    /// Keep the accessed and dirty bits that the CPU set meanwhile (`MMU_PT_UPDATE_PRESERVE_AD`).
    pub preserve_ad: bool,
    /// The entry must still be this one, or EAGAIN and nothing changes: for emulated atomic instructions. L1 only.
    pub expected: Option<u64>,
}

/// What a change did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UpdateEffect {
    /// The entry before.
    pub old: u64,
    /// The entry as written (adjusted).
    pub new: u64,
}

/// A reference plus a Writable type reference: for grants, shared buffers, hypervisor writes into guest pages.
#[must_use = "a reference must be stored or put"]
#[derive(Debug, PartialEq, Eq)]
pub struct WritableRef(Mfn);

/// A reference plus an L4 type reference: what a CR3 holds.
#[must_use = "a reference must be stored or put"]
#[derive(Debug, PartialEq, Eq)]
pub struct RootRef(Mfn);

/// A reference plus a SegDesc type reference: what a GDT or LDT slot holds.
#[must_use = "a reference must be stored or put"]
#[derive(Debug, PartialEq, Eq)]
pub struct SegRef(Mfn);

macro_rules! handle {
    ($($name:ident),*) => { $(impl $name {
        /// The frame referred to.
        pub fn mfn(&self) -> Mfn {
            self.0
        }
        /// For storage in a table; the references stay counted.
        pub fn into_raw(self) -> Mfn {
            self.0
        }
        /// Takes back what `into_raw` gave. Calling it for anything else corrupts counts.
        pub fn from_raw(mfn: Mfn) -> $name {
            $name(mfn)
        }
    })* };
}
handle!(WritableRef, RootRef, SegRef);

/// The frame table joined with the platform: where direct paging happens. Make one on the spot.
pub struct Paging<'a, P: Platform> {
    /// All frames.
    pub frames: FrameTable<'a>,
    /// The machine.
    pub platform: &'a P,
}

impl<'a, P: Platform> Paging<'a, P> {
    /// Joins the two.
    pub fn new(frames: FrameTable<'a>, platform: &'a P) -> Self {
        Paging { frames, platform }
    }
}
