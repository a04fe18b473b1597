//! A machine of a few lines: domains in a list, nodes in a map, and a fault that strikes when told to.
use libxl::cfg::{Diagnostics, parse};
use libxl::{Change, DomainConfig, Host, Hypervisor, Image, Limits, Links, Xenstore};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use xen_abi::xen::CpuidLeaf;
use xen_abi::{DomId, Errno, Gfn, GrantRef, Mfn, Port, VcpuId};
use xenctrl::{
    CpuMap, CpuPool, CreateDomain, DomainInfo, DomainState, PhysInfo, SchedParams, ShutdownReason,
    VcpuInfo,
};
use xenguest::{BuildResult, BuildTarget, PvParams};
use xenstore::{Op, Perm, Store, XsError};

/// Directories that stay once they exist.
const SHARED: &[&str] = &[
    "/libxl",
    "/vm",
    "/local/domain/0/backend",
    "/local/domain/0/backend/console",
    "/local/domain/0/backend/vif",
    "/local/domain/0/backend/vbd",
    "/local/domain/0/backend/qdisk",
];

/// Everything that is observable about the machine.
#[derive(Default)]
pub struct Machine {
    pub domains: RefCell<BTreeMap<u16, DomainInfo>>,
    pub nodes: RefCell<BTreeMap<String, (String, String)>>,
    pub introduced: RefCell<Vec<u16>>,
    pub calls: RefCell<Vec<String>>,
    /// Weights and caps.
    pub shares: RefCell<BTreeMap<u16, (u16, u16)>>,
    /// Fails the call with this number, counted from the first that changes something.
    pub fail_at: Cell<Option<usize>>,
    /// Back ends do not take new devices on.
    pub no_backend: Cell<bool>,
    /// Guests do not let devices go.
    pub clinging: Cell<bool>,
    next: Cell<u16>,
    count: Cell<usize>,
}

impl Machine {
    pub fn new() -> Machine {
        let m = Machine {
            next: Cell::new(1),
            ..Default::default()
        };
        m.domains.borrow_mut().insert(0, info(0, [0; 16]));
        m.write("/local/domain/0/name", "Domain-0").unwrap();
        m.write("/local/domain/0/domid", "0").unwrap();
        m.calls.borrow_mut().clear();
        m
    }

    pub fn host(&self, dir: &tempdir::TempDir) -> Host<'_> {
        Host {
            hv: self,
            xs: self,
            state_dir: dir.0.clone(),
            autoballoon: false,
            claims: true,
            // Nothing of this machine's: the tests bring their own.
            sys_dir: dir.0.join("sys"),
            links: self,
            limits: Limits {
                backend: Duration::from_millis(300),
                process: Duration::from_millis(500),
                hotplug: Duration::from_millis(500),
                detach: Duration::from_millis(200),
                release: Duration::from_millis(50),
            },
        }
    }

    /// Counts a change; says whether it is to fail.
    fn strikes(&self, what: String) -> bool {
        let n = self.count.get();
        self.count.set(n + 1);
        self.calls.borrow_mut().push(what);
        if self.fail_at.get() == Some(n) {
            self.fail_at.set(None);
            return true;
        }
        false
    }

    pub fn arm(&self, n: usize) {
        self.count.set(0);
        self.fail_at.set(Some(n));
    }

    fn hv(&self, what: String) -> xenctrl::Result<()> {
        if self.strikes(what.clone()) {
            Err(xenctrl::Error::new(what, Errno::ENOMEM))
        } else {
            Ok(())
        }
    }

    fn known(&self, dom: DomId, what: &str) -> xenctrl::Result<()> {
        let known = self.domains.borrow().contains_key(&dom.0);
        if known {
            Ok(())
        } else {
            Err(xenctrl::Error::new(format!("{what} {dom}"), Errno::ESRCH))
        }
    }

    pub fn change(&self, dom: DomId, f: impl FnOnce(&mut DomainInfo)) {
        f(self
            .domains
            .borrow_mut()
            .get_mut(&dom.0)
            .expect("the domain exists"));
    }

    pub fn shut_down(&self, dom: DomId, reason: ShutdownReason) {
        self.change(dom, |d| d.state.shutdown = Some(reason));
    }

    /// What back ends and guests do after a change: new devices are taken on, closing ones let go.
    fn backends_act(&self) {
        let mut nodes = self.nodes.borrow_mut();
        for (path, node) in nodes.iter_mut() {
            if !path.starts_with("/local/domain/0/backend/v") || !path.ends_with("/state") {
                continue;
            }
            match &*node.0 {
                "1" if !self.no_backend.get() => node.0 = "2".into(),
                "5" if !self.clinging.get() => node.0 = "6".into(),
                _ => {}
            }
        }
    }

    /// A guest's front end connects.
    #[allow(dead_code)]
    pub fn connect(&self, dom: DomId, device: &str) {
        let mut nodes = self.nodes.borrow_mut();
        for path in [format!("/local/domain/{}/device/{device}/state", dom.0), {
            let (kind, id) = device.split_once('/').unwrap();
            format!("/local/domain/0/backend/{kind}/{}/{id}/state", dom.0)
        }] {
            nodes.get_mut(&path).expect("the device exists").0 = "4".into();
        }
    }

    /// Domains and nodes, to compare before and after; the directories that domains share are left out.
    pub fn snapshot(&self) -> (Vec<u16>, Vec<String>, Vec<u16>) {
        (
            self.domains.borrow().keys().copied().collect(),
            self.nodes
                .borrow()
                .iter()
                .filter(|(k, _)| !SHARED.contains(&k.as_str()))
                .map(|(k, v)| format!("{k} = {:?}", v))
                .collect(),
            self.introduced.borrow().clone(),
        )
    }
}

