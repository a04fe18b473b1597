//! Typed hypervisor calls for the toolstack, over any [`xendev::Hypercall`].
//!
//! [`Xenctrl`] is the handle; its methods live in one file per family: `domctl`, `sysctl`, `memory`, `mmu`,
//! `version`, `evtchn`, `sched`, `cpupool`, `cpu_policy`, `permissions`, `hvm`. Every [`Error`] names operation, object and cause. The versioned families (domctl, sysctl)
//! find out by trying which interface version the hypervisor speaks.
#![warn(missing_docs)]
#![forbid(unsafe_code)]

mod cpu_policy;
mod cpupool;
mod domctl;
mod error;
mod evtchn;
mod hvm;
mod hypfs;
mod memory;
mod mmu;
mod permissions;
mod saved;
mod sched;
mod sysctl;
mod types;
mod version;

pub use error::{Error, Result};
pub use types::{
    CpuInfo, CpuMap, CpuPlace, CpuPool, CreateDomain, DomainInfo, DomainState, NumaNode, PhysInfo,
    SchedParams, ShutdownReason, VcpuInfo,
};
pub use version::XenVersion;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use xen_abi::Errno;
use xendev::{ForeignMemory, Hypercall, SharedMem, SharedMemExt};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The toolstack's handle on the hypervisor. Cheap to clone.
#[derive(Clone)]
pub struct Xenctrl {
    hv: Arc<dyn Hypercall>,
    foreign: Arc<dyn ForeignMemory>,
    /// Interface versions found by trying: domctl's and sysctl's; 0 is "not yet known".
    versions: Arc<[AtomicU32; 2]>,
}

impl Xenctrl {
    /// The real one, over `/dev/xen/privcmd`.
    pub fn open() -> Result<Xenctrl> {
        let dev = Arc::new(xendev::Privcmd::open().map_err(Error::from_device)?);
        Ok(Xenctrl::new(dev.clone(), dev))
    }

    /// Over any implementation, such as a hypervisor in the same process.
    pub fn new(hv: Arc<dyn Hypercall>, foreign: Arc<dyn ForeignMemory>) -> Xenctrl {
        Xenctrl {
            hv,
            foreign,
            versions: Arc::default(),
        }
    }

    /// The mapper of other domains' memory.
    pub fn foreign(&self) -> &dyn ForeignMemory {
        &*self.foreign
    }

    /// The raw hypercall interface, for calls that have no typed method.
    pub fn raw(&self) -> &dyn Hypercall {
        &*self.hv
    }

    fn alloc(&self, len: usize) -> Result<Box<dyn SharedMem>, Errno> {
        self.hv.alloc(len)
    }

    /// Calls `op(cmd, &arg)` and copies `arg` back, whatever the result.
    fn call_struct<T: FromBytes + IntoBytes + Immutable>(
        &self,
        op: u32,
        cmd: u32,
        arg: &mut T,
    ) -> Result<i64, Errno> {
        let buf = self.alloc(size_of::<T>())?;
        buf.write_obj(0, arg);
        let result = self.hv.hypercall(op, [cmd.into(), buf.addr(), 0, 0, 0]);
        *arg = buf.read_obj(0);
        result
    }

    /// Runs `call` with the interface version in use, or with each of `candidates` until one is not refused.
    fn versioned<R>(
        &self,
        slot: usize,
        candidates: std::ops::RangeInclusive<u32>,
        mut call: impl FnMut(u32) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        let known = self.versions[slot].load(Ordering::Relaxed);
        if known != 0 {
            return call(known);
        }
        let mut last = Errno::EACCES;
        for version in candidates {
            match call(version) {
                Err(Errno::EACCES) => last = Errno::EACCES,
                other => {
                    self.versions[slot].store(version, Ordering::Relaxed);
                    return other;
                }
            }
        }
        Err(last)
    }
}
