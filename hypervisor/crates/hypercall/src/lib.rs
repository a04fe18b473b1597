//! Hypercalls: one table, one file per family, one shape. [`call`] finds the handler for a number; a handler copies
//! in and checks everything, then commits, and returns [`Ret`]. What hardware must do goes through [`Host`].
//!
//! Neighbours: `domain` below; the hypervisor's entry path and the loopback tests above.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod console;
pub mod control;
pub mod descriptors;
pub mod event_channel;
pub mod grant_copy;
pub mod grant_table;
pub mod guest;
pub mod hvm;
pub mod hvm_context;
pub mod memory;
pub mod memory_info;
pub mod misc;
pub mod mmu;
pub mod mmuext;
pub mod multicall;
pub mod physdev;
pub mod physmap;
pub mod platform;
pub mod sched;
mod table;
pub mod vcpu;
pub mod vcpu_context;
pub mod version;

use alloc::sync::Arc;
use domain::{Domain, Fault, Host, Vcpu};
use xen_abi::{DomId, Errno};

pub use table::{call, name};

/// Argument registers of a call, in ABI order.
pub type Args = [u64; 6];

/// Why a handler did not finish with a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The call failed.
    Error(Errno),
    /// Not finished: repeat it with these arguments once other work had its turn.
    Again(Args),
    /// The guest is beyond help: crash it. The text says why.
    Crash(&'static str),
}

impl From<Errno> for Stop {
    fn from(e: Errno) -> Stop {
        Stop::Error(e)
    }
}

impl From<Fault> for Stop {
    fn from(_: Fault) -> Stop {
        Stop::Error(Errno::EFAULT)
    }
}

/// What a handler returns: the value for the guest, or why there is none.
pub type Ret = Result<i64, Stop>;

/// Who calls, on which machine.
pub struct Cx<'a, H: Host> {
    /// The machine.
    pub h: &'a H,
    /// The calling domain.
    pub dom: &'a Arc<Domain>,
    /// The calling vcpu, current on this CPU.
    pub v: &'a Vcpu,
    /// The call's own arguments, for continuations.
    pub args: Args,
}

impl<H: Host> Cx<'_, H> {
    /// The domain a call names: `DOMID_SELF`, its own id, or another one that it may control.
    ///
    /// `ESRCH`: no such domain; `EPERM`: not allowed to.
    pub fn target(&self, id: DomId) -> Result<Arc<Domain>, Errno> {
        if id == DomId::SELF || id == self.dom.id {
            return Ok(self.dom.clone());
        }
        if !self.dom.privileged {
            return Err(Errno::EPERM);
        }
        self.h.domains().get(id).ok_or(Errno::ESRCH)
    }

    /// Like [`Cx::target`] but any existing domain (for peers of events and grants).
    pub fn peer(&self, id: DomId) -> Result<Arc<Domain>, Errno> {
        if id == DomId::SELF || id == self.dom.id {
            return Ok(self.dom.clone());
        }
        self.h.domains().get(id).ok_or(Errno::ESRCH)
    }

    /// The id that `id` stands for.
    pub fn resolve(&self, id: DomId) -> DomId {
        if id == DomId::SELF { self.dom.id } else { id }
    }

    /// `EPERM` unless the caller controls the machine.
    pub fn need_privilege(&self) -> Result<(), Errno> {
        if self.dom.privileged {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }

    /// Continue this call with argument `index` replaced by `value`.
    pub fn again(&self, changes: &[(usize, u64)]) -> Stop {
        let mut args = self.args;
        for (index, value) in changes {
            if let Some(slot) = args.get_mut(*index) {
                *slot = *value;
            }
        }
        Stop::Again(args)
    }
}
