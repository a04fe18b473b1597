//! A PV domain into a stream, and out of one: [`save_pv`], [`restore_pv`].
//!
//! * `stream`: headers and records, as Xen's published specification of the libxc migration stream has them.
//! * `tables`: page tables on their way, whose entries name the guest's own frame numbers there.
//! * `save`, `restore`: the two directions; the guest's own table of pages is read by [`crate::p2m`].
//!
//! What is around this stream in a file or on a wire is `libxl`'s and `xl`'s.
mod contexts;
mod restore;
mod save;
mod stream;
mod tables;

pub use restore::restore_pv;
pub use save::{Saved, save_pv};

const PAGE: usize = 4096;
/// Pages in a record, and mapped at a time: 4 MiB.
const BATCH: usize = 1024;
/// Where a page's type is in its number of a record of pages.
const TYPE_SHIFT: u32 = 60;
/// The bits of such a number that are the pfn.
const PFN: u64 = (1 << 52) - 1;

/// The level of a page table, 1 to 4, by the type that goes with its pfn; 0 for other pages.
fn level(kind: u8) -> u8 {
    match kind & 7 {
        l @ 1..=4 => l,
        _ => 0,
    }
}

/// Whether a page of this type has contents in the stream.
fn has_data(kind: u8) -> bool {
    kind <= 12
}

/// A page that is not there (any more), or is not the guest's.
const ABSENT: u8 = 15;
/// A pinned page table's type has this.
const PINNED: u8 = 8;