fn info(domid: u16, handle: [u8; 16]) -> DomainInfo {
    DomainInfo {
        domid: DomId(domid),
        state: DomainState {
            paused: true,
            ..Default::default()
        },
        tot_pages: 0,
        max_pages: 0,
        outstanding_pages: 0,
        shared_pages: 0,
        paged_pages: 0,
        shared_info: Mfn(0),
        cpu_time: 0,
        online_vcpus: 1,
        max_vcpu_id: Some(0),
        handle,
        cpupool: 0,
    }
}

struct FakeImage<'a>(&'a Machine, u64);

impl Image for FakeImage<'_> {
    fn build(self: Box<Self>, target: &BuildTarget) -> xenguest::Result<BuildResult> {
        if self.0.strikes(format!("build {}", target.dom)) {
            return Err(xenguest::Error {
                step: "populating",
                object: target.dom.to_string(),
                cause: "no memory".into(),
                hint: None,
            });
        }
        self.0.change(target.dom, |d| d.tot_pages = self.1);
        Ok(BuildResult {
            console_mfn: Mfn(100),
            store_mfn: Mfn(101),
            console_gref: GrantRef(0),
            store_gref: GrantRef(1),
            nr_pages: self.1,
        })
    }
}

/// A CPU with one feature.
fn aes_only() -> CpuidLeaf {
    CpuidLeaf {
        leaf: 1,
        subleaf: !0,
        c: 1 << 25,
        ..CpuidLeaf::default()
    }
}

