//! What libxl asks of its surroundings, as traits: the hypervisor, the xenstore, and where files are kept.
//!
//! The real ones are [`Xenctrl`] and [`xenstore::Client`]; tests put a machine of a few lines in their place.
use crate::{Result, StoreContext};
use std::io::{Read, Write};
use std::path::PathBuf;
use xen_abi::xen::CpuidLeaf;
use xen_abi::{DomId, Errno, Mfn, Port, VcpuId};
use xenctrl::{
    CpuMap, CpuPlace, CpuPool, CreateDomain, DomainInfo, PhysInfo, SchedParams, VcpuInfo, Xenctrl,
};
use xenguest::{BuildResult, BuildTarget, PvImage, PvParams, PvhImage, Saved};
use xenstore::{Client, Store};

type HvResult<T> = xenctrl::Result<T>;

/// A guest image that was read and checked, ready to be put into a domain.
pub trait Image {
    /// Fills an empty domain.
    fn build(self: Box<Self>, target: &BuildTarget) -> xenguest::Result<BuildResult>;
}

/// The hypervisor, as far as domains' lives are concerned.
#[allow(missing_docs)]
pub trait Hypervisor {
    fn create_domain(&self, config: &CreateDomain) -> HvResult<DomId>;
    fn destroy_domain(&self, dom: DomId) -> HvResult<()>;
    fn pause_domain(&self, dom: DomId) -> HvResult<()>;
    fn unpause_domain(&self, dom: DomId) -> HvResult<()>;
    /// Sets the UUID.
    fn set_handle(&self, dom: DomId, handle: [u8; 16]) -> HvResult<()>;
    fn domain_info(&self, dom: DomId) -> HvResult<Option<DomainInfo>>;
    fn domains(&self) -> HvResult<Vec<DomainInfo>>;
    fn physinfo(&self) -> HvResult<PhysInfo>;
    fn cpu_places(&self, max: u32) -> HvResult<Vec<CpuPlace>>;
    fn max_vcpus(&self, dom: DomId, max: u32) -> HvResult<()>;
    fn max_mem(&self, dom: DomId, kib: u64) -> HvResult<()>;
    /// Tells a guest how far its memory may grow, KiB.
    fn set_memory_map(&self, dom: DomId, kib: u64) -> HvResult<()>;
    fn set_tsc_info(&self, dom: DomId, mode: u32) -> HvResult<()>;
    /// A CPUID policy of the machine (`xen_abi::sysctl::CPU_POLICY_*`).
    fn system_cpu_policy(&self, index: u32) -> HvResult<Vec<CpuidLeaf>>;
    fn cpu_policy(&self, dom: DomId) -> HvResult<Vec<CpuidLeaf>>;
    fn set_cpu_policy(&self, dom: DomId, leaves: &[CpuidLeaf]) -> HvResult<()>;
    /// Lets a domain use the machine's I/O ports, I/O memory, interrupt lines.
    fn permit_ports(&self, dom: DomId, first: u32, count: u32) -> HvResult<()>;
    fn permit_frames(&self, dom: DomId, first: u64, count: u64) -> HvResult<()>;
    fn permit_irq(&self, dom: DomId, irq: u32) -> HvResult<()>;
    fn set_affinity(
        &self,
        dom: DomId,
        vcpu: VcpuId,
        hard: Option<&CpuMap>,
        soft: Option<&CpuMap>,
    ) -> HvResult<()>;
    fn affinity(&self, dom: DomId, vcpu: VcpuId, cpus: u32) -> HvResult<(CpuMap, CpuMap)>;
    fn vcpu_info(&self, dom: DomId, vcpu: VcpuId) -> HvResult<VcpuInfo>;
    fn alloc_unbound(&self, dom: DomId, remote: DomId) -> HvResult<Port>;
    fn cpupools(&self) -> HvResult<Vec<CpuPool>>;
    fn share(&self, dom: DomId) -> HvResult<SchedParams>;
    fn set_share(&self, dom: DomId, params: SchedParams) -> HvResult<()>;
    fn set_time_offset(&self, dom: DomId, seconds: i64) -> HvResult<()>;
    fn claim_pages(&self, dom: DomId, pages: u64) -> HvResult<()>;
    /// Sets memory aside for a domain's second-level page tables, MiB.
    fn set_paging_memory(&self, dom: DomId, mib: u32) -> HvResult<()>;
    /// Writes a core; returns its number of pages.
    fn dump_core(&self, info: &DomainInfo, out: &mut std::fs::File) -> xenguest::Result<u64>;
    /// Writes a PV domain into a stream; `suspend` makes it stand still.
    fn save(
        &self,
        dom: DomId,
        live: bool,
        suspend: &mut dyn FnMut() -> std::result::Result<(), String>,
        out: &mut dyn Write,
    ) -> xenguest::Result<Saved>;
    /// A PV guest that comes out of such a stream.
    fn incoming<'a>(&'a self, input: &'a mut dyn Read) -> Box<dyn Image + 'a>;
    /// Lets a domain go on that suspended itself, on the same host and as if nothing had been.
    fn resume_suspended(&self, dom: DomId) -> HvResult<()>;
    /// Reads and checks a PV guest's kernel and initrd.
    fn load<'a>(&'a self, params: &PvParams) -> xenguest::Result<Box<dyn Image + 'a>>;
    /// The same of a PVH guest, with ACPI tables or without.
    fn load_pvh<'a>(
        &'a self,
        params: &PvParams,
        acpi: bool,
    ) -> xenguest::Result<Box<dyn Image + 'a>>;
}

