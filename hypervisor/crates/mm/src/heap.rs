//! Buddy allocator over the frame table: free blocks are lists through the frames' own links.
//!
//! The caller locks. Memory above 4 GiB is preferred, so that what devices with short addresses need lasts: two
//! zones, and a block never crosses the boundary because it is naturally aligned. Every frame of a free block
//! carries FREE, so a double free is seen wherever in the block it points.
mod place;

use crate::frame::State;
use crate::{FrameTable, FreeToken, PageList, Result};
use core::sync::atomic::Ordering::Relaxed;
use xen_abi::Errno::EINVAL;
use xen_abi::Mfn;

/// Largest block: 2^18 frames, 1 GiB.
pub const MAX_ORDER: u32 = 18;
const ORDERS: usize = MAX_ORDER as usize + 1;
/// log2 of the boundary between the zones, in frames: 4 GiB.
const LOW_BITS: u32 = 32 - 12;
/// Most blocks looked at per order for one that ends below an odd address limit.
const SEARCH_LIMIT: usize = 4096;

/// All free RAM.
pub struct Heap<'a> {
    frames: FrameTable<'a>,
    /// Free blocks by zone (0: below 4 GiB) and order.
    free: [[PageList; ORDERS]; 2],
    free_pages: u64,
    total_pages: u64,
    /// Free frames that are promised to somebody. At most `free_pages`.
    claimed: u64,
    /// Serve from the top of memory.
    from_top: bool,
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

    /// log2 of the number of frames.
    pub fn order(&self) -> u32 {
        self.order
    }
}

fn zone_of(mfn: u64) -> usize {
    (mfn >> LOW_BITS != 0) as usize
}

impl<'a> Heap<'a> {
    /// A heap without memory.
    pub fn new(frames: FrameTable<'a>) -> Self {
        Heap {
            frames,
            free: Default::default(),
            free_pages: 0,
            total_pages: 0,
            claimed: 0,
            from_top: false,
        }
    }

    /// From now on (or no longer), whoever names no limit is served from the top of memory, which is slower: low memory stays whole
    /// for who needs it.
    pub fn keep_low(&mut self, on: bool) {
        self.from_top = on;
    }

    /// Adds RAM frames `start..end`. Frames marked by [`FrameTable::reserve`], outside the table or already in the
    /// heap are left out.
    pub fn add_range(&mut self, start: Mfn, end: Mfn) {
        // Frame 0 stays out (a zero that went astray must not name RAM), and so do frames beyond 32-bit links.
        let end = end.0.min(self.frames.end().0).min(u32::MAX as u64);
        let frames = self.frames;
        let fresh = |&m: &u64| {
            let s = frames.get(Mfn(m)).map(|f| f.state());
            s.is_some_and(|s| !s.has(State::RAM | State::HYPERVISOR) && s.refs() == 0)
        };
        let mut at = start.0.max(1);
        while let Some(first) = (at..end).find(fresh) {
            let run = (first..end).take_while(fresh).count() as u64;
            self.add_run(first, first + run);
            at = first + run;
        }
    }

    /// Adds `start..end`, none of it in use, in the largest aligned blocks.
    fn add_run(&mut self, mut start: u64, end: u64) {
        self.total_pages += end - start;
        for m in start..end {
            if let Some(f) = self.frames.get(Mfn(m)) {
                f.state.store(State::RAM, Relaxed);
            }
        }
        while start < end {
            let order = start
                .trailing_zeros()
                .min((end - start).ilog2())
                .min(MAX_ORDER);
            self.insert(start, order);
            start += 1 << order;
        }
    }

    /// A naturally aligned block of 2^`order` frames; with `max_bits`, all of it at addresses below 2^`max_bits`.
    /// Frames that are claimed are not given.
    pub fn alloc(&mut self, order: u32, max_bits: Option<u32>) -> Option<Fresh> {
        self.alloc_claimed(order, max_bits, 0).0
    }

