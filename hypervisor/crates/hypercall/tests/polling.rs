//! What ends `SCHEDOP_poll`, and what ends it before it has begun.
mod common;

use common::Tools;
use domain::{Domain, PF_POLLING, Vcpu};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use xen_abi::event_channel::{BIND_IPI, BindIpi};
use xen_abi::sched::{POLL, Poll};
use xen_abi::{GuestHandle, hypercall as nr};

/// A hardware-virtualised domain that has enabled its APIC, and its machine.
fn pvh() -> (Tools, Arc<Domain>) {
    let t = Tools::new();
    let dom = t.create_pvh(1);
    let now = domain::hvm_vcpu::Now::default();
    let hvm = dom.vcpus[0].hvm.as_ref().unwrap();
    let _ = hvm.lapic.lock().mmio_write(0xf0, 4, 0x1ff, now);
    (t, dom)
}

/// Polls a port that nothing has been sent to; is it asleep?
fn sleeps(t: &Tools, dom: &Arc<Domain>) -> bool {
    let ipi = t.mem.put(&BindIpi::default());
    t.h.call(dom, nr::EVENT_CHANNEL_OP, &[BIND_IPI.into(), ipi])
        .unwrap();
    let port = t.mem.get::<BindIpi>(ipi).port;
    let arg = t.mem.put(&Poll {
        ports: GuestHandle::new(t.mem.put(&port)),
        nr_ports: 1,
        ..Poll::default()
    });
    t.h.call(dom, nr::SCHED_OP, &[POLL.into(), arg]).unwrap();
    let polls = dom.vcpus[0].flags.load(Ordering::Relaxed) & PF_POLLING != 0;
    domain::end_poll(dom, &dom.vcpus[0]);
    polls
}

fn interrupt(v: &Vcpu) {
    let hvm = v.hvm.as_ref().unwrap();
    hvm.lapic.lock().raise(0x55, false);
}

#[test]
fn with_interrupts_on_what_waits_ends_it() {
    let (t, dom) = pvh();
    t.h.interrupts_on.store(true, Ordering::Relaxed);
    assert!(sleeps(&t, &dom));
    interrupt(&dom.vcpus[0]);
    assert!(!sleeps(&t, &dom));
}

#[test]
fn with_interrupts_off_what_waits_already_does_not_end_it() {
    let (t, dom) = pvh();
    interrupt(&dom.vcpus[0]);
    assert!(sleeps(&t, &dom));
    dom.vcpus[0].nmi_pending.store(true, Ordering::Relaxed);
    assert!(!sleeps(&t, &dom), "an NMI comes nevertheless");
}
