//! Closing ports: `EVTCHNOP_close`, `EVTCHNOP_reset` and the death of a domain.
use crate::types::{Binding, Closed};
use crate::{Abi, Ports, SharedEvents};
use alloc::vec::Vec;
use xen_abi::{DomId, Errno, Port, VcpuId};

/// Who closes a port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Guest,
    Hypervisor,
}

impl Ports {
    /// `EVTCHNOP_close`. EINVAL: no such open port, or one the guest may not close.
    pub fn close(&mut self, shared: &impl SharedEvents, port: Port) -> Result<Closed, Errno> {
        self.close_by(shared, port, By::Guest)
    }

    /// Closes any port, those with a hypervisor-internal receiver included. EINVAL: not open.
    pub fn force_close(&mut self, shared: &impl SharedEvents, port: Port) -> Result<Closed, Errno> {
        self.close_by(shared, port, By::Hypervisor)
    }

    fn close_by(
        &mut self,
        shared: &impl SharedEvents,
        port: Port,
        by: By,
    ) -> Result<Closed, Errno> {
        let slot = self.slot(port).ok_or(Errno::EINVAL)?;
        if by == By::Guest && slot.consumer.is_some() {
            return Err(Errno::EINVAL);
        }
        let (was, vcpu) = (slot.binding, slot.vcpu);
        match was {
            Binding::Free | Binding::Reserved => return Err(Errno::EINVAL),
            Binding::Virq(virq) => self.clear_virq(vcpu, virq, port),
            Binding::Pirq(pirq) => {
                if let Some(entry) = self.pirqs.get_mut(pirq.0 as usize) {
                    *entry = 0;
                }
            }
            Binding::Interdomain {
                remote,
                remote_port,
            } if remote == self.dom => self.peer_closed(remote_port, remote, port),
            Binding::Interdomain { .. } | Binding::Unbound { .. } | Binding::Ipi => {}
        }
        self.clear_pending(shared, port);
        self.release(port);
        Ok(Closed { port, was })
    }

    /// A global virq may have moved to another vcpu, but is filed under vcpu 0.
    fn clear_virq(&mut self, vcpu: VcpuId, virq: u32, port: Port) {
        let home = if crate::is_per_vcpu_virq(virq) {
            vcpu
        } else {
            VcpuId(0)
        };
        if self.virq_port(home, virq) == Some(port) {
            self.set_virq(home, virq, 0);
        }
    }

    /// The second half of closing an interdomain port: our end of the connection waits again.
    /// Does nothing if `port` is not (any more) connected to `by`'s `by_port`.
    pub fn peer_closed(&mut self, port: Port, by: DomId, by_port: Port) {
        let expected = Binding::Interdomain {
            remote: by,
            remote_port: by_port,
        };
        if let Some(slot) = self.slot_mut(port)
            && slot.binding == expected
        {
            slot.binding = Binding::Unbound { remote: by };
        }
    }

    /// Closes the first port at or after `from` that the guest may close: one step of `EVTCHNOP_reset`.
    /// Go on from the returned port + 1; `None`: done, then call [`Ports::finish_reset`].
    pub fn reset_step(&mut self, shared: &impl SharedEvents, from: Port) -> Option<Closed> {
        (from.0..self.end()).find_map(|p| self.close(shared, Port(p)).ok())
    }

    /// Like [`Ports::reset_step`] for a dying domain: spares nothing.
    pub fn destroy_step(&mut self, shared: &impl SharedEvents, from: Port) -> Option<Closed> {
        (from.0..self.end()).find_map(|p| self.force_close(shared, Port(p)).ok())
    }

    /// Ends a reset: back to the 2-level ABI. True if FIFO was in use; the caller then drops the control
    /// blocks and the event array.
    pub fn finish_reset(&mut self) -> bool {
        let was_fifo = self.abi == Abi::Fifo;
        self.abi = Abi::TwoLevel;
        self.queues = Vec::new();
        self.array_pages = 0;
        was_fifo
    }
}
