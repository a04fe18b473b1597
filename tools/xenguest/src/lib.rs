//! The domain builder: from a kernel and an initrd on disk to a PV or PVH domain that can be unpaused.
//!
//! Two steps, so that a wrong file is found before anything exists: [`PvImage::load`] (or [`PvhImage::load`]) reads and
//! checks, then [`PvImage::build`] fills a domain that `createdomain`, `max_vcpus` and `max_mem` have made. It speaks to the
//! hypervisor through [`BuildHost`], which [`xenctrl::Xenctrl`] implements; layout and image formats are `loader`'s.
#![warn(missing_docs)]
#![forbid(unsafe_code)]

mod acpi;
mod dump;
mod error;
mod host;
mod image;
mod kernel_file;
mod memory;
mod migrate;
mod p2m;
mod pv;
mod pvh;
mod pvh_image;
mod vcpu;

pub use dump::dump_core;
pub use error::{Error, Result};
pub use host::{BuildHost, HvmBuildHost};
pub use image::{PvImage, PvParams};
pub use memory::{Content, GuestMemory};
pub use migrate::{Saved, restore_pv, save_pv};
pub use pv::{BuildResult, BuildTarget, GREF_CONSOLE, GREF_XENSTORE, build_pv};
pub use pvh::NR_SPECIAL_PAGES;
pub use pvh_image::PvhImage;
