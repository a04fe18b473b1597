//! Creating a domain: look at everything first, then do it, and on a failure leave nothing behind.
use crate::bootloader::{Boot, Place};
use crate::host::{Host, Image};
use crate::migrate::is_exempt;
use crate::{
    DomainConfig, Error, GuestKind, Result, StoreContext, Uuid, firmware, kind, nodes, userdata,
};
use std::path::Path;
use xen_abi::sysctl::{CPU_POLICY_HOST, CPU_POLICY_HVM_MAX, CPU_POLICY_PV_MAX, PHYSCAP_GNTTAB_V2};
use xen_abi::{DomId, VcpuId};
use xenctrl::{CpuMap, CreateDomain};
use xenguest::{BuildTarget, PvParams};

/// Slack on top of a domain's memory limit, KiB; as in Xen's own toolstack.
pub const MAXMEM_SLACK: u64 = 1024;
/// What the hypervisor needs for a domain besides its memory, in pages, and for each vcpu.
const OVERHEAD_PAGES: u64 = 256;
const OVERHEAD_PER_VCPU: u64 = 8;
const PAGE_KIB: u64 = 4;
/// Where boot loaders leave what they find.
const RUN: &str = "/run/xen";

/// Where the image comes from.
enum Source<'a> {
    /// Files of this host: read and checked already.
    Ready(Box<dyn Image + 'a>),
    /// The guest's disk.
    Bootloader(Boot<'a>),
}

/// A domain about to be created: everything that could be checked has been.
pub struct Prepared<'a> {
    host: &'a Host<'a>,
    config: &'a DomainConfig,
    image: Source<'a>,
    watch: Option<&'a (dyn Fn(&Path) + Sync)>,
    hard: Vec<CpuMap>,
    soft: Vec<CpuMap>,
    pool: u32,
    grant_version: u32,
}

impl Host<'_> {
    /// The memory node of each of the machine's CPUs, of which `max_id` is the last.
    pub fn cpu_nodes(&self, max_id: u32) -> Result<Vec<u32>> {
        let places = self.hv.cpu_places(max_id.saturating_add(1))?;
        Ok(places.iter().map(|p| p.node).collect())
    }
}

impl<'a> Host<'a> {
    /// Checks a configuration against the host: name, CPUs, memory, files. Changes nothing but, if
    /// memory is short and [`Host::autoballoon`] is set, dom0's size.
    pub fn prepare(&'a self, config: &'a DomainConfig) -> Result<Prepared<'a>> {
        self.prepare_with(config, None, || match Boot::prepare(config)? {
            Some(boot) => Ok(Source::Bootloader(boot)),
            None => Ok(Source::Ready(load(self, config)?)),
        })
    }

    /// The same for a guest that is not loaded but comes as `image`. `exempt`: the domain that it was may still be there.
    pub(crate) fn prepare_incoming(
        &'a self,
        config: &'a DomainConfig,
        exempt: Option<Uuid>,
        image: Box<dyn Image + 'a>,
    ) -> Result<Prepared<'a>> {
        self.prepare_with(config, exempt, || Ok(Source::Ready(image)))
    }

    fn prepare_with(
        &'a self,
        config: &'a DomainConfig,
        exempt: Option<Uuid>,
        image: impl FnOnce() -> Result<Source<'a>>,
    ) -> Result<Prepared<'a>> {
        self.check_unique(config, exempt)?;
        let phys = self.hv.physinfo()?;
        config.kind.check(&phys)?;
        let grant_version = grant_version(config, &phys)?;
        let nodes = match (&config.cpus[..], &config.cpus_soft[..]) {
            ([], []) => vec![],
            _ => self.cpu_nodes(phys.max_cpu_id)?,
        };
        let resolve = |lists: &[crate::CpuList], key: &str| -> Result<Vec<CpuMap>> {
            let map = |l: &crate::CpuList| {
                l.resolve(&nodes)
                    .map_err(|e| Error::new(format!("\"{key}\": {e}")))
            };
            lists.iter().map(map).collect()
        };
        let (hard, soft) = (
            resolve(&config.cpus, "cpus")?,
            resolve(&config.cpus_soft, "cpus_soft")?,
        );
        crate::device::check(self, config, exempt)?;
        self.check_cpuid(config)?;
        let image = image()?;
        let pool = self.pool_of(&config.shares)?;
        let need = start_kib(config) / PAGE_KIB
            + paging_pages(config)
            + OVERHEAD_PAGES
            + OVERHEAD_PER_VCPU * u64::from(config.max_vcpus);
        // Last, as it may change dom0.
        self.make_room(&config.name, need)?;
        Ok(Prepared {
            host: self,
            config,
            image,
            watch: None,
            hard,
            soft,
            pool,
            grant_version,
        })
    }

    fn check_unique(&self, config: &DomainConfig, exempt: Option<Uuid>) -> Result<()> {
        for d in self.hv.domains()? {
            if self.name(d.domid)?.as_deref() == Some(&config.name) {
                let message = format!(
                    "a domain named \"{}\" already exists, as {}",
                    config.name, d.domid
                );
                return Err(Error::new(message).hint("choose another name, or destroy that one"));
            }
            let same = d.handle == config.uuid.0 && !is_exempt(d.handle, exempt);
            if same && d.domid != DomId::DOM0 {
                return Err(
                    Error::new(format!("{} already has UUID {}", d.domid, config.uuid))
                        .hint("remove \"uuid\" from the configuration to get a new one"),
                );
            }
        }
        Ok(())
    }

    /// Refuses to force a feature on that guests of this kind cannot have here.
    fn check_cpuid(&self, config: &DomainConfig) -> Result<()> {
        if config.cpuid.is_empty() {
            return Ok(());
        }
        let index = match config.kind {
            GuestKind::Pv => CPU_POLICY_PV_MAX,
            GuestKind::Pvh => CPU_POLICY_HVM_MAX,
        };
        let beyond = config.cpuid.beyond(&self.hv.system_cpu_policy(index)?);
        if beyond.is_empty() {
            return Ok(());
        }
        let message = format!(
            "\"cpuid\" forces {}, which {} guests do not get on this host",
            beyond.join(", "),
            config.kind.name()
        );
        Err(Error::new(message).hint("leave it out, or write x for what there is"))
    }

    /// Has CPUID show a new domain what its configuration says.
    fn set_cpuid(&self, dom: DomId, config: &DomainConfig) -> Result<()> {
        if config.cpuid.is_empty() {
            return Ok(());
        }
        let hv = self.hv;
        let (policy, host) = (hv.cpu_policy(dom)?, hv.system_cpu_policy(CPU_POLICY_HOST)?);
        let changes = config.cpuid.changes(&policy, &host);
        let changes = changes.map_err(|e| Error::new(format!("\"cpuid\": {e}")))?;
        Ok(hv.set_cpu_policy(dom, &changes)?)
    }
}

