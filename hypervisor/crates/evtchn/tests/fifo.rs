//! The FIFO ABI against a guest that consumes as the published design says, and against one that does not.
mod support;
use evtchn::{Ports, SharedEvents};
use std::sync::RwLock;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU32};
use support::{LINK_MASK, LINKED, MASKED, Memory, PENDING, fifo, ports};
use xen_abi::{DomId, Errno, Port, VcpuId};

fn ipis(p: &mut Ports, m: &Memory, vcpu: u32, n: usize) -> Vec<Port> {
    (0..n)
        .map(|_| p.bind_ipi(m, VcpuId(vcpu)).unwrap())
        .collect()
}

#[test]
fn events_come_in_order_and_kick_once() {
    let (mut p, m) = fifo(1);
    let e = ipis(&mut p, &m, 2, 3);
    assert_eq!(p.set_pending(&m, e[1]).kick, Some(VcpuId(2)));
    for i in [0, 1, 2] {
        assert!(p.set_pending(&m, e[i]).is_none());
    }
    assert_eq!(m.take_fifo(2), [e[1], e[0], e[2]]);
    assert_eq!(
        p.set_pending(&m, e[2]).kick,
        Some(VcpuId(2)),
        "the old tail again"
    );
    assert_eq!(m.take_fifo(2), [e[2]]);
}

#[test]
fn higher_priority_goes_first() {
    let (mut p, m) = fifo(1);
    let e = ipis(&mut p, &m, 0, 3);
    p.set_priority(e[2], 0).unwrap();
    p.set_priority(e[1], 15).unwrap();
    assert_eq!(p.set_priority(e[1], 16), Err(Errno::EINVAL));
    for port in &e {
        let _ = p.set_pending(&m, *port);
    }
    assert_eq!(m.take_fifo(0), [e[2], e[0], e[1]]);
}

#[test]
fn a_masked_event_waits_for_its_unmask() {
    let (mut p, m) = fifo(1);
    let e = ipis(&mut p, &m, 0, 1)[0];
    m.words[e.0 as usize].fetch_or(MASKED, SeqCst);
    assert!(p.set_pending(&m, e).kick.is_none());
    assert!(p.is_pending(&m, e) && p.is_masked(&m, e));
    assert_eq!(p.unmask(&m, e).unwrap().kick, Some(VcpuId(0)));
    assert_eq!(m.take_fifo(0), [e]);
    assert!(p.unmask(&m, e).unwrap().is_none());
    assert_eq!(p.unmask(&m, Port(99_999)), Err(Errno::EINVAL));
}

#[test]
fn moving_the_tail_of_a_queue_does_not_tie_queues_together() {
    let (mut p, m) = fifo(1);
    let a = p.alloc_unbound(&m, DomId(0)).unwrap();
    let b = p.alloc_unbound(&m, DomId(0)).unwrap();
    let _ = p.set_pending(&m, a);
    assert_eq!(m.take_fifo(0), [a]);
    // a is the stale tail of vcpu 0's queue; now it is linked on vcpu 1's.
    p.bind_vcpu(a, VcpuId(1)).unwrap();
    let _ = p.set_pending(&m, a);
    assert_eq!(p.set_pending(&m, b).kick, Some(VcpuId(0)));
    assert_eq!(m.take_fifo(0), [b]);
    assert_eq!(m.take_fifo(1), [a]);
}

#[test]
fn a_closed_port_that_is_still_linked_is_not_reused() {
    let (mut p, m) = fifo(1);
    let e = ipis(&mut p, &m, 0, 2);
    let _ = p.set_pending(&m, e[0]);
    p.close(&m, e[0]).unwrap();
    assert_ne!(p.bind_ipi(&m, VcpuId(0)), Ok(e[0]));
    assert!(m.take_fifo(0).is_empty(), "its event is gone");
    assert_eq!(p.bind_ipi(&m, VcpuId(0)), Ok(e[0]));
}

#[test]
fn what_was_raised_too_early_comes_later() {
    let (mut p, mut m) = (ports(1), Memory::new(4));
    let early = p.bind_ipi(&m, VcpuId(0)).unwrap();
    let late = p.bind_ipi(&m, VcpuId(1)).unwrap();
    let _ = p.set_pending(&m, early);
    let _ = m.take_two_level(1);
    assert_eq!(p.check_expand(), Err(Errno::EOPNOTSUPP));
    p.init_fifo(&m).unwrap();
    p.init_fifo(&m).unwrap();
    m.controls = 1;
    assert!(p.set_pending(&m, late).kick.is_none());
    assert!(p.is_pending(&m, late));
    m.add_page(0);
    p.expand_array(&m, |_| {}).unwrap();
    m.controls = 2;
    let mut kicked = Vec::new();
    p.control_added(&m, VcpuId(1), |w| kicked.extend(w.kick));
    assert_eq!(kicked, [VcpuId(1)]);
    assert_eq!(m.take_fifo(1), [late]);
    // The upcall flag of vcpu 0 is still up from the 2-level event.
    assert!(m.upcall(0));
    assert_eq!(m.take_fifo(0), [early]);
}

