//! Random changes to a [`P2m`] in both formats against a plain map of guest frames, and the entries' bits.
use super::entry::{self, Format, Kind};
use super::{Entry, Flush, ORDER_2M, P2m, Tables, free_list};
use crate::{FrameInfo, FrameTable, Heap};
use proptest::prelude::*;
use std::boxed::Box;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;
use xen_abi::Errno::{EBUSY, EEXIST, EINVAL, ENOENT, ENOMEM};
use xen_abi::Mfn;

const FRAMES: usize = 64;

/// A machine whose frames are all for tables.
struct Machine {
    frames: FrameTable<'static>,
    heap: RefCell<Heap<'static>>,
    words: RefCell<Vec<[u64; 512]>>,
}

impl Machine {
    fn new() -> Machine {
        let infos: Vec<FrameInfo> = (0..FRAMES).map(|_| FrameInfo::default()).collect();
        let frames = FrameTable::new(Box::leak(infos.into_boxed_slice()));
        let mut heap = Heap::new(frames);
        heap.add_range(Mfn(0), frames.end());
        Machine {
            frames,
            heap: RefCell::new(heap),
            words: RefCell::new(vec![[0; 512]; FRAMES]),
        }
    }
    fn free(&self) -> u64 {
        self.heap.borrow().free_pages()
    }
}

impl Tables for Machine {
    fn frames(&self) -> FrameTable<'_> {
        self.frames
    }
    fn read_entry(&self, table: Mfn, index: usize) -> u64 {
        self.words.borrow()[table.0 as usize][index]
    }
    fn write_entry(&self, table: Mfn, index: usize, value: u64) {
        self.words.borrow_mut()[table.0 as usize][index] = value;
    }
    fn alloc_table(&self) -> Option<Mfn> {
        let mfn = self.heap.borrow_mut().alloc(0, None)?.ready(|_| ());
        self.words.borrow_mut()[mfn.0 as usize] = [0; 512];
        Some(mfn)
    }
    fn free_table(&self, mfn: Mfn) {
        self.heap.borrow_mut().free(mfn, 0).unwrap();
    }
}

#[derive(Clone, Debug)]
enum Op {
    Map(u64, u32, u64, Kind),
    Unmap(u64),
    UnmapLeaf(u64),
    Split(u64, u32),
    Merge(u64, u32),
    Change(u64, Kind),
    Dirtied(u64),
    Flush,
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => Just(Kind::Ram),
        1 => Just(Kind::LogDirty),
        1 => Just(Kind::RamRo),
        1 => Just(Kind::GrantRw),
        1 => Just(Kind::GrantRo),
        1 => Just(Kind::Foreign),
    ]
}

/// Guest frames in a few places that share tables at every level, the ends of the space among them.
fn gfns() -> impl Strategy<Value = u64> {
    let bases = prop_oneof![
        Just(0u64),
        Just(512),
        Just(1 << 18),
        Just((1 << 18) + 512),
        Just((1 << 27) + 1024),
        Just((1 << 36) - 512),
        Just(1 << 36),
        Just(u64::MAX - 511),
    ];
    (bases, prop_oneof![Just(0u64), Just(511), 0u64..512]).prop_map(|(b, o)| b + o)
}

fn orders() -> impl Strategy<Value = u32> {
    prop_oneof![6 => Just(0u32), 3 => Just(9), 1 => Just(18), 1 => Just(4)]
}

fn ops() -> impl Strategy<Value = Op> {
    let aligned = |(g, o, m, k): (u64, u32, u64, Kind)| {
        // Mostly what can succeed: guest and machine frame aligned, machine frames in step with guest frames.
        let g = if m % 7 != 0 { g >> o << o } else { g };
        let m = if m % 5 != 0 {
            (g & 0xf_ffff) + 0x40_0000
        } else {
            m
        };
        Op::Map(g, o, m, k)
    };
    prop_oneof![
        6 => (gfns(), orders(), 0u64..1 << 30, kinds()).prop_map(aligned),
        3 => gfns().prop_map(Op::Unmap),
        1 => gfns().prop_map(Op::UnmapLeaf),
        1 => (gfns(), orders()).prop_map(|(g, o)| Op::Split(g, o)),
        2 => (gfns(), orders()).prop_map(|(g, o)| Op::Merge(g, o)),
        1 => (gfns(), kinds()).prop_map(|(g, k)| Op::Change(g, k)),
        1 => gfns().prop_map(Op::Dirtied),
        1 => Just(Op::Flush),
    ]
}

/// The model: leaves by first guest frame.
#[derive(Default)]
struct Model(BTreeMap<u64, (u32, u64, Kind)>);