impl Hypervisor for Machine {
    fn create_domain(&self, c: &CreateDomain) -> xenctrl::Result<DomId> {
        self.hv("create".into())?;
        let id = self.next.replace(self.next.get() + 1);
        self.domains.borrow_mut().insert(id, info(id, c.handle));
        Ok(DomId(id))
    }
    fn destroy_domain(&self, dom: DomId) -> xenctrl::Result<()> {
        self.known(dom, "destroying")?;
        self.hv(format!("destroy {dom}"))?;
        self.domains.borrow_mut().remove(&dom.0);
        Ok(())
    }
    fn pause_domain(&self, dom: DomId) -> xenctrl::Result<()> {
        self.known(dom, "pausing")
    }
    fn unpause_domain(&self, dom: DomId) -> xenctrl::Result<()> {
        self.hv(format!("unpause {dom}"))?;
        self.change(dom, |d| d.state.paused = false);
        Ok(())
    }
    fn set_handle(&self, dom: DomId, handle: [u8; 16]) -> xenctrl::Result<()> {
        self.hv(format!("handle {dom}"))?;
        self.change(dom, |d| d.handle = handle);
        Ok(())
    }
    fn domain_info(&self, dom: DomId) -> xenctrl::Result<Option<DomainInfo>> {
        Ok(self.domains.borrow().get(&dom.0).cloned())
    }
    fn domains(&self) -> xenctrl::Result<Vec<DomainInfo>> {
        Ok(self.domains.borrow().values().cloned().collect())
    }
    fn cpu_places(&self, max: u32) -> xenctrl::Result<Vec<xenctrl::CpuPlace>> {
        let (core, socket, node) = (0, 0, 0);
        Ok(vec![xenctrl::CpuPlace { core, socket, node }; max as usize])
    }
    fn physinfo(&self) -> xenctrl::Result<PhysInfo> {
        let used: u64 = self.domains.borrow().values().map(|d| d.tot_pages).sum();
        Ok(PhysInfo {
            threads_per_core: 1,
            cores_per_socket: 4,
            nr_cpus: 4,
            max_cpu_id: 3,
            nr_nodes: 1,
            cpu_khz: 1,
            capabilities: 2,
            total_pages: 262_144,
            free_pages: 262_144 - used,
            scrub_pages: 0,
            outstanding_pages: 0,
            hw_cap: [0; 8],
        })
    }
    fn max_vcpus(&self, dom: DomId, max: u32) -> xenctrl::Result<()> {
        self.hv(format!("max_vcpus {dom} {max}"))?;
        self.change(dom, |d| d.max_vcpu_id = Some(max - 1));
        Ok(())
    }
    fn max_mem(&self, dom: DomId, kib: u64) -> xenctrl::Result<()> {
        self.hv(format!("max_mem {dom} {kib}"))
    }
    fn set_memory_map(&self, dom: DomId, kib: u64) -> xenctrl::Result<()> {
        self.hv(format!("memory_map {dom} {kib}"))
    }
    fn set_tsc_info(&self, dom: DomId, mode: u32) -> xenctrl::Result<()> {
        self.hv(format!("tsc {dom} {mode}"))
    }
    fn system_cpu_policy(&self, _: u32) -> xenctrl::Result<Vec<CpuidLeaf>> {
        Ok(vec![aes_only()])
    }
    fn cpu_policy(&self, _: DomId) -> xenctrl::Result<Vec<CpuidLeaf>> {
        Ok(vec![aes_only()])
    }
    fn permit_ports(&self, dom: DomId, first: u32, count: u32) -> xenctrl::Result<()> {
        self.hv(format!("ports {dom} {first:#x} {count}"))
    }
    fn permit_frames(&self, dom: DomId, first: u64, count: u64) -> xenctrl::Result<()> {
        self.hv(format!("frames {dom} {first:#x} {count}"))
    }
    fn permit_irq(&self, dom: DomId, irq: u32) -> xenctrl::Result<()> {
        self.hv(format!("irq {dom} {irq}"))
    }
    fn set_cpu_policy(&self, dom: DomId, leaves: &[CpuidLeaf]) -> xenctrl::Result<()> {
        let one = leaves.first().map_or(0, |l| l.c);
        self.hv(format!("cpuid {dom} {one:#x}"))
    }
    fn set_affinity(
        &self,
        dom: DomId,
        v: VcpuId,
        hard: Option<&CpuMap>,
        _: Option<&CpuMap>,
    ) -> xenctrl::Result<()> {
        let cpus: Vec<u32> = hard.map(|h| h.iter().collect()).unwrap_or_default();
        self.hv(format!("affinity {dom}{v} {cpus:?}"))
    }
    fn affinity(&self, _: DomId, _: VcpuId, cpus: u32) -> xenctrl::Result<(CpuMap, CpuMap)> {
        Ok((CpuMap::full(cpus), CpuMap::full(cpus)))
    }
    fn vcpu_info(&self, dom: DomId, v: VcpuId) -> xenctrl::Result<VcpuInfo> {
        Err(xenctrl::Error::new(
            format!("asking about {dom}{v} {}", Gfn(0)),
            Errno::ESRCH,
        ))
    }
    fn alloc_unbound(&self, dom: DomId, remote: DomId) -> xenctrl::Result<Port> {
        self.hv(format!("alloc_unbound {dom} {remote}"))?;
        Ok(Port(self.count.get() as u32))
    }
    fn cpupools(&self) -> xenctrl::Result<Vec<CpuPool>> {
        let pool = |id| CpuPool {
            id,
            sched: 6,
            domains: 0,
            cpus: CpuMap::full(4),
        };
        Ok(vec![pool(0), pool(3)])
    }
    fn share(&self, dom: DomId) -> xenctrl::Result<SchedParams> {
        let (weight, cap) = self
            .shares
            .borrow()
            .get(&dom.0)
            .copied()
            .unwrap_or((256, 0));
        Ok(SchedParams { weight, cap })
    }
    fn set_share(&self, dom: DomId, p: SchedParams) -> xenctrl::Result<()> {
        self.hv(format!("share {dom} {} {}", p.weight, p.cap))?;
        self.shares.borrow_mut().insert(dom.0, (p.weight, p.cap));
        Ok(())
    }
    fn set_time_offset(&self, dom: DomId, seconds: i64) -> xenctrl::Result<()> {
        self.hv(format!("time {dom} {seconds}"))
    }
    fn claim_pages(&self, dom: DomId, pages: u64) -> xenctrl::Result<()> {
        self.hv(format!("claim {dom} {pages}"))
    }
    fn set_paging_memory(&self, dom: DomId, mib: u32) -> xenctrl::Result<()> {
        self.hv(format!("paging {dom} {mib}"))
    }
    fn dump_core(&self, info: &DomainInfo, out: &mut std::fs::File) -> xenguest::Result<u64> {
        use std::io::Write;
        out.write_all(format!("core of {}", info.domid).as_bytes())
            .unwrap();
        Ok(1)
    }
    fn save(
        &self,
        dom: DomId,
        live: bool,
        suspend: &mut dyn FnMut() -> Result<(), String>,
        out: &mut dyn std::io::Write,
    ) -> xenguest::Result<xenguest::Saved> {
        suspend().unwrap();
        write!(out, "{dom} {live}").unwrap();
        Ok(xenguest::Saved::default())
    }
    fn incoming<'a>(&'a self, _: &'a mut dyn std::io::Read) -> Box<dyn Image + 'a> {
        Box::new(FakeImage(self, 1024))
    }
    fn resume_suspended(&self, dom: DomId) -> xenctrl::Result<()> {
        self.hv(format!("resume {dom}"))
    }
    fn load<'a>(&'a self, params: &PvParams) -> xenguest::Result<Box<dyn Image + 'a>> {
        if params.kernel.to_str() == Some("/missing") {
            return Err(xenguest::Error {
                step: "opening the kernel",
                object: "/missing".into(),
                cause: "No such file".into(),
                hint: None,
            });
        }
        Ok(Box::new(FakeImage(self, params.memory_pages)))
    }
    fn load_pvh<'a>(
        &'a self,
        params: &PvParams,
        _acpi: bool,
    ) -> xenguest::Result<Box<dyn Image + 'a>> {
        self.load(params)
    }
}

