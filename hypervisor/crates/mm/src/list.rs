//! A domain's frames, linked through the frame table. The caller locks; a frame is on at most one list.
use crate::FrameTable;
use xen_abi::Mfn;

/// Doubly linked list of frames.
#[derive(Debug, Default)]
pub struct PageList {
    head: u32,
    tail: u32,
    len: u32,
}

impl PageList {
    /// An empty list.
    pub const fn new() -> Self {
        PageList {
            head: 0,
            tail: 0,
            len: 0,
        }
    }
    /// Frames on the list.
    pub fn len(&self) -> u32 {
        self.len
    }
    /// No frame at all?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Appends `mfn`.
    pub fn push(&mut self, frames: FrameTable<'_>, mfn: Mfn) {
        todo!()
    }
    /// Takes `mfn` out; it must be on this list.
    pub fn remove(&mut self, frames: FrameTable<'_>, mfn: Mfn) {
        todo!()
    }
    /// First frame.
    pub fn first(&self) -> Option<Mfn> {
        todo!()
    }
    /// The frame after `mfn`.
    pub fn next(&self, frames: FrameTable<'_>, mfn: Mfn) -> Option<Mfn> {
        todo!()
    }
    /// Moves the first frame to the end and names it: visit `len()` frames while others may leave the list.
    pub fn rotate(&mut self, frames: FrameTable<'_>) -> Option<Mfn> {
        todo!()
    }
}
