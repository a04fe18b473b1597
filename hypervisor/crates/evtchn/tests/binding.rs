//! The port operations, their checks and their errors.
mod support;
use evtchn::{Binding, Consumer, Limits, MoveIrq, Ports, Send, bind_interdomain};
use support::{Memory, fifo, ports};
use xen_abi::{DomId, Errno, Pirq, Port, VcpuId};

const V0: VcpuId = VcpuId(0);
const V1: VcpuId = VcpuId(1);

#[test]
fn port_zero_is_never_handed_out() {
    let (mut p, m) = (ports(1), Memory::new(4));
    assert_eq!(p.alloc_unbound(&m, DomId(0)), Ok(Port(1)));
    assert_eq!(p.status(Port(0)), Ok((Binding::Reserved, V0)));
    assert_eq!(p.close(&m, Port(0)), Err(Errno::EINVAL));
    assert_eq!(p.send(Port(0)), Err(Errno::EINVAL));
}

#[test]
fn ports_run_out_at_the_limit_and_come_back() {
    let limits = Limits {
        ports: 300,
        vcpus: 1,
        pirqs: 0,
    };
    let (mut p, m) = (Ports::new(DomId(3), limits).unwrap(), Memory::new(1));
    for i in 1..300 {
        assert_eq!(p.alloc_unbound(&m, DomId(0)), Ok(Port(i)));
    }
    assert_eq!(p.alloc_unbound(&m, DomId(0)), Err(Errno::ENOSPC));
    p.close(&m, Port(77)).unwrap();
    p.close(&m, Port(33)).unwrap();
    assert_eq!(p.bind_ipi(&m, V0), Ok(Port(33)));
    assert_eq!(p.bind_ipi(&m, V0), Ok(Port(77)));
    assert_eq!(p.bind_ipi(&m, V0), Err(Errno::ENOSPC));
    assert_eq!(p.in_use(), 299);
}

#[test]
fn two_level_stops_at_4096_and_fifo_goes_on() {
    let (mut p, m) = (ports(0), Memory::new(4));
    for _ in 1..4096 {
        p.alloc_unbound(&m, DomId(0)).unwrap();
    }
    assert_eq!(p.alloc_unbound(&m, DomId(0)), Err(Errno::ENOSPC));
    p.init_fifo(&m).unwrap();
    assert_eq!(p.alloc_unbound(&m, DomId(0)), Ok(Port(4096)));
}

#[test]
fn two_domains_connect_talk_and_part() {
    let (mut a, ma) = (ports(1), Memory::new(4));
    let (mut b, mb) = (ports(2), Memory::new(4));
    let pa = a.alloc_unbound(&ma, DomId(2)).unwrap();
    assert_eq!(a.send(pa), Ok(Send::Nothing));

    let bound = bind_interdomain(&mut b, &mb, &mut a, pa).unwrap();
    assert_eq!(
        bound.wake.kick,
        Some(V0),
        "a fresh connection is pending at once"
    );
    assert_eq!(mb.take_two_level(0), [bound.port]);
    assert_eq!(
        a.send(pa),
        Ok(Send::Remote {
            dom: DomId(2),
            port: bound.port
        })
    );
    assert_eq!(b.notify_peer(&mb, bound.port, DomId(1), pa).kick, Some(V0));
    assert!(b.notify_peer(&mb, bound.port, DomId(1), Port(9)).is_none());

    let closed = b.close(&mb, bound.port).unwrap();
    assert_eq!(
        closed.was,
        Binding::Interdomain {
            remote: DomId(1),
            remote_port: pa
        }
    );
    assert!(
        b.set_pending(&mb, bound.port).is_none(),
        "late events vanish"
    );
    a.peer_closed(pa, DomId(2), Port(50));
    assert_ne!(a.binding(pa), Binding::Unbound { remote: DomId(2) });
    a.peer_closed(pa, DomId(2), bound.port);
    assert_eq!(a.binding(pa), Binding::Unbound { remote: DomId(2) });
}

#[test]
fn only_the_named_domain_may_bind() {
    let (mut a, ma) = (ports(1), Memory::new(4));
    let (mut b, mb) = (ports(2), Memory::new(4));
    let pa = a.alloc_unbound(&ma, DomId(3)).unwrap();
    for port in [pa, Port(0), Port(2), Port(u32::MAX)] {
        assert_eq!(
            bind_interdomain(&mut b, &mb, &mut a, port),
            Err(Errno::EINVAL)
        );
    }
    assert_eq!(b.in_use(), 0);
}

#[test]
fn loopback_connects_two_ports_of_one_domain() {
    let (mut a, m) = (ports(1), Memory::new(4));
    let p = a.alloc_unbound(&m, DomId(1)).unwrap();
    let q = a.bind_loopback(&m, p).unwrap().port;
    assert_eq!(a.send(p), Ok(Send::Local(q)));
    assert_eq!(a.send(q), Ok(Send::Local(p)));
    a.close(&m, p).unwrap();
    assert_eq!(a.binding(q), Binding::Unbound { remote: DomId(1) });
}

