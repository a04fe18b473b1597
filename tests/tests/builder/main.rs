//! The typed calls and the domain builder against the hypervisor's real logic in one process; libxl and the store are
//! in `loopback`.
//!
//! `machine` is the hypercall crate's host made of vectors, `images` the loader's synthetic kernels, `inprocess` the
//! bridge: what privcmd is on a real host.
#[path = "../../../hypervisor/crates/loader/tests/common/mod.rs"]
mod images;
mod inprocess;
#[path = "../../../hypervisor/crates/hypercall/tests/common/mod.rs"]
mod machine;

use domain::{Domain, Host};
use images::{LINUX_P2M, bzimage, linux_like};
use inprocess::InProcess;
use machine::Effect;
use mm::{PageType, Paging, Platform};
use std::path::PathBuf;
use std::sync::Arc;
use xen_abi::shared::SharedInfo;
use xen_abi::start_info::StartInfo;
use xen_abi::{DomId, Errno, Mfn, VcpuId, sched};
use xenctrl::{CpuMap, CreateDomain, ShutdownReason, Xenctrl};
use xenguest::{BuildResult, BuildTarget, PvImage, PvParams};
use zerocopy::{FromZeros, IntoBytes};

/// Frames of the machine: 64 MiB.
const FRAMES: usize = 16384;
/// Pages of a guest: 24 MiB, as its kernel is linked at 16.
const PAGES: u64 = 6144;

/// A kernel image in a file that goes when the test ends.
struct Kernel(PathBuf);

