//! Binding ports: `EVTCHNOP_{alloc_unbound,bind_*,set_priority}`.
use crate::types::{Binding, Bound, Consumer, MoveIrq};
use crate::{Abi, NR_VIRQS, PRIORITY_MIN, Ports, SharedEvents};
use xen_abi::xen::{VIRQ_DEBUG, VIRQ_TIMER, VIRQ_XENOPROF, VIRQ_XENPMU};
use xen_abi::{DomId, Errno, Pirq, Port, VcpuId};

/// True for the virtual interrupts each vcpu has of its own (timer, debug, xenoprof, pmu); the others are
/// global.
pub fn is_per_vcpu_virq(virq: u32) -> bool {
    matches!(virq, VIRQ_TIMER | VIRQ_DEBUG | VIRQ_XENOPROF | VIRQ_XENPMU)
}

/// `EVTCHNOP_bind_interdomain` between two domains: connects a fresh port of `local` with `remote_port`,
/// which must be unbound and wait for `local`. The fresh port is made pending at once.
///
/// The caller holds both tables, locked in order of domain id; for one domain with itself there is
/// [`Ports::bind_loopback`]. EINVAL: the remote port does not wait for us; ENOSPC: no port left.
pub fn bind_interdomain(
    local: &mut Ports,
    shared: &impl SharedEvents,
    remote: &mut Ports,
    remote_port: Port,
) -> Result<Bound, Errno> {
    remote.check_accepts(remote_port, local.dom)?;
    let to_remote = Binding::Interdomain {
        remote: remote.dom,
        remote_port,
    };
    let port = local.alloc(shared, to_remote, VcpuId(0))?;
    remote.connect(remote_port, local.dom, port);
    let wake = local.set_pending(shared, port);
    Ok(Bound { port, wake })
}

impl Ports {
    /// `EVTCHNOP_alloc_unbound`: a fresh port that `remote` may bind to. ENOSPC, ENOMEM.
    pub fn alloc_unbound(
        &mut self,
        shared: &impl SharedEvents,
        remote: DomId,
    ) -> Result<Port, Errno> {
        self.alloc(shared, Binding::Unbound { remote }, VcpuId(0))
    }

    /// Like [`Ports::alloc_unbound`], but the receiver is the hypervisor: events show up as
    /// [`crate::Wake::consumer`] with `vcpu`, and the guest can neither send on the port nor close it.
    pub fn alloc_consumer(
        &mut self,
        shared: &impl SharedEvents,
        remote: DomId,
        vcpu: VcpuId,
        consumer: Consumer,
    ) -> Result<Port, Errno> {
        self.check_vcpu(vcpu)?;
        let port = self.alloc(shared, Binding::Unbound { remote }, vcpu)?;
        if let Some(slot) = self.slot_mut(port) {
            slot.consumer = Some(consumer);
        }
        Ok(port)
    }

    /// [`bind_interdomain`] where both ends lie in this domain.
    pub fn bind_loopback(
        &mut self,
        shared: &impl SharedEvents,
        remote_port: Port,
    ) -> Result<Bound, Errno> {
        let dom = self.dom;
        self.check_accepts(remote_port, dom)?;
        let binding = Binding::Interdomain {
            remote: dom,
            remote_port,
        };
        let port = self.alloc(shared, binding, VcpuId(0))?;
        self.connect(remote_port, dom, port);
        let wake = self.set_pending(shared, port);
        Ok(Bound { port, wake })
    }

