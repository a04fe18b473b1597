//! Domains, as the administrator sees them: from an `xl.cfg` to a running guest, and back to nothing.
#![warn(missing_docs)]
#![forbid(unsafe_code)]

pub mod cfg;
mod config;
mod cpulist;
mod device;
mod disk;
mod error;
mod uuid;
mod vif;

pub use config::{Action, Actions, DomainConfig};
pub use cpulist::{CpuList, format as format_cpus};
pub use device::VirtualDevice;
pub use disk::{Disk, Format};
pub use error::{Error, Result, StoreContext};
pub use uuid::Uuid;
pub use vif::{Mac, Vif};