impl Model {
    fn leaf(&self, gfn: u64) -> Option<(u64, u32, u64, Kind)> {
        let (&first, &(order, mfn, kind)) = self.0.range(..=gfn).next_back()?;
        (gfn - first < 1 << order).then_some((first, order, mfn, kind))
    }
    fn lookup(&self, gfn: u64) -> Option<Entry> {
        self.leaf(gfn).map(|(first, order, mfn, kind)| Entry {
            mfn: Mfn(mfn + gfn - first),
            kind,
            order,
        })
    }
    fn pages(&self) -> u64 {
        self.0.values().map(|v| 1u64 << v.0).sum()
    }
    fn split(&mut self, gfn: u64, order: u32) {
        while let Some((first, o, mfn, kind)) = self.leaf(gfn).filter(|l| l.1 > order) {
            self.0.remove(&first);
            for i in 0..512u64 {
                let at = i << (o - 9);
                self.0.insert(first + at, (o - 9, mfn + at, kind));
            }
        }
    }
    fn is_free(&self, gfn: u64, order: u32) -> bool {
        self.leaf(gfn).is_none() && self.0.range(gfn..gfn + (1 << order)).next().is_none()
    }
}

fn step(p2m: &mut P2m, m: &Machine, model: &mut Model, op: &Op) {
    match *op {
        Op::Map(gfn, order, mfn, kind) => map(p2m, m, model, gfn, order, mfn, kind),
        Op::Unmap(gfn) => match p2m.unmap(m, gfn) {
            Ok((e, flush)) => {
                assert_eq!(flush, Flush::Needed);
                let was = model.lookup(gfn).unwrap();
                assert_eq!((e.mfn, e.kind, e.order), (was.mfn, was.kind, 0));
                model.split(gfn, 0);
                model.0.remove(&gfn);
            }
            Err(ENOENT) => assert!(model.lookup(gfn).is_none()),
            // As far as it got it may have split.
            Err(e) => {
                assert_eq!(e, ENOMEM);
                partly_split(p2m, m, model, gfn);
            }
        },
        Op::UnmapLeaf(gfn) => match p2m.unmap_leaf(m, gfn) {
            Some((first, e, _)) => {
                let was = (first, e.order, e.mfn.0, e.kind);
                assert_eq!(model.leaf(gfn), Some(was));
                model.0.remove(&first);
            }
            None => assert!(model.leaf(gfn).is_none()),
        },
        Op::Split(gfn, order) => match p2m.split(m, gfn, order) {
            Ok(()) => model.split(gfn, order),
            Err(ENOENT) => assert!(model.leaf(gfn).is_none()),
            Err(e) => {
                assert_eq!(e, ENOMEM);
                partly_split(p2m, m, model, gfn);
            }
        },
        Op::Merge(gfn, order) => merge(p2m, m, model, gfn, order),
        Op::Change(gfn, kind) => match p2m.change_kind(m, gfn, kind) {
            Ok((first, order, flush)) => {
                let (f, o, mfn, old) = model.leaf(gfn).unwrap();
                assert!((f, o) == (first, order) && old.is_ram() && kind.is_ram());
                assert_eq!(flush == Flush::Needed, old.writable() && !kind.writable());
                model.0.insert(f, (o, mfn, kind));
            }
            Err(e) => assert!(e == ENOENT || e == EINVAL),
        },
        Op::Dirtied(gfn) => match p2m.dirtied(m, gfn) {
            Ok(noticed) => {
                let logged = model.lookup(gfn).is_some_and(|e| e.kind == Kind::LogDirty);
                assert_eq!(noticed, logged);
                if noticed {
                    model.split(gfn, 0);
                    model.0.get_mut(&gfn).unwrap().2 = Kind::Ram;
                }
            }
            Err(e) => {
                assert_eq!(e, ENOMEM);
                partly_split(p2m, m, model, gfn);
            }
        },
        Op::Flush => free_list(m, &mut p2m.take_retired()),
    }
}

fn map(p2m: &mut P2m, m: &Machine, model: &mut Model, gfn: u64, order: u32, mfn: u64, kind: Kind) {
    let mask = (1u64 << order) - 1;
    let bad = !matches!(order, 0 | 9 | 18)
        || (gfn | mfn) & mask != 0
        || gfn.checked_add(1 << order).is_none_or(|e| e > 1 << 36);
    match p2m.map(m, gfn, order, Mfn(mfn), kind) {
        Ok(()) => {
            assert!(!bad && model.is_free(gfn, order));
            model.0.insert(gfn, (order, mfn, kind));
        }
        Err(EINVAL) => assert!(bad),
        Err(EEXIST) => assert!(!model.is_free(gfn, order)),
        Err(e) => assert_eq!(e, ENOMEM),
    }
}

fn merge(p2m: &mut P2m, m: &Machine, model: &mut Model, gfn: u64, order: u32) {
    let before = model.lookup(gfn);
    match p2m.merge(m, gfn, order) {
        Ok(Flush::No) => assert!(before.unwrap().order >= order),
        Ok(Flush::Needed) => {
            let first = gfn >> order << order;
            let (_, _, mfn, kind) = model.leaf(first).unwrap();
            for i in 0..512u64 {
                let at = i << (order - 9);
                assert_eq!(
                    model.0.remove(&(first + at)),
                    Some((order - 9, mfn + at, kind))
                );
            }
            assert_eq!(mfn & ((1 << order) - 1), 0);
            model.0.insert(first, (order, mfn, kind));
        }
        Err(e) => assert!([EINVAL, ENOENT, EBUSY].contains(&e)),
    }
}