#[test]
fn virtual_interrupts_are_per_vcpu_or_global() {
    let (mut p, m) = (ports(0), Memory::new(4));
    let timer = p.bind_virq(&m, 0, V1).unwrap();
    assert_eq!(p.bind_virq(&m, 0, V1), Err(Errno::EEXIST));
    p.bind_virq(&m, 0, V0).unwrap();
    assert_eq!(p.bind_virq(&m, 3, V1), Err(Errno::EINVAL));
    assert_eq!(p.bind_virq(&m, 24, V0), Err(Errno::EINVAL));
    assert_eq!(p.bind_virq(&m, 0, VcpuId(4)), Err(Errno::ENOENT));
    assert_eq!(p.bind_vcpu(timer, V0), Err(Errno::EINVAL));
    assert_eq!(p.send(timer), Err(Errno::EINVAL));
    assert_eq!(p.send_vcpu_virq(&m, V1, 0).kick, Some(V1));

    let exc = p.bind_virq(&m, 3, V0).unwrap();
    assert_eq!(p.bind_vcpu(exc, VcpuId(2)), Ok(None));
    assert_eq!(p.send_global_virq(&m, 3).kick, Some(VcpuId(2)));
    p.close(&m, exc).unwrap();
    assert!(p.send_global_virq(&m, 3).is_none());
    assert!(
        p.bind_virq(&m, 3, V0).is_ok(),
        "it can be bound again after it moved"
    );
}

#[test]
fn physical_interrupts_bind_once_and_follow_their_vcpu() {
    let (mut p, m) = (ports(0), Memory::new(4));
    let port = p.bind_pirq(&m, Pirq(16)).unwrap();
    assert_eq!(p.bind_pirq(&m, Pirq(16)), Err(Errno::EEXIST));
    assert_eq!(p.bind_pirq(&m, Pirq(64)), Err(Errno::EINVAL));
    assert_eq!(
        p.bind_vcpu(port, V1),
        Ok(Some(MoveIrq {
            pirq: Pirq(16),
            vcpu: V1
        }))
    );
    let (bound, wake) = p.send_pirq(&m, Pirq(16));
    assert!(bound && wake.kick == Some(V1));
    assert_eq!(p.close(&m, port).unwrap().was, Binding::Pirq(Pirq(16)));
    assert!(!p.send_pirq(&m, Pirq(16)).0);
}

#[test]
fn ipis_stay_where_they_are() {
    let (mut p, m) = (ports(0), Memory::new(4));
    let port = p.bind_ipi(&m, V1).unwrap();
    assert_eq!(p.bind_ipi(&m, VcpuId(9)), Err(Errno::ENOENT));
    assert_eq!(p.bind_vcpu(port, V0), Err(Errno::EINVAL));
    assert_eq!(p.bind_vcpu(port, VcpuId(9)), Err(Errno::ENOENT));
    assert_eq!(p.send(port), Ok(Send::Local(port)));
}

#[test]
fn the_hypervisors_own_ports_are_out_of_the_guests_reach() {
    let (mut guest, mg) = (ports(5), Memory::new(4));
    let (mut dom0, m0) = (ports(0), Memory::new(4));
    let port = guest
        .alloc_consumer(&mg, DomId(0), V1, Consumer(1))
        .unwrap();
    let far = bind_interdomain(&mut dom0, &m0, &mut guest, port)
        .unwrap()
        .port;
    assert_eq!(guest.send(port), Err(Errno::EINVAL));
    assert_eq!(guest.close(&mg, port), Err(Errno::EINVAL));
    assert_eq!(guest.bind_vcpu(port, V0), Err(Errno::EINVAL));
    assert_eq!(
        guest.send_as_consumer(port),
        Ok(Send::Remote {
            dom: DomId(0),
            port: far
        })
    );
    let wake = guest.notify_peer(&mg, port, DomId(0), far);
    assert_eq!(wake.consumer, Some((Consumer(1), V1)));
    assert!(guest.reset_step(&mg, Port(0)).is_none());
    assert_eq!(guest.destroy_step(&mg, Port(0)).unwrap().port, port);
}

#[test]
fn reset_closes_all_and_returns_to_two_level() {
    let (mut p, m) = fifo(1);
    p.bind_virq(&m, 0, V0).unwrap();
    p.bind_ipi(&m, V1).unwrap();
    p.alloc_unbound(&m, DomId(0)).unwrap();
    let (mut from, mut seen) = (Port(0), 0);
    while let Some(closed) = p.reset_step(&m, from) {
        from = Port(closed.port.0 + 1);
        seen += 1;
    }
    assert_eq!((seen, p.in_use()), (3, 0));
    assert!(p.finish_reset());
    assert!(!p.finish_reset());
    assert_eq!(p.set_priority(Port(1), 3), Err(Errno::ENOSYS));
    assert!(p.bind_virq(&m, 0, V0).is_ok());
}

#[test]
fn polling_is_woken_by_masked_ports_too() {
    let (mut p, m) = (ports(1), Memory::new(4));
    let a = p.bind_ipi(&m, V0).unwrap();
    let b = p.bind_ipi(&m, V1).unwrap();
    m.set_mask(a, true);
    assert!(p.set_pending(&m, b).pollers.is_none(), "nobody polls");
    assert_eq!(p.poll_begin(&m, V1, [a, b]), Ok(false), "b is pending");
    assert_eq!(p.poll_begin(&m, V1, [a]), Ok(true));
    assert_eq!(p.poll_begin(&m, VcpuId(2), [a, Port(b.0 + 1)]), Ok(true));
    assert_eq!(p.poll_begin(&m, V0, [Port(5000)]), Err(Errno::EINVAL));
    let wake = p.set_pending(&m, a);
    assert_eq!((wake.kick, wake.pollers), (None, Some(a)));
    assert_eq!(p.pollers(a).collect::<Vec<_>>(), [V1, VcpuId(2)]);
    assert_eq!(p.pollers(b).collect::<Vec<_>>(), [VcpuId(2)]);
    p.poll_end(V1);
    p.poll_end(VcpuId(2));
    assert!(p.pollers(a).next().is_none());
}
