//! Single operations, told one by one.
use super::super::entry::{A, D, G, GUEST_KERNEL, NX, P, PAT, PCD, RW, US};
use super::super::*;
use super::machine::{MMIO, MMIO_DENIED, MMIO_RO, RESERVED_ENTRY, World};
use crate::Released;
use crate::frame::Kind;
use xen_abi::Errno::{EBUSY, EINVAL, EPERM, ERESTART};
use xen_abi::{DomId, Mfn};

const DOM: DomId = DomId(1);
const OTHER: DomId = DomId(2);
const OWN: Update = Update {
    pg_owner: DOM,
    preserve_ad: false,
    expected: None,
};

/// A domain with a validated tree root -> l3 -> l2 -> l1 -> data, the root pinned.
struct Guest {
    w: World,
    t: PvTables,
    root: u64,
    l3: u64,
    l2: u64,
    l1: u64,
    data: u64,
}

fn entry(mfn: u64, flags: u64) -> u64 {
    mfn << 12 | flags
}

impl Guest {
    fn new() -> Guest {
        let mut w = World::new();
        let [root, l3, l2, l1, data] = [(); 5].map(|()| w.populate(DOM).unwrap());
        w.machine.poke(root, 0, entry(l3, P | RW | US));
        w.machine.poke(l3, 0, entry(l2, P | RW | US));
        w.machine.poke(l2, 0, entry(l1, P | RW | US));
        w.machine.poke(l1, 0, entry(data, P | RW));
        let mut t = PvTables::new(DOM);
        w.paging()
            .pin(&mut t, Level::L4, Mfn(root), &mut Budget(100))
            .unwrap();
        Guest {
            w,
            t,
            root,
            l3,
            l2,
            l1,
            data,
        }
    }
    fn set(&mut self, table: u64, index: usize, value: u64) -> crate::Result<UpdateEffect> {
        self.set_as(table, index, value, OWN)
    }
    fn set_as(
        &mut self,
        table: u64,
        index: usize,
        value: u64,
        how: Update,
    ) -> crate::Result<UpdateEffect> {
        self.w
            .paging()
            .mmu_update(&mut self.t, Mfn(table), index, value, how, &mut Budget(100))
    }
    fn pin(&mut self, level: Level, mfn: u64) -> crate::Result<()> {
        self.w
            .paging()
            .pin(&mut self.t, level, Mfn(mfn), &mut Budget(100))
    }
    fn type_of(&self, mfn: u64) -> PageType {
        self.w.paging().page_type(Mfn(mfn)).0
    }
    fn get(&self, table: u64, index: usize) -> u64 {
        self.w.machine.peek(table, index)
    }
}

#[test]
fn pinning_a_root_types_the_whole_tree_and_unpinning_releases_it() {
    let mut g = Guest::new();
    let types = [g.root, g.l3, g.l2, g.l1, g.data].map(|m| g.type_of(m));
    assert_eq!(
        types,
        [
            PageType::L4,
            PageType::L3,
            PageType::L2,
            PageType::L1,
            PageType::Writable
        ]
    );
    assert_eq!(g.get(g.root, 256), RESERVED_ENTRY);
    assert_eq!(g.get(g.l1, 0), entry(g.data, P | RW | US | GUEST_KERNEL));
    assert_eq!(g.w.frames.refs(Mfn(g.data)), 2);
    g.w.paging()
        .unpin(&mut g.t, Mfn(g.root), &mut Budget(100))
        .unwrap();
    assert_eq!(
        [g.root, g.l3, g.l2, g.l1, g.data].map(|m| g.type_of(m)),
        [PageType::None; 5]
    );
    assert_eq!(
        g.w.paging().unpin(&mut g.t, Mfn(g.root), &mut Budget(100)),
        Err(EINVAL)
    );
}

#[test]
fn a_page_table_is_never_mapped_writable_but_may_be_read() {
    let mut g = Guest::new();
    for table in [g.root, g.l3, g.l2, g.l1] {
        assert_eq!(g.set(g.l1, 5, entry(table, P | RW | US)), Err(EINVAL));
        assert_eq!(g.get(g.l1, 5), 0);
        g.set(g.l1, 5, entry(table, P | US)).unwrap();
        assert_eq!(
            g.set(g.l1, 5, entry(table, P | RW | US)),
            Err(EINVAL),
            "nor made writable later"
        );
        g.set(g.l1, 5, 0).unwrap();
    }
}