    /// The same for somebody who has claimed `own` frames ([`Heap::claim`]); what is left of the claim.
    pub fn alloc_claimed(
        &mut self,
        order: u32,
        max_bits: Option<u32>,
        own: u64,
    ) -> (Option<Fresh>, u64) {
        let others = self.claimed.saturating_sub(own);
        if order > MAX_ORDER || self.free_pages.saturating_sub(others) < 1 << order {
            return (None, own);
        }
        let fresh = self.take(order, max_bits);
        let used = match fresh {
            Some(_) => own.min(1 << order),
            None => 0,
        };
        self.claimed = self.claimed.saturating_sub(used);
        (fresh, own - used)
    }

    /// Changes a claim of `old` frames to one of `new`. `false`: there are not as many that nobody else has claimed.
    pub fn claim(&mut self, old: u64, new: u64) -> bool {
        let others = self.claimed.saturating_sub(old);
        if new > old && new > self.free_pages.saturating_sub(others) {
            return false;
        }
        self.claimed = others.saturating_add(new);
        true
    }

    /// Frames free but promised.
    pub fn claimed_pages(&self) -> u64 {
        self.claimed
    }

    fn take(&mut self, order: u32, max_bits: Option<u32>) -> Option<Fresh> {
        if self.from_top && max_bits.is_none() {
            return self.alloc_top(order);
        }
        let limit = match max_bits {
            Some(bits) if bits < 64 => (1u64 << bits) >> 12,
            _ => u64::MAX,
        };
        let (from, block) = self
            .find(1, order, limit)
            .or_else(|| self.find(0, order, limit))?;
        self.unlink(block, from);
        // Give the upper halves back until the block fits.
        for o in (order..from).rev() {
            self.link(block + (1 << o), o);
        }
        let mut stamp = None;
        for m in block..block + (1 << order) {
            if let Some(f) = self.frames.get(Mfn(m)) {
                f.state.store(f.state().0 & State::FIXED, Relaxed);
                stamp = newest(stamp, f.stamp.load(Relaxed));
            }
        }
        self.free_pages -= 1 << order;
        Some(Fresh {
            mfn: Mfn(block),
            order,
            stamp,
        })
    }

    /// Frees a block that no guest ever could name. EINVAL: misaligned, not allocated, or still referred to.
    pub fn free(&mut self, mfn: Mfn, order: u32) -> Result<()> {
        if order > MAX_ORDER || mfn.0 & ((1 << order) - 1) != 0 {
            return Err(EINVAL);
        }
        let end = mfn.0.checked_add(1 << order).ok_or(EINVAL)?;
        let private = |m| {
            let s = self.frames.get(Mfn(m)).map(|f| f.state());
            s.is_some_and(|s| {
                s.has(State::RAM) && !s.has(State::FREE | State::HYPERVISOR) && s.refs() == 0
            })
        };
        if !(mfn.0..end).all(private) {
            return Err(EINVAL);
        }
        self.insert(mfn.0, order);
        Ok(())
    }

    /// Frees a domain's frame after its last reference.
    pub fn free_page(&mut self, token: FreeToken) -> Result<()> {
        if let Some(f) = self.frames.get(token.mfn) {
            f.stamp.store(token.stamp, Relaxed);
        }
        self.free(token.mfn, 0)
    }

    /// Gives the hypervisor's own boot memory to the heap: frames marked by [`FrameTable::reserve`] become RAM.
    pub fn reclaim(&mut self, start: Mfn, end: Mfn) {
        for m in start.0..end.0.min(self.frames.end().0) {
            if let Some(f) = self.frames.get(Mfn(m)) {
                f.state.fetch_and(!State::HYPERVISOR, Relaxed);
            }
        }
        self.add_range(start, end);
    }

    /// Frames free.
    pub fn free_pages(&self) -> u64 {
        self.free_pages
    }

