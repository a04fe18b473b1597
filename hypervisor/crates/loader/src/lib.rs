//! Kernel images and the memory layout a PV domain starts with, as pure arithmetic over byte slices.
//!
//! The way through: [`kernel::payload`] finds the ELF image inside a bzImage, [`kernel::decompress_into`] (or
//! [`Kernel::parse`], which allocates) unpacks it, [`elf`] lists its segments, [`notes`] reads what it tells Xen
//! about itself, [`pv::PvLayout`] lays out its first address space, [`start_info`] fills the page it is handed; [`pvh::PvhLayout`] does both for PVH.
//! Used by the hypervisor to build domain 0 and by `xenguest` to build the others; knows nothing of domains.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod acpi;
mod decompress;
pub mod elf;
mod error;
pub mod kernel;
mod lz4_legacy;
pub mod notes;
pub mod pv;
pub mod pv_tables;
pub mod pvh;
mod pvh_in_place;
pub mod start_info;

pub use error::LoadError;
pub use kernel::{Kernel, Payload, PayloadKind};
pub use notes::XenNotes;
pub use pv::{PvKind, PvLayout, PvRequest};
pub use pvh::{PvhLayout, PvhRequest};

pub(crate) const PAGE_SIZE: u64 = 4096;
pub(crate) const PAGE_SHIFT: u32 = 12;

/// Pages needed for `bytes`; saturates instead of overflowing.
pub(crate) const fn pages(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE_SIZE)
}
