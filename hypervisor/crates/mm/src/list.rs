//! A domain's frames, linked through the frame table. The caller locks; a frame is on at most one list.
use crate::FrameTable;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use xen_abi::Mfn;

/// No frame. Frame numbers beyond 32 bits (16 TiB) do not reach the frame table.
pub(crate) const NIL: u32 = u32::MAX;

/// Doubly linked list of frames.
#[derive(Debug)]
pub struct PageList {
    head: u32,
    tail: u32,
    len: u32,
}

impl Default for PageList {
    fn default() -> Self {
        Self::new()
    }
}

fn mfn(link: u32) -> Option<Mfn> {
    (link != NIL).then_some(Mfn(link as u64))
}

impl PageList {
    /// An empty list.
    pub const fn new() -> Self {
        PageList {
            head: NIL,
            tail: NIL,
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
        let Some(f) = frames.get(mfn) else { return };
        let link = mfn.0 as u32;
        f.prev.store(self.tail, Relaxed);
        f.next.store(NIL, Relaxed);
        match next_of(frames, self.tail) {
            Some(next) => next.store(link, Relaxed),
            None => self.head = link,
        }
        self.tail = link;
        self.len += 1;
    }

    /// Puts `mfn` in front.
    pub fn push_front(&mut self, frames: FrameTable<'_>, mfn: Mfn) {
        let Some(f) = frames.get(mfn) else { return };
        let link = mfn.0 as u32;
        f.prev.store(NIL, Relaxed);
        f.next.store(self.head, Relaxed);
        match prev_of(frames, self.head) {
            Some(prev) => prev.store(link, Relaxed),
            None => self.tail = link,
        }
        self.head = link;
        self.len += 1;
    }

    /// Takes `mfn` out; it must be on this list.
    pub fn remove(&mut self, frames: FrameTable<'_>, mfn: Mfn) {
        let Some(f) = frames.get(mfn) else { return };
        let (prev, next) = (f.prev.load(Relaxed), f.next.load(Relaxed));
        match next_of(frames, prev) {
            Some(link) => link.store(next, Relaxed),
            None => self.head = next,
        }
        match prev_of(frames, next) {
            Some(link) => link.store(prev, Relaxed),
            None => self.tail = prev,
        }
        f.prev.store(NIL, Relaxed);
        f.next.store(NIL, Relaxed);
        debug_assert!(self.len > 0);
        self.len = self.len.saturating_sub(1);
    }

    /// First frame.
    pub fn first(&self) -> Option<Mfn> {
        mfn(self.head)
    }

    /// The frame after `m`.
    pub fn next(&self, frames: FrameTable<'_>, m: Mfn) -> Option<Mfn> {
        mfn(frames.get(m)?.next.load(Relaxed))
    }

    /// Moves the first frame to the end and names it: visit `len()` frames while others may leave the list.
    pub fn rotate(&mut self, frames: FrameTable<'_>) -> Option<Mfn> {
        let m = self.first()?;
        self.remove(frames, m);
        self.push(frames, m);
        Some(m)
    }

    /// All frames in order.
    pub fn iter<'a>(&'a self, frames: FrameTable<'a>) -> impl Iterator<Item = Mfn> + 'a {
        core::iter::successors(self.first(), move |&m| self.next(frames, m))
    }
}

fn next_of<'a>(frames: FrameTable<'a>, link: u32) -> Option<&'a AtomicU32> {
    frames.get(mfn(link)?).map(|f| &f.next)
}

fn prev_of<'a>(frames: FrameTable<'a>, link: u32) -> Option<&'a AtomicU32> {
    frames.get(mfn(link)?).map(|f| &f.prev)
}