impl Kernel {
    fn new(name: &str) -> Kernel {
        let path = std::env::temp_dir().join(format!("loopback-{}-{name}", std::process::id()));
        std::fs::write(&path, bzimage(&linux_like(1 << 20, LINUX_P2M, true), None)).unwrap();
        Kernel(path)
    }
    fn params(&self) -> PvParams {
        PvParams {
            kernel: self.0.clone(),
            ramdisk: None,
            cmdline: "console=hvc0".into(),
            memory_pages: PAGES,
            vcpus: 2,
        }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn empty(xc: &Xenctrl, vcpus: u32) -> DomId {
    let wish = CreateDomain {
        handle: [0x11; 16],
        max_vcpus: vcpus,
        ..CreateDomain::default()
    };
    let dom = xc.create_domain(&wish).unwrap();
    xc.max_vcpus(dom, vcpus).unwrap();
    dom
}

/// Creates and builds a guest in the order the library does.
fn create(xc: &Xenctrl, kernel: &Kernel) -> (DomId, BuildResult) {
    let dom = empty(xc, 2);
    xc.max_mem(dom, PAGES * 4 + 1024).unwrap();
    xc.set_tsc_info(dom, 0).unwrap();
    xc.set_address_size(dom, 64).unwrap();
    let store = xc.evtchn_alloc_unbound(dom, DomId::DOM0).unwrap();
    let console = xc.evtchn_alloc_unbound(dom, DomId::DOM0).unwrap();
    let image = PvImage::load(&kernel.params()).unwrap();
    let built = image
        .build(xc, &BuildTarget::new(dom, store, console))
        .unwrap();
    (dom, built)
}

/// Reads what the guest would at `va` in its kernel address space.
fn read_virtual(host: &InProcess, dom: &Domain, va: u64, out: &mut [u8]) {
    let mut table = dom.vcpus[0].active_l4();
    for level in (1..4).rev() {
        let entry = Platform::read(host.h, table, (va >> (12 + 9 * level)) as usize & 511);
        assert_eq!(entry & 1, 1, "{va:#x} is not mapped at level {}", level + 1);
        table = Mfn(entry >> 12 & 0xff_ffff_ffff);
    }
    let entry = Platform::read(host.h, table, (va >> 12) as usize & 511);
    let mfn = Mfn(entry >> 12 & 0xff_ffff_ffff);
    host.h.read_frame(mfn, (va & 0xfff) as usize, out).unwrap();
}

#[test]
fn a_guest_is_built_runs_shuts_down_and_leaves_nothing() {
    let host = InProcess::new(FRAMES);
    let xc = host.xenctrl();
    let free = xc.physinfo().unwrap().free_pages;
    let kernel = Kernel::new("whole");
    let (id, built) = create(&xc, &kernel);

    let dom = host.h.domains().get(id).unwrap();
    let root = dom.vcpus[0].active_l4();
    let paging = Paging::new(host.h.frames(), host.h);
    assert_eq!(paging.page_type(root), (PageType::L4, true), "pinned");
    let regs = dom.vcpus[0].pv.lock().regs;
    let mut info = StartInfo::new_zeroed();
    read_virtual(&host, &dom, regs.rsi, info.as_mut_bytes());
    assert_eq!(info.nr_pages, PAGES);
    assert_eq!(info.shared_info, dom.shared_info.0 << 12);
    assert_eq!(info.store_mfn, built.store_mfn);
    assert!(info.cmd_line.starts_with(b"console=hvc0\0"));
    let mut code = [0; 1];
    read_virtual(&host, &dom, regs.rip, &mut code);
    assert!(host.h.m2p_get(root) < PAGES, "the root has a pfn");
    let mut shared = SharedInfo::new_zeroed();
    host.h
        .read_frame(dom.shared_info, 0, shared.as_mut_bytes())
        .unwrap();
    assert_eq!(
        shared.vcpu_info[0].evtchn_upcall_mask, 1,
        "it starts with events masked"
    );

    let seen = xc.domain_info(id).unwrap().unwrap();
    assert!(seen.state.paused && !seen.state.dying);
    assert_eq!(
        (seen.tot_pages, seen.online_vcpus, seen.max_vcpu_id),
        (PAGES, 1, Some(1))
    );
    xc.unpause_domain(id).unwrap();
    assert!(dom.may_run());
    assert_eq!(xc.domains().unwrap().len(), 2);

    xc.remote_shutdown(id, sched::SHUTDOWN_POWEROFF).unwrap();
    let seen = xc.domain_info(id).unwrap().unwrap();
    assert_eq!(seen.state.shutdown, Some(ShutdownReason::Poweroff));
    drop(dom);
    xc.destroy_domain(id).unwrap();
    assert!(xc.domain_info(id).unwrap().is_none());
    assert_eq!(xc.physinfo().unwrap().free_pages, free);
}

#[test]
fn many_guests_one_after_the_other_cost_nothing() {
    let host = InProcess::new(FRAMES);
    let xc = host.xenctrl();
    let free = xc.physinfo().unwrap().free_pages;
    let kernel = Kernel::new("many");
    let mut last = DomId::DOM0;
    for _ in 0..4 {
        let (id, _) = create(&xc, &kernel);
        assert_ne!(id, last, "ids are not reused at once");
        last = id;
        xc.destroy_domain(id).unwrap();
        assert_eq!(xc.physinfo().unwrap().free_pages, free);
    }
}

#[test]
fn a_guest_too_large_for_the_machine_is_refused_and_undone() {
    let host = InProcess::new(4096);
    let xc = host.xenctrl();
    let free = xc.physinfo().unwrap().free_pages;
    let dom = empty(&xc, 2);
    xc.max_mem(dom, PAGES * 4 + 1024).unwrap();
    let kernel = Kernel::new("large");
    let image = PvImage::load(&kernel.params()).unwrap();
    let ports = BuildTarget::new(dom, xen_abi::Port(1), xen_abi::Port(2));
    assert!(image.build(&xc, &ports).is_err());
    xc.destroy_domain(dom).unwrap();
    let now = xc.physinfo().unwrap();
    assert_eq!((now.free_pages, now.outstanding_pages), (free, 0));
}

#[test]
fn pauses_affinity_and_handles_reach_the_domain() {
    let host = InProcess::new(2048);
    let xc = host.xenctrl();
    let id = empty(&xc, 2);
    let dom: Arc<Domain> = host.h.domains().get(id).unwrap();
    xc.unpause_domain(id).unwrap();
    xc.pause_domain(id).unwrap();
    assert!(xc.domain_info(id).unwrap().unwrap().state.paused && !dom.may_run());
    xc.unpause_domain(id).unwrap();
    assert_eq!(xc.unpause_domain(id).unwrap_err().errno, Errno::EINVAL);
    let mut one = CpuMap::empty(4);
    one.set(2);
    xc.set_vcpu_affinity(id, VcpuId(1), Some(&one), None)
        .unwrap();
    let (hard, _) = xc.vcpu_affinity(id, VcpuId(1), 4).unwrap();
    assert_eq!(hard.iter().collect::<Vec<_>>(), [2]);
    xc.set_domain_handle(id, [9; 16]).unwrap();
    assert_eq!(xc.domain_info(id).unwrap().unwrap().handle, [9; 16]);
    assert_eq!(xc.pause_domain(DomId(77)).unwrap_err().errno, Errno::ESRCH);
}

#[test]
fn the_machine_describes_itself() {
    let host = InProcess::new(2048);
    let xc = host.xenctrl();
    let info = xc.physinfo().unwrap();
    assert_eq!((info.nr_cpus, info.total_pages), (machine::CPUS, 2047));
    let version = xc.version().unwrap();
    assert_eq!((version.major, version.minor), (4, 17));
    host.h.console_write(DomId::DOM0, b"(XEN) booted\n");
    assert_eq!(xc.read_console(false).unwrap(), b"(XEN) booted\n");
    xc.debug_keys("q").unwrap();
    assert!(host.h.take_effects().contains(&Effect::DebugKey(b'q')));
    assert_eq!(xc.cpu_info(8).unwrap().len(), 4);
}
