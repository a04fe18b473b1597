//! Random sequences of operations against a plain model, in both ABIs.
mod support;
use evtchn::{Binding, Ports, Send, bind_interdomain, is_per_vcpu_virq};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use support::{MASKED, Memory, fifo, ports};
use xen_abi::{DomId, Errno, Port, VcpuId};

#[derive(Clone, Debug)]
enum Op {
    Alloc { dom: usize, remote: usize },
    Bind { dom: usize, port: u32 },
    Virq { dom: usize, virq: u32, vcpu: u32 },
    Ipi { dom: usize, vcpu: u32 },
    Close { dom: usize, port: u32 },
    Move { dom: usize, port: u32, vcpu: u32 },
    Send { dom: usize, port: u32 },
    Mask { dom: usize, port: u32 },
    Unmask { dom: usize, port: u32 },
    Run { dom: usize, vcpu: u32 },
}

fn op() -> impl Strategy<Value = Op> {
    let (dom, port, vcpu) = (0usize..2, 0u32..14, 0u32..5);
    prop_oneof![
        1 => (dom.clone(), 0usize..2).prop_map(|(dom, remote)| Op::Alloc { dom, remote }),
        1 => (dom.clone(), port.clone()).prop_map(|(dom, port)| Op::Bind { dom, port }),
        1 => (dom.clone(), 0u32..25, vcpu.clone()).prop_map(|(dom, virq, vcpu)| Op::Virq { dom, virq, vcpu }),
        1 => (dom.clone(), vcpu.clone()).prop_map(|(dom, vcpu)| Op::Ipi { dom, vcpu }),
        1 => (dom.clone(), port.clone()).prop_map(|(dom, port)| Op::Close { dom, port }),
        1 => (dom.clone(), port.clone(), vcpu.clone()).prop_map(|(dom, port, vcpu)| Op::Move { dom, port, vcpu }),
        4 => (dom.clone(), port.clone()).prop_map(|(dom, port)| Op::Send { dom, port }),
        1 => (dom.clone(), port.clone()).prop_map(|(dom, port)| Op::Mask { dom, port }),
        2 => (dom.clone(), port).prop_map(|(dom, port)| Op::Unmask { dom, port }),
        3 => (dom, 0u32..4).prop_map(|(dom, vcpu)| Op::Run { dom, vcpu }),
    ]
}

#[derive(Clone)]
struct ModelPort {
    binding: Binding,
    vcpu: u32,
    pending: bool,
    masked: bool,
}

/// One domain: the real table beside what it should be.
struct Dom {
    ports: Ports,
    memory: Memory,
    model: BTreeMap<u32, ModelPort>,
    masks: BTreeSet<u32>,
    fifo: bool,
}

impl Dom {
    fn new(id: u16, use_fifo: bool) -> Dom {
        let (ports, memory) = if use_fifo {
            fifo(id)
        } else {
            (ports(id), Memory::new(4))
        };
        Dom {
            ports,
            memory,
            model: BTreeMap::new(),
            masks: BTreeSet::new(),
            fifo: use_fifo,
        }
    }

    fn set_mask(&mut self, port: u32) {
        self.masks.insert(port);
        if self.fifo {
            self.memory.words[port as usize].fetch_or(MASKED, std::sync::atomic::Ordering::SeqCst);
        } else {
            self.memory.set_mask(Port(port), true);
        }
        if let Some(p) = self.model.get_mut(&port) {
            p.masked = true;
        }
    }

    fn added(&mut self, port: Port, binding: Binding, vcpu: u32) {
        let masked = self.masks.contains(&port.0);
        let new = ModelPort {
            binding,
            vcpu,
            pending: false,
            masked,
        };
        assert!(
            self.model.insert(port.0, new).is_none(),
            "{port} was in use"
        );
    }

    fn raise(&mut self, port: u32) {
        self.model.get_mut(&port).unwrap().pending = true;
    }

