//! The machine as the toolstack sees it: console ring, memory, CPUs, debug keys.
use super::{Outcome, Reply};
use crate::{Cx, Stop};
use alloc::vec::Vec;
use domain::{Host, HostInfo};
use xen_abi::Errno;
use xen_abi::sysctl::*;

/// Most of the console ring per call.
const MAX_CONSOLE: u32 = 256 << 10;
/// Most debug keys per call.
const MAX_KEYS: u32 = 64;
/// Address widths that [`mm::Heap::free_pages_low`] counts.
const LOW_BITS: u32 = 32;
/// Distance of a node to itself.
const LOCAL_DISTANCE: u32 = 10;

/// `readconsole`.
pub(super) fn read_console<H: Host>(cx: &Cx<H>, op: &mut Sysctl) -> Outcome {
    let mut r = op.readconsole();
    let len = r.count.min(MAX_CONSOLE) as usize;
    let mut buf = Vec::new();
    buf.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
    buf.resize(len, 0);
    let from = if r.incremental != 0 { r.index } else { 0 };
    let (n, next) =
        cx.h.console_ring(&mut buf, from, r.incremental != 0, r.clear != 0);
    cx.write_bytes(r.buffer.addr(), buf.get(..n).ok_or(Errno::EIO)?)?;
    r.count = n as u32;
    if r.incremental != 0 {
        r.index = next;
    }
    op.set_readconsole(r);
    Ok(Reply::Data)
}

/// `physinfo`.
pub(super) fn physinfo<H: Host>(cx: &Cx<H>, op: &mut Sysctl) -> Outcome {
    let info = cx.h.info();
    let hvm = if info.hvm {
        PHYSCAP_HVM | PHYSCAP_HAP
    } else {
        0
    };
    let (free, claimed) =
        cx.h.with_heap(|heap| (heap.free_pages(), heap.claimed_pages()));
    op.set_physinfo(Physinfo {
        threads_per_core: info.threads_per_core,
        cores_per_socket: info.cores_per_socket,
        nr_cpus: info.cpus,
        max_cpu_id: info.cpus.saturating_sub(1),
        nr_nodes: 1,
        max_node_id: 0,
        cpu_khz: info.cpu_khz,
        capabilities: PHYSCAP_PV | PHYSCAP_GNTTAB_V1 | hvm,
        total_pages: info.total_pages,
        free_pages: free,
        outstanding_pages: claimed,
        max_mfn: info.max_mfn.saturating_sub(1),
        hw_cap: info.hw_cap,
        ..Physinfo::default()
    });
    Ok(Reply::Data)
}

/// Core within its socket, socket.
fn place(info: &HostInfo, cpu: u32) -> (u32, u32) {
    let threads = info.threads_per_core.max(1);
    let cores = info.cores_per_socket.max(1);
    let core = cpu / threads;
    (core % cores, core / cores)
}

/// `cputopoinfo`: without a buffer, just the count.
pub(super) fn cpu_topology<H: Host>(cx: &Cx<H>, op: &mut Sysctl) -> Outcome {
    let mut t = op.cputopoinfo();
    let info = cx.h.info();
    let n = if t.cputopo.is_null() {
        info.cpus
    } else {
        info.cpus.min(t.num_cpus)
    };
    if !t.cputopo.is_null() {
        for cpu in 0..n {
            let (core, socket) = place(&info, cpu);
            cx.write_nth(
                t.cputopo,
                u64::from(cpu),
                &Cputopo {
                    core,
                    socket,
                    node: 0,
                },
            )?;
        }
    }
    t.num_cpus = n;
    op.set_cputopoinfo(t);
    Ok(Reply::Data)
}

/// `numainfo`: one node.
pub(super) fn numa_info<H: Host>(cx: &Cx<H>, op: &mut Sysctl) -> Outcome {
    let mut n = op.numainfo();
    let counting = n.meminfo.is_null() && n.distance.is_null();
    if counting {
        n.num_nodes = 1;
    }
    n.num_nodes = n.num_nodes.min(1);
    if n.num_nodes == 1 && !n.meminfo.is_null() {
        let pages = cx.h.with_heap(|heap| heap.free_pages());
        let memory = Meminfo {
            memsize: bytes(cx.h.info().total_pages),
            memfree: bytes(pages),
        };
        cx.write_nth(n.meminfo, 0, &memory)?;
    }
    if n.num_nodes == 1 && !n.distance.is_null() {
        cx.write_nth(n.distance, 0, &LOCAL_DISTANCE)?;
    }
    op.set_numainfo(n);
    Ok(Reply::Data)
}

fn bytes(pages: u64) -> u64 {
    pages.saturating_mul(4096)
}

/// `getcpuinfo`.
pub(super) fn cpu_info<H: Host>(cx: &Cx<H>, op: &mut Sysctl) -> Outcome {
    let mut g = op.getcpuinfo();
    g.nr_cpus = g.max_cpus.min(cx.h.info().cpus);
    for cpu in 0..g.nr_cpus {
        cx.write_nth(
            g.info,
            u64::from(cpu),
            &Cpuinfo {
                idletime: cx.h.cpu_idle_ns(cpu),
            },
        )?;
    }
    op.set_getcpuinfo(g);
    Ok(Reply::Data)
}

/// `availheap`: free bytes of a node below an address width.
pub(super) fn avail_heap<H: Host>(cx: &Cx<H>, op: &mut Sysctl) -> Outcome {
    let mut a = op.availheap();
    let (all, low) =
        cx.h.with_heap(|heap| (heap.free_pages(), heap.free_pages_low()));
    let pages = match (a.node, a.min_bitwidth, a.max_bitwidth) {
        (1.., ..) => 0,
        (_, min, 0) if min > LOW_BITS => all.saturating_sub(low),
        (_, _, 0) => all,
        (_, _, max) if max <= LOW_BITS => low,
        (_, min, _) if min > LOW_BITS => all.saturating_sub(low),
        _ => all,
    };
    a.avail_bytes = bytes(pages);
    op.set_availheap(a);
    Ok(Reply::Data)
}

/// `debug_keys`.
pub(super) fn debug_keys<H: Host>(cx: &Cx<H>, op: &Sysctl) -> Outcome {
    let d = op.debug_keys();
    if d.nr_keys > MAX_KEYS {
        return Err(Stop::Error(Errno::E2BIG));
    }
    for key in cx.read_bytes(d.keys.addr(), d.nr_keys as usize, MAX_KEYS as usize)? {
        cx.h.debug_key(key);
    }
    Ok(Reply::Done)
}