#[test]
fn a_writable_page_becomes_a_table_only_after_the_last_writable_mapping_and_a_flush() {
    let mut g = Guest::new();
    assert_eq!(g.pin(Level::L1, g.data), Err(EINVAL));
    // A flush before the right to write ends does not count.
    g.w.machine.flush();
    g.set(g.l1, 0, entry(g.data, P)).unwrap();
    let before = g.w.machine.last_flush.get();
    g.pin(Level::L1, g.data).unwrap();
    assert!(g.w.machine.last_flush.get() > before);
}

#[test]
fn the_hypervisors_slots_of_a_root_are_not_the_guests() {
    let mut g = Guest::new();
    for slot in [256, 271] {
        assert_eq!(g.set(g.root, slot, 0), Err(EINVAL));
    }
    g.set(g.root, 255, entry(g.l3, P | US)).unwrap();
    g.set(g.root, 272, entry(g.l3, P | US)).unwrap();
    assert_eq!(g.set(g.root, 512, 0), Err(EINVAL));
}

#[test]
fn entries_with_forbidden_bits_are_refused() {
    let mut g = Guest::new();
    for bad in [PAT, G, PCD, 1 << 45] {
        assert_eq!(
            g.set(g.l2, 1, entry(g.l1, P | US | bad)),
            Err(EINVAL),
            "{bad:#x}"
        );
    }
    assert_eq!(g.set(g.l1, 1, entry(g.data, P) | 1 << 45), Err(EINVAL));
    g.set(g.l1, 1, entry(g.data, P | PAT | PCD | G | NX | A | D))
        .unwrap();
    assert_eq!(
        g.get(g.l1, 1),
        entry(g.data, P | US | PAT | PCD | NX | A | D | GUEST_KERNEL)
    );
    g.set(g.l1, 1, !P).unwrap();
    assert_eq!(
        g.get(g.l1, 1),
        !P,
        "what is not present is the guest's business"
    );
}

#[test]
fn a_domain_without_hardware_has_no_say_in_caching() {
    let mut w = World::new();
    let l1 = w.populate(OTHER).unwrap();
    w.machine.poke(l1, 3, entry(l1, P | PCD));
    let mut t = PvTables::new(OTHER);
    assert_eq!(
        w.paging().pin(&mut t, Level::L1, Mfn(l1), &mut Budget(1)),
        Err(EINVAL)
    );
}

#[test]
fn mmio_is_mapped_as_far_as_the_platform_allows() {
    let mut g = Guest::new();
    g.set(g.l1, 1, entry(MMIO, P | RW | PCD)).unwrap();
    assert_eq!(g.set(g.l1, 2, entry(MMIO_RO, P | RW)).unwrap().new & RW, 0);
    assert_eq!(g.set(g.l1, 3, entry(MMIO_DENIED, P)), Err(EPERM));
    assert_eq!(
        g.set(g.l1, 3, entry(0, P)),
        Err(EPERM),
        "frame 0 was never given to the heap"
    );
}

#[test]
fn free_private_and_hypervisor_frames_cannot_be_named() {
    let mut g = Guest::new();
    let private = g.w.heap.alloc(0, None).unwrap().ready(|_| ());
    let free = g.w.heap.alloc(0, None).unwrap().ready(|_| ());
    g.w.heap.free(free, 0).unwrap();
    let foreign = g.w.populate(OTHER).unwrap();
    for mfn in [private.0, free.0, foreign] {
        assert_eq!(g.set(g.l1, 1, entry(mfn, P)), Err(EINVAL));
        assert_eq!(g.pin(Level::L1, mfn), Err(EINVAL));
    }
    g.w.frames.reserve(Mfn(0), Mfn(1));
    assert_eq!(g.set(g.l1, 1, entry(0, P)), Err(EINVAL));
}