impl Store for Machine {
    fn request(&self, op: Op, body: &[u8]) -> xenstore::Result<Vec<u8>> {
        let mut parts = body
            .split(|b| *b == 0)
            .map(|p| String::from_utf8_lossy(p).into_owned());
        let path = parts.next().unwrap_or_default();
        let changes = !matches!(op, Op::READ | Op::DIRECTORY | Op::GET_PERMS);
        if changes && self.strikes(format!("{op:?} {path}")) {
            return Err(XsError::EIO.into());
        }
        let mut nodes = self.nodes.borrow_mut();
        let below = |p: &str| {
            if p == "/" {
                "/".to_string()
            } else {
                format!("{p}/")
            }
        };
        let parents = |p: &str| {
            let cuts: Vec<usize> = p
                .match_indices('/')
                .map(|m| m.0)
                .filter(|i| *i > 0)
                .collect();
            cuts.into_iter()
                .map(|i| p[..i].to_string())
                .collect::<Vec<_>>()
        };
        match op {
            Op::READ => nodes
                .get(&path)
                .map(|n| n.0.clone().into_bytes())
                .ok_or(XsError::ENOENT.into()),
            Op::WRITE | Op::MKDIR => {
                for p in parents(&path) {
                    nodes.entry(p).or_default();
                }
                let value = parts.next().unwrap_or_default();
                if path == "/local/domain/0/memory/target" {
                    // Dom0's balloon driver is quick.
                    let pages = value.parse::<u64>().unwrap() / 4;
                    self.change(DomId::DOM0, |d| d.tot_pages = pages);
                }
                let node = nodes.entry(path).or_default();
                if op == Op::WRITE {
                    node.0 = value;
                }
                Ok(vec![])
            }
            Op::SET_PERMS => {
                let perms: Vec<String> = parts.filter(|p| !p.is_empty()).collect();
                nodes.get_mut(&path).ok_or(XsError::ENOENT)?.1 = perms.join(",");
                Ok(vec![])
            }
            Op::RM => {
                let prefix = below(&path);
                nodes.retain(|k, _| *k != path && !k.starts_with(&prefix));
                Ok(vec![])
            }
            Op::DIRECTORY => {
                let prefix = below(&path);
                if !nodes.contains_key(&path) {
                    return Err(XsError::ENOENT.into());
                }
                let mut names: Vec<&str> = nodes
                    .keys()
                    .filter_map(|k| k.strip_prefix(&prefix))
                    .map(|r| r.split('/').next().unwrap())
                    .collect();
                names.dedup();
                Ok(names.iter().flat_map(|n| n.bytes().chain([0])).collect())
            }
            Op::INTRODUCE => {
                self.introduced.borrow_mut().push(path.parse().unwrap());
                Ok(vec![])
            }
            Op::RELEASE => {
                let id: u16 = path.parse().unwrap();
                self.introduced.borrow_mut().retain(|d| *d != id);
                Ok(vec![])
            }
            other => panic!("{other:?} is not part of this store"),
        }
    }
}

