//! CPU pools, affinity within them, and claims on memory, by the toolstack's calls.
mod common;

use common::{CPUS, Effect, Tools};
use domain::{Domain, Host};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use xen_abi::domctl::{self as dc, Domctl, SCHEDULER_CREDIT2, VcpuAffinity};
use xen_abi::memory::{CLAIM_PAGES, MemoryReservation};
use xen_abi::sysctl::{self as sc, *};
use xen_abi::xen::XenctlBitmap;
use xen_abi::{DomId, Errno, GuestHandle, VcpuId, hypercall as nr};

struct Pools {
    t: Tools,
    map: XenctlBitmap,
}

impl Pools {
    fn new() -> Pools {
        let t = Tools::new();
        let map = XenctlBitmap {
            bitmap: GuestHandle::new(t.mem.put(&0u64)),
            nr_bits: 64,
            _pad12: 0,
        };
        Pools { t, map }
    }
    fn op(&self, op: u32, cpupool_id: u32, arg: u32) -> Result<CpupoolOp, Errno> {
        let p = CpupoolOp {
            op,
            cpupool_id,
            sched_id: SCHEDULER_CREDIT2,
            domid: arg,
            cpu: arg,
            cpumap: self.map,
            ..Default::default()
        };
        let mut call = Sysctl::with(sc::CPUPOOL_OP, p);
        self.t.sysctl(&mut call).map(|_| call.cpupool_op())
    }
    /// (number, CPUs, domains) of the first pool from `id` on.
    fn info(&self, id: u32) -> Result<(u32, u64, u32), Errno> {
        let p = self.op(CPUPOOL_OP_INFO, id, 0)?;
        Ok((
            p.cpupool_id,
            self.t.mem.get(self.map.bitmap.addr()),
            p.n_dom,
        ))
    }
    fn free(&self) -> u64 {
        self.op(CPUPOOL_OP_FREEINFO, 0, 0).unwrap();
        self.t.mem.get(self.map.bitmap.addr())
    }
    fn pin(&self, dom: &Domain, hard: u64) -> Result<u64, Errno> {
        let map = XenctlBitmap {
            bitmap: GuestHandle::new(self.t.mem.put(&hard)),
            ..self.map
        };
        let a = VcpuAffinity {
            vcpu: VcpuId(0),
            flags: dc::VCPUAFFINITY_HARD,
            cpumap_hard: map,
            ..Default::default()
        };
        self.t
            .domctl(&mut Domctl::with(dc::SETVCPUAFFINITY, dom.id, a))?;
        Ok(self.t.mem.get(map.bitmap.addr()))
    }
}

fn allowed(dom: &Domain) -> u64 {
    dom.vcpus[0].allowed.load(Ordering::Relaxed)
}

const ANY: u32 = CPUPOOL_PAR_ANY;

#[test]
fn a_pool_is_made_filled_emptied_and_ended() {
    let p = Pools::new();
    assert_eq!((CPUS, p.info(0), p.free()), (4, Ok((0, 0xf, 1)), 0));
    assert_eq!(p.op(CPUPOOL_OP_ADDCPU, 0, 3).err(), Some(Errno::EBUSY));
    assert_eq!(p.op(CPUPOOL_OP_CREATE, ANY, 0).unwrap().cpupool_id, 1);
    assert_eq!(p.op(CPUPOOL_OP_ADDCPU, 1, ANY).err(), Some(Errno::ENODEV));
    p.op(CPUPOOL_OP_RMCPU, 0, ANY).unwrap();
    assert_eq!(
        p.op(CPUPOOL_OP_RMCPU, 0, 3).err(),
        Some(Errno::EADDRNOTAVAIL)
    );
    assert_eq!((p.info(0), p.free()), (Ok((0, 0x7, 1)), 0x8));
    p.op(CPUPOOL_OP_ADDCPU, 1, ANY).unwrap();
    assert_eq!((p.info(1), p.free()), (Ok((1, 0x8, 0)), 0));
    assert_eq!(p.op(CPUPOOL_OP_DESTROY, 1, 0).err(), Some(Errno::EBUSY));
    p.op(CPUPOOL_OP_RMCPU, 1, 3).unwrap();
    p.op(CPUPOOL_OP_DESTROY, 1, 0).unwrap();
    assert_eq!(p.info(1), Err(Errno::ENOENT));
    assert_eq!(p.op(CPUPOOL_OP_DESTROY, 0, 0).err(), Some(Errno::EBUSY));
    // Domain 0 keeps a CPU.
    p.op(CPUPOOL_OP_RMCPU, 0, 1).unwrap();
    p.op(CPUPOOL_OP_RMCPU, 0, 2).unwrap();
    assert_eq!(p.op(CPUPOOL_OP_RMCPU, 0, 0).err(), Some(Errno::EBUSY));
    assert_eq!(p.op(CPUPOOL_OP_ADDCPU, 0, 4).err(), Some(Errno::ENODEV));
    assert_eq!(p.op(CPUPOOL_OP_MOVEDOMAIN, 0, 0).err(), Some(Errno::EINVAL));
}

