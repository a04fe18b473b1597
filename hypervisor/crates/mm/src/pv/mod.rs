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
use crate::{FrameTable, PageRef, Released, Result};
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
    /// Writes the hypervisor's own entries into slots 256..=271 of an L4 being validated for `domain`.
    fn install_reserved(&self, l4: Mfn, domain: DomId);
    /// May `domain` map `mfn`, which is not RAM?
    fn mmio_access(&self, domain: DomId, mfn: Mfn) -> MmioAccess;
    /// May `domain` choose cache attributes (PWT, PCD, PAT) in L1 entries? True for those with hardware.
    fn cache_attrs_allowed(&self, domain: DomId) -> bool;
    /// Now, in flushes: a counter that moves on with every TLB flush.
    fn tlb_clock(&self) -> u32;
    /// Returns once every CPU has flushed all its TLB entries at or after `stamp` (waits for flushes, not for guests).
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

/// How much work on tables a call may do: one unit per entry of a table at level 2 or above.
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

    /// Drops a reference at the present TLB clock.
    pub fn put_page(&self, page: PageRef) -> Released {
        self.frames.put_page(page, self.platform.tlb_clock())
    }

    /// A writable reference to `mfn`, owned by `owner`. EINVAL: not its frame, or a page table or descriptor page.
    pub fn get_writable(&self, mfn: Mfn, owner: DomId) -> Result<WritableRef> {
        todo!()
    }
    /// Gives it back.
    pub fn put_writable(&self, page: WritableRef) -> Released {
        todo!()
    }

    /// A descriptor-page reference to `mfn` of the domain of `t`; checks all 512 descriptors (and forces DPL 3).
    pub fn get_segdesc(&self, t: &mut PvTables, mfn: Mfn) -> Result<SegRef> {
        todo!()
    }
    /// Gives it back.
    pub fn put_segdesc(&self, page: SegRef) -> Released {
        todo!()
    }

    /// Type of `mfn` and whether it is pinned; `None` while its type count is zero. For `getpageframeinfo`.
    pub fn page_type(&self, mfn: Mfn) -> (PageType, bool) {
        todo!()
    }

    /// Which page-table level `mfn` has been validated as, if it belongs to `domain`.
    pub fn table_level(&self, mfn: Mfn, domain: DomId) -> Option<Level> {
        todo!()
    }

    /// Finishes a release that ran out of budget. ERESTART: not yet.
    pub fn drain(&self, t: &mut PvTables, budget: &mut Budget) -> Result<()> {
        todo!()
    }

    /// `MMUEXT_PIN_Lx_TABLE`: validates `mfn` as a table of `level` and keeps it so until unpinned. EINVAL: already
    /// pinned, wrong owner or type, or an entry that may not be.
    pub fn pin(&self, t: &mut PvTables, level: Level, mfn: Mfn, budget: &mut Budget) -> Result<()> {
        todo!()
    }
    /// `MMUEXT_UNPIN_TABLE`. EINVAL: not pinned.
    pub fn unpin(&self, t: &mut PvTables, mfn: Mfn, budget: &mut Budget) -> Result<()> {
        todo!()
    }

    /// `MMUEXT_NEW_BASEPTR`: the reference that CR3 (kernel or user) will hold on the root `mfn`.
    pub fn get_root(&self, t: &mut PvTables, mfn: Mfn, budget: &mut Budget) -> Result<RootRef> {
        todo!()
    }
    /// Gives back what a CR3 held, once no CPU uses it. ERESTART: an earlier release is not finished yet, `root` is
    /// returned.
    pub fn put_root(
        &self,
        t: &mut PvTables,
        root: RootRef,
        budget: &mut Budget,
    ) -> core::result::Result<(), RootRef> {
        todo!()
    }

    /// Changes one entry of a validated table of `level`. EINVAL: not such a table, bad index, or a forbidden entry;
    /// EPERM: MMIO the domain may not map; ERESTART: repeat.
    #[allow(clippy::too_many_arguments)]
    pub fn update_entry(
        &self,
        t: &mut PvTables,
        level: Level,
        table: Mfn,
        index: usize,
        new: u64,
        how: Update,
        budget: &mut Budget,
    ) -> Result<UpdateEffect> {
        todo!()
    }

    /// `MMU_NORMAL_PT_UPDATE`: [`Paging::update_entry`] at whatever level `table` has; a plain write if it is not a page table.
    pub fn mmu_update(
        &self,
        t: &mut PvTables,
        table: Mfn,
        index: usize,
        new: u64,
        how: Update,
        budget: &mut Budget,
    ) -> Result<UpdateEffect> {
        todo!()
    }

    /// Entry `index` of `table`, which must belong to `domain`.
    pub fn read_entry(&self, domain: DomId, table: Mfn, index: usize) -> Result<u64> {
        todo!()
    }

    /// Domain death or `decrease_reservation`, one page: unpins it, finishes what is partial, takes the owner's
    /// reference. The frame itself goes through [`Platform::last_ref`], now or when the last foreign reference goes.
    /// Roots in CR3s must have been put before. Repeat on ERESTART; calling it again for the same page is harmless.
    pub fn relinquish(&self, t: &mut PvTables, mfn: Mfn, budget: &mut Budget) -> Result<()> {
        todo!()
    }
}
