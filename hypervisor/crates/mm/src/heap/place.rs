//! Allocation by address: the highest free block, or the very frames that are asked for. For boot, and for domains whose frame
//! numbers are the machine's.
use super::{Fresh, Heap, MAX_ORDER, zone_of};
use crate::frame::State;
use core::sync::atomic::Ordering::Relaxed;
use xen_abi::Mfn;

impl Heap<'_> {
    /// The highest free block of 2^`order` frames, for what does not stay: it leaves low memory whole.
    pub fn alloc_top(&mut self, order: u32) -> Option<Fresh> {
        if order > MAX_ORDER || self.free_pages.saturating_sub(self.claimed) < 1 << order {
            return None;
        }
        let (mut top, mut from) = (None, 0);
        for o in order..=MAX_ORDER {
            let lists = self.free.iter().filter_map(|zone| zone.get(o as usize));
            let highest = lists.flat_map(|l| l.iter(self.frames)).map(|m| m.0).max();
            if highest > top {
                (top, from) = (highest, o);
            }
        }
        let block = top? + (1 << from) - (1 << order);
        self.cut_out(block, order, from)
    }

    /// The largest block that begins with frame `at`, all of it free, of at most 2^`most` frames. `None`: `at` is not free, or
    /// what is free is claimed.
    pub fn alloc_at(&mut self, at: Mfn, most: u32) -> Option<Fresh> {
        let head = |o: &u32| {
            let s = self.frames.get(Mfn(at.0 >> o << o)).map(|f| f.state());
            s.is_some_and(|s| s.has(State::HEAD) && s.order() == *o)
        };
        let from = (0..=MAX_ORDER).find(head)?;
        let unclaimed = self.free_pages.saturating_sub(self.claimed);
        let order = from
            .min(most)
            .min(at.0.trailing_zeros())
            .min(unclaimed.checked_ilog2()?);
        self.cut_out(at.0, order, from)
    }

    /// Takes the 2^`order` frames from `block` on out of the free block of 2^`from` around them.
    fn cut_out(&mut self, block: u64, order: u32, from: u32) -> Option<Fresh> {
        let mut around = block >> from << from;
        debug_assert!(self.free.get(zone_of(around)).is_some());
        self.unlink(around, from);
        for o in (order..from).rev() {
            let upper = around + (1 << o);
            if block >= upper {
                self.link(around, o);
                around = upper;
            } else {
                self.link(upper, o);
            }
        }
        let mut stamp = None;
        for m in block..block + (1 << order) {
            if let Some(f) = self.frames.get(Mfn(m)) {
                f.state.store(f.state().0 & State::FIXED, Relaxed);
                stamp = super::newest(stamp, f.stamp.load(Relaxed));
            }
        }
        self.free_pages -= 1 << order;
        Some(Fresh {
            mfn: Mfn(block),
            order,
            stamp,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FrameInfo, FrameTable};
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    fn frames(n: usize) -> Vec<FrameInfo> {
        (0..n).map(|_| FrameInfo::default()).collect()
    }

    #[test]
    fn the_highest_block_is_given_first() {
        let table = frames(128);
        let mut heap = Heap::new(FrameTable::new(&table));
        heap.add_range(Mfn(1), Mfn(100));
        let mut top = |order| heap.alloc_top(order).map(|f| f.ready(|_| ()).0);
        assert_eq!(
            [top(2), top(5), top(1), top(7)],
            [Some(96), Some(64), Some(62), None]
        );
    }

    proptest! {
        /// Whatever is taken and given back by address, what is free is what a set says, and all merges at the end.
        #[test]
        fn frames_that_are_free_can_be_had(wishes in proptest::collection::vec((0u64..70, 0u32..5), 1..40)) {
            let table = frames(64);
            let mut heap = Heap::new(FrameTable::new(&table));
            heap.add_range(Mfn(0), Mfn(64));
            let mut free: BTreeSet<u64> = (1..64).collect();
            let mut given = Vec::new();
            for (at, most) in wishes {
                match heap.alloc_at(Mfn(at), most) {
                    Some(fresh) => {
                        let order = fresh.order();
                        prop_assert!(order <= most && fresh.ready(|_| ()) == Mfn(at));
                        for m in at..at + (1 << order) {
                            prop_assert!(free.remove(&m));
                        }
                        given.push((at, order));
                    }
                    None => prop_assert!(!free.contains(&at)),
                }
                prop_assert_eq!(heap.free_pages(), free.len() as u64);
            }
            for (at, order) in given {
                heap.free(Mfn(at), order).unwrap();
            }
            prop_assert_eq!(heap.free_pages(), 63);
            prop_assert_eq!(heap.alloc_at(Mfn(32), 9).map(|f| f.order()), Some(5));
        }
    }
}