#[test]
fn what_the_hypervisor_keeps_and_shows_is_mapped_read_only() {
    let mut g = Guest::new();
    // Frame 0 was never given to the heap; the next two are something already.
    let private = g.w.heap.alloc(0, None).unwrap().ready(|_| ());
    assert_eq!(g.w.frames.share(Mfn(0), OTHER, true), Err(EINVAL));
    g.w.frames.keep_private(Mfn(0), Mfn(1));
    g.w.frames.keep_private(private, Mfn(private.0 + 1));
    assert_eq!(g.w.frames.kind(private), Kind::Private);
    assert_eq!(g.set(g.l1, 1, entry(0, P)), Err(EINVAL), "not shown yet");
    g.w.frames.share(Mfn(0), OTHER, true).unwrap();
    let foreign = Update {
        pg_owner: OTHER,
        preserve_ad: false,
        expected: None,
    };
    g.set_as(g.l1, 1, entry(0, P), foreign).unwrap();
    assert_eq!(g.set_as(g.l1, 1, entry(0, P | RW), foreign), Err(EINVAL));
}

#[test]
fn a_foreign_page_needs_its_owners_name_and_a_read_only_one_stays_so() {
    let mut g = Guest::new();
    let page = g.w.populate(OTHER).unwrap();
    let foreign = Update {
        pg_owner: OTHER,
        preserve_ad: false,
        expected: None,
    };
    g.set_as(g.l1, 1, entry(page, P), foreign).unwrap();
    assert_eq!(g.set(g.l1, 1, entry(page, P | RW)), Err(EINVAL));
    g.set(g.l1, 1, entry(page, P | US | A)).unwrap();
    g.set_as(g.l1, 1, entry(page, P | RW), foreign).unwrap();
    assert_eq!(g.type_of(page), PageType::Writable);
    g.set(g.l1, 1, 0).unwrap();
    assert_eq!(
        (g.type_of(page), g.w.frames.refs(Mfn(page))),
        (PageType::None, 1)
    );
}

#[test]
fn accessed_and_dirty_bits_set_meanwhile_are_kept_when_asked() {
    let mut g = Guest::new();
    g.w.machine.race.set(A | D);
    let keep = Update {
        pg_owner: DOM,
        preserve_ad: true,
        expected: None,
    };
    let effect = g.set_as(g.l1, 0, entry(g.data, P | RW | US), keep).unwrap();
    assert_eq!(effect.new, entry(g.data, P | RW | US | A | D));
    assert_eq!(g.get(g.l1, 0), effect.new);
    g.set_as(g.l1, 0, 0, keep).unwrap();
    assert_eq!(g.get(g.l1, 0), 0);
}

#[test]
fn a_large_tree_is_validated_and_released_in_steps_that_always_progress() {
    let mut g = Guest::new();
    g.w.paging()
        .unpin(&mut g.t, Mfn(g.root), &mut Budget(100))
        .unwrap();
    for i in 0..64 {
        g.w.machine.poke(g.root, i, entry(g.l3, P));
        g.w.machine.poke(g.l3, i, entry(g.l2, P));
        g.w.machine.poke(g.l2, i, entry(g.l1, P));
    }
    let paging = g.w.paging();
    let mut calls = 1;
    while let Err(e) = paging.pin(&mut g.t, Level::L4, Mfn(g.root), &mut Budget(1)) {
        assert_eq!(e, ERESTART);
        calls += 1;
    }
    assert!((180..200).contains(&calls), "{calls}");
    paging.unpin(&mut g.t, Mfn(g.root), &mut Budget(1)).unwrap();
    assert!(!g.t.is_drained());
    let mut calls = 1;
    while paging.drain(&mut g.t, &mut Budget(1)).is_err() {
        calls += 1;
    }
    assert!((180..200).contains(&calls), "{calls}");
    assert_eq!(g.w.frames.refs(Mfn(g.data)), 1);
}