struct Loaded<'a> {
    xc: &'a Xenctrl,
    image: PvImage,
}

impl Image for Loaded<'_> {
    fn build(self: Box<Self>, target: &BuildTarget) -> xenguest::Result<BuildResult> {
        self.image.build(self.xc, target)
    }
}

struct LoadedPvh<'a> {
    xc: &'a Xenctrl,
    image: PvhImage,
}

impl Image for LoadedPvh<'_> {
    fn build(self: Box<Self>, target: &BuildTarget) -> xenguest::Result<BuildResult> {
        self.image.build(self.xc, target)
    }
}

struct Incoming<'a> {
    xc: &'a Xenctrl,
    input: &'a mut dyn Read,
}

impl Image for Incoming<'_> {
    fn build(self: Box<Self>, target: &BuildTarget) -> xenguest::Result<BuildResult> {
        xenguest::restore_pv(self.xc, target, self.input)
    }
}

impl Hypervisor for Xenctrl {
    fn create_domain(&self, config: &CreateDomain) -> HvResult<DomId> {
        Xenctrl::create_domain(self, config)
    }
    fn destroy_domain(&self, dom: DomId) -> HvResult<()> {
        Xenctrl::destroy_domain(self, dom)
    }
    fn pause_domain(&self, dom: DomId) -> HvResult<()> {
        Xenctrl::pause_domain(self, dom)
    }
    fn unpause_domain(&self, dom: DomId) -> HvResult<()> {
        Xenctrl::unpause_domain(self, dom)
    }
    fn set_handle(&self, dom: DomId, handle: [u8; 16]) -> HvResult<()> {
        self.set_domain_handle(dom, handle)
    }
    fn domain_info(&self, dom: DomId) -> HvResult<Option<DomainInfo>> {
        Xenctrl::domain_info(self, dom)
    }
    fn domains(&self) -> HvResult<Vec<DomainInfo>> {
        Xenctrl::domains(self)
    }
    fn cpu_places(&self, max: u32) -> HvResult<Vec<CpuPlace>> {
        Xenctrl::cpu_places(self, max)
    }
    fn physinfo(&self) -> HvResult<PhysInfo> {
        Xenctrl::physinfo(self)
    }
    fn max_vcpus(&self, dom: DomId, max: u32) -> HvResult<()> {
        Xenctrl::max_vcpus(self, dom, max)
    }
    fn max_mem(&self, dom: DomId, kib: u64) -> HvResult<()> {
        Xenctrl::max_mem(self, dom, kib)
    }
    fn set_memory_map(&self, dom: DomId, kib: u64) -> HvResult<()> {
        Xenctrl::set_memory_limit_map(self, dom, kib)
    }
    fn set_tsc_info(&self, dom: DomId, mode: u32) -> HvResult<()> {
        Xenctrl::set_tsc_info(self, dom, mode)
    }
    fn system_cpu_policy(&self, index: u32) -> HvResult<Vec<CpuidLeaf>> {
        Xenctrl::system_cpu_policy(self, index)
    }
    fn cpu_policy(&self, dom: DomId) -> HvResult<Vec<CpuidLeaf>> {
        Xenctrl::cpu_policy(self, dom)
    }
    fn set_cpu_policy(&self, dom: DomId, leaves: &[CpuidLeaf]) -> HvResult<()> {
        Xenctrl::set_cpu_policy(self, dom, leaves)
    }
    fn permit_ports(&self, dom: DomId, first: u32, count: u32) -> HvResult<()> {
        Xenctrl::permit_ports(self, dom, first, count)
    }
    fn permit_frames(&self, dom: DomId, first: u64, count: u64) -> HvResult<()> {
        Xenctrl::permit_frames(self, dom, Mfn(first), count)
    }
    fn permit_irq(&self, dom: DomId, irq: u32) -> HvResult<()> {
        Xenctrl::permit_irq(self, dom, irq)
    }
    fn set_affinity(
        &self,
        dom: DomId,
        vcpu: VcpuId,
        hard: Option<&CpuMap>,
        soft: Option<&CpuMap>,
    ) -> HvResult<()> {
        self.set_vcpu_affinity(dom, vcpu, hard, soft)
    }
    fn affinity(&self, dom: DomId, vcpu: VcpuId, cpus: u32) -> HvResult<(CpuMap, CpuMap)> {
        self.vcpu_affinity(dom, vcpu, cpus)
    }
    fn vcpu_info(&self, dom: DomId, vcpu: VcpuId) -> HvResult<VcpuInfo> {
        Xenctrl::vcpu_info(self, dom, vcpu)
    }
    fn alloc_unbound(&self, dom: DomId, remote: DomId) -> HvResult<Port> {
        self.evtchn_alloc_unbound(dom, remote)
    }
    fn cpupools(&self) -> HvResult<Vec<CpuPool>> {
        Xenctrl::cpupools(self)
    }
    fn share(&self, dom: DomId) -> HvResult<SchedParams> {
        self.sched_params(dom, self.scheduler_of(dom)?)
    }
    fn set_share(&self, dom: DomId, params: SchedParams) -> HvResult<()> {
        self.set_sched_params(dom, self.scheduler_of(dom)?, params)
    }
    fn set_time_offset(&self, dom: DomId, seconds: i64) -> HvResult<()> {
        Xenctrl::set_time_offset(self, dom, seconds)
    }
    fn claim_pages(&self, dom: DomId, pages: u64) -> HvResult<()> {
        Xenctrl::claim_pages(self, dom, pages)
    }
    fn set_paging_memory(&self, dom: DomId, mib: u32) -> HvResult<()> {
        match Xenctrl::set_paging_memory(self, dom, mib) {
            // A hypervisor that accounts for them otherwise need not be told.
            Err(e) if e.errno == Errno::ENOSYS || e.errno == Errno::EOPNOTSUPP => Ok(()),
            other => other,
        }
    }
    fn dump_core(&self, info: &DomainInfo, out: &mut std::fs::File) -> xenguest::Result<u64> {
        xenguest::dump_core(self, info, out)
    }
    fn save(
        &self,
        dom: DomId,
        live: bool,
        suspend: &mut dyn FnMut() -> std::result::Result<(), String>,
        out: &mut dyn Write,
    ) -> xenguest::Result<Saved> {
        xenguest::save_pv(self, dom, live, suspend, out)
    }
    fn incoming<'a>(&'a self, input: &'a mut dyn Read) -> Box<dyn Image + 'a> {
        Box::new(Incoming { xc: self, input })
    }
    fn resume_suspended(&self, dom: DomId) -> HvResult<()> {
        Xenctrl::resume_suspended(self, dom)
    }
    fn load<'a>(&'a self, params: &PvParams) -> xenguest::Result<Box<dyn Image + 'a>> {
        Ok(Box::new(Loaded {
            xc: self,
            image: PvImage::load(params)?,
        }))
    }
    fn load_pvh<'a>(
        &'a self,
        params: &PvParams,
        acpi: bool,
    ) -> xenguest::Result<Box<dyn Image + 'a>> {
        Ok(Box::new(LoadedPvh {
            xc: self,
            image: PvhImage::load(params, acpi)?,
        }))
    }
}