    fn run(&mut self, vcpu: u32) {
        let got = if self.fifo {
            self.memory.take_fifo(vcpu)
        } else {
            self.memory.take_two_level(vcpu)
        };
        for port in got {
            let p = self
                .model
                .get_mut(&port.0)
                .expect("an event of a closed port");
            assert!(
                p.pending && !p.masked,
                "{port} handled without being raised"
            );
            p.pending = false;
        }
    }

    fn check(&self) {
        for i in 0..20 {
            let real = self.ports.binding(Port(i));
            match self.model.get(&i) {
                Some(p) => {
                    assert_eq!((i, real), (i, p.binding));
                    assert_eq!(self.ports.status(Port(i)), Ok((p.binding, VcpuId(p.vcpu))));
                    assert_eq!(
                        self.ports.is_pending(&self.memory, Port(i)),
                        p.pending,
                        "port {i}"
                    );
                    assert_eq!(
                        self.ports.is_masked(&self.memory, Port(i)),
                        p.masked,
                        "port {i}"
                    );
                }
                None => assert!(matches!(real, Binding::Free | Binding::Reserved)),
            }
        }
        assert_eq!(self.ports.in_use() as usize, self.model.len());
    }

    /// After all vcpus looked, only what is masked may still be pending.
    fn drain(&mut self) {
        for vcpu in [0, 1, 2, 3, 0, 1, 2, 3] {
            self.run(vcpu);
        }
        for (port, p) in &self.model {
            assert!(!p.pending || p.masked, "port {port} was lost");
        }
    }
}

fn pair(doms: &mut [Dom; 2], dom: usize) -> (&mut Dom, &mut Dom) {
    let [a, b] = doms;
    if dom == 0 { (a, b) } else { (b, a) }
}

fn step(doms: &mut [Dom; 2], op: Op) {
    match op {
        Op::Alloc { dom, remote } => {
            let d = &mut doms[dom];
            let remote = DomId(remote as u16);
            let port = d.ports.alloc_unbound(&d.memory, remote).unwrap();
            d.added(port, Binding::Unbound { remote }, 0);
        }
        Op::Bind { dom, port } => bind(doms, dom, port),
        Op::Virq { dom, virq, vcpu } => {
            let d = &mut doms[dom];
            let taken = d.model.values().any(|p| {
                p.binding == Binding::Virq(virq) && (p.vcpu == vcpu || !is_per_vcpu_virq(virq))
            });
            let expect = match () {
                _ if virq >= 24 || (!is_per_vcpu_virq(virq) && vcpu != 0) => Err(Errno::EINVAL),
                _ if vcpu >= 4 => Err(Errno::ENOENT),
                _ if taken => Err(Errno::EEXIST),
                _ => Ok(()),
            };
            let got = d.ports.bind_virq(&d.memory, virq, VcpuId(vcpu));
            assert_eq!(got.map(|_| ()), expect);
            if let Ok(port) = got {
                d.added(port, Binding::Virq(virq), vcpu);
            }
        }
        Op::Ipi { dom, vcpu } => {
            let d = &mut doms[dom];
            match d.ports.bind_ipi(&d.memory, VcpuId(vcpu)) {
                Ok(port) => d.added(port, Binding::Ipi, vcpu),
                Err(e) => assert!(e == Errno::ENOENT && vcpu >= 4),
            }
        }
        Op::Close { dom, port } => close(doms, dom, port),
        Op::Move { dom, port, vcpu } => {
            let d = &mut doms[dom];
            let may = d.model.get(&port).is_some_and(|p| match p.binding {
                Binding::Virq(v) => !is_per_vcpu_virq(v),
                binding => binding != Binding::Ipi,
            });
            // Guests move a port only while it is quiet.
            if d.model.get(&port).is_some_and(|p| p.pending) {
                return;
            }
            let got = d.ports.bind_vcpu(Port(port), VcpuId(vcpu));
            assert_eq!(got.is_ok(), may && vcpu < 4);
            if got.is_ok() {
                d.model.get_mut(&port).unwrap().vcpu = vcpu;
            }
        }
        Op::Send { dom, port } => send(doms, dom, port),
        Op::Mask { dom, port } => doms[dom].set_mask(port),
        Op::Unmask { dom, port } => {
            let d = &mut doms[dom];
            if d.ports.unmask(&d.memory, Port(port)).is_ok()
                && let Some(p) = d.model.get_mut(&port)
            {
                p.masked = false;
                d.masks.remove(&port);
            }
        }
        Op::Run { dom, vcpu } => doms[dom].run(vcpu),
    }
}

