//! `domctl`: one domain.
use crate::{
    CpuMap, CreateDomain, DomainInfo, DomainState, Error, Result, ShutdownReason, VcpuInfo, Xenctrl,
};
use xen_abi::arch_x86::{ArchDomainConfig, VcpuGuestContext};
use xen_abi::domctl::*;
use xen_abi::xen::XenctlBitmap;
use xen_abi::{DomId, Errno, Gfn, GuestHandle, Mfn, VcpuId, hypercall, sched};
use xendev::{SharedMem, SharedMemExt};

/// Interface versions whose layouts the calls used here share.
const VERSIONS: std::ops::RangeInclusive<u32> = 0x15..=0x18;

impl Xenctrl {
    pub(crate) fn domctl(&self, op: &mut Domctl) -> Result<i64, Errno> {
        self.versioned(0, VERSIONS, |version| {
            op.interface_version = version;
            let buf = self.alloc(size_of::<Domctl>())?;
            buf.write_obj(0, op);
            let result = self
                .raw()
                .hypercall(hypercall::DOMCTL, [buf.addr(), 0, 0, 0, 0]);
            *op = buf.read_obj(0);
            result
        })
    }

    /// A command whose only interesting result is whether it worked.
    pub(crate) fn simple(&self, mut op: Domctl, what: impl FnOnce() -> String) -> Result<()> {
        self.domctl(&mut op)
            .map(drop)
            .map_err(|e| explain(Error::new(what(), e)))
    }

    /// Creates a paused, empty domain.
    pub fn create_domain(&self, config: &CreateDomain) -> Result<DomId> {
        let member = xen_abi::domctl::CreateDomain {
            handle: config.handle,
            flags: config.flags,
            max_vcpus: config.max_vcpus,
            max_evtchn_port: config.max_evtchn_port,
            max_grant_frames: config.max_grant_frames,
            max_maptrack_frames: config.max_maptrack_frames,
            grant_opts: config.grant_version,
            cpupool_id: config.cpupool,
            arch: ArchDomainConfig {
                emulation_flags: config.emulation_flags,
                misc_flags: 0,
            },
            ..Default::default()
        };
        let mut op = Domctl::with(CREATEDOMAIN, config.domid.unwrap_or(DomId(0)), member);
        self.domctl(&mut op).map(|_| op.domain).map_err(|e| {
            let what = match config.domid {
                Some(d) => format!("creating {d} with {} vcpus", config.max_vcpus),
                None => format!("creating a domain with {} vcpus", config.max_vcpus),
            };
            explain(Error::new(what, e))
        })
    }

    /// Destroys a domain; runs until it has no more memory (the call is continuable).
    pub fn destroy_domain(&self, dom: DomId) -> Result<()> {
        loop {
            match self.domctl(&mut Domctl::new(DESTROYDOMAIN, dom)) {
                Ok(_) => return Ok(()),
                Err(Errno::EAGAIN | Errno::ERESTART | Errno::EINTR) => {}
                Err(e) => return Err(explain(Error::new(format!("destroying {dom}"), e))),
            }
        }
    }

    /// Pauses a domain.
    pub fn pause_domain(&self, dom: DomId) -> Result<()> {
        self.simple(Domctl::new(PAUSEDOMAIN, dom), || format!("pausing {dom}"))
    }

    /// Unpauses a domain.
    pub fn unpause_domain(&self, dom: DomId) -> Result<()> {
        self.simple(Domctl::new(UNPAUSEDOMAIN, dom), || {
            format!("unpausing {dom}")
        })
    }

    /// What the hypervisor says about a domain; `None` if there is none of this id.
    pub fn domain_info(&self, dom: DomId) -> Result<Option<DomainInfo>> {
        let mut op = Domctl::new(GETDOMAININFO, dom);
        match self.domctl(&mut op) {
            // The call answers about the next higher domain when there is none of this id.
            Ok(_) if op.domain == dom => Ok(Some(domain_info(&op.getdomaininfo()))),
            Ok(_) | Err(Errno::ESRCH) => Ok(None),
            Err(e) => Err(explain(Error::new(format!("asking about {dom}"), e))),
        }
    }

    /// Lifts a shut down domain back to life (after a suspend that was cancelled).
    pub fn resume_domain(&self, dom: DomId) -> Result<()> {
        self.simple(Domctl::new(RESUMEDOMAIN, dom), || format!("resuming {dom}"))
    }

    /// Sets the UUID.
    pub fn set_domain_handle(&self, dom: DomId, handle: [u8; 16]) -> Result<()> {
        self.simple(
            Domctl::with(SETDOMAINHANDLE, dom, SetDomainHandle { handle }),
            || format!("setting the handle of {dom}"),
        )
    }

    /// Sets the number of vcpus (before they run).
    pub fn max_vcpus(&self, dom: DomId, max: u32) -> Result<()> {
        self.simple(Domctl::with(MAX_VCPUS, dom, MaxVcpus { max }), || {
            format!("giving {dom} {max} vcpus")
        })
    }

