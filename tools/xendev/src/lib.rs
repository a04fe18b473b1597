//! The kernel's Xen device files, and the traits that let everything above run without them.
//!
//! [`Hypercall`] and [`ForeignMemory`] are what the toolstack is written against; [`Privcmd`] implements both
//! over `/dev/xen/privcmd`, tests implement them in-process. [`EvtChn`] and [`GntTab`] wrap `/dev/xen/evtchn`
//! and `/dev/xen/gntdev`. All memory that somebody else may write at the same time is a [`SharedMem`]: copied
//! in and out, never borrowed. This is the only crate of the toolstack with `unsafe`.
#![warn(missing_docs)]

mod arena;
mod error;
mod evtchn;
mod gnttab;
mod loopdev;
mod mapping;
mod mem;
mod privcmd;
mod sys;
mod xenbus;

pub use arena::Arena;
pub use error::{Error, Result};
pub use evtchn::EvtChn;
pub use gnttab::{GntTab, UnmapNotify};
pub use loopdev::{LOOP_CONTROL, LoopDevice};
pub use mem::{HeapMem, SharedMem, SharedMemExt};
pub use privcmd::Privcmd;
pub use xenbus::{xenbus_page, xenbus_port};

use xen_abi::{DomId, Errno, Gfn};

/// Issues hypercalls, and provides memory that they may point to.
///
/// The arguments of a call are plain register values; where one is a guest handle, it is the [`SharedMem::addr`]
/// of (or an address inside) a buffer from [`Hypercall::alloc`].
pub trait Hypercall: Send + Sync {
    /// Issues hypercall `op` (a `__HYPERVISOR_*` number). Negative results come back as `Err`.
    fn hypercall(&self, op: u32, args: [u64; 5]) -> std::result::Result<i64, Errno>;

    /// Zeroed memory of `len` bytes (at least one page is set aside) that the hypervisor can access at its
    /// `addr()` for as long as the value lives.
    fn alloc(&self, len: usize) -> std::result::Result<Box<dyn SharedMem>, Errno>;
}

/// Protection of a mapping of somebody else's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Prot {
    /// Reads only.
    Read,
    /// Reads and writes.
    ReadWrite,
}

/// Maps other domains' memory.
pub trait ForeignMemory: Send + Sync {
    /// Maps `frames` of `dom` one after the other. All or nothing: an error names the first frame that failed.
    /// For PV domains a frame is an mfn, for translated ones a gfn.
    fn map(&self, dom: DomId, prot: Prot, frames: &[Gfn]) -> Result<Box<dyn SharedMem>>;

    /// Maps frames `first..first + count` of a domain's resource (`XENMEM_resource_*` number `kind`, instance `id`).
    fn map_resource(
        &self,
        dom: DomId,
        kind: u32,
        id: u32,
        first: u64,
        count: u64,
    ) -> Result<Box<dyn SharedMem>>;
}
