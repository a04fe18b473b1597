//! Random sequences of operations by two domains, each followed by a comparison with the model.
use super::super::entry::{P, RW, US};
use super::super::*;
use super::machine::{FRAMES, MMIO, MMIO_DENIED, MMIO_RO, World};
use super::model::{self, Holders};
use crate::Result;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;
use xen_abi::Errno::{EINVAL, ERESTART};
use xen_abi::{DomId, Mfn};

#[derive(Debug, Clone)]
enum Op {
    Populate {
        dom: u16,
    },
    /// Builds a plausible tree: table `a` of `level` gets `b` at `slot`.
    Write {
        dom: u16,
        table: u64,
        slot: usize,
        target: u64,
        flags: u64,
        foreign: bool,
        preserve: bool,
        sane: bool,
    },
    /// Chains four frames as L4 to L1, as far as they may be written, and lets the L1 map the fifth.
    Tree {
        dom: u16,
        frames: [u64; 5],
        slots: [usize; 4],
        flags: u64,
    },
    Pin {
        dom: u16,
        level: u8,
        mfn: u64,
    },
    Unpin {
        dom: u16,
        mfn: u64,
    },
    GetRoot {
        dom: u16,
        mfn: u64,
    },
    PutRoot {
        pick: usize,
    },
    Grant {
        dom: u16,
        mfn: u64,
    },
    PutGrant {
        pick: usize,
    },
    SegDesc {
        dom: u16,
        mfn: u64,
    },
    PutSegDesc {
        pick: usize,
    },
    Relinquish {
        dom: u16,
        mfn: u64,
    },
    Drain {
        dom: u16,
    },
    Flush,
}

/// Frames populated at the start: the last three belong to domain 2.
const POPULATED: u64 = 17;

/// What a frame is meant for, so that sequences get somewhere: 4 is a root, 0 is data.
fn role(mfn: u64) -> u8 {
    [0, 1, 2, 3, 4, 1, 2, 0, 1, 3][(mfn % 10) as usize]
}

/// A frame whose role is `want`, near `mfn`.
fn of_role(mfn: u64, want: u8) -> u64 {
    (0..POPULATED)
        .map(|i| (mfn + i) % POPULATED + 1)
        .find(|&m| role(m) == want)
        .unwrap_or(mfn)
}

const SLOTS: [usize; 6] = [0, 1, 100, 255, 260, 511];

fn op() -> impl Strategy<Value = Op> {
    let dom = || prop_oneof![4 => Just(1u16), 1 => Just(2u16)];
    // The heap hands out 1, 2, 3, and so on. Few frames make for many collisions.
    let mfn = || prop_oneof![1 => 0u64..FRAMES as u64, 20 => 1u64..=POPULATED];
    let target = prop_oneof![
        30 => mfn(),
        1 => prop_oneof![Just(MMIO), Just(MMIO_RO), Just(MMIO_DENIED), Just(1u64 << 30), Just(0xff_ffff_ffff)],
    ];
    let flags = prop_oneof![
        10 => Just(P | RW | US),
        5 => Just(P | US),
        4 => Just(P | RW),
        4 => Just(0u64),
        1 => any::<u64>(),
    ];
    let slot = (0..SLOTS.len()).prop_map(|i| SLOTS[i]);
    let sane = || prop::bool::weighted(0.9);
    let rarely = || prop::bool::weighted(0.1);
    let write = (
        dom(),
        mfn(),
        slot,
        target,
        flags,
        rarely(),
        any::<bool>(),
        sane(),
    );
    prop_oneof![
        3 => dom().prop_map(|dom| Op::Populate { dom }),
        24 => write.prop_map(|(dom, table, slot, target, flags, foreign, preserve, sane)| Op::Write { dom, table, slot, target, flags, foreign, preserve, sane }),
        8 => (dom(), proptest::array::uniform5(mfn()), proptest::array::uniform4(0..SLOTS.len()), prop_oneof![Just(P | RW), Just(P)])
            .prop_map(|(dom, frames, slots, flags)| Op::Tree { dom, frames, slots: slots.map(|i| SLOTS[i]), flags }),
        8 => (dom(), prop_oneof![4 => Just(0u8), 1 => 1u8..=4], mfn()).prop_map(|(dom, level, mfn)| Op::Pin { dom, level, mfn }),
        4 => (dom(), mfn()).prop_map(|(dom, mfn)| Op::Unpin { dom, mfn }),
        2 => (dom(), mfn()).prop_map(|(dom, mfn)| Op::GetRoot { dom, mfn }),
        1 => any::<usize>().prop_map(|pick| Op::PutRoot { pick }),
        1 => (dom(), mfn()).prop_map(|(dom, mfn)| Op::Grant { dom, mfn }),
        1 => any::<usize>().prop_map(|pick| Op::PutGrant { pick }),
        1 => (dom(), mfn()).prop_map(|(dom, mfn)| Op::SegDesc { dom, mfn }),
        1 => any::<usize>().prop_map(|pick| Op::PutSegDesc { pick }),
        1 => (dom(), mfn()).prop_map(|(dom, mfn)| Op::Relinquish { dom, mfn }),
        1 => dom().prop_map(|dom| Op::Drain { dom }),
        1 => Just(Op::Flush),
    ]
}

