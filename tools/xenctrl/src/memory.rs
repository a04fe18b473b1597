//! `memory_op`: giving memory to domains.
use crate::{Error, Result, Xenctrl};
use xen_abi::memory::*;
use xen_abi::{DomId, Errno, Gfn, GuestHandle, Mfn, Pfn, hypercall};
use xendev::SharedMemExt;

/// Extents per call: bounds the buffer and how long one call can take.
const BATCH: usize = 64 * 1024;

impl Xenctrl {
    /// Populates `extents` (pfns for PV, gfns for translated domains) of 2^`order` pages each; all of them, or an error
    /// that says how many were done. For PV domains `extents` is overwritten with the mfns.
    pub fn populate_physmap(&self, dom: DomId, order: u32, extents: &mut [u64]) -> Result<()> {
        let done = self.populate_physmap_partial(dom, order, extents)?;
        if done == extents.len() {
            return Ok(());
        }
        let operation = format!(
            "populating {} extents of order {order} of {dom}",
            extents.len()
        );
        let detail =
            format!("only {done} could be had (limit of the domain, or not enough free memory)");
        Err(Error::new(operation, Errno::ENOMEM).detail(detail))
    }

    /// As [`Xenctrl::populate_physmap`], but returns how many extents the hypervisor did.
    pub fn populate_physmap_partial(
        &self,
        dom: DomId,
        order: u32,
        extents: &mut [u64],
    ) -> Result<usize> {
        let mut done = 0;
        for chunk in extents.chunks_mut(BATCH) {
            let n = self.populate_batch(dom, order, chunk).map_err(|e| {
                Error::new(format!("populating extents of order {order} of {dom}"), e)
            })?;
            done += n;
            if n < chunk.len() {
                break;
            }
        }
        Ok(done)
    }

    fn populate_batch(&self, dom: DomId, order: u32, extents: &mut [u64]) -> Result<usize, Errno> {
        let list = self.alloc(size_of_val(extents))?;
        list.write_slice(0, extents);
        let mut arg = MemoryReservation {
            extent_start: GuestHandle::new(list.addr()),
            nr_extents: extents.len() as u64,
            extent_order: order,
            domid: dom,
            ..Default::default()
        };
        let done = self.call_struct(hypercall::MEMORY_OP, POPULATE_PHYSMAP, &mut arg)?;
        let done = usize::try_from(done).unwrap_or(0).min(extents.len());
        for (i, e) in extents[..done].iter_mut().enumerate() {
            *e = list.read_obj(i * 8);
        }
        Ok(done)
    }

    /// Takes pages away from a domain, frame by frame.
    pub fn decrease_reservation(&self, dom: DomId, frames: &[u64]) -> Result<()> {
        let take = |chunk: &[u64]| -> Result<(), Errno> {
            let list = self.alloc(size_of_val(chunk))?;
            list.write_slice(0, chunk);
            let mut arg = MemoryReservation {
                extent_start: GuestHandle::new(list.addr()),
                nr_extents: chunk.len() as u64,
                domid: dom,
                ..Default::default()
            };
            match self.call_struct(hypercall::MEMORY_OP, DECREASE_RESERVATION, &mut arg)? {
                n if n == chunk.len() as i64 => Ok(()),
                _ => Err(Errno::EINVAL),
            }
        };
        let result = frames.chunks(BATCH).try_for_each(take);
        result.map_err(|e| Error::new(format!("taking {} pages from {dom}", frames.len()), e))
    }

    /// Reserves `pages` of free memory for `dom`; 0 cancels (`XENMEM_claim_pages`).
    pub fn claim_pages(&self, dom: DomId, pages: u64) -> Result<()> {
        let mut arg = MemoryReservation {
            nr_extents: pages,
            domid: dom,
            ..Default::default()
        };
        self.call_struct(hypercall::MEMORY_OP, CLAIM_PAGES, &mut arg)
            .map(drop)
            .map_err(|e| Error::new(format!("claiming {pages} pages for {dom}"), e))
    }

    /// The mfns that hold the machine-to-physical table, one per 2 MiB (`XENMEM_machphys_mfn_list`).
    pub fn machphys_mfn_list(&self, max: usize) -> Result<Vec<Mfn>> {
        let get = || {
            let list = self.alloc(max * 8)?;
            let mut arg = MachphysMfnList {
                max_extents: u32::try_from(max).map_err(|_| Errno::EINVAL)?,
                extent_start: GuestHandle::new(list.addr()),
                ..Default::default()
            };
            self.call_struct(hypercall::MEMORY_OP, MACHPHYS_MFN_LIST, &mut arg)?;
            Ok(list.read_vec(0, max.min(arg.nr_extents as usize)))
        };
        get().map_err(|e| Error::new("asking for the machine-to-physical table's frames", e))
    }

    /// Places a frame of `space` (`XENMAPSPACE_*`) at `gfn` of a translated domain.
    pub fn add_to_physmap(&self, dom: DomId, space: u32, index: u64, gfn: Gfn) -> Result<()> {
        let mut arg = AddToPhysmap {
            domid: dom,
            space,
            idx: index,
            gpfn: gfn,
            ..Default::default()
        };
        self.call_struct(hypercall::MEMORY_OP, ADD_TO_PHYSMAP, &mut arg)
            .map(drop)
            .map_err(|e| {
                Error::new(
                    format!("adding frame {index:#x} of space {space} to {dom} at {gfn}"),
                    e,
                )
            })
    }

    /// Tells a guest that its memory reaches from 0 to `kib` (`XENMEM_set_memory_map`), whatever of it is populated.
    pub fn set_memory_limit_map(&self, dom: DomId, kib: u64) -> Result<()> {
        let all = E820Entry {
            addr: 0,
            size: kib * 1024,
            r#type: E820_RAM,
        };
        self.set_e820(dom, &[all])
    }

    /// Highest pfn in use (`XENMEM_maximum_gpfn`).
    pub fn maximum_gpfn(&self, dom: DomId) -> Result<Pfn> {
        let mut arg = MemoryDomain { domid: dom };
        self.call_struct(hypercall::MEMORY_OP, MAXIMUM_GPFN, &mut arg)
            .map(|n| Pfn(n as u64))
            .map_err(|e| Error::new(format!("asking for the highest frame of {dom}"), e))
    }

    /// Pages saved by sharing, and pages that are shared (both 0 where the hypervisor does not share).
    pub fn sharing_pages(&self) -> (u64, u64) {
        let ask = |op: u32| {
            self.raw()
                .hypercall(hypercall::MEMORY_OP, [op.into(), 0, 0, 0, 0])
                .unwrap_or(0) as u64
        };
        (ask(GET_SHARING_FREED_PAGES), ask(GET_SHARING_SHARED_PAGES))
    }
}