#[test]
fn a_domain_runs_on_its_pool_only() {
    let p = Pools::new();
    let (dom, _) = p.t.create(1, 0);
    assert_eq!(allowed(&dom), 0xf);
    assert_eq!(p.pin(&dom, 0x8), Ok(0x8));
    p.op(CPUPOOL_OP_CREATE, 5, 0).unwrap();
    let id = u32::from(dom.id.0);
    assert_eq!(
        p.op(CPUPOOL_OP_MOVEDOMAIN, 5, id).err(),
        Some(Errno::EINVAL)
    );
    // The only CPU it may use goes: the pinning goes with it.
    p.t.h.take_effects();
    p.op(CPUPOOL_OP_RMCPU, 0, 3).unwrap();
    assert_eq!(allowed(&dom), 0x7);
    assert!(
        p.t.h
            .take_effects()
            .contains(&Effect::Affinity(dom.id, VcpuId(0)))
    );
    assert_eq!(p.pin(&dom, 0x8), Err(Errno::EINVAL));
    p.op(CPUPOOL_OP_ADDCPU, 5, 3).unwrap();
    p.op(CPUPOOL_OP_MOVEDOMAIN, 5, id).unwrap();
    assert_eq!((allowed(&dom), p.info(5)), (0x8, Ok((5, 0x8, 1))));
    assert_eq!(p.t.info(dom.id).unwrap().cpupool, 5);
    assert_eq!(p.op(CPUPOOL_OP_RMCPU, 5, 3).err(), Some(Errno::EBUSY));
    assert_eq!(p.op(CPUPOOL_OP_DESTROY, 5, 0).err(), Some(Errno::EBUSY));
    let mut wish = Tools::wish(1);
    wish.cpupool_id = 5;
    let second = p.t.try_create(DomId(0), wish).unwrap();
    let second = p.t.h.domains().get(second).unwrap();
    assert_eq!(allowed(&second), 0x8);
    p.op(CPUPOOL_OP_MOVEDOMAIN, 0, id).unwrap();
    assert_eq!(allowed(&dom), 0x7);
    assert_eq!(
        p.op(CPUPOOL_OP_MOVEDOMAIN, 9, id).err(),
        Some(Errno::ENOENT)
    );
}

fn claim(t: &Tools, dom: &Domain, total: u64) -> Result<i64, Errno> {
    let r = MemoryReservation {
        nr_extents: total,
        domid: dom.id,
        ..Default::default()
    };
    let at = t.mem.put(&r);
    t.h.call(&t.dom0, nr::MEMORY_OP, &[CLAIM_PAGES.into(), at])
}

fn outstanding(t: &Tools) -> u64 {
    let mut op = Sysctl::new(sc::PHYSINFO);
    t.sysctl(&mut op).unwrap();
    op.physinfo().outstanding_pages
}

fn unlimited(t: &Tools) -> Arc<Domain> {
    let (dom, _) = t.create(1, 0);
    dom.memory.lock().max_pages = u64::MAX;
    dom
}

#[test]
fn what_is_claimed_is_kept() {
    let t = Tools::new();
    let (a, b) = (unlimited(&t), unlimited(&t));
    let free = t.h.with_heap(|h| h.free_pages());
    assert_eq!(claim(&t, &a, free + 1), Err(Errno::ENOMEM));
    assert_eq!(claim(&t, &a, free - 2), Ok(0));
    assert_eq!(claim(&t, &b, 3), Err(Errno::ENOMEM));
    assert_eq!(outstanding(&t), free - 2);
    // Two pages are left for others.
    domain::alloc_pages(t.h, &b, 1, None).unwrap();
    assert_eq!(domain::alloc_page(t.h, &b), Err(Errno::ENOMEM));
    assert_eq!(
        domain::alloc_shared_page(t.h, b.id, false),
        Err(Errno::ENOMEM)
    );
    // They are the claimer's to take, and count against the claim.
    domain::alloc_pages(t.h, &a, 2, None).unwrap();
    assert_eq!(outstanding(&t), free - 6);
    assert_eq!(t.info(a.id).unwrap().outstanding_pages, free - 6);
    assert_eq!(claim(&t, &a, 3), Err(Errno::EINVAL));
    assert_eq!(claim(&t, &a, 5), Ok(0));
    assert_eq!(outstanding(&t), 1);
    assert!(domain::alloc_page(t.h, &b).is_ok());
    assert_eq!(claim(&t, &a, 0), Ok(0));
    assert_eq!(outstanding(&t), 0);
}

#[test]
fn a_claim_ends_with_its_domain() {
    let t = Tools::new();
    let a = unlimited(&t);
    claim(&t, &a, 100).unwrap();
    t.simple(dc::DESTROYDOMAIN, a.id).unwrap();
    assert_eq!(outstanding(&t), 0);
    assert_eq!(claim(&t, &a, 100), Err(Errno::ESRCH));
}
