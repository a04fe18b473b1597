//! `domctl`: one domain.
use crate::{CpuMap, CreateDomain, DomainInfo, Error, Result, VcpuInfo, Xenctrl};
use xen_abi::{DomId, Errno, Mfn, VcpuId};

impl Xenctrl {
    /// Creates a paused, empty domain.
    pub fn create_domain(&self, config: &CreateDomain) -> Result<DomId> {
        let _ = config;
        Err(Error::new("creating a domain", Errno::ENOSYS))
    }

    /// Destroys a domain; runs until it has no more memory (the call is continuable).
    pub fn destroy_domain(&self, dom: DomId) -> Result<()> {
        Err(Error::new(format!("destroying {dom}"), Errno::ENOSYS))
    }

    /// Pauses a domain.
    pub fn pause_domain(&self, dom: DomId) -> Result<()> {
        Err(Error::new(format!("pausing {dom}"), Errno::ENOSYS))
    }

    /// Unpauses a domain.
    pub fn unpause_domain(&self, dom: DomId) -> Result<()> {
        Err(Error::new(format!("unpausing {dom}"), Errno::ENOSYS))
    }

    /// What the hypervisor says about a domain; `None` if there is none of this id.
    pub fn domain_info(&self, dom: DomId) -> Result<Option<DomainInfo>> {
        Err(Error::new(format!("asking about {dom}"), Errno::ENOSYS))
    }

    /// Lifts a crashed or shut down domain back to life (after a suspend that was cancelled).
    pub fn resume_domain(&self, dom: DomId) -> Result<()> {
        Err(Error::new(format!("resuming {dom}"), Errno::ENOSYS))
    }

    /// Sets the UUID.
    pub fn set_domain_handle(&self, dom: DomId, handle: [u8; 16]) -> Result<()> {
        let _ = handle;
        Err(Error::new(
            format!("setting the handle of {dom}"),
            Errno::ENOSYS,
        ))
    }

    /// Sets the number of vcpus (before they run).
    pub fn max_vcpus(&self, dom: DomId, max: u32) -> Result<()> {
        Err(Error::new(
            format!("allowing {dom} {max} vcpus"),
            Errno::ENOSYS,
        ))
    }

    /// Sets the limit of memory in KiB.
    pub fn max_mem(&self, dom: DomId, kib: u64) -> Result<()> {
        Err(Error::new(
            format!("allowing {dom} {kib} KiB"),
            Errno::ENOSYS,
        ))
    }

    /// Sets the width of a PV guest's addresses: 64.
    pub fn set_address_size(&self, dom: DomId, bits: u32) -> Result<()> {
        Err(Error::new(
            format!("making {dom} a {bits}-bit guest"),
            Errno::ENOSYS,
        ))
    }

    /// Sets how the TSC behaves (`mode` 0 is the default).
    pub fn set_tsc_info(&self, dom: DomId, mode: u32) -> Result<()> {
        Err(Error::new(
            format!("setting TSC mode {mode} of {dom}"),
            Errno::ENOSYS,
        ))
    }

    /// Fills a page of a PV guest with hypercall trampolines.
    pub fn hypercall_init(&self, dom: DomId, mfn: Mfn) -> Result<()> {
        Err(Error::new(
            format!("writing hypercall page {mfn} of {dom}"),
            Errno::ENOSYS,
        ))
    }

    /// Sets a vcpu's initial registers: the bytes of a `vcpu_guest_context`.
    pub fn set_vcpu_context(&self, dom: DomId, vcpu: VcpuId, context: &[u8]) -> Result<()> {
        let _ = context;
        Err(Error::new(
            format!("setting registers of {dom}{vcpu}"),
            Errno::ENOSYS,
        ))
    }

    /// About a vcpu.
    pub fn vcpu_info(&self, dom: DomId, vcpu: VcpuId) -> Result<VcpuInfo> {
        Err(Error::new(
            format!("asking about {dom}{vcpu}"),
            Errno::ENOSYS,
        ))
    }

    /// Hard and soft affinity of a vcpu, among `cpus` CPUs.
    pub fn vcpu_affinity(&self, dom: DomId, vcpu: VcpuId, cpus: u32) -> Result<(CpuMap, CpuMap)> {
        let _ = cpus;
        Err(Error::new(
            format!("asking for the affinity of {dom}{vcpu}"),
            Errno::ENOSYS,
        ))
    }

    /// Sets hard and soft affinity of a vcpu; `None` leaves one as it is.
    pub fn set_vcpu_affinity(
        &self,
        dom: DomId,
        vcpu: VcpuId,
        hard: Option<&CpuMap>,
        soft: Option<&CpuMap>,
    ) -> Result<()> {
        let _ = (hard, soft);
        Err(Error::new(
            format!("setting the affinity of {dom}{vcpu}"),
            Errno::ENOSYS,
        ))
    }

    /// Shuts a domain down from outside, with the reason's number (`SCHEDOP_remote_shutdown`).
    pub fn remote_shutdown(&self, dom: DomId, reason: u32) -> Result<()> {
        Err(Error::new(
            format!("shutting down {dom} with reason {reason}"),
            Errno::ENOSYS,
        ))
    }
}
