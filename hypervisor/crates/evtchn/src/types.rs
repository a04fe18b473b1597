//! The values that go into and come out of the port table.
use xen_abi::{DomId, Pirq, Port, VcpuId};

/// What a port is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Binding {
    /// Not in use.
    #[default]
    Free,
    /// Never handed out (port 0).
    Reserved,
    /// Waits for `remote` to bind to it.
    Unbound {
        /// The only domain that may bind.
        remote: DomId,
    },
    /// Connected to a port of another (or the same) domain.
    Interdomain {
        /// The peer's domain.
        remote: DomId,
        /// The peer's port.
        remote_port: Port,
    },
    /// Receives a physical interrupt.
    Pirq(Pirq),
    /// Receives a virtual interrupt.
    Virq(u32),
    /// Receives what the domain itself sends.
    Ipi,
}

/// A hypervisor-internal receiver of a port, for example a vcpu waiting for its device model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Consumer(pub u8);

/// How pending ports are shown to the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Abi {
    /// Bit arrays in the shared info page and a selector word per vcpu.
    TwoLevel,
    /// Event words in an array, linked into queues per vcpu and priority.
    Fifo,
}

/// Limits of one domain's table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Highest number of ports, port 0 included (at most [`crate::FIFO_PORTS`]).
    pub ports: u32,
    /// Vcpus that may exist.
    pub vcpus: u32,
    /// Physical interrupt numbers `0..pirqs` may be bound.
    pub pirqs: u32,
}

/// Where a send goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Send {
    /// To a port of the sender: call [`crate::Ports::set_pending`] on the same table.
    Local(Port),
    /// To a peer: call [`crate::Ports::notify_peer`] on `dom`'s table.
    Remote {
        /// The receiving domain.
        dom: DomId,
        /// The receiving port.
        port: Port,
    },
    /// Nobody is connected; the send succeeds and does nothing.
    Nothing,
}

/// What a delivery asks the caller to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use]
pub struct Wake {
    /// This vcpu's `evtchn_upcall_pending` went from 0 to 1: unblock and kick it.
    pub kick: Option<VcpuId>,
    /// Set to the port if vcpus in `SCHEDOP_poll` wait for it: wake those of [`crate::Ports::pollers`].
    pub pollers: Option<Port>,
    /// The port's receiver is the hypervisor itself.
    pub consumer: Option<(Consumer, VcpuId)>,
}

impl Wake {
    /// Nothing to do.
    pub const NONE: Wake = Wake {
        kick: None,
        pollers: None,
        consumer: None,
    };
    /// True if there is nothing to do.
    pub fn is_none(&self) -> bool {
        *self == Wake::NONE
    }
}

/// A fresh port that is already pending.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bound {
    /// The new port of the calling domain.
    pub port: Port,
    /// What its first event asks for.
    pub wake: Wake,
}

/// What closing a port leaves for the caller to undo. The port's own state is gone already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Closed {
    /// The port that was closed.
    pub port: Port,
    /// What it was bound to. `Interdomain`: call [`crate::Ports::peer_closed`] on the remote's table
    /// unless the remote is the domain itself. `Pirq`: unbind the interrupt. Others: nothing.
    pub was: Binding,
}

/// `bind_vcpu` moved a port that receives a physical interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MoveIrq {
    /// The interrupt, as the domain numbers it.
    pub pirq: Pirq,
    /// Where its handler now runs.
    pub vcpu: VcpuId,
}