#[test]
fn control_blocks_and_the_array_have_limits() {
    let mut p = ports(1);
    let mut m = Memory::new(4);
    assert_eq!(p.check_control(VcpuId(0), 4096 - 72), Ok(()));
    assert_eq!(p.check_control(VcpuId(0), 4096 - 64), Err(Errno::EINVAL));
    assert_eq!(p.check_control(VcpuId(0), 4), Err(Errno::EINVAL));
    assert_eq!(p.check_control(VcpuId(0), !7), Err(Errno::EINVAL));
    assert_eq!(p.check_control(VcpuId(4), 0), Err(Errno::ENOENT));
    p.init_fifo(&m).unwrap();
    for page in 0..128 {
        assert_eq!(p.check_expand(), Ok(page));
        m.add_page(0);
        p.expand_array(&m, |_| {}).unwrap();
    }
    assert_eq!(p.check_expand(), Err(Errno::ENOSPC));
}

/// Producers on several threads, one consumer per vcpu, ports that move between queues: nothing gets lost.
#[test]
fn no_event_is_lost_under_stress() {
    const PORTS: usize = 11;
    const ROUNDS: u32 = 60_000;
    let (mut p, m) = fifo(1);
    let e: Vec<Port> = (0..PORTS)
        .map(|_| p.alloc_unbound(&m, DomId(0)).unwrap())
        .collect();
    let p = RwLock::new(p);
    let raised: Vec<AtomicU32> = (0..2048).map(|_| AtomicU32::new(0)).collect();
    let seen: Vec<AtomicU32> = (0..2048).map(|_| AtomicU32::new(0)).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|s| {
        let producers: Vec<_> = (0..3)
            .map(|t| {
                let (p, m, e, raised) = (&p, &m, &e, &raised);
                s.spawn(move || {
                    for i in 0..ROUNDS {
                        let port = e[(i as usize * (t + 1) + t) % PORTS];
                        raised[port.0 as usize].fetch_add(1, SeqCst);
                        let _ = p.read().unwrap().set_pending(m, port);
                        if i.is_multiple_of(5) {
                            std::thread::yield_now();
                        }
                        if t == 2 && i.is_multiple_of(63) {
                            let mut p = p.write().unwrap();
                            p.bind_vcpu(port, VcpuId(i / 63 % 4)).unwrap();
                            p.set_priority(port, i / 63 % 16).unwrap();
                        }
                    }
                })
            })
            .collect();
        for v in 0..4 {
            let (m, raised, seen, done) = (&m, &raised, &seen, &done);
            s.spawn(move || {
                loop {
                    let last = done.load(SeqCst);
                    for port in m.take_fifo(v) {
                        let now = raised[port.0 as usize].load(SeqCst);
                        seen[port.0 as usize].fetch_max(now, SeqCst);
                    }
                    if last {
                        break;
                    }
                    std::thread::yield_now();
                }
            });
        }
        for producer in producers {
            producer.join().unwrap();
        }
        done.store(true, SeqCst);
    });
    for port in e {
        let i = port.0 as usize;
        assert_eq!(
            m.word(port) & (PENDING | LINKED),
            0,
            "{port} is still there"
        );
        assert_eq!(raised[i].load(SeqCst), seen[i].load(SeqCst), "{port}");
    }
}

/// A guest that scribbles over all its words harms only itself: no panic, no endless loop.
#[test]
fn a_hostile_guest_cannot_hang_or_crash_us() {
    let (mut p, m) = fifo(1);
    let e = ipis(&mut p, &m, 0, 8);
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            let mut x = 1u32;
            while !stop.load(SeqCst) {
                for port in &e {
                    x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    m.words[port.0 as usize].store(x | LINK_MASK, SeqCst);
                }
                let control = m.control_block(VcpuId(0)).unwrap();
                control.ready.store(x, SeqCst);
                control.heads[7].store(!x, SeqCst);
            }
        });
        for i in 0..50_000 {
            let _ = p.set_pending(&m, e[i % 8]);
            let _ = p.unmask(&m, e[(i + 3) % 8]);
        }
        stop.store(true, SeqCst);
    });
    for port in e {
        p.close(&m, port).unwrap();
    }
}