#[test]
fn a_refused_table_gives_everything_back() {
    let mut g = Guest::new();
    g.w.paging()
        .unpin(&mut g.t, Mfn(g.root), &mut Budget(100))
        .unwrap();
    g.w.machine.poke(g.l3, 7, entry(g.root, P));
    g.w.machine.poke(g.l1, 9, entry(g.l2, P | RW));
    assert_eq!(g.pin(Level::L4, g.root), Err(EINVAL));
    assert!(g.t.is_drained());
    for m in [g.root, g.l3, g.l2, g.l1, g.data] {
        assert_eq!(
            (g.type_of(m), g.w.frames.refs(Mfn(m))),
            (PageType::None, 1),
            "frame {m}"
        );
    }
}

#[test]
fn a_root_in_use_survives_unpinning() {
    let mut g = Guest::new();
    let paging = g.w.paging();
    let cr3 = paging
        .get_root(&mut g.t, Mfn(g.root), &mut Budget(1))
        .unwrap();
    paging
        .unpin(&mut g.t, Mfn(g.root), &mut Budget(100))
        .unwrap();
    assert_eq!(g.type_of(g.root), PageType::L4);
    let mut root = Some(cr3);
    while let Some(r) = root.take() {
        root = paging.put_root(&mut g.t, r, &mut Budget(100)).err();
    }
    assert_eq!(g.type_of(g.root), PageType::None);
}

#[test]
fn descriptors_that_reach_ring_0_are_refused_and_the_rest_get_ring_3() {
    let mut g = Guest::new();
    let page = g.w.populate(DOM).unwrap();
    let code_ring_0 = 0x00af_9b00_0000_ffff;
    g.w.machine.poke(page, 1, code_ring_0);
    let paging = g.w.paging();
    let held = paging.get_segdesc(&mut g.t, Mfn(page)).unwrap();
    assert_eq!(g.get(page, 1), 0x00af_fb00_0000_ffff);
    assert_eq!(g.set(g.l1, 1, entry(page, P | RW)), Err(EINVAL));
    assert_eq!(
        paging.update_descriptor(&mut g.t, Mfn(page), 2, 0x0000_8900_0000_0067),
        Err(EINVAL),
        "a TSS"
    );
    paging
        .update_descriptor(&mut g.t, Mfn(page), 2, code_ring_0)
        .unwrap();
    let _ = paging.put_segdesc(held);
    g.w.machine.poke(page, 3, 0x0000_8e00_0008_0000);
    assert_eq!(
        paging.get_segdesc(&mut g.t, Mfn(page)),
        Err(EINVAL),
        "an interrupt gate"
    );
    assert_eq!(g.w.frames.refs(Mfn(page)), 1);
}