    /// Sets the limit of memory in KiB.
    pub fn max_mem(&self, dom: DomId, kib: u64) -> Result<()> {
        self.simple(
            Domctl::with(MAX_MEM, dom, MaxMem { max_memkb: kib }),
            || format!("setting the memory limit of {dom} to {kib} KiB"),
        )
    }

    /// Sets the width of a PV guest's addresses: 64.
    pub fn set_address_size(&self, dom: DomId, bits: u32) -> Result<()> {
        self.simple(
            Domctl::with(SET_ADDRESS_SIZE, dom, AddressSize { size: bits }),
            || format!("making {dom} a {bits}-bit guest"),
        )
    }

    /// Sets how the TSC behaves (`mode` 0 is the default).
    pub fn set_tsc_info(&self, dom: DomId, mode: u32) -> Result<()> {
        let info = TscInfo {
            tsc_mode: mode,
            ..Default::default()
        };
        self.simple(Domctl::with(SETTSCINFO, dom, info), || {
            format!("setting TSC mode {mode} of {dom}")
        })
    }

    /// Fills a page of a PV guest with hypercall trampolines.
    pub fn hypercall_init(&self, dom: DomId, mfn: Mfn) -> Result<()> {
        self.simple(
            Domctl::with(HYPERCALL_INIT, dom, HypercallInit { gmfn: Gfn(mfn.0) }),
            || format!("writing the hypercall page at {mfn} of {dom}"),
        )
    }

    /// Sets a PV vcpu's initial registers.
    pub fn set_vcpu_context(
        &self,
        dom: DomId,
        vcpu: VcpuId,
        context: &VcpuGuestContext,
    ) -> Result<()> {
        let what = || format!("setting the registers of {dom}{vcpu}");
        let buf = self
            .alloc(size_of::<VcpuGuestContext>())
            .map_err(|e| Error::new(what(), e))?;
        buf.write_obj(0, context);
        let member = VcpuContext {
            vcpu,
            ctxt: GuestHandle::new(buf.addr()),
            ..Default::default()
        };
        self.simple(Domctl::with(SETVCPUCONTEXT, dom, member), what)
    }

    /// A PV vcpu's registers.
    pub fn vcpu_context(&self, dom: DomId, vcpu: VcpuId) -> Result<VcpuGuestContext> {
        let fail = |e| Error::new(format!("reading the registers of {dom}{vcpu}"), e);
        let buf = self.alloc(size_of::<VcpuGuestContext>()).map_err(fail)?;
        let member = VcpuContext {
            vcpu,
            ctxt: GuestHandle::new(buf.addr()),
            ..Default::default()
        };
        self.domctl(&mut Domctl::with(GETVCPUCONTEXT, dom, member))
            .map_err(fail)?;
        Ok(buf.read_obj(0))
    }

    /// About a vcpu.
    pub fn vcpu_info(&self, dom: DomId, vcpu: VcpuId) -> Result<VcpuInfo> {
        let mut op = Domctl::with(
            GETVCPUINFO,
            dom,
            GetVcpuInfo {
                vcpu,
                ..Default::default()
            },
        );
        self.domctl(&mut op)
            .map_err(|e| explain(Error::new(format!("asking about {dom}{vcpu}"), e)))?;
        let i = op.getvcpuinfo();
        Ok(VcpuInfo {
            vcpu: vcpu.0,
            online: i.online != 0,
            blocked: i.blocked != 0,
            running: i.running != 0,
            cpu_time: i.cpu_time,
            cpu: i.cpu,
        })
    }

    /// Hard and soft affinity of a vcpu, among `cpus` CPUs.
    pub fn vcpu_affinity(&self, dom: DomId, vcpu: VcpuId, cpus: u32) -> Result<(CpuMap, CpuMap)> {
        let (hard, soft) = (CpuMap::empty(cpus), CpuMap::empty(cpus));
        let flags = VCPUAFFINITY_HARD | VCPUAFFINITY_SOFT;
        self.affinity_op(GETVCPUAFFINITY, dom, vcpu, flags, &hard, &soft)
            .map_err(|e| Error::new(format!("asking for the affinity of {dom}{vcpu}"), e))
    }

    /// Sets hard and soft affinity of a vcpu; `None` leaves one as it is.
    pub fn set_vcpu_affinity(
        &self,
        dom: DomId,
        vcpu: VcpuId,
        hard: Option<&CpuMap>,
        soft: Option<&CpuMap>,
    ) -> Result<()> {
        self.put_affinity(dom, vcpu, hard, soft, 0)
    }

    /// The same, also where the domain's kernel pinned the vcpu itself.
    pub fn force_vcpu_affinity(
        &self,
        dom: DomId,
        vcpu: VcpuId,
        hard: Option<&CpuMap>,
        soft: Option<&CpuMap>,
    ) -> Result<()> {
        self.put_affinity(dom, vcpu, hard, soft, VCPUAFFINITY_FORCE)
    }