struct Run {
    world: World,
    h: Holders,
    tables: BTreeMap<u16, PvTables>,
    /// Frame → type last in force, and the clock at which it was.
    used: BTreeMap<u64, (u32, u32)>,
}

fn level(n: u8) -> Level {
    [Level::L1, Level::L2, Level::L3, Level::L4][(n - 1) as usize]
}

/// Repeats a call while it asks for it.
fn until_done<T>(budget: u32, mut call: impl FnMut(&mut Budget) -> Result<T>) -> Result<T> {
    for _ in 0..10_000 {
        match call(&mut Budget(budget)) {
            Err(ERESTART) => (),
            done => return done,
        }
    }
    panic!("no progress");
}

/// How much budget each call gets, and whether it is repeated until it is done.
#[derive(Clone, Copy)]
struct Pace {
    budget: u32,
    repeat: bool,
}

impl Pace {
    fn budget(self) -> Budget {
        Budget(self.budget)
    }
    fn run<T>(self, mut call: impl FnMut(&mut Budget) -> Result<T>) -> Result<T> {
        if self.repeat {
            until_done(self.budget, call)
        } else {
            call(&mut self.budget())
        }
    }
}

impl Run {
    fn new() -> Run {
        let tables = [1, 2].map(|d| (d, PvTables::new(DomId(d)))).into();
        let mut run = Run {
            world: World::new(),
            h: Holders::default(),
            tables,
            used: BTreeMap::new(),
        };
        for i in 0..POPULATED {
            run.populate(if i < POPULATED - 3 { 1 } else { 2 });
        }
        run
    }

    fn populate(&mut self, dom: u16) {
        if let Some(m) = self.world.populate(DomId(dom)) {
            self.h.owner.insert(m, DomId(dom));
            self.h.allocated.insert(m);
            self.used.remove(&m);
        }
    }

    fn step(&mut self, op: &Op, budget: u32, repeat: bool) {
        let pace = Pace { budget, repeat };
        match *op {
            Op::Populate { dom } => self.populate(dom),
            Op::Write { .. } | Op::Tree { .. } => self.write(op, pace),
            Op::Pin { dom, level: n, mfn } => self.pin(dom, n, mfn, pace),
            Op::Relinquish { dom, mfn } => self.relinquish(dom, mfn, budget),
            Op::Flush => self.world.machine.flush(),
            _ => self.hold(op, pace),
        }
        self.settle();
    }

