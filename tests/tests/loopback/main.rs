//! Our toolstack on our hypervisor's logic, in one process and in milliseconds: libxl, xenguest, xenctrl and xenstored as they are;
//! only the device files ([`privcmd`]) and the machine ([`machine`]) are replaced.

#[path = "../../../hypervisor/crates/loader/tests/common/mod.rs"]
mod images;
#[path = "../../../hypervisor/crates/hypercall/tests/common/mod.rs"]
mod machine;
mod privcmd;
mod store;

use domain::Host as _;
use libxl::cfg::{Diagnostics, parse};
use libxl::{DomainConfig, Host};
use machine::{CPUS, FakeHost};
use privcmd::Loopback;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use store::InProcess;
use xen_abi::hypercall::MEMORY_OP;
use xen_abi::memory::{DECREASE_RESERVATION, MemoryReservation};
use xen_abi::{DomId, Gfn, GuestHandle};
use xenctrl::Xenctrl;
use xendev::{ForeignMemory, Hypercall, Prot, SharedMemExt};
use xenstore::Store;

/// 64 MiB.
const FRAMES: usize = 16384;

/// A host in this process.
struct Here {
    machine: &'static FakeHost,
    device: Arc<Loopback>,
    xc: Xenctrl,
    xs: InProcess,
    dir: PathBuf,
}

impl Here {
    fn new(name: &str) -> Here {
        let device = Arc::new(Loopback::new(FRAMES));
        let dir =
            std::env::temp_dir().join(format!("corten-loopback-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(
            dir.join("kernel"),
            images::linux_like(1 << 20, images::LINUX_P2M, true),
        )
        .unwrap();
        let here = Here {
            machine: device.host,
            xc: Xenctrl::new(device.clone(), device.clone()),
            device,
            xs: InProcess::new(),
            dir,
        };
        here.host().init_dom0(2).unwrap();
        here
    }

    fn host(&self) -> Host<'_> {
        Host {
            state_dir: self.dir.clone(),
            ..Host::new(&self.xc, &self.xs)
        }
    }

    /// A configuration with these keys; `name`, `kernel` and `memory` have values if not among them.
    fn config(&self, keys: &str) -> DomainConfig {
        let mut text = format!("{keys}\n");
        let kernel = format!("\"{}\"", self.dir.join("kernel").display());
        for (key, value) in [("name", "\"g\""), ("kernel", &kernel), ("memory", "24")] {
            if !keys.contains(&format!("{key}=")) {
                text += &format!("{key}={value}\n");
            }
        }
        let mut diags = Diagnostics::default();
        let cfg = parse("loopback.cfg", &text, &mut diags);
        DomainConfig::from_cfg(&cfg, &mut diags).unwrap_or_else(|e| panic!("{e}"))
    }

    fn create(&self, keys: &str) -> libxl::Result<DomId> {
        let config = self.config(keys);
        self.host().prepare(&config)?.create()
    }

    fn free_pages(&self) -> u64 {
        self.machine.with_heap(|h| h.free_pages())
    }

