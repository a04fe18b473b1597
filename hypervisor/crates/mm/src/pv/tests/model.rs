//! The executable model: from pins, roots and other holders, recompute everything that should be counted, slowly.
//!
//! It reads memory and the list of holders, never the counts. Only how far a half-way table got is taken from the
//! implementation; what that must mean for every other frame is computed here.
use super::super::entry::{self, ADDRESS, G, P, PAT, PCD, PWT, RW, US};
use super::super::*;
use super::machine::{FRAMES, MMIO, MMIO_RO, Machine, RESERVED_ENTRY, World};
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;
use xen_abi::{DomId, Mfn};

/// Who holds frames from outside page tables, by frame.
#[derive(Default, Debug)]
pub struct Holders {
    pub owner: BTreeMap<u64, DomId>,
    pub allocated: BTreeSet<u64>,
    pub pinned: BTreeMap<u64, Level>,
    pub roots: Vec<u64>,
    pub grants: Vec<u64>,
    pub segdescs: Vec<u64>,
}

/// What one frame should look like.
#[derive(Default, Debug, PartialEq, Eq, Clone)]
pub struct Expected {
    pub refs: u32,
    /// Type references by type: more than one kind would be the disaster this module exists to prevent.
    pub types: BTreeMap<u32, u32>,
}

fn partial(world: &World, mfn: u64) -> Option<(Level, usize)> {
    let w = world.frames.word(Mfn(mfn));
    let half = w & word::PARTIAL != 0;
    half.then(|| {
        (
            Level::of(word::type_of(w)).unwrap(),
            (w & word::COUNT) as usize,
        )
    })
}

fn entries(machine: &Machine, level: Level, mfn: u64, held: usize) -> Vec<u64> {
    let ours = |i: &usize| level == Level::L4 && RESERVED_SLOTS.contains(i);
    (0..held)
        .filter(|i| !ours(i))
        .map(|i| machine.peek(mfn, i))
        .filter(|e| e & P != 0)
        .collect()
}

pub fn expected(world: &World, h: &Holders) -> BTreeMap<u64, Expected> {
    let mut all: BTreeMap<u64, Expected> = (0..FRAMES as u64)
        .map(|m| (m, Expected::default()))
        .collect();
    let mut todo: Vec<(Level, u64, usize)> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut hold = |mfn: u64, ty: Option<PageType>, todo: &mut Vec<(Level, u64, usize)>| {
        let e = all.get_mut(&mfn).unwrap();
        e.refs += 1;
        let Some(ty) = ty else { return };
        *e.types.entry(ty as u32).or_default() += 1;
        if let Some(level) = Level::of(ty)
            && seen.insert(mfn)
        {
            let held = partial(world, mfn).map_or(ENTRIES, |p| p.1);
            todo.push((level, mfn, held));
        }
    };
    h.allocated.iter().for_each(|&m| hold(m, None, &mut todo));
    h.pinned
        .iter()
        .for_each(|(&m, &l)| hold(m, Some(l.into()), &mut todo));
    h.roots
        .iter()
        .for_each(|&m| hold(m, Some(PageType::L4), &mut todo));
    h.grants
        .iter()
        .for_each(|&m| hold(m, Some(PageType::Writable), &mut todo));
    h.segdescs
        .iter()
        .for_each(|&m| hold(m, Some(PageType::SegDesc), &mut todo));
    for m in 0..FRAMES as u64 {
        if let Some((level, _)) = partial(world, m) {
            hold(m, Some(level.into()), &mut todo);
        }
    }
    while let Some((level, mfn, held)) = todo.pop() {
        for e in entries(world.machine, level, mfn, held) {
            assert!(
                e & US != 0 && e & G == 0,
                "unadjusted entry {e:#x} in force"
            );
            let target = (e & ADDRESS) >> 12;
            match level {
                Level::L1 if target >= FRAMES as u64 => {
                    assert!(
                        target == MMIO || target == MMIO_RO && e & RW == 0,
                        "forbidden MMIO {target:#x}"
                    );
                    assert_eq!(h.owner[&mfn], DomId(1));
                }
                Level::L1 => hold(
                    target,
                    (e & RW != 0).then_some(PageType::Writable),
                    &mut todo,
                ),
                _ => {
                    assert_eq!(
                        h.owner.get(&target),
                        h.owner.get(&mfn),
                        "a table of somebody else"
                    );
                    hold(target, Some(level.below().into()), &mut todo)
                }
            }
        }
    }
    all
}

