//! The domain builder: from a kernel and an initrd on disk to a PV domain that can be unpaused.
//!
//! Two steps, so that a wrong file is found before anything exists: [`PvImage::load`] reads and checks, then
//! [`PvImage::build`] fills a domain that `createdomain`, `max_vcpus` and `max_mem` have made. It speaks to the
//! hypervisor through [`BuildHost`], which [`xenctrl::Xenctrl`] implements; layout and image formats are `loader`'s.
#![warn(missing_docs)]
#![forbid(unsafe_code)]

mod dump;
mod error;
mod host;
mod image;
mod memory;
mod pv;
mod vcpu;

pub use dump::dump_core;
pub use error::{Error, Result};
pub use host::BuildHost;
pub use image::{PvImage, PvParams};
pub use memory::GuestMemory;
pub use pv::{BuildResult, BuildTarget, GREF_CONSOLE, GREF_XENSTORE, build_pv};
