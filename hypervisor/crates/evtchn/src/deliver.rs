//! Delivery: making a port pending, masking state, and who has to be woken.
use crate::types::{Abi, Binding, Wake};
use crate::{Ports, SharedEvents, VcpuEvents};
use core::sync::atomic::Ordering::SeqCst;
use xen_abi::{DomId, Errno, Pirq, Port, VcpuId};

/// What the ABI-specific part of a delivery found.
pub(crate) struct Raised {
    /// The port was not pending before.
    pub fresh: bool,
    /// The vcpu's upcall flag went from clear to set.
    pub kick: bool,
}

impl Raised {
    pub const NOTHING: Raised = Raised {
        fresh: false,
        kick: false,
    };
}

/// Sets the vcpu's upcall flag; true if it was clear.
pub(crate) fn mark_upcall(events: Option<VcpuEvents<'_>>) -> bool {
    events.is_some_and(|e| e.upcall_pending.swap(1, SeqCst) == 0)
}

impl Ports {
    /// Makes `port` pending in the guest's shared memory. A port that is not in use is left alone.
    pub fn set_pending(&self, shared: &impl SharedEvents, port: Port) -> Wake {
        let Some(slot) = self.slot(port) else {
            return Wake::NONE;
        };
        if matches!(slot.binding, Binding::Free | Binding::Reserved) {
            return Wake::NONE;
        }
        if let Some(consumer) = slot.consumer {
            return Wake {
                consumer: Some((consumer, slot.vcpu)),
                ..Wake::NONE
            };
        }
        let raised = match self.abi {
            Abi::TwoLevel => self.raise_two_level(shared, slot, port),
            Abi::Fifo => self.raise_fifo(shared, slot, port),
        };
        Wake {
            kick: raised.kick.then_some(slot.vcpu),
            pollers: (raised.fresh && self.pollers.any()).then_some(port),
            consumer: None,
        }
    }

    /// [`Ports::set_pending`] on behalf of `from`'s `from_port`; does nothing if they are no longer
    /// connected, so the sender's lock need not be held any more.
    pub fn notify_peer(
        &self,
        shared: &impl SharedEvents,
        port: Port,
        from: DomId,
        from_port: Port,
    ) -> Wake {
        let expected = Binding::Interdomain {
            remote: from,
            remote_port: from_port,
        };
        if self.binding(port) == expected {
            self.set_pending(shared, port)
        } else {
            Wake::NONE
        }
    }

    /// Raises a per-vcpu virtual interrupt, if bound.
    pub fn send_vcpu_virq(&self, shared: &impl SharedEvents, vcpu: VcpuId, virq: u32) -> Wake {
        match self.virq_port(vcpu, virq) {
            Some(port) => self.set_pending(shared, port),
            None => Wake::NONE,
        }
    }

    /// Raises a global virtual interrupt, if bound.
    pub fn send_global_virq(&self, shared: &impl SharedEvents, virq: u32) -> Wake {
        self.send_vcpu_virq(shared, VcpuId(0), virq)
    }

    /// Raises a physical interrupt, if bound. The flag says whether it is.
    pub fn send_pirq(&self, shared: &impl SharedEvents, pirq: Pirq) -> (bool, Wake) {
        match self.pirq_port(pirq) {
            Some(port) => (true, self.set_pending(shared, port)),
            None => (false, Wake::NONE),
        }
    }

    /// `EVTCHNOP_unmask`: unmasks and delivers again if pending. EINVAL: no such port.
    pub fn unmask(&self, shared: &impl SharedEvents, port: Port) -> Result<Wake, Errno> {
        let slot = self.slot(port).ok_or(Errno::EINVAL)?;
        if matches!(slot.binding, Binding::Free | Binding::Reserved) || slot.consumer.is_some() {
            return Ok(Wake::NONE);
        }
        let kick = match self.abi {
            Abi::TwoLevel => self.unmask_two_level(shared, slot, port),
            Abi::Fifo => self.unmask_fifo(shared, slot, port),
        };
        Ok(Wake {
            kick: kick.then_some(slot.vcpu),
            ..Wake::NONE
        })
    }

    /// True if the guest would see `port` as pending.
    pub fn is_pending(&self, shared: &impl SharedEvents, port: Port) -> bool {
        match self.abi {
            Abi::TwoLevel => self.two_level_bit(shared.pending_word(port.0 as usize / 64), port),
            Abi::Fifo => self.fifo_pending(shared, port),
        }
    }

    /// True if `port` is masked (one without a word counts as masked).
    pub fn is_masked(&self, shared: &impl SharedEvents, port: Port) -> bool {
        match self.abi {
            Abi::TwoLevel => match shared.mask_word(port.0 as usize / 64) {
                Some(word) => self.two_level_bit(Some(word), port),
                None => true,
            },
            Abi::Fifo => self.fifo_masked(shared, port),
        }
    }

    /// True if the port's FIFO word is on some queue.
    pub(crate) fn is_linked(&self, shared: &impl SharedEvents, port: Port) -> bool {
        self.abi == Abi::Fifo && self.fifo_linked(shared, port)
    }

    /// Takes the pending state of a port that is being closed away.
    pub(crate) fn clear_pending(&self, shared: &impl SharedEvents, port: Port) {
        match self.abi {
            Abi::TwoLevel => self.clear_two_level(shared, port),
            Abi::Fifo => self.clear_fifo(shared, port),
        }
    }
}