    /// The memory nodes, among `nodes`, that a domain's memory comes from.
    pub fn node_affinity(&self, dom: DomId, nodes: u32) -> Result<CpuMap> {
        let failed = |e| Error::new(format!("asking for the node affinity of {dom}"), e);
        let none = CpuMap::empty(nodes);
        let (buf, nodemap) = self.place_map(&none).map_err(failed)?;
        let mut op = Domctl::with(GETNODEAFFINITY, dom, NodeAffinity { nodemap });
        self.domctl(&mut op).map_err(failed)?;
        Ok(CpuMap(buf.read_vec(0, none.0.len())))
    }

    /// A map where the hypervisor can read and write it.
    fn place_map(&self, m: &CpuMap) -> Result<(Box<dyn SharedMem>, XenctlBitmap), Errno> {
        let buf = self.alloc(m.0.len())?;
        buf.write(0, &m.0);
        let bitmap = XenctlBitmap {
            bitmap: GuestHandle::new(buf.addr()),
            nr_bits: m.0.len() as u32 * 8,
            ..Default::default()
        };
        Ok((buf, bitmap))
    }

    fn put_affinity(
        &self,
        dom: DomId,
        vcpu: VcpuId,
        hard: Option<&CpuMap>,
        soft: Option<&CpuMap>,
        force: u32,
    ) -> Result<()> {
        let none = CpuMap::default();
        let flags = force
            | if hard.is_some() { VCPUAFFINITY_HARD } else { 0 }
            | if soft.is_some() { VCPUAFFINITY_SOFT } else { 0 };
        let (hard, soft) = (hard.unwrap_or(&none), soft.unwrap_or(&none));
        self.affinity_op(SETVCPUAFFINITY, dom, vcpu, flags, hard, soft)
            .map(drop)
            .map_err(|e| Error::new(format!("setting the affinity of {dom}{vcpu}"), e))
    }

    fn affinity_op(
        &self,
        cmd: u32,
        dom: DomId,
        vcpu: VcpuId,
        flags: u32,
        hard: &CpuMap,
        soft: &CpuMap,
    ) -> Result<(CpuMap, CpuMap), Errno> {
        let (hard_buf, cpumap_hard) = self.place_map(hard)?;
        let (soft_buf, cpumap_soft) = self.place_map(soft)?;
        let mut op = Domctl::with(
            cmd,
            dom,
            VcpuAffinity {
                vcpu,
                flags,
                cpumap_hard,
                cpumap_soft,
            },
        );
        self.domctl(&mut op)?;
        Ok((
            CpuMap(hard_buf.read_vec(0, hard.0.len())),
            CpuMap(soft_buf.read_vec(0, soft.0.len())),
        ))
    }

    /// Shuts a domain down from outside, with the reason's number (`SCHEDOP_remote_shutdown`).
    pub fn remote_shutdown(&self, dom: DomId, reason: u32) -> Result<()> {
        let mut arg = sched::RemoteShutdown {
            domain_id: dom,
            reason,
            ..Default::default()
        };
        self.call_struct(hypercall::SCHED_OP, sched::REMOTE_SHUTDOWN, &mut arg)
            .map(drop)
            .map_err(|e| Error::new(format!("shutting {dom} down with reason {reason}"), e))
    }
}

/// Adds what the bare number does not say.
fn explain(e: Error) -> Error {
    match e.errno {
        Errno::EACCES => e.detail(format!(
            "this hypervisor speaks another control interface than {:#x} to {:#x}",
            VERSIONS.start(),
            VERSIONS.end()
        )),
        _ => e,
    }
}

/// Takes the hypervisor's record apart.
pub(crate) fn domain_info(i: &GetDomainInfo) -> DomainInfo {
    let flag = |f: u32| i.flags & f != 0;
    let reason = (i.flags >> DOMINF_SHUTDOWNSHIFT) & DOMINF_SHUTDOWNMASK;
    DomainInfo {
        domid: i.domain,
        state: DomainState {
            dying: flag(DOMINF_DYING),
            hvm: flag(DOMINF_HVM_GUEST),
            paused: flag(DOMINF_PAUSED),
            blocked: flag(DOMINF_BLOCKED),
            running: flag(DOMINF_RUNNING),
            debugged: flag(DOMINF_DEBUGGED),
            xenstore: flag(DOMINF_XS_DOMAIN),
            hap: flag(DOMINF_HAP),
            shutdown: flag(DOMINF_SHUTDOWN).then(|| ShutdownReason::from_raw(reason as u8)),
        },
        tot_pages: i.tot_pages,
        max_pages: i.max_pages,
        outstanding_pages: i.outstanding_pages,
        shared_pages: i.shr_pages,
        paged_pages: i.paged_pages,
        shared_info: Mfn(i.shared_info_frame),
        cpu_time: i.cpu_time,
        online_vcpus: i.nr_online_vcpus,
        max_vcpu_id: (i.max_vcpu_id != INVALID_MAX_VCPU_ID).then_some(i.max_vcpu_id),
        handle: i.handle,
        cpupool: i.cpupool,
    }
}
