//! Memory safety of the host: frames, who owns them, who refers to them, and what type each one has.
//!
//! * [`frame`]: [`FrameInfo`], 24 bytes of atomics per frame, and [`FrameTable`] over them.
//! * [`own`]: ownership and counted references ([`PageRef`]), up to the [`FreeToken`] the heap demands.
//! * [`heap`]: buddy allocator [`Heap`]; [`list`]: a domain's frames as a [`PageList`]. Both live in the frame table's links.
//! * [`p2m`]: nested page tables of hardware-assisted guests.
//! * [`pv`]: direct paging. [`Paging`] validates, updates and releases guest page tables.
//!
//! Nothing here locks, logs or allocates. A frame is freed only when no type, mapping, grant or TLB entry names it.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(test)]
extern crate std;

pub mod frame;
pub mod heap;
pub mod list;
pub mod own;
pub mod p2m;
pub mod pv;

pub use frame::{FrameInfo, FrameTable, Kind};
pub use heap::{Fresh, Heap};
pub use list::PageList;
pub use own::{FreeToken, LastRef, PageRef, Released};
pub use pv::{
    Budget, Level, MmioAccess, PageType, Paging, Platform, PvTables, RootRef, SegRef, Update,
    UpdateEffect, WritableRef,
};

/// Results of this crate: errors are the ABI's. `ERESTART` means "budget used up, repeat the same call".
pub type Result<T> = core::result::Result<T, xen_abi::Errno>;
