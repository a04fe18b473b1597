//! Pages are counted once, whatever a guest tells the calls that hold them: afterwards all of its memory comes back.
mod common;

use common::Tools;
use domain::{Domain, Host};
use std::sync::Arc;
use xen_abi::event_channel::{INIT_CONTROL, InitControl};
use xen_abi::memory::{EXCHANGE, MemoryExchange, MemoryReservation};
use xen_abi::vcpu::{REGISTER_VCPU_INFO, RegisterVcpuInfo};
use xen_abi::{DomId, Errno, Gfn, GuestHandle, Mfn, VcpuId, domctl, hypercall as nr};

fn register(t: &Tools, dom: &Arc<Domain>, vcpu: u64, mfn: Mfn) -> Result<i64, Errno> {
    let place = t.mem.put(&RegisterVcpuInfo {
        mfn: Gfn(mfn.0),
        offset: 0x800,
        rsvd: 0,
    });
    let args = [u64::from(REGISTER_VCPU_INFO), vcpu, place];
    t.h.call(dom, nr::VCPU_OP, &args)
}

fn list(t: &Tools, frames: &[u64], order: u32) -> MemoryReservation {
    MemoryReservation {
        extent_start: GuestHandle::new(t.mem.put(frames)),
        nr_extents: frames.len() as u64,
        extent_order: order,
        domid: DomId::SELF,
        ..MemoryReservation::default()
    }
}

/// Destroys `dom` and checks that as much is free as before it was.
fn all_comes_back(t: &Tools, dom: Arc<Domain>, before: u64) {
    t.simple(domctl::DESTROYDOMAIN, dom.id).unwrap();
    assert!(t.h.domains().get(dom.id).is_none());
    assert_eq!(t.h.with_heap(|h| h.free_pages()), before);
}

#[test]
fn vcpu_info_moves_once_and_not_within_the_shared_page() {
    let t = Tools::new();
    let before = t.h.with_heap(|h| h.free_pages());
    let (dom, pages) = t.create(2, 2);
    let shared = dom.shared_info;
    for vcpu in 0..2 {
        assert_eq!(register(&t, &dom, vcpu, shared), Err(Errno::EINVAL));
        assert_eq!(register(&t, &dom, vcpu, pages[0]), Ok(0));
        assert_eq!(register(&t, &dom, vcpu, pages[1]), Err(Errno::EINVAL));
    }
    all_comes_back(&t, dom, before);
}

#[test]
fn no_control_block_in_the_shared_page() {
    let t = Tools::new();
    let before = t.h.with_heap(|h| h.free_pages());
    let (dom, pages) = t.create(1, 1);
    for (mfn, wanted) in [
        (dom.shared_info, Err(Errno::EINVAL)),
        (pages[0], Ok(0)),
        (pages[0], Err(Errno::EINVAL)),
    ] {
        let op = t.mem.put(&InitControl {
            control_gfn: Gfn(mfn.0),
            offset: 0x800,
            vcpu: VcpuId(0),
            ..InitControl::default()
        });
        let args = [u64::from(INIT_CONTROL), op];
        assert_eq!(t.h.call(&dom, nr::EVENT_CHANNEL_OP, &args), wanted);
    }
    all_comes_back(&t, dom, before);
}

#[test]
fn a_page_cannot_be_exchanged_for_two() {
    let t = Tools::new();
    let before = t.h.with_heap(|h| h.free_pages());
    let (dom, pages) = t.create(1, 2);
    let exchange = |frames: [u64; 2]| {
        let op = t.mem.put(&MemoryExchange {
            r#in: list(&t, &frames, 0),
            out: list(&t, &[7], 1),
            nr_exchanged: 0,
        });
        t.h.call(&dom, nr::MEMORY_OP, &[u64::from(EXCHANGE), op])
    };
    let [a, b] = [pages[0].0, pages[1].0];
    assert_eq!(exchange([a, a]), Err(Errno::EINVAL));
    assert_eq!(dom.memory.lock().pages.len(), 2);
    assert_eq!(exchange([a, b]), Ok(0));
    assert_eq!(dom.memory.lock().pages.len(), 2);
    all_comes_back(&t, dom, before);
}
