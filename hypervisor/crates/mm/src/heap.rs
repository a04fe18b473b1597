//! Buddy allocator over the frame table: free blocks are lists through the frames' own links.
//!
//! The caller locks. Memory above 4 GiB is preferred, so that what devices with short addresses need lasts.
use crate::FrameTable;
use crate::{FreeToken, Result};
use xen_abi::Mfn;

/// Largest block: 2^18 frames, 1 GiB.
pub const MAX_ORDER: u32 = 18;

/// All free RAM.
pub struct Heap<'a> {
    frames: FrameTable<'a>,
}

/// A block just allocated. TLBs may still hold translations to it: [`Fresh::ready`] asks for the flush.
#[must_use = "an allocated block must be made ready, and used or freed"]
#[derive(Debug, PartialEq, Eq)]
pub struct Fresh {
    mfn: Mfn,
    order: u32,
    stamp: Option<u32>,
}

impl Fresh {
    /// Calls `sync` with the newest TLB clock at which one of the frames was still in use (if ever), then names the
    /// block's first frame.
    pub fn ready(self, sync: impl FnOnce(u32)) -> Mfn {
        if let Some(stamp) = self.stamp {
            sync(stamp);
        }
        self.mfn
    }
}

impl<'a> Heap<'a> {
    /// A heap without memory.
    pub fn new(frames: FrameTable<'a>) -> Self {
        Heap { frames }
    }
    /// Adds RAM frames `start..end`. Frames marked by [`FrameTable::reserve`], outside the table or already in the
    /// heap are left out.
    pub fn add_range(&mut self, start: Mfn, end: Mfn) {
        todo!()
    }
    /// A naturally aligned block of 2^`order` frames; with `max_bits`, all of it at addresses below 2^`max_bits`.
    pub fn alloc(&mut self, order: u32, max_bits: Option<u32>) -> Option<Fresh> {
        todo!()
    }
    /// Frees a block that no guest ever could name. EINVAL: misaligned, not allocated, or still referred to.
    pub fn free(&mut self, mfn: Mfn, order: u32) -> Result<()> {
        todo!()
    }
    /// Frees a domain's frame after its last reference.
    pub fn free_page(&mut self, token: FreeToken) -> Result<()> {
        todo!()
    }
    /// Frames free.
    pub fn free_pages(&self) -> u64 {
        todo!()
    }
    /// Frames ever added.
    pub fn total_pages(&self) -> u64 {
        todo!()
    }
}
