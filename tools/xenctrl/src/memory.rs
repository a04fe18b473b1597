//! `memory_op`: giving memory to domains.
use crate::{Error, Result, Xenctrl};
use xen_abi::{DomId, Errno, Gfn, Mfn, Pfn};

impl Xenctrl {
    /// Populates `extents` (pfns for PV, gfns for translated domains) of 2^`order` pages each; all or nothing is
    /// asked for, an error says how many were done. For PV domains `extents` is overwritten with the mfns.
    pub fn populate_physmap(&self, dom: DomId, order: u32, extents: &mut [u64]) -> Result<()> {
        Err(Error::new(
            format!(
                "populating {} extents of order {order} of {dom}",
                extents.len()
            ),
            Errno::ENOSYS,
        ))
    }

    /// As [`Xenctrl::populate_physmap`], but returns how many extents the hypervisor did.
    pub fn populate_physmap_partial(
        &self,
        dom: DomId,
        order: u32,
        extents: &mut [u64],
    ) -> Result<usize> {
        Err(Error::new(
            format!(
                "populating {} extents of order {order} of {dom}",
                extents.len()
            ),
            Errno::ENOSYS,
        ))
    }

    /// Reserves `pages` of free memory for `dom`; 0 cancels (`XENMEM_claim_pages`).
    pub fn claim_pages(&self, dom: DomId, pages: u64) -> Result<()> {
        Err(Error::new(
            format!("claiming {pages} pages for {dom}"),
            Errno::ENOSYS,
        ))
    }

    /// The mfns that hold the machine-to-physical table, one per 2 MiB (`XENMEM_machphys_mfn_list`).
    pub fn machphys_mfn_list(&self, max: usize) -> Result<Vec<Mfn>> {
        Err(Error::new(
            format!("reading {max} frames of the machine-to-physical table"),
            Errno::ENOSYS,
        ))
    }

    /// Places a frame of `space` (`XENMAPSPACE_*`) at `gfn` of a translated domain.
    pub fn add_to_physmap(&self, dom: DomId, space: u32, index: u64, gfn: Gfn) -> Result<()> {
        Err(Error::new(
            format!("adding frame {index:#x} of space {space} to {dom} at {gfn}"),
            Errno::ENOSYS,
        ))
    }

    /// Highest pfn in use (`XENMEM_maximum_gpfn`).
    pub fn maximum_gpfn(&self, dom: DomId) -> Result<Pfn> {
        Err(Error::new(
            format!("asking for the highest frame of {dom}"),
            Errno::ENOSYS,
        ))
    }
}