    /// Frames free below 4 GiB.
    pub fn free_pages_low(&self) -> u64 {
        (0..ORDERS)
            .map(|o| (self.free[0][o].len() as u64) << o)
            .sum()
    }

    /// Frames ever added.
    pub fn total_pages(&self) -> u64 {
        self.total_pages
    }

    /// The smallest order in `zone` that has a fitting block, and the block.
    fn find(&self, zone: usize, order: u32, limit: u64) -> Option<(u32, u64)> {
        let boundary = 1u64 << LOW_BITS;
        if zone == 1 && limit <= boundary {
            return None;
        }
        let unlimited = limit == u64::MAX || (zone == 0 && limit >= boundary);
        for o in order..=MAX_ORDER {
            let list = self.free.get(zone)?.get(o as usize)?;
            // Allocation takes a block's low end, so only that has to lie below the limit.
            let fits = |m: &Mfn| m.0 + (1 << order) <= limit;
            let found = match unlimited {
                true => list.first(),
                false => list.iter(self.frames).take(SEARCH_LIMIT).find(fits),
            };
            if let Some(m) = found {
                return Some((o, m.0));
            }
        }
        None
    }

    /// Marks a block free, merges it with its free buddies, and links the result.
    fn insert(&mut self, mut block: u64, mut order: u32) {
        for m in block..block + (1 << order) {
            if let Some(f) = self.frames.get(Mfn(m)) {
                f.state
                    .store(f.state().0 & State::FIXED | State::FREE, Relaxed);
            }
        }
        self.free_pages += 1 << order;
        while order < MAX_ORDER {
            let buddy = block ^ (1 << order);
            let Some(f) = self.frames.get(Mfn(buddy)) else {
                break;
            };
            let s = f.state();
            if !s.has(State::HEAD) || s.order() != order {
                break;
            }
            self.unlink(buddy, order);
            block &= !(1 << order);
            order += 1;
        }
        self.link(block, order);
    }

    fn link(&mut self, block: u64, order: u32) {
        if let Some(f) = self.frames.get(Mfn(block)) {
            let s = f.state().0 & State::FIXED
                | State::FREE
                | State::HEAD
                | (order as u64) << State::ORDER_SHIFT;
            f.state.store(s, Relaxed);
            // Front: the most recently used block is the one still in the caches.
            self.free[zone_of(block)][order as usize].push_front(self.frames, Mfn(block));
        }
    }

    fn unlink(&mut self, block: u64, order: u32) {
        if let Some(f) = self.frames.get(Mfn(block)) {
            self.free[zone_of(block)][order as usize].remove(self.frames, Mfn(block));
            f.state
                .store(f.state().0 & State::FIXED | State::FREE, Relaxed);
        }
    }
}