/// Compares every count in the frame table with the model, and checks what must never happen.
pub fn check(world: &World, h: &Holders) {
    for (m, e) in expected(world, h) {
        let f = world.frames.get(Mfn(m)).unwrap();
        let w = f.word();
        assert_eq!(
            f.state().refs() as u32,
            e.refs,
            "references of frame {m}: {h:?}"
        );
        assert!(
            e.types.len() <= 1,
            "frame {m} has several types at once: {e:?}"
        );
        let want = e.types.iter().next().map(|(&t, &n)| (t, n));
        let have = word::in_use(w).then(|| (word::type_of(w) as u32, word::count(w)));
        assert_eq!(have, want, "type of frame {m}: {h:?}");
        assert_eq!(
            w & word::PINNED != 0,
            h.pinned.contains_key(&m),
            "pin of frame {m}"
        );
        if have.is_some() {
            assert!(
                (w & word::VALIDATED != 0) != (w & word::PARTIAL != 0),
                "frame {m} neither ready nor half-way"
            );
        }
        if e.refs == 0 {
            assert!(
                !h.owner.contains_key(&m),
                "frame {m} lost its last reference unnoticed"
            );
        } else {
            assert_eq!(world.frames.owner(Mfn(m)), h.owner.get(&m).copied());
        }
        if want.is_some_and(|(t, _)| t == PageType::L4 as u32) && w & word::VALIDATED != 0 {
            assert!(
                RESERVED_SLOTS
                    .into_iter()
                    .all(|i| world.machine.peek(m, i) == RESERVED_ENTRY)
            );
        }
    }
}

/// Would `mfn` validate as `level`, given types in force? The obvious recursive definition.
pub fn would_validate(
    world: &World,
    h: &Holders,
    domain: DomId,
    level: Level,
    mfn: u64,
    types: &mut BTreeMap<u64, u32>,
) -> bool {
    if h.owner.get(&mfn) != Some(&domain) {
        return false;
    }
    match types.get(&mfn) {
        Some(&t) => return t == level as u32,
        None => types.insert(mfn, level as u32),
    };
    entries(world.machine, level, mfn, ENTRIES)
        .into_iter()
        .all(|e| {
            let target = (e & ADDRESS) >> 12;
            let attrs = e & (PWT | PCD | PAT) != 0;
            if target >> 28 != 0 {
                return false;
            }
            if level != Level::L1 {
                return !attrs
                    && e & G == 0
                    && would_validate(world, h, domain, level.below(), target, types);
            }
            if attrs && domain != DomId(1) {
                return false;
            }
            if target >= FRAMES as u64 {
                return domain == DomId(1) && (target == MMIO || target == MMIO_RO);
            }
            let writable = PageType::Writable as u32;
            h.owner.get(&target) == Some(&domain)
                && (e & RW == 0 || *types.entry(target).or_insert(writable) == writable)
        })
}

/// Types in force, for [`would_validate`].
pub fn types_in_force(world: &World, h: &Holders) -> BTreeMap<u64, u32> {
    expected(world, h)
        .into_iter()
        .filter_map(|(m, e)| Some((m, *e.types.keys().next()?)))
        .collect()
}

pub fn any_partial(world: &World) -> bool {
    (0..FRAMES as u64).any(|m| partial(world, m).is_some())
}

/// Sanity of the bits that both sides use.
pub fn entry_for(target: u64, flags: u64) -> u64 {
    target << 12 | flags & !ADDRESS | (flags & entry::NX)
}