/// The highest version of a domain's grant tables: the hypervisor's, or a lower one that is wanted.
fn grant_version(config: &DomainConfig, phys: &xenctrl::PhysInfo) -> Result<u32> {
    let highest = match phys.capabilities & PHYSCAP_GNTTAB_V2 {
        0 => 1,
        _ => 2,
    };
    let wanted = config.max_grant_version.unwrap_or(highest);
    if wanted <= highest {
        return Ok(wanted);
    }
    let message =
        "\"max_grant_version\" is 2, and this hypervisor has version 1 of grant tables only";
    Err(Error::new(message).hint(
        "write 1, or leave it out: no guest needs version 2 on a machine with less than 16 TiB",
    ))
}

impl<'a> Prepared<'a> {
    /// `watch` is called, on a thread of its own, with the terminal on which a boot loader runs; it is to return when that closes.
    pub fn watched(mut self, watch: &'a (dyn Fn(&Path) + Sync)) -> Self {
        self.watch = Some(watch);
        self
    }

    /// Creates the domain, paused. If anything fails, everything is undone.
    pub fn create(self) -> Result<DomId> {
        let (host, config) = (self.host, self.config);
        let (flags, emulation_flags) = config.kind.creation();
        let dom = host.hv.create_domain(&CreateDomain {
            flags,
            emulation_flags,
            handle: config.uuid.0,
            max_vcpus: config.max_vcpus,
            max_evtchn_port: config.max_event_channels,
            max_grant_frames: config.max_grant_frames,
            max_maptrack_frames: config.max_maptrack_frames,
            grant_version: self.grant_version,
            cpupool: self.pool,
            ..Default::default()
        })?;
        match self.fill(dom) {
            Ok(()) => Ok(dom),
            Err(e) => {
                // The failure is what matters to the user; what cannot be undone either is said with it.
                match host.wipe(dom, Some(config.uuid)) {
                    Ok(()) => Err(e),
                    Err(u) => Err(Error::new(format!("{e}; and undoing it failed: {u}"))),
                }
            }
        }
    }

