//! Descriptor pages: what a guest's GDT and LDT may contain.
//!
//! Only code and data segments of ring 3 are of use to a 64-bit PV guest; gates, TSS and LDT descriptors would let it
//! name ring 0. Layout: AMD64 Architecture Programmer's Manual, vol. 2, section 4.7.
use super::word::{self, Taken};
use super::{ENTRIES, PageType, Paging, Platform, PvTables, SegRef};
use crate::{Released, Result};
use xen_abi::Errno::EINVAL;
use xen_abi::Mfn;

const PRESENT: u64 = 1 << 47;
const NOT_SYSTEM: u64 = 1 << 44;
const DPL_3: u64 = 3 << 45;

/// The descriptor as a guest may have it (DPL forced to 3), or `None` if it may not. Absent ones are left alone.
pub fn check_descriptor(descriptor: u64) -> Option<u64> {
    if descriptor & PRESENT == 0 {
        return Some(descriptor);
    }
    (descriptor & NOT_SYSTEM != 0).then_some(descriptor | DPL_3)
}

impl<'a, P: Platform> Paging<'a, P> {
    /// A descriptor-page reference to `mfn` of the domain of `t`; checks all 512 descriptors (and forces DPL 3).
    pub fn get_segdesc(&self, t: &mut PvTables, mfn: Mfn) -> Result<SegRef> {
        let page = self.frames.get_page(mfn, t.domain)?;
        let taken = self.take_type(mfn, PageType::SegDesc, t.domain);
        let ok = match taken {
            Ok(Taken::Ready) => Ok(()),
            Ok(_) => self.validate_segdesc(mfn),
            Err(e) => Err(e),
        };
        match ok {
            Ok(()) => Ok(SegRef(page.into_raw())),
            Err(e) => {
                self.drop_page(page);
                Err(e)
            }
        }
    }

    /// Gives it back.
    pub fn put_segdesc(&self, page: SegRef) -> Released {
        self.put_typed(page.into_raw())
    }

    /// `MMU_UPDATE`-like write of one descriptor into a page that may be in use as a descriptor page. EINVAL: forbidden
    /// descriptor, bad index, or a page table.
    pub fn update_descriptor(
        &self,
        t: &mut PvTables,
        mfn: Mfn,
        index: usize,
        descriptor: u64,
    ) -> Result<()> {
        let value = check_descriptor(descriptor).ok_or(EINVAL)?;
        if index >= ENTRIES {
            return Err(EINVAL);
        }
        let in_use = |w| word::in_use(w) && word::type_of(w) == PageType::SegDesc;
        if in_use(self.frames.word(mfn)) {
            let held = self.get_segdesc(t, mfn)?;
            self.platform.write(mfn, index, value);
            self.free_if_last(self.put_segdesc(held));
        } else {
            let held = self.get_writable(mfn, t.domain)?;
            self.platform.write(mfn, index, value);
            self.free_if_last(self.put_writable(held));
        }
        Ok(())
    }

    fn validate_segdesc(&self, mfn: Mfn) -> Result<()> {
        let Some(f) = self.frames.get(mfn) else {
            return Err(EINVAL);
        };
        for i in 0..ENTRIES {
            let old = self.platform.read(mfn, i);
            match check_descriptor(old) {
                Some(new) if new != old => self.platform.write(mfn, i, new),
                Some(_) => (),
                None => {
                    f.drop_type(self.platform.tlb_clock());
                    return Err(EINVAL);
                }
            }
        }
        f.set_validated();
        Ok(())
    }
}