#[test]
fn a_shared_hypervisor_page_can_be_mapped_but_never_become_a_table() {
    let mut g = Guest::new();
    let rw = g.w.heap.alloc(0, None).unwrap().ready(|_| ());
    let ro = g.w.heap.alloc(0, None).unwrap().ready(|_| ());
    g.w.frames.share(rw, DOM, false).unwrap();
    g.w.frames.share(ro, DOM, true).unwrap();
    g.set(g.l1, 1, entry(rw.0, P | RW)).unwrap();
    g.set(g.l1, 2, entry(ro.0, P)).unwrap();
    assert_eq!(g.set(g.l1, 3, entry(ro.0, P | RW)), Err(EINVAL));
    assert_eq!(g.pin(Level::L1, rw.0), Err(EINVAL));
    assert_eq!(g.pin(Level::L1, ro.0), Err(EINVAL));
    assert_eq!(
        g.w.paging().relinquish(&mut g.t, rw, &mut Budget(1)),
        Err(EINVAL)
    );
    g.set(g.l1, 1, 0).unwrap();
    let own = g.w.frames.free_domain_ref(rw, DOM).unwrap();
    match g.w.paging().put_page(own) {
        Released::LastRef(last) => {
            assert!(last.is_shared());
            g.w.heap.free_page(last.into_token()).unwrap();
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_page_given_up_while_others_map_it_is_freed_by_the_last_of_them() {
    let mut g = Guest::new();
    let paging = g.w.paging();
    paging
        .relinquish(&mut g.t, Mfn(g.data), &mut Budget(1))
        .unwrap();
    assert!(g.w.machine.freed.borrow().is_empty());
    assert!(g.w.frames.free_domain_ref(Mfn(g.data), DOM).is_none());
    g.set(g.l1, 0, 0).unwrap();
    assert_eq!(g.w.reap(), [g.data]);
    assert_eq!(g.w.paging().get_writable(Mfn(g.data), DOM), Err(EINVAL));
}

#[test]
fn a_reference_count_that_would_overflow_is_refused() {
    let mut g = Guest::new();
    let f = g.w.frames.get(Mfn(g.data)).unwrap();
    let most = crate::frame::State::REFS;
    f.state
        .fetch_or(most, core::sync::atomic::Ordering::Relaxed);
    assert_eq!(g.w.frames.get_page(Mfn(g.data), DOM), Err(EBUSY));
    assert!(g.w.frames.get_page_any(Mfn(g.data)).is_err());
    let f = g.w.frames.get(Mfn(g.l1)).unwrap();
    f.set_word(f.word() | word::COUNT);
    assert_eq!(g.set(g.l2, 1, entry(g.l1, P)), Err(EBUSY));
    assert_eq!(g.get(g.l2, 1), 0);
}

#[test]
fn the_second_of_two_writers_flushes_too_while_the_first_is_still_flushing() {
    let mut g = Guest::new();
    let f = g.w.frames.get(Mfn(g.l1)).unwrap();
    // Frame l1 has been a table and is being taken as Writable by another CPU, which has not flushed yet.
    g.w.paging()
        .unpin(&mut g.t, Mfn(g.root), &mut Budget(100))
        .unwrap();
    assert_eq!(
        f.take_type(PageType::Writable),
        Ok(word::Taken::Fresh { flush: true })
    );
    let before = g.w.machine.last_flush.get();
    let held = g.w.paging().get_writable(Mfn(g.l1), DOM).unwrap();
    assert!(g.w.machine.last_flush.get() > before);
    let _ = g.w.paging().put_writable(held);
}

#[test]
fn a_released_table_becomes_writable_only_after_a_flush() {
    let mut g = Guest::new();
    g.w.machine.flush();
    g.w.paging()
        .unpin(&mut g.t, Mfn(g.root), &mut Budget(100))
        .unwrap();
    let before = g.w.machine.last_flush.get();
    let held = g.w.paging().get_writable(Mfn(g.l2), DOM).unwrap();
    assert!(g.w.machine.last_flush.get() > before);
    let _ = g.w.paging().put_writable(held);
}

#[test]
fn writers_and_a_table_never_hold_a_frame_together_however_they_race() {
    use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use std::sync::atomic::AtomicBool;
    let f = crate::FrameInfo::default();
    let (writers, tables, over) = (AtomicU32::new(0), AtomicU32::new(0), AtomicBool::new(false));
    let writer = || {
        while !over.load(SeqCst) {
            if f.take_type(PageType::Writable).is_ok() {
                writers.fetch_add(1, SeqCst);
                assert_eq!(tables.load(SeqCst), 0);
                f.set_validated();
                writers.fetch_sub(1, SeqCst);
                f.drop_type(1);
                std::thread::yield_now();
            }
        }
    };
    std::thread::scope(|s| {
        s.spawn(writer);
        s.spawn(writer);
        let mut pins = 0;
        while pins < 1000 {
            if f.take_type(PageType::L1).is_ok() {
                tables.store(1, SeqCst);
                assert_eq!(writers.load(SeqCst), 0);
                pins += 1;
                tables.store(0, SeqCst);
                f.set_word(word::bits(PageType::L1));
            }
        }
        over.store(true, SeqCst);
    });
    assert!(!word::in_use(f.word()));
}

#[test]
fn the_latest_of_racing_stamps_stays_and_the_clock_may_wrap() {
    let f = crate::FrameInfo::default();
    for (now, kept) in [
        (7, 7),
        (5, 7),
        (9, 9),
        (1 << 31, 1 << 31),
        (u32::MAX - 1, u32::MAX - 1),
        (3, 3),
        (u32::MAX, 3),
    ] {
        f.touch(now);
        assert_eq!(f.stamp(), kept);
    }
}