    fn fill(self, dom: DomId) -> Result<()> {
        let (host, config) = (self.host, self.config);
        host.hv.max_vcpus(dom, config.max_vcpus)?;
        host.hv.max_mem(dom, start_kib(config) + MAXMEM_SLACK)?;
        if config.kind == GuestKind::Pvh {
            host.hv.set_paging_memory(dom, paging_mib(config))?;
        } else if config.maxmem_kib > config.memory_kib {
            // Else its kernel takes what it starts with for all it may ever have.
            host.hv.set_memory_map(dom, config.maxmem_kib)?;
        }
        if config.tsc_mode != 0 {
            host.hv.set_tsc_info(dom, config.tsc_mode)?;
        }
        host.set_cpuid(dom, config)?;
        config.hardware.grant(host, dom)?;
        for v in 0..config.max_vcpus {
            let (hard, soft) = (self.hard.get(v as usize), self.soft.get(v as usize));
            if hard.is_some() || soft.is_some() {
                host.hv.set_affinity(dom, VcpuId(v), hard, soft)?;
            }
        }
        host.set_shares(dom, &config.shares)?;
        let claimed = config.shares.claim.unwrap_or(host.claims);
        if claimed {
            host.claim(dom, start_kib(config) / PAGE_KIB)?;
        }
        let store_failed = || format!("writing the nodes of {dom}");
        host.xs
            .atomically(&mut |s| nodes::create(s, dom, config))
            .during(store_failed)?;
        host.store_userdata(dom, config.uuid, userdata::XL, &config.source)?;
        let found;
        let (image, config) = match self.image {
            Source::Ready(image) => (image, config),
            Source::Bootloader(boot) => {
                let (image, with_kernel) = from_disk(host, dom, config, &boot, self.watch)?;
                found = with_kernel;
                (image, &found)
            }
        };
        let store_port = host.hv.alloc_unbound(dom, DomId::DOM0)?;
        let console_port = host.hv.alloc_unbound(dom, DomId::DOM0)?;
        let built = image.build(&BuildTarget::new(dom, store_port, console_port))?;
        if claimed {
            host.claim(dom, 0)?;
        }
        let ports = (store_port, console_port);
        host.xs
            .atomically(&mut |s| nodes::complete(s, dom, config, &built, ports))
            .during(store_failed)?;
        host.xs
            .introduce(dom.0, built.store_mfn.0, store_port.0)
            .during(|| format!("introducing {dom} to the xenstore"))?;
        crate::device::attach_all(host, dom, config)
    }
}

/// Runs the boot loader, its terminal being the domain's console, and reads what it found. Its files are gone afterwards.
fn from_disk<'a>(
    host: &'a Host<'a>,
    dom: DomId,
    config: &DomainConfig,
    boot: &Boot,
    watch: Option<&(dyn Fn(&Path) + Sync)>,
) -> Result<(Box<dyn Image + 'a>, DomainConfig)> {
    let place = Place::new(Path::new(RUN), dom.0)?;
    let found = std::thread::scope(|scope| {
        let mut console = |tty: &Path| {
            let shown = host
                .xs
                .atomically(&mut |s| nodes::bootloader_console(s, dom, tty));
            shown.during(|| format!("showing the bootloader of {dom}"))?;
            if let Some(watch) = watch {
                let tty = tty.to_owned();
                scope.spawn(move || watch(&tty));
            }
            Ok(())
        };
        // What cannot be asked is taken for alive: the boot loader's own limit remains.
        let mut alive = || !matches!(host.hv.domain_info(dom), Ok(None));
        boot.run(&place, &mut console, &mut alive)
    })?;
    let mut config = config.clone();
    config.kernel = found.kernel;
    config.ramdisk = found.ramdisk;
    config.cmdline = found.args.unwrap_or(config.cmdline);
    let image = load(host, &config)
        .map_err(|e| Error::new(format!("{} found what cannot be started: {e}", boot.what())))?;
    Ok((image, config))
}

fn load<'a>(host: &'a Host<'a>, config: &DomainConfig) -> Result<Box<dyn Image + 'a>> {
    let params = PvParams {
        kernel: firmware::locate(&config.kernel)?,
        ramdisk: config.ramdisk.clone(),
        cmdline: config.cmdline.clone(),
        memory_pages: start_kib(config) / PAGE_KIB,
        vcpus: config.max_vcpus,
    };
    Ok(match config.kind {
        GuestKind::Pv => host.hv.load(&params),
        GuestKind::Pvh => host.hv.load_pvh(&params, config.acpi),
    }?)
}

/// Memory at the start. A PVH guest takes for its memory what its map says, so that all of it must be there: what is
/// beyond `memory` it gives back once it reads its target.
fn start_kib(config: &DomainConfig) -> u64 {
    match config.kind {
        GuestKind::Pv => config.memory_kib,
        GuestKind::Pvh => config.maxmem_kib,
    }
}

fn paging_mib(config: &DomainConfig) -> u32 {
    let usual = || kind::paging_mib(config.maxmem_kib, config.max_vcpus);
    config.paging_mib.unwrap_or_else(usual)
}

/// The same in pages; none where the guest has no such page tables.
fn paging_pages(config: &DomainConfig) -> u64 {
    match config.kind {
        GuestKind::Pv => 0,
        GuestKind::Pvh => u64::from(paging_mib(config)) << 8,
    }
}