fn bind(doms: &mut [Dom; 2], dom: usize, port: u32) {
    let (l, r) = pair(doms, dom);
    let id = l.ports.dom();
    let accepts = |d: &Dom| {
        d.model
            .get(&port)
            .is_some_and(|p| p.binding == Binding::Unbound { remote: id })
    };
    let (ok, got) = if accepts(l) {
        (true, l.ports.bind_loopback(&l.memory, Port(port)))
    } else {
        (
            accepts(r),
            bind_interdomain(&mut l.ports, &l.memory, &mut r.ports, Port(port)),
        )
    };
    assert_eq!(got.is_ok(), ok);
    let Ok(bound) = got else { return };
    let remote = if accepts(l) { id } else { r.ports.dom() };
    l.added(
        bound.port,
        Binding::Interdomain {
            remote,
            remote_port: Port(port),
        },
        0,
    );
    l.raise(bound.port.0);
    let far = if remote == id { l } else { r };
    far.model.get_mut(&port).unwrap().binding = Binding::Interdomain {
        remote: id,
        remote_port: bound.port,
    };
}

fn close(doms: &mut [Dom; 2], dom: usize, port: u32) {
    let (l, r) = pair(doms, dom);
    let got = l.ports.close(&l.memory, Port(port));
    let was = l.model.remove(&port);
    assert_eq!(got.is_ok(), was.is_some());
    let (Ok(closed), Some(was)) = (got, was) else {
        return;
    };
    assert_eq!(closed.was, was.binding);
    if let Binding::Interdomain {
        remote,
        remote_port,
    } = was.binding
    {
        let id = l.ports.dom();
        let far = if remote == id { l } else { r };
        if remote != id {
            far.ports.peer_closed(remote_port, id, Port(port));
        }
        far.model.get_mut(&remote_port.0).unwrap().binding = Binding::Unbound { remote: id };
    }
}

fn send(doms: &mut [Dom; 2], dom: usize, port: u32) {
    let (l, r) = pair(doms, dom);
    let binding = l.model.get(&port).map(|p| p.binding);
    match l.ports.send(Port(port)) {
        Ok(Send::Nothing) => assert!(matches!(binding, Some(Binding::Unbound { .. }))),
        Ok(Send::Local(to)) => {
            let _ = l.ports.set_pending(&l.memory, to);
            l.raise(to.0);
        }
        Ok(Send::Remote { dom, port: to }) => {
            assert_eq!(dom, r.ports.dom());
            let _ = r
                .ports
                .notify_peer(&r.memory, to, l.ports.dom(), Port(port));
            r.raise(to.0);
        }
        Err(e) => {
            assert_eq!(e, Errno::EINVAL);
            assert!(matches!(binding, None | Some(Binding::Virq(_))));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn the_table_behaves_like_the_model(
        fifo_a: bool, fifo_b: bool, ops in prop::collection::vec(op(), 1..120)
    ) {
        let mut doms = [Dom::new(0, fifo_a), Dom::new(1, fifo_b)];
        for op in ops {
            step(&mut doms, op);
            doms.iter().for_each(Dom::check);
        }
        doms.iter_mut().for_each(Dom::drain);
    }
}