    /// All nodes below `path`, for comparison.
    fn nodes(&self, path: &str) -> Vec<String> {
        let mut all = vec![path.to_owned()];
        for name in libxl::nodes::children(&self.xs, path).unwrap_or_default() {
            all.extend(self.nodes(&format!("{}/{name}", path.trim_end_matches('/'))));
        }
        all
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn a_domain_is_created_started_and_destroyed_without_a_trace() {
    let here = Here::new("life");
    // The first one leaves directories that are shared by all.
    here.host().destroy(here.create("").unwrap()).unwrap();
    let (free, nodes) = (here.free_pages(), here.nodes("/"));
    let dom = here.create("").unwrap();
    let path = format!("/local/domain/{}", dom.0);
    assert_eq!(here.xs.read_string(&format!("{path}/name")).unwrap(), "g");
    assert_eq!(here.host().find("g").unwrap(), dom);
    assert!(free - here.free_pages() >= 24 << 8);
    here.xc.unpause_domain(dom).unwrap();
    here.host().destroy(dom).unwrap();
    assert!(here.xc.domain_info(dom).unwrap().is_none());
    assert_eq!(here.free_pages(), free, "every page is back");
    assert_eq!(here.nodes("/"), nodes, "no node is left");
}

#[test]
fn many_come_and_go() {
    let here = Here::new("many");
    let free = here.free_pages();
    for _ in 1..=10 {
        let dom = here.create("").unwrap();
        here.host().destroy(dom).unwrap();
        assert_eq!(here.free_pages(), free);
    }
}

#[test]
fn several_live_side_by_side() {
    let here = Here::new("several");
    let first = here.create("").unwrap();
    let second = here.create("name=\"h\"\nvcpus=3").unwrap();
    let listed: Vec<DomId> = here.xc.domains().unwrap().iter().map(|d| d.domid).collect();
    assert_eq!(listed, [DomId::DOM0, first, second]);
    here.host().destroy(first).unwrap();
    assert_eq!(here.host().find("h").unwrap(), second);
    here.host().destroy(second).unwrap();
}

#[test]
fn what_cannot_be_is_refused_and_undone() {
    let here = Here::new("refused");
    let free = here.free_pages();
    here.create("memory=100000").unwrap_err();
    here.create("kernel=\"/nowhere/at/all\"").unwrap_err();
    let dom = here.create("").unwrap();
    here.create("").unwrap_err();
    here.host().destroy(dom).unwrap();
    assert_eq!(here.free_pages(), free);
}

/// A host that runs hardware-assisted guests, and the path of a kernel for one.
fn with_hvm(name: &str) -> (Here, String) {
    let here = Here::new(name);
    here.machine.hvm.store(true, Ordering::Relaxed);
    let segment = images::Seg {
        paddr: 0x100_0000,
        memsz: 0x1_0000,
        data: vec![0x90; 0x8000],
    };
    let note = images::note(18, &0x100_0010u32.to_le_bytes());
    let kernel = here.dir.join("pvh-kernel");
    std::fs::write(&kernel, images::elf(0x100_0000, &[segment], &note)).unwrap();
    let keys = format!("type=\"pvh\"\nkernel=\"{}\"", kernel.display());
    (here, keys)
}

#[test]
fn a_hardware_guest_is_created_mapped_ballooned_and_destroyed_without_a_trace() {
    let (here, keys) = with_hvm("pvh");
    let wide = format!("{keys}\nmemory=40");
    // The first one leaves directories that are shared by all.
    here.host().destroy(here.create(&wide).unwrap()).unwrap();
    let (free, nodes) = (here.free_pages(), here.nodes("/"));
    for _ in 0..5 {
        let dom = here.create(&wide).unwrap();
        let guest = here.machine.domains().get(dom).unwrap();
        let at = |gfn| domain::hvm::lookup(here.machine, &guest, gfn);
        assert_eq!(at(0x1000).unwrap().order, 9, "in large pages");
        assert!(free - here.free_pages() >= 40 << 8);
        here.ballooned_while_mapped(dom, 0x1003);
        assert_eq!(at(0x1003), None);
        here.host().destroy(dom).unwrap();
        assert!(here.xc.domain_info(dom).unwrap().is_none());
        assert_eq!(here.free_pages(), free, "every page is back");
        assert_eq!(here.nodes("/"), nodes, "no node is left");
    }
}

impl Here {
    /// Dom0 maps a page of the guest as a device model does; the guest gives it up; what dom0 sees stays.
    fn ballooned_while_mapped(&self, dom: DomId, gfn: u64) {
        let guest = self.machine.domains().get(dom).unwrap();
        let mapped = self.device.map(dom, Prot::ReadWrite, &[Gfn(gfn)]).unwrap();
        mapped.write(0, b"here");
        let list = self.device.alloc(8).unwrap();
        list.write_obj(0, &gfn);
        let args = self.device.alloc(64).unwrap();
        let request = MemoryReservation {
            extent_start: GuestHandle::new(list.addr()),
            nr_extents: 1,
            domid: DomId::SELF,
            ..MemoryReservation::default()
        };
        args.write_obj(0, &request);
        let call = [DECREASE_RESERVATION.into(), args.addr()];
        let free = self.free_pages();
        assert_eq!(self.machine.call(&guest, MEMORY_OP, &call), Ok(1));
        assert!(self.free_pages() <= free, "still mapped");
        let mut seen = [0; 4];
        mapped.read(0, &mut seen);
        assert_eq!(&seen, b"here");
        let before = self.free_pages();
        drop(mapped);
        assert_eq!(self.free_pages(), before + 1);
        assert!(self.device.map(dom, Prot::Read, &[Gfn(gfn)]).is_err());
    }
}

#[test]
fn cpuid_shows_what_is_configured_and_never_more_than_there_is() {
    const SSE2: u32 = 1 << 26;
    let here = Here::new("cpuid");
    let shown = |dom| {
        let guest = here.machine.domains().get(dom).unwrap();
        let leaf = |n| guest.cpuid.lock().get(n, 0);
        (leaf(1), leaf(0)[0])
    };
    let dom = here.create("").unwrap();
    let ([a, b, c, d], most) = shown(dom);
    assert!(d & SSE2 != 0, "{d:#x}");
    here.host().destroy(dom).unwrap();
    let less = d & !SSE2;
    let dom = here
        .create("cpuid=\"host,sse2=0,stepping=5,maxleaf=0xffff,vmx=k,maxhvleaf=3\"")
        .unwrap();
    let stepping = a & !15 | 5;
    assert_eq!(shown(dom), ([stepping, b, c, less], most));
    assert_eq!(here.xc.cpu_policy(dom).unwrap()[0].a, most);
    here.host().destroy(dom).unwrap();
    let dom = here
        .create("cpuid=['1:edx=xxxxx0xxxxxxxxxxxxxxxxxxxxxxxxxx']")
        .unwrap();
    assert_eq!(shown(dom).0, [a, b, c, less]);
    // It cannot be changed any more once it runs.
    let leaves = here.xc.cpu_policy(dom).unwrap();
    here.xc.unpause_domain(dom).unwrap();
    here.xc.set_cpu_policy(dom, &leaves).unwrap_err();
    here.host().destroy(dom).unwrap();
    let e = here
        .create("cpuid=\"host,vmx=1,sse2=1,3dnow=1\"")
        .unwrap_err();
    assert_eq!(
        e.to_string(),
        "\"cpuid\" forces vmx, 3dnow, which pv guests do not get on this host (leave it out, or write x for what there is)"
    );
    assert_eq!(here.xc.domains().unwrap().len(), 1, "no domain was made");
}

#[test]
fn hardware_and_grant_versions_that_are_not_to_be_had_are_refused_and_undone() {
    let here = Here::new("hardware");
    let free = here.free_pages();
    for (keys, said) in [
        (
            "ioports=['2f8-2ff']",
            "\"ioports\": this hypervisor gives the machine's hardware to Domain-0 alone",
        ),
        (
            "iomem=['fed00,1']",
            "\"iomem\": this hypervisor gives the machine's hardware to Domain-0 alone",
        ),
        (
            "irqs=[4]",
            "\"irqs\": this hypervisor gives the machine's hardware to Domain-0 alone",
        ),
        (
            "max_grant_version=2",
            "\"max_grant_version\" is 2, and this hypervisor has version 1 of grant tables only",
        ),
    ] {
        let e = here.create(keys).unwrap_err().to_string();
        assert!(e.starts_with(said), "{e}");
        assert_eq!(here.xc.domains().unwrap().len(), 1, "{keys}");
        assert_eq!(here.free_pages(), free, "{keys}");
    }
    let dom = here.create("max_grant_version=1").unwrap();
    here.host().destroy(dom).unwrap();
}

#[test]
fn the_machine_is_described() {
    let here = Here::new("info");
    let info = libxl::Hypervisor::physinfo(&here.xc).unwrap();
    assert_eq!(
        (info.nr_cpus, info.total_pages),
        (CPUS, FRAMES as u64 - 1),
        "frame 0 is nobody's"
    );
    assert_eq!(info.free_pages, here.free_pages());
    let version = here.xc.version().unwrap();
    assert_eq!((version.major, version.minor), (4, 17));
}

#[test]
fn node_affinity_and_the_schedulers_parameters() {
    let here = Here::new("parameters");
    let nodes = here.xc.node_affinity(DomId::DOM0, 1).unwrap();
    assert_eq!(libxl::format_cpus(&nodes, 1), "all");
    here.xc.set_credit2_ratelimit(0, 0).unwrap();
    assert_eq!(here.xc.credit2_ratelimit(0).unwrap(), 0);
    // The scheduler is another one.
    assert!(here.xc.credit_schedule(0).is_err());
}
