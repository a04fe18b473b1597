//! Grant tables, version 1: what one domain grants ([`GrantTable`]) and what one domain has mapped
//! ([`Maptrack`]).
//!
//! Layouts, flags and status codes follow the public header `grant_table.h`. Mapping, unmapping and copying
//! take `&GrantTable` (each entry has its own lock), so a reader-writer lock held by the owner is enough; growth
//! takes `&mut`. Page references, page tables and TLB flushes are the caller's business: see
//! [`GrantTable::begin_map`]. Entries shared with the guest are reached through [`SharedGrants`] and are hostile.
//! Neighbours: `hypercall` (the calls), `domain` (the owner of both tables), `mm` (the pages).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod access;
mod entry;
mod maptrack;
mod status;
mod table;

pub use access::{Access, MapFlags};
pub use entry::{SharedEntry, SharedGrants};
pub use maptrack::{Handle, Mapping, Maptrack, Unmapped};
pub use status::GntStatus;
pub use table::{GrantTable, MapInfo};

/// Entries in one page of a version 1 table.
pub const ENTRIES_PER_FRAME: u32 = 512;
pub use xen_abi::grant_table::{NR_RESERVED_ENTRIES, RESERVED_CONSOLE, RESERVED_XENSTORE};