/// The later of two TLB clocks; zero means never used.
fn newest(so_far: Option<u32>, stamp: u32) -> Option<u32> {
    match so_far {
        _ if stamp == 0 => so_far,
        Some(old) if (stamp.wrapping_sub(old) as i32) < 0 => Some(old),
        _ => Some(stamp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FrameInfo;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::vec::Vec;

    fn frames(n: usize) -> Vec<FrameInfo> {
        (0..n).map(|_| FrameInfo::default()).collect()
    }
    fn take(heap: &mut Heap<'_>, order: u32) -> Option<u64> {
        heap.alloc(order, None).map(|f| f.ready(|_| ()).0)
    }

    #[test]
    fn everything_freed_merges_back_into_the_largest_blocks() {
        let table = frames(64);
        let mut heap = Heap::new(FrameTable::new(&table));
        heap.add_range(Mfn(0), Mfn(64));
        assert_eq!(heap.total_pages(), 63, "frame 0 stays out");
        let mut got = Vec::new();
        while let Some(m) = take(&mut heap, 0) {
            got.push(m);
        }
        assert_eq!((got.len(), heap.free_pages()), (63, 0));
        for m in got {
            heap.free(Mfn(m), 0).unwrap();
        }
        assert_eq!(take(&mut heap, 5), Some(32));
        assert_eq!(take(&mut heap, 5), None);
        assert_eq!(take(&mut heap, 4), Some(16));
    }

    #[test]
    fn a_double_free_anywhere_in_a_block_is_refused() {
        let table = frames(64);
        let mut heap = Heap::new(FrameTable::new(&table));
        heap.add_range(Mfn(0), Mfn(64));
        let m = take(&mut heap, 3).unwrap();
        assert_eq!(heap.free(Mfn(m + 1), 3), Err(EINVAL));
        heap.free(Mfn(m), 3).unwrap();
        assert_eq!(heap.free(Mfn(m), 3), Err(EINVAL));
        assert_eq!(heap.free(Mfn(m + 5), 0), Err(EINVAL));
        assert_eq!(heap.free(Mfn(1 << 40), 0), Err(EINVAL));
        assert_eq!(heap.free(Mfn(u64::MAX), 0), Err(EINVAL));
    }

    #[test]
    fn memory_above_4_gib_goes_first_and_limits_are_kept() {
        let boundary = 1u64 << LOW_BITS;
        let table = frames(boundary as usize + 64);
        let mut heap = Heap::new(FrameTable::new(&table));
        heap.add_range(Mfn(0x1000), Mfn(0x1040));
        heap.add_range(Mfn(boundary - 64), Mfn(boundary + 64));
        assert!(take(&mut heap, 0).unwrap() >= boundary);
        let low = heap.alloc(4, Some(32)).unwrap().ready(|_| ());
        assert!(low.0 + 16 <= boundary);
        let isa = heap.alloc(0, Some(25)).unwrap().ready(|_| ());
        assert!(isa.0 < 0x2000);
        assert_eq!(heap.alloc(0, Some(16)), None);
        assert_eq!(heap.alloc(0, Some(0)), None);
        assert_eq!(heap.alloc(MAX_ORDER + 1, None), None);
    }

    #[test]
    fn a_block_reports_the_latest_use_of_its_frames() {
        let table = frames(16);
        let mut heap = Heap::new(FrameTable::new(&table));
        heap.add_range(Mfn(8), Mfn(16));
        let block = heap.alloc(3, None).unwrap();
        let mfn = block.ready(|_| panic!("never used"));
        for i in 0..8 {
            heap.free_page(FreeToken {
                mfn: Mfn(mfn.0 + i),
                stamp: [0, 7, 9, 3][i as usize % 4],
            })
            .unwrap();
        }
        let mut seen = None;
        let _ = heap.alloc(3, None).unwrap().ready(|s| seen = Some(s));
        assert_eq!(seen, Some(9));
    }

    proptest! {
        #[test]
        fn blocks_never_overlap_and_nothing_is_lost(ops in proptest::collection::vec((0u32..5, any::<u16>(), any::<bool>()), 1..200)) {
            let table = frames(300);
            let mut heap = Heap::new(FrameTable::new(&table));
            heap.add_range(Mfn(3), Mfn(290));
            let mut live: BTreeMap<u64, u32> = BTreeMap::new();
            let mut used: BTreeSet<u64> = BTreeSet::new();
            for (order, pick, alloc) in ops {
                if alloc {
                    if let Some(m) = take(&mut heap, order) {
                        prop_assert_eq!(m % (1 << order), 0);
                        for f in m..m + (1 << order) {
                            prop_assert!((3..290).contains(&f) && used.insert(f));
                        }
                        live.insert(m, order);
                    }
                } else if let Some((&m, &o)) = live.iter().nth(pick as usize % live.len().max(1)) {
                    heap.free(Mfn(m), o).unwrap();
                    prop_assert!(heap.free(Mfn(m), o).is_err());
                    live.remove(&m);
                    for f in m..m + (1 << o) {
                        used.remove(&f);
                    }
                }
                prop_assert_eq!(heap.free_pages() + used.len() as u64, 287);
            }
        }
    }
}
