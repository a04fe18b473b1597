//! What saving and moving a hardware-assisted guest stands on: its virtual hardware as records, and which of its pages were written.
mod common;

use common::{Effect, Tools};
use domain::{Domain, Host};
use mm::p2m::Kind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use xen_abi::domctl::*;
use xen_abi::memory::*;
use xen_abi::{Errno, GuestHandle, hvm, hypercall as nr};

/// A PVH domain of two vcpus and at most 8 MiB, and its machine.
struct Pvh {
    t: Tools,
    dom: Arc<Domain>,
}

impl Pvh {
    fn new() -> Pvh {
        let t = Tools::new();
        let dom = t.create_pvh(2);
        let limit = MaxMem { max_memkb: 8192 };
        t.domctl(&mut Domctl::with(MAX_MEM, dom.id, limit)).unwrap();
        Pvh { t, dom }
    }
    fn populate(&self, order: u32, gfn: u64) {
        let arg = self.t.mem.put(&MemoryReservation {
            extent_start: GuestHandle::new(self.t.mem.put(&gfn)),
            nr_extents: 1,
            extent_order: order,
            domid: self.dom.id,
            ..MemoryReservation::default()
        });
        let args = [u64::from(POPULATE_PHYSMAP), arg];
        assert_eq!(self.t.h.call(&self.t.dom0, nr::MEMORY_OP, &args), Ok(1));
    }
    /// The row of records `gethvmcontext` gives.
    fn context(&self) -> Vec<u8> {
        let mut op = Domctl::with(GETHVMCONTEXT, self.dom.id, HvmContext::default());
        self.t.domctl(&mut op).unwrap();
        let size = op.hvmcontext().size;
        let at = self.t.mem.put(&vec![0u8; size as usize][..]);
        let member = HvmContext {
            size,
            buffer: GuestHandle::new(at),
            ..Default::default()
        };
        let mut op = Domctl::with(GETHVMCONTEXT, self.dom.id, member);
        self.t.domctl(&mut op).unwrap();
        let len = u64::from(op.hvmcontext().size);
        (at..at + len).map(|at| self.t.mem.get(at)).collect()
    }
    fn set_context(&self, row: &[u8]) -> Result<i64, Errno> {
        let member = HvmContext {
            size: row.len() as u32,
            buffer: GuestHandle::new(self.t.mem.put(row)),
            ..Default::default()
        };
        let mut op = Domctl::with(SETHVMCONTEXT, self.dom.id, member);
        self.t.domctl(&mut op)
    }
    fn partial(&self, code: u16, instance: u32) -> Result<u64, Errno> {
        let member = HvmContextPartial {
            r#type: code.into(),
            instance,
            ..Default::default()
        };
        let mut op = Domctl::with(GETHVMCONTEXT_PARTIAL, self.dom.id, member);
        let done = self.t.domctl(&mut op);
        done.map(|_| op.hvmcontext_partial().bufsz)
    }
    fn shadow(&self, op: u32, pages: u64) -> Result<(ShadowOp, Vec<u8>), Errno> {
        let at = self.t.mem.put(&vec![0xffu8; 512][..]);
        let member = ShadowOp {
            op,
            pages,
            dirty_bitmap: GuestHandle::new(at),
            ..Default::default()
        };
        let mut op = Domctl::with(SHADOW_OP, self.dom.id, member);
        self.t.domctl(&mut op)?;
        let bits = (at..at + pages.div_ceil(8)).map(|at| self.t.mem.get(at));
        Ok((op.shadow_op(), bits.collect()))
    }
    /// Frames that are dirty, below 1024.
    fn dirty(&self, op: u32) -> Vec<u64> {
        let (told, bits) = self.shadow(op, 1024).unwrap();
        assert_eq!(told.pages, 1024);
        let is = |gfn: &u64| bits[(gfn / 8) as usize] & 1 << (gfn % 8) != 0;
        (0..1024).filter(is).collect()
    }
    fn kind(&self, gfn: u64) -> (Kind, u32) {
        let e = domain::hvm::lookup(self.t.h, &self.dom, gfn).unwrap();
        (e.kind, e.order)
    }
    fn write(&self, gfn: u64) {
        domain::hvm::access(self.t.h, &self.dom, gfn, true, |_| ()).unwrap();
    }
}

