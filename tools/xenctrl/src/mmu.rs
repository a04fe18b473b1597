//! `mmu_update` and `mmuext_op` on behalf of PV domains under construction.
use crate::{Error, Result, Xenctrl};
use xen_abi::{DomId, Errno, Mfn, Pfn};

impl Xenctrl {
    /// Sets machine-to-physical entries of pages that `dom` owns, in as few calls as possible.
    pub fn machphys_update(&self, dom: DomId, entries: &[(Mfn, Pfn)]) -> Result<()> {
        Err(Error::new(
            format!(
                "setting {} machine-to-physical entries of {dom}",
                entries.len()
            ),
            Errno::ENOSYS,
        ))
    }

    /// Pins a page table of `level` 1..=4 in `dom`.
    pub fn pin_table(&self, dom: DomId, level: u32, mfn: Mfn) -> Result<()> {
        Err(Error::new(
            format!("pinning the level-{level} page table at {mfn} of {dom}"),
            Errno::ENOSYS,
        ))
    }

    /// Unpins a page table.
    pub fn unpin_table(&self, dom: DomId, mfn: Mfn) -> Result<()> {
        Err(Error::new(
            format!("unpinning the page table at {mfn} of {dom}"),
            Errno::ENOSYS,
        ))
    }
}