    fn write(&mut self, op: &Op, pace: Pace) {
        let (paging, machine) = (self.world.paging(), self.world.machine);
        let mut set = |dom: u16, table: u64, slot: usize, new: u64, how: Update| {
            let t = self.tables.get_mut(&dom).unwrap();
            let before = machine.peek(table, slot);
            let r = pace.run(|b| paging.mmu_update(t, Mfn(table), slot, new, how, b));
            let same = before == machine.peek(table, slot);
            assert!(r.is_ok() || same, "a refused update left a trace");
        };
        match *op {
            Op::Write {
                dom,
                table,
                slot,
                target,
                flags,
                foreign,
                preserve: preserve_ad,
                sane,
            } => {
                let target = match (sane, role(table)) {
                    (true, 1) if flags & RW == 0 => target,
                    (true, r @ 1..) => of_role(target, r - 1),
                    _ => target,
                };
                let pg_owner = DomId(if foreign { 3 - dom } else { dom });
                let how = Update {
                    pg_owner,
                    preserve_ad,
                    expected: None,
                };
                set(dom, table, slot, model::entry_for(target, flags), how);
            }
            Op::Tree {
                dom,
                frames,
                slots,
                flags,
            } => {
                let how = Update {
                    pg_owner: DomId(dom),
                    preserve_ad: false,
                    expected: None,
                };
                let frames = core::array::from_fn::<_, 5, _>(|i| of_role(frames[i], 4 - i as u8));
                for (i, slot) in (0..4).flat_map(|i| slots.map(|s| (i, s))) {
                    let flags = if i == 3 { flags } else { P | RW | US };
                    set(
                        dom,
                        frames[i],
                        slot,
                        model::entry_for(frames[i + 1], flags),
                        how,
                    );
                }
            }
            _ => (),
        }
    }

    fn pin(&mut self, dom: u16, n: u8, mfn: u64, pace: Pace) {
        let level = level(if n == 0 { role(mfn).max(1) } else { n });
        let foreseen = (!model::any_partial(&self.world) && pace.repeat).then(|| {
            let types = &mut model::types_in_force(&self.world, &self.h);
            !self.h.pinned.contains_key(&mfn)
                && model::would_validate(&self.world, &self.h, DomId(dom), level, mfn, types)
        });
        let (paging, t) = (self.world.paging(), self.tables.get_mut(&dom).unwrap());
        let r = pace.run(|b| paging.pin(t, level, Mfn(mfn), b));
        if let Some(foreseen) = foreseen {
            assert_eq!(r.is_ok(), foreseen, "pin {mfn} as {level:?}: {r:?}");
        }
        if r.is_ok() {
            assert!(self.h.pinned.insert(mfn, level).is_none());
        }
    }

    /// Everything else that takes or gives back a reference.
    fn hold(&mut self, op: &Op, pace: Pace) {
        let (paging, h, tables) = (self.world.paging(), &mut self.h, &mut self.tables);
        let domain = match *op {
            Op::Unpin { dom, .. }
            | Op::GetRoot { dom, .. }
            | Op::SegDesc { dom, .. }
            | Op::Drain { dom } => dom,
            Op::PutRoot { pick } if !h.roots.is_empty() => {
                h.owner[&h.roots[pick % h.roots.len()]].0
            }
            _ => 1,
        };
        let t = tables.get_mut(&domain).unwrap();
        match *op {
            Op::Unpin { mfn, .. } => {
                let done = pace.run(|b| paging.unpin(t, Mfn(mfn), b));
                done.is_ok().then(|| h.pinned.remove(&mfn));
            }
            Op::GetRoot { mfn, .. } => {
                if let Ok(r) = pace.run(|b| paging.get_root(t, Mfn(mfn), b)) {
                    h.roots.push(r.into_raw().0);
                }
            }
            Op::PutRoot { pick } if !h.roots.is_empty() => {
                let m = h.roots.swap_remove(pick % h.roots.len());
                let root = RootRef::from_raw(Mfn(m));
                if let Err(root) = paging.put_root(t, root, &mut pace.budget()) {
                    h.roots.push(root.into_raw().0);
                }
            }
            Op::Grant { dom, mfn } => {
                h.grants.extend(
                    paging
                        .get_writable(Mfn(mfn), DomId(dom))
                        .map(|r| r.into_raw().0),
                );
            }
            Op::PutGrant { pick } if !h.grants.is_empty() => {
                let m = h.grants.swap_remove(pick % h.grants.len());
                paging.free_if_last(paging.put_writable(WritableRef::from_raw(Mfn(m))));
            }
            Op::SegDesc { mfn, .. } => {
                h.segdescs
                    .extend(paging.get_segdesc(t, Mfn(mfn)).map(|r| r.into_raw().0));
            }
            Op::PutSegDesc { pick } if !h.segdescs.is_empty() => {
                let m = h.segdescs.swap_remove(pick % h.segdescs.len());
                paging.free_if_last(paging.put_segdesc(SegRef::from_raw(Mfn(m))));
            }
            Op::Drain { .. } => drop(paging.drain(t, &mut pace.budget())),
            _ => (),
        }
    }