#[test]
fn virtual_hardware_is_saved_and_restored() {
    let p = Pvh::new();
    let hvm = |n: usize| p.dom.vcpus[n].hvm.as_ref().unwrap();
    p.dom.vcpus[0].initialised.store(true, Ordering::Relaxed);
    p.dom.vcpus[0].clear_flags(domain::PF_DOWN);
    hvm(0).state.lock().regs.rax = 77;
    let now = domain::hvm_vcpu::Now::default();
    let _ = hvm(0).lapic.lock().mmio_write(0xf0, 4, 0x1ff, now);
    hvm(0).lapic.lock().raise(0x55, false);
    let tsc = &p.dom.vcpus[0].tsc;
    tsc.write(p.t.h.tsc(), 12_345);
    let adjusted = tsc.adjust();
    let row = p.context();
    p.t.h.now.fetch_add(1000, Ordering::Relaxed);
    tsc.write(p.t.h.tsc(), 0);
    hvm(0).state.lock().regs.rax = 0;
    hvm(0).lapic.lock().init();
    p.set_context(&row).unwrap();
    assert_eq!(hvm(0).state.lock().regs.rax, 77);
    assert_eq!((tsc.at(p.t.h.tsc()), tsc.adjust()), (12_345, adjusted));
    assert_eq!(hvm(0).lapic.lock().pending(), Some(0x55));
    assert!(p.dom.vcpus[1].is_down(), "no record brings it up");
    assert_eq!(p.context(), row);
    // Each part of it is refused, and breaks nothing.
    for end in (0..row.len() - 8).step_by(97) {
        assert_eq!(p.set_context(&row[..end]), Err(Errno::EINVAL));
    }
}

#[test]
fn single_records_are_told() {
    let p = Pvh::new();
    p.dom.vcpus[0].clear_flags(domain::PF_DOWN);
    assert_eq!(p.partial(hvm::save::LAPIC_REGS, 1), Ok(1024));
    assert_eq!(p.partial(hvm::save::CPU, 0), Ok(1032));
    assert_eq!(p.partial(hvm::save::CPU, 1), Err(Errno::ENOENT), "down");
    assert_eq!(p.partial(hvm::save::END, 0), Err(Errno::ENOENT));
    assert_eq!(p.partial(hvm::save::PIT, 0), Err(Errno::ENOENT));
}

#[test]
fn written_pages_are_found_and_cleaned() {
    let p = Pvh::new();
    p.populate(9, 512);
    p.populate(0, 3);
    p.populate(0, 4);
    assert_eq!(p.shadow(SHADOW_OP_PEEK, 8).err(), Some(Errno::EINVAL));
    assert!(p.shadow(SHADOW_OP_ENABLE_LOGDIRTY, 0).is_ok());
    let again = p.shadow(SHADOW_OP_ENABLE_LOGDIRTY, 0);
    assert_eq!(again.err(), Some(Errno::EINVAL));
    assert_eq!(p.kind(600), (Kind::LogDirty, 9));
    assert_eq!(p.dirty(SHADOW_OP_PEEK), []);
    p.write(600);
    p.write(4);
    p.write(4);
    assert_eq!(p.kind(600), (Kind::Ram, 0));
    assert_eq!(p.kind(601), (Kind::LogDirty, 0));
    assert_eq!(p.dirty(SHADOW_OP_PEEK), [4, 600]);
    let _ = p.t.h.take_effects();
    assert_eq!(p.dirty(SHADOW_OP_CLEAN), [4, 600]);
    assert!(p.t.h.take_effects().contains(&Effect::FlushP2m(p.dom.id)));
    assert_eq!(p.dirty(SHADOW_OP_CLEAN), []);
    // What is new is dirty; what others may write is, for as long as they may, and once more.
    p.populate(0, 5);
    let page = domain::hvm::get_writable(p.t.h, &p.dom, 3).unwrap();
    assert_eq!(p.dirty(SHADOW_OP_CLEAN), [3, 5]);
    assert_eq!(p.dirty(SHADOW_OP_CLEAN), [3]);
    domain::put_writable(p.t.h, page);
    assert_eq!(p.dirty(SHADOW_OP_CLEAN), [3]);
    assert_eq!(p.dirty(SHADOW_OP_CLEAN), []);
    assert!(p.shadow(SHADOW_OP_OFF, 0).is_ok());
    assert_eq!(p.kind(601).0, Kind::Ram);
    assert!(p.shadow(SHADOW_OP_CLEAN, 8).is_err());
    // A domain that is watched can die.
    assert!(p.shadow(SHADOW_OP_ENABLE_LOGDIRTY, 0).is_ok());
    p.t.simple(DESTROYDOMAIN, p.dom.id).unwrap();
    assert!(p.t.info(p.dom.id).is_none());
}

#[test]
fn events_come_by_a_vector_of_the_vcpus_own() {
    let p = Pvh::new();
    let set = |vcpu: u32, vector| {
        let op = hvm::EvtchnUpcallVector {
            vcpu: xen_abi::VcpuId(vcpu),
            vector,
            ..Default::default()
        };
        let args = [u64::from(hvm::SET_EVTCHN_UPCALL_VECTOR), p.t.mem.put(&op)];
        p.t.h.call(&p.dom, nr::HVM_OP, &args)
    };
    assert_eq!(set(0, 15), Err(Errno::EINVAL));
    assert_eq!(set(9, 0xf3), Err(Errno::ENOENT));
    assert_eq!(set(1, 0xf3), Ok(0));
    let hvm = p.dom.vcpus[1].hvm.as_ref().unwrap();
    assert_eq!(hvm.upcall_vector.load(Ordering::Relaxed), 0xf3);
}
