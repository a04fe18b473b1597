//! What L1 entries name: ordinary pages, counted and typed; and the writable references everybody else takes.
use super::entry::{P, RW, target};
use super::word::Taken;
use super::{MmioAccess, PageType, Paging, Platform, WritableRef};
use crate::frame::State;
use crate::{PageRef, Released, Result};
use xen_abi::Errno::{EINVAL, EPERM};
use xen_abi::{DomId, Mfn};

impl<'a, P_: Platform> Paging<'a, P_> {
    /// Drops a reference at the present TLB clock.
    pub fn put_page(&self, page: PageRef) -> Released {
        self.frames.put_page(page, self.platform.tlb_clock())
    }

    /// Drops a reference and, if it was the last, hands the frame to [`Platform::last_ref`].
    #[inline]
    pub fn drop_page(&self, page: PageRef) {
        self.free_if_last(self.put_page(page));
    }

    /// Hands a frame nobody refers to any more to [`Platform::last_ref`].
    #[inline]
    pub fn free_if_last(&self, released: Released) {
        if let Released::LastRef(last) = released {
            self.platform.last_ref(last);
        }
    }

    /// A writable reference to `mfn`, owned by `owner`. EINVAL: not its frame, or a page table or descriptor page.
    #[inline]
    pub fn get_writable(&self, mfn: Mfn, owner: DomId) -> Result<WritableRef> {
        let page = self.frames.get_page(mfn, owner)?;
        match self.take_writable(mfn, owner) {
            Ok(()) => Ok(WritableRef(page.into_raw())),
            Err(e) => {
                self.drop_page(page);
                Err(e)
            }
        }
    }

    /// Gives it back.
    #[inline]
    pub fn put_writable(&self, page: WritableRef) -> Released {
        self.put_typed(page.into_raw())
    }

    /// Drops a type reference that needs no release, and the general one with it.
    #[inline]
    pub(super) fn put_typed(&self, mfn: Mfn) -> Released {
        if let Some(f) = self.frames.get(mfn) {
            f.drop_type(self.platform.tlb_clock());
        }
        self.put_page(PageRef::from_raw(mfn))
    }

    /// A type reference on a frame the caller holds; if the frame was something else before, no TLB still thinks so.
    #[inline]
    pub(super) fn take_type(&self, mfn: Mfn, ty: PageType, owner: DomId) -> Result<Taken> {
        let f = self.frames.get(mfn).ok_or(EINVAL)?;
        let taken = f.take_type(ty)?;
        if let Taken::Fresh { flush: true } = taken {
            self.platform.tlb_sync(owner, f.stamp());
        }
        Ok(taken)
    }

    #[inline]
    fn take_writable(&self, mfn: Mfn, owner: DomId) -> Result<()> {
        if let Taken::Fresh { .. } = self.take_type(mfn, PageType::Writable, owner)?
            && let Some(f) = self.frames.get(mfn)
        {
            f.set_validated();
        }
        Ok(())
    }

    /// Is `mfn` counted RAM, as opposed to MMIO? This never changes while domains run.
    #[inline]
    fn is_ram(&self, mfn: Mfn) -> bool {
        self.frames
            .get(mfn)
            .is_some_and(|f| f.state().has(State::RAM | State::HYPERVISOR))
    }

    /// Takes what a present L1 entry of `domain` needs on its target, owned by `owner`. The entry returned is the one to
    /// install: read-only MMIO loses RW.
    #[inline]
    pub(super) fn get_target(&self, domain: DomId, owner: DomId, entry: u64) -> Result<u64> {
        let mfn = target(entry);
        if !self.is_ram(mfn) {
            return match self.platform.mmio_access(domain, mfn) {
                MmioAccess::Denied => Err(EPERM),
                MmioAccess::ReadOnly => Ok(entry & !RW),
                MmioAccess::Full => Ok(entry),
            };
        }
        if entry & RW != 0 {
            let _ = self.get_writable(mfn, owner)?.into_raw();
        } else {
            let _ = self.frames.get_page(mfn, owner)?.into_raw();
        }
        Ok(entry)
    }

    /// Gives back what an L1 entry held.
    #[inline]
    pub(super) fn put_target(&self, entry: u64) {
        let mfn = target(entry);
        if entry & P == 0 || !self.is_ram(mfn) {
            return;
        }
        let released = if entry & RW != 0 {
            self.put_typed(mfn)
        } else {
            self.put_page(PageRef::from_raw(mfn))
        };
        self.free_if_last(released);
    }

    /// Gives back only the right to write that an L1 entry held.
    #[inline]
    pub(super) fn put_target_write(&self, entry: u64) {
        let mfn = target(entry);
        if self.is_ram(mfn)
            && let Some(f) = self.frames.get(mfn)
        {
            f.drop_type(self.platform.tlb_clock());
        }
    }
}