/// A split that ran out of memory may have been done in part, which changes no translation.
fn partly_split(p2m: &P2m, m: &Machine, model: &mut Model, gfn: u64) {
    model.split(gfn, p2m.lookup(m, gfn).unwrap().order);
}

fn check(p2m: &P2m, m: &Machine, model: &Model) {
    assert_eq!(p2m.mapped(), model.pages());
    assert!(p2m.table_frames() <= p2m.limit());
    assert_eq!(m.free() + u64::from(p2m.table_frames()), FRAMES as u64 - 1);
    // Every leaf from both sides, its ends, and what lies just beside it.
    let mut at = 0;
    let mut leaves = model.0.iter();
    while let Some((gfn, e)) = p2m.next(m, at) {
        let (&first, &(order, mfn, kind)) = leaves.next().unwrap();
        let mfn = Mfn(mfn);
        assert_eq!((gfn, e), (first, Entry { mfn, kind, order }));
        let last = first + (1 << order) - 1;
        for gfn in [last, last + 1, first.wrapping_sub(1)] {
            assert_eq!(p2m.lookup(m, gfn), model.lookup(gfn), "{gfn:#x}");
        }
        assert!(p2m.max_gfn() >= last);
        at = last + 1;
    }
    assert!(leaves.next().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_changes_do_what_they_say_and_every_table_comes_back(
        ept in any::<bool>(),
        limit in 4u32..60,
        list in proptest::collection::vec(ops(), 1..60),
    ) {
        let m = Machine::new();
        let all = m.free();
        let format = if ept { Format::Ept } else { Format::Npt };
        let mut p2m = P2m::new(&m, format, limit).unwrap();
        let mut model = Model::default();
        for op in &list {
            step(&mut p2m, &m, &mut model, op);
            check(&p2m, &m, &model);
        }
        while let Some((gfn, _)) = p2m.next(&m, 0) {
            prop_assert_eq!(p2m.free_tables(&m, 1), Err(EBUSY));
            let _ = p2m.unmap_leaf(&m, gfn).unwrap();
        }
        while !p2m.free_tables(&m, 3).unwrap() {}
        p2m.close(&m);
        prop_assert_eq!(m.free(), all);
        prop_assert_eq!(p2m.lookup(&m, 0), None);
        prop_assert_eq!(p2m.map(&m, 0, 0, Mfn(1), Kind::Ram), Err(EINVAL));
    }
}

#[test]
fn the_hardware_sees_what_was_meant() {
    let all = [
        (Kind::Ram, true, true),
        (Kind::LogDirty, false, true),
        (Kind::RamRo, false, true),
        (Kind::GrantRw, true, false),
        (Kind::GrantRo, false, false),
        (Kind::Foreign, true, false),
    ];
    for (kind, w, x) in all {
        for format in [Format::Npt, Format::Ept] {
            for level in 1..=3 {
                let entry = format.leaf(level, Mfn(0x12_3400_0000 >> 12), kind);
                assert_eq!(entry::rights(format, entry), (true, w, x));
                assert_eq!(entry >> 7 & 1 == 1, level > 1, "large");
                assert_eq!(entry & 0x000f_ffff_ffff_f000, 0x12_3400_0000);
            }
        }
        // Write-back, and the guest's PAT is not asked.
        assert_eq!(Format::Ept.leaf(1, Mfn(1), kind) >> 3 & 15, 8 | 6);
    }
    assert_eq!(Format::Npt.table(Mfn(5)) & 0xfff, 0x27);
    assert_eq!(Format::Ept.table(Mfn(5)) & 0xfff, 7);
    assert_eq!(Format::Ept.root_pointer(Mfn(5)), 0x501e);
}

#[test]
fn a_table_cut_off_waits_for_the_flush() {
    let m = Machine::new();
    let mut p2m = P2m::new(&m, Format::Npt, 16).unwrap();
    for i in 0..512 {
        p2m.map(&m, i, 0, Mfn(0x200 + i), Kind::Ram).unwrap();
    }
    let (free, used) = (m.free(), p2m.table_frames());
    assert_eq!(p2m.merge(&m, 0, ORDER_2M), Ok(Flush::Needed));
    assert_eq!((m.free(), p2m.table_frames()), (free, used));
    free_list(&m, &mut p2m.take_retired());
    assert_eq!((m.free(), p2m.table_frames()), (free + 1, used - 1));
}

#[test]
fn the_limit_holds() {
    let m = Machine::new();
    let mut p2m = P2m::new(&m, Format::Ept, 4).unwrap();
    p2m.map(&m, 0, 0, Mfn(1), Kind::Ram).unwrap();
    assert_eq!(p2m.map(&m, 512, 0, Mfn(2), Kind::Ram), Err(ENOMEM));
    p2m.map(&m, 512, 9, Mfn(512), Kind::Ram).unwrap();
    // Nothing is left to split with, but the whole leaf can go.
    assert_eq!(p2m.unmap(&m, 513), Err(ENOMEM));
    assert_eq!(p2m.unmap_leaf(&m, 513).unwrap().0, 512);
}
