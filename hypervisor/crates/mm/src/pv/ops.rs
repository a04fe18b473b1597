//! Pins, roots, and letting go of a page: the operations that hold tables from outside other tables.
use super::word::{self, PINNED};
use super::{Budget, Level, Paging, Platform, PvTables, RootRef};
use crate::frame::State;
use crate::{FrameInfo, Result};
use core::sync::atomic::Ordering;
use xen_abi::Errno::{EINVAL, ERESTART};
use xen_abi::Mfn;

impl<'a, P: Platform> Paging<'a, P> {
    /// `MMUEXT_PIN_Lx_TABLE`: validates `mfn` as a table of `level` and keeps it so until unpinned. EINVAL: already
    /// pinned, wrong owner or type, or an entry that may not be; EPERM: MMIO; ERESTART: repeat.
    pub fn pin(&self, t: &mut PvTables, level: Level, mfn: Mfn, budget: &mut Budget) -> Result<()> {
        self.drain(t, budget)?;
        let f = self.frames.get(mfn).ok_or(EINVAL)?;
        if f.word() & PINNED != 0 {
            return Err(EINVAL);
        }
        self.acquire(t, level, mfn, budget)?;
        f.typ.fetch_or(PINNED, Ordering::AcqRel);
        Ok(())
    }

    /// `MMUEXT_UNPIN_TABLE`. EINVAL: not pinned. A table whose pinning was given up half way counts as pinned.
    pub fn unpin(&self, t: &mut PvTables, mfn: Mfn, budget: &mut Budget) -> Result<()> {
        self.drain(t, budget)?;
        if self.is_partial(t, mfn) {
            self.abandon(t, mfn, budget);
            return Ok(());
        }
        // Held so that the frame cannot go away while its table is released.
        let page = self.frames.get_page(mfn, t.domain)?;
        let done = self.drop_pin(t, mfn, budget);
        self.drop_page(page);
        if done { Ok(()) } else { Err(EINVAL) }
    }

    /// `MMUEXT_NEW_BASEPTR`: the reference that CR3 (kernel or user) will hold on the root `mfn`.
    pub fn get_root(&self, t: &mut PvTables, mfn: Mfn, budget: &mut Budget) -> Result<RootRef> {
        self.drain(t, budget)?;
        self.acquire(t, Level::L4, mfn, budget)?;
        Ok(RootRef(mfn))
    }

    /// Gives back what a CR3 held, once no CPU uses it. An earlier release is not finished within the budget: `root` is
    /// returned, repeat.
    pub fn put_root(
        &self,
        t: &mut PvTables,
        root: RootRef,
        budget: &mut Budget,
    ) -> core::result::Result<(), RootRef> {
        if self.drain(t, budget).is_err() {
            return Err(root);
        }
        self.surrender(t, Level::L4, root.into_raw(), budget);
        Ok(())
    }

    /// Domain death or `decrease_reservation`, one page: unpins it, finishes what is partial, takes the owner's
    /// reference. The frame itself goes through [`Platform::last_ref`], now or when the last foreign reference goes.
    /// Roots in CR3s must have been put before. Repeat on ERESTART; calling it again for the same page is harmless.
    /// EINVAL: not a page of the domain (any more: a page given up earlier may go while its table is released), or a
    /// shared hypervisor page.
    pub fn relinquish(&self, t: &mut PvTables, mfn: Mfn, budget: &mut Budget) -> Result<()> {
        self.drain(t, budget)?;
        let page = self.frames.get_page(mfn, t.domain)?;
        if self
            .frames
            .get(mfn)
            .is_some_and(|f| f.state().has(State::SHARED))
        {
            self.drop_page(page);
            return Err(EINVAL);
        }
        self.drop_pin(t, mfn, budget);
        self.abandon(t, mfn, budget);
        let result = if t.is_drained() {
            Ok(())
        } else {
            Err(ERESTART)
        };
        if result.is_ok()
            && let Some(owners) = self.frames.free_domain_ref(mfn, t.domain)
        {
            self.drop_page(owners);
        }
        self.drop_page(page);
        result
    }

    /// Takes the pin off `mfn`, if there is one.
    fn drop_pin(&self, t: &mut PvTables, mfn: Mfn, budget: &mut Budget) -> bool {
        let Some(f) = self.frames.get(mfn) else {
            return false;
        };
        match f.clear_pin() {
            Some(level) => {
                self.surrender(t, level, mfn, budget);
                true
            }
            None => false,
        }
    }
}

impl FrameInfo {
    fn clear_pin(&self) -> Option<Level> {
        let old = self.typ.fetch_and(!PINNED, Ordering::AcqRel);
        if old & PINNED != 0 {
            Level::of(word::type_of(old))
        } else {
            None
        }
    }
}