/// The xenstore: single requests, and many at once.
pub trait Xenstore: Store {
    /// Runs `body` so that others see all of its changes or none. It may run several times.
    fn atomically(
        &self,
        body: &mut dyn FnMut(&dyn Store) -> xenstore::Result<()>,
    ) -> xenstore::Result<()>;
}

impl Xenstore for Client {
    fn atomically(
        &self,
        body: &mut dyn FnMut(&dyn Store) -> xenstore::Result<()>,
    ) -> xenstore::Result<()> {
        self.transaction(|tx| body(tx))
    }
}

/// The host that libxl works on.
pub struct Host<'a> {
    /// Its hypervisor.
    pub hv: &'a dyn Hypervisor,
    /// Its xenstore.
    pub xs: &'a dyn Xenstore,
    /// Where domains' configurations are kept: `/var/lib/xen`.
    pub state_dir: PathBuf,
    /// Whether dom0 gives of its memory when a new domain needs it.
    pub autoballoon: bool,
    /// Whether a new domain's memory is claimed, where its configuration does not say.
    pub claims: bool,
    /// Where the kernel shows its devices: `/sys`.
    pub sys_dir: PathBuf,
    /// The kernel's network interfaces.
    pub links: &'a dyn crate::Links,
    /// How long others may take.
    pub limits: crate::Limits,
}