    fn check_accepts(&self, port: Port, from: DomId) -> Result<(), Errno> {
        match self.binding(port) {
            Binding::Unbound { remote } if remote == from => Ok(()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn connect(&mut self, port: Port, remote: DomId, remote_port: Port) {
        if let Some(slot) = self.slot_mut(port) {
            slot.binding = Binding::Interdomain {
                remote,
                remote_port,
            };
        }
    }

    /// `EVTCHNOP_bind_virq`. EINVAL: no such virq, or a global one elsewhere than on vcpu 0; ENOENT: no such
    /// vcpu; EEXIST: bound already; ENOSPC.
    pub fn bind_virq(
        &mut self,
        shared: &impl SharedEvents,
        virq: u32,
        vcpu: VcpuId,
    ) -> Result<Port, Errno> {
        if virq >= NR_VIRQS || (!is_per_vcpu_virq(virq) && vcpu.0 != 0) {
            return Err(Errno::EINVAL);
        }
        self.check_vcpu(vcpu)?;
        if self.virq_port(vcpu, virq).is_some() {
            return Err(Errno::EEXIST);
        }
        let port = self.alloc(shared, Binding::Virq(virq), vcpu)?;
        self.set_virq(vcpu, virq, port.0);
        Ok(port)
    }

    pub(crate) fn set_virq(&mut self, vcpu: VcpuId, virq: u32, port: u32) {
        let row = self.virqs.get_mut(vcpu.0 as usize);
        if let Some(entry) = row.and_then(|r| r.get_mut(virq as usize)) {
            *entry = port;
        }
    }

    /// `EVTCHNOP_bind_ipi`. ENOENT: no such vcpu; ENOSPC.
    pub fn bind_ipi(&mut self, shared: &impl SharedEvents, vcpu: VcpuId) -> Result<Port, Errno> {
        self.check_vcpu(vcpu)?;
        self.alloc(shared, Binding::Ipi, vcpu)
    }

    /// `EVTCHNOP_bind_pirq`, the table's part. The caller then binds the interrupt itself and, if that
    /// fails, closes the port again. EINVAL: beyond the domain's limit; EEXIST: bound already; ENOSPC.
    pub fn bind_pirq(&mut self, shared: &impl SharedEvents, pirq: Pirq) -> Result<Port, Errno> {
        if pirq.0 >= self.limits.pirqs {
            return Err(Errno::EINVAL);
        }
        if self.pirq_port(pirq).is_some() {
            return Err(Errno::EEXIST);
        }
        let need = pirq.0 as usize + 1;
        if let Some(more) = need.checked_sub(self.pirqs.len()) {
            self.pirqs.try_reserve(more).map_err(|_| Errno::ENOMEM)?;
            self.pirqs.resize(need, 0);
        }
        let port = self.alloc(shared, Binding::Pirq(pirq), VcpuId(0))?;
        if let Some(entry) = self.pirqs.get_mut(pirq.0 as usize) {
            *entry = port.0;
        }
        Ok(port)
    }

    /// `EVTCHNOP_bind_vcpu`: which vcpu to notify. A port of a physical interrupt reports that the interrupt
    /// should follow. ENOENT: no such vcpu; EINVAL: no such port, or one that cannot move.
    pub fn bind_vcpu(&mut self, port: Port, vcpu: VcpuId) -> Result<Option<MoveIrq>, Errno> {
        self.check_vcpu(vcpu)?;
        let slot = self.slot_mut(port).ok_or(Errno::EINVAL)?;
        if slot.consumer.is_some() {
            return Err(Errno::EINVAL);
        }
        let effect = match slot.binding {
            Binding::Virq(virq) if is_per_vcpu_virq(virq) => return Err(Errno::EINVAL),
            Binding::Virq(_) | Binding::Unbound { .. } | Binding::Interdomain { .. } => None,
            Binding::Pirq(pirq) => Some(MoveIrq { pirq, vcpu }),
            Binding::Free | Binding::Reserved | Binding::Ipi => return Err(Errno::EINVAL),
        };
        slot.vcpu = vcpu;
        Ok(effect)
    }

    /// `EVTCHNOP_set_priority`. ENOSYS: 2-level ABI; EINVAL: no such port or priority.
    pub fn set_priority(&mut self, port: Port, priority: u32) -> Result<(), Errno> {
        if self.abi == Abi::TwoLevel {
            return Err(Errno::ENOSYS);
        }
        if priority > u32::from(PRIORITY_MIN) {
            return Err(Errno::EINVAL);
        }
        let slot = self.slot_mut(port).ok_or(Errno::EINVAL)?;
        slot.priority = priority as u8;
        Ok(())
    }
}
