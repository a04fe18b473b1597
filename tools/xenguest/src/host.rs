//! [`BuildHost`]: all that building a domain asks of the hypervisor. [`xenctrl::Xenctrl`] is the real one.
use xen_abi::arch_x86::VcpuGuestContext;
use xen_abi::memory::{E820Entry, RESOURCE_GRANT_TABLE, RESOURCE_GRANT_TABLE_ID_SHARED};
use xen_abi::{DomId, Errno, Gfn, Mfn, Pfn, VcpuId};
use xenctrl::{Result, Xenctrl};
use xendev::{Prot, SharedMem};

/// What the builder calls.
pub trait BuildHost {
    /// Gives the domain 2^`order` pages at each pfn of `extents`, which becomes the mfns. Returns how many it did.
    fn populate(&self, dom: DomId, order: u32, extents: &mut [u64]) -> Result<usize>;
    /// Maps frames of the domain, writable.
    fn map(&self, dom: DomId, frames: &[Gfn]) -> Result<Box<dyn SharedMem>>;
    /// Maps the first page of the domain's grant table, writable.
    fn map_grant_table(&self, dom: DomId) -> Result<Box<dyn SharedMem>>;
    /// Sets machine-to-physical entries.
    fn machphys_update(&self, dom: DomId, entries: &[(Mfn, Pfn)]) -> Result<()>;
    /// Makes a frame a validated root page table.
    fn pin_l4(&self, dom: DomId, mfn: Mfn) -> Result<()>;
    /// Fills a page with hypercall stubs.
    fn hypercall_init(&self, dom: DomId, mfn: Mfn) -> Result<()>;
    /// Frame of the domain's shared info page.
    fn shared_info(&self, dom: DomId) -> Result<Mfn>;
    /// Sets a vcpu's registers.
    fn set_vcpu_context(&self, dom: DomId, vcpu: VcpuId, context: &VcpuGuestContext) -> Result<()>;
}

/// What building a hardware-virtualised domain asks for besides.
pub trait HvmBuildHost: BuildHost {
    /// Sets a parameter (`HVM_PARAM_*`).
    fn set_hvm_param(&self, dom: DomId, index: u32, value: u64) -> Result<()>;
    /// The saved state of the virtual hardware, as records.
    fn hvm_context(&self, dom: DomId) -> Result<Vec<u8>>;
    /// Loads records of such state.
    fn set_hvm_context(&self, dom: DomId, records: &[u8]) -> Result<()>;
    /// Tells the guest of its memory.
    fn set_e820(&self, dom: DomId, map: &[E820Entry]) -> Result<()>;
}

impl HvmBuildHost for Xenctrl {
    fn set_hvm_param(&self, dom: DomId, index: u32, value: u64) -> Result<()> {
        Xenctrl::set_hvm_param(self, dom, index, value)
    }

    fn hvm_context(&self, dom: DomId) -> Result<Vec<u8>> {
        Xenctrl::hvm_context(self, dom)
    }

    fn set_hvm_context(&self, dom: DomId, records: &[u8]) -> Result<()> {
        Xenctrl::set_hvm_context(self, dom, records)
    }

    fn set_e820(&self, dom: DomId, map: &[E820Entry]) -> Result<()> {
        Xenctrl::set_e820(self, dom, map)
    }
}

impl BuildHost for Xenctrl {
    fn populate(&self, dom: DomId, order: u32, extents: &mut [u64]) -> Result<usize> {
        self.populate_physmap_partial(dom, order, extents)
    }

    fn map(&self, dom: DomId, frames: &[Gfn]) -> Result<Box<dyn SharedMem>> {
        Ok(self.foreign().map(dom, Prot::ReadWrite, frames)?)
    }

    fn map_grant_table(&self, dom: DomId) -> Result<Box<dyn SharedMem>> {
        let (kind, id) = (RESOURCE_GRANT_TABLE, RESOURCE_GRANT_TABLE_ID_SHARED);
        Ok(self.foreign().map_resource(dom, kind, id, 0, 1)?)
    }

    fn machphys_update(&self, dom: DomId, entries: &[(Mfn, Pfn)]) -> Result<()> {
        Xenctrl::machphys_update(self, dom, entries)
    }

    fn pin_l4(&self, dom: DomId, mfn: Mfn) -> Result<()> {
        self.pin_table(dom, 4, mfn)
    }

    fn hypercall_init(&self, dom: DomId, mfn: Mfn) -> Result<()> {
        Xenctrl::hypercall_init(self, dom, mfn)
    }

    fn shared_info(&self, dom: DomId) -> Result<Mfn> {
        let gone = || xenctrl::Error::new(format!("asking about {dom}"), Errno::ESRCH);
        Ok(self.domain_info(dom)?.ok_or_else(gone)?.shared_info)
    }

    fn set_vcpu_context(&self, dom: DomId, vcpu: VcpuId, context: &VcpuGuestContext) -> Result<()> {
        Xenctrl::set_vcpu_context(self, dom, vcpu, context)
    }
}