impl<'a> Host<'a> {
    /// A host that keeps its state in the usual place.
    pub fn new(hv: &'a dyn Hypervisor, xs: &'a dyn Xenstore) -> Host<'a> {
        Host {
            hv,
            xs,
            state_dir: "/var/lib/xen".into(),
            autoballoon: false,
            claims: true,
            sys_dir: "/sys".into(),
            links: &crate::Rtnetlink,
            limits: crate::Limits::default(),
        }
    }

    /// A domain's name; `None` if it has none.
    pub fn name(&self, dom: DomId) -> Result<Option<String>> {
        let path = format!("/local/domain/{}/name", dom.0);
        self.xs
            .read_opt(&path)
            .during(|| format!("reading the name of {dom}"))
    }

    /// The domain that `word` names or numbers, if it exists.
    pub fn find(&self, word: &str) -> Result<DomId> {
        let domains = self.hv.domains()?;
        let gone = || crate::Error::NoSuchDomain(word.into());
        if !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit()) {
            let id = word.parse::<u16>().map_err(|_| gone())?;
            return domains
                .iter()
                .map(|d| d.domid)
                .find(|d| d.0 == id)
                .ok_or_else(gone);
        }
        for d in &domains {
            if self.name(d.domid)?.as_deref() == Some(word) {
                return Ok(d.domid);
            }
        }
        // Before anybody has written it down, dom0 has its name all the same.
        if word == "Domain-0" {
            Ok(DomId::DOM0)
        } else {
            Err(gone())
        }
    }

    /// Writes dom0's own nodes, as far as they are missing.
    pub fn init_dom0(&self, vcpus: u32) -> Result<()> {
        let base = "/local/domain/0";
        let mut write = |s: &dyn Store| -> xenstore::Result<()> {
            let missing = |path: String, value: &str| match s.exists(&path) {
                Ok(false) => s.write(&path, value),
                other => other.map(drop),
            };
            missing(format!("{base}/domid"), "0")?;
            missing(format!("{base}/name"), "Domain-0")?;

            (0..vcpus).try_for_each(|v| missing(format!("{base}/cpu/{v}/availability"), "online"))
        };
        self.xs
            .atomically(&mut write)
            .during(|| "writing dom0's nodes".into())
    }
}