impl Links for Machine {
    fn change(&self, index: u32, change: &Change) -> std::io::Result<()> {
        match self.strikes(format!("link {index} {change:?}")) {
            true => Err(std::io::ErrorKind::PermissionDenied.into()),
            false => Ok(()),
        }
    }
}

/// Makes an interface that the host has, or a bridge.
#[allow(dead_code)]
pub fn interface(dir: &tempdir::TempDir, name: &str, index: u32, bridge: bool) {
    let at = dir.0.join("sys/class/net").join(name);
    std::fs::create_dir_all(if bridge {
        at.join("bridge")
    } else {
        at.clone()
    })
    .unwrap();
    std::fs::write(at.join("ifindex"), format!("{index}\n")).unwrap();
    std::fs::write(at.join("mtu"), "1500\n").unwrap();
}

impl Xenstore for Machine {
    fn atomically(
        &self,
        body: &mut dyn FnMut(&dyn Store) -> xenstore::Result<()>,
    ) -> xenstore::Result<()> {
        let before = self.nodes.borrow().clone();
        let result = body(self).map(|()| self.backends_act());
        if result.is_err() {
            *self.nodes.borrow_mut() = before;
        }
        result
    }
}

/// A directory that goes with its value.
pub mod tempdir {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    pub struct TempDir(pub PathBuf);

    impl TempDir {
        pub fn new() -> TempDir {
            static N: AtomicU32 = AtomicU32::new(0);
            let name = format!(
                "libxl-test-{}-{}",
                std::process::id(),
                N.fetch_add(1, Ordering::Relaxed)
            );
            let dir = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&dir).unwrap();
            TempDir(dir)
        }
        #[allow(dead_code)]
        pub fn files(&self) -> Vec<String> {
            let entries = std::fs::read_dir(&self.0).unwrap();
            entries
                .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
                .collect()
        }
    }

    impl Drop for TempDir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// A configuration from text; `name` and `kernel` and `memory` are there already.
pub fn config(more: &str) -> DomainConfig {
    let mut diags = Diagnostics::default();
    let text = format!("name=\"g\"\nkernel=\"/boot/k\"\nmemory=64\n{more}\n");
    let cfg = parse("t.cfg", &text, &mut diags);
    DomainConfig::from_cfg(&cfg, &mut diags).unwrap_or_else(|e| panic!("{e}"))
}

#[allow(dead_code)]
pub fn path(p: &str) -> PathBuf {
    p.into()
}

/// Permissions as the store writes them.
#[allow(dead_code)]
pub fn perms(list: &[Perm]) -> String {
    list.iter()
        .map(|p| p.to_string())
        .collect::<Vec<_>>()
        .join(",")
}