    fn relinquish(&mut self, dom: u16, mfn: u64, budget: u32) {
        let t = self.tables.get_mut(&dom).unwrap();
        let mut begun = false;
        let r = until_done(budget, |b| {
            let r = self.world.paging().relinquish(t, Mfn(mfn), b);
            begun |= r == Err(ERESTART) && self.world.frames.word(Mfn(mfn)) & word::PINNED == 0;
            r
        });
        // A pinned page that its owner had given up before is gone once it is released.
        assert!(r.is_ok() || r == Err(EINVAL));
        assert!(r.is_err() || self.h.owner.get(&mfn) == Some(&DomId(dom)));
        if r.is_ok() || begun {
            self.h.pinned.remove(&mfn);
        }
        if r.is_ok() {
            self.h.allocated.remove(&mfn);
        }
        self.settle();
    }

    /// Frees what was let go, and compares with the model.
    fn settle(&mut self) {
        for m in self.world.reap() {
            assert!(self.h.owner.remove(&m).is_some());
            assert!(
                !self.h.allocated.contains(&m),
                "frame {m} freed under its owner"
            );
        }
        model::check(&self.world, &self.h);
        let now = self.world.machine.clock.get();
        for (m, ty) in model::types_in_force(&self.world, &self.h) {
            if let Some(&(before, at)) = self.used.get(&m)
                && before != ty
            {
                assert!(
                    self.world.machine.last_flush.get() > at,
                    "frame {m} changed type under the TLB's nose"
                );
            }
            self.used.insert(m, (ty, now));
        }
    }

    /// Both domains die: everything comes back.
    fn destroy(mut self) {
        for m in core::mem::take(&mut self.h.grants) {
            let paging = self.world.paging();
            paging.free_if_last(paging.put_writable(WritableRef::from_raw(Mfn(m))));
        }
        for m in core::mem::take(&mut self.h.segdescs) {
            let paging = self.world.paging();
            paging.free_if_last(paging.put_segdesc(SegRef::from_raw(Mfn(m))));
        }
        for m in core::mem::take(&mut self.h.roots) {
            let t = self.tables.get_mut(&self.h.owner[&m].0).unwrap();
            let mut root = RootRef::from_raw(Mfn(m));
            while let Err(again) = self.world.paging().put_root(t, root, &mut Budget(1)) {
                root = again;
            }
        }
        self.settle();
        let pages: Vec<(u64, DomId)> = self.h.owner.iter().map(|(&m, &d)| (m, d)).collect();
        for (m, d) in pages {
            self.relinquish(d.0, m, 2);
        }
        assert!(self.h.owner.is_empty(), "never freed: {:?}", self.h.owner);
        assert_eq!(self.world.heap.free_pages(), self.world.heap.total_pages());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn whatever_two_domains_do_the_counts_are_the_models(
        ops in proptest::collection::vec((op(), 1u32..4, prop::bool::weighted(0.7)), 1..120)
    ) {
        let mut run = Run::new();
        for (op, budget, repeat) in &ops {
            run.step(op, *budget, *repeat);
        }
        run.destroy();
    }
}

/// `MM_CASES` for a long soak.
fn cases() -> u32 {
    std::env::var("MM_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(400)
}
