//! The grant protocol: what the granter sees, what the mapper gets, and what a hostile granter can change.
mod support;
use grant::{Access, GntStatus, GrantTable, MapFlags, SharedEntry, SharedGrants};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use support::*;
use xen_abi::{DomId, Errno, GrantRef, Mfn};

#[test]
fn a_mapping_marks_the_entry_and_unmapping_clears_it() {
    let (t, m) = table();
    m.grant(9, 2, 77, PERMIT);
    let info = map(&t, &m, 9, 2, READ).unwrap();
    assert_eq!(
        (info.mfn, info.readonly, info.first),
        (Mfn(1077), true, true)
    );
    assert_eq!(m.flags(9), PERMIT | READING);
    let second = map(&t, &m, 9, 2, WRITE).unwrap();
    assert!(!second.first && !second.readonly);
    assert_eq!(m.flags(9), PERMIT | READING | WRITING);
    t.end(&m, GrantRef(9), WRITE).unwrap();
    assert_eq!(m.flags(9), PERMIT | READING);
    t.end(&m, GrantRef(9), READ).unwrap();
    assert_eq!(m.flags(9), PERMIT);
    assert_eq!(t.end(&m, GrantRef(9), READ), Err(GntStatus::BadGntref));
}

#[test]
fn host_and_device_parts_end_one_by_one() {
    let (t, m) = table();
    m.grant(9, 2, 77, PERMIT);
    map(&t, &m, 9, 2, BOTH).unwrap();
    t.end(&m, GrantRef(9), WRITE).unwrap();
    assert_eq!(m.flags(9), PERMIT | READING | WRITING);
    assert_eq!(
        t.end(&m, GrantRef(9), BOTH),
        Err(GntStatus::BadGntref),
        "all or nothing"
    );
    t.end(&m, GrantRef(9), DEV_WRITE).unwrap();
    assert_eq!(m.flags(9), PERMIT);
}

#[test]
fn what_is_not_granted_is_refused() {
    let (t, m) = table();
    let refused = |gref, by, access| {
        let before = (m.flags(gref), t.in_use(GrantRef(gref)));
        let r = map(&t, &m, gref, by, access);
        assert_eq!(before, (m.flags(gref), t.in_use(GrantRef(gref))));
        r.unwrap_err()
    };
    assert_eq!(
        refused(9, 2, READ),
        GntStatus::GeneralError,
        "an empty entry"
    );
    m.grant(9, 3, 77, PERMIT);
    assert_eq!(
        refused(9, 2, READ),
        GntStatus::GeneralError,
        "for another domain"
    );
    m.grant(9, 2, 77, PERMIT | READONLY);
    assert_eq!(refused(9, 2, WRITE), GntStatus::GeneralError, "read-only");
    assert!(map(&t, &m, 9, 2, READ).is_ok());
    assert_eq!(
        refused(9, 2, WRITE),
        GntStatus::GeneralError,
        "still read-only"
    );
    for kind in [0, 2, 3] {
        m.grant(8, 2, 77, kind);
        assert_eq!(refused(8, 2, READ), GntStatus::GeneralError);
    }
    m.grant(8, 2, 77, PERMIT | SUB_PAGE);
    assert_eq!(
        refused(8, 2, READ),
        GntStatus::GeneralError,
        "sub-page grants cannot be mapped"
    );
    let copy = t.begin_copy(&m, GrantRef(8), DomId(2), Access::COPY_FROM, resolve);
    assert!(copy.is_ok(), "but copied");
    for gref in [1024, 5000, u32::MAX] {
        assert_eq!(map(&t, &m, gref, 2, READ), Err(GntStatus::BadGntref));
    }
}

#[test]
fn a_frame_that_cannot_be_used_leaves_no_trace() {
    let (t, m) = table();
    m.grant(9, 2, 77, PERMIT);
    let r = t.begin_map(&m, GrantRef(9), DomId(2), WRITE, |_| {
        Err(GntStatus::BadPage)
    });
    assert_eq!(r, Err(GntStatus::BadPage));
    assert_eq!(m.flags(9), PERMIT);
    assert!(t.in_use(GrantRef(9)).is_none());
}

#[test]
fn changing_the_entry_while_it_is_used_changes_nothing() {
    let (t, m) = table();
    m.grant(9, 2, 77, PERMIT);
    map(&t, &m, 9, 2, WRITE).unwrap();
    m.grant(9, 3, 500, PERMIT);
    assert_eq!(
        map(&t, &m, 9, 3, READ),
        Err(GntStatus::GeneralError),
        "one domain at a time"
    );
    assert_eq!(
        map(&t, &m, 9, 2, READ).unwrap().mfn,
        Mfn(1077),
        "the same frame as before"
    );
    assert_eq!(t.in_use(GrantRef(9)), Some((Mfn(1077), DomId(2))));
    m.grant(9, 0, 0, 0);
    t.end(&m, GrantRef(9), WRITE).unwrap();
    t.end(&m, GrantRef(9), READ).unwrap();
    assert_eq!(m.flags(9), 0);
}

/// Hands out an entry that the guest changes between our reading it and our writing it.
struct Racing {
    entry: (AtomicU32, AtomicU32),
}

impl SharedGrants for Racing {
    fn entry(&self, _: GrantRef) -> Option<SharedEntry<'_>> {
        Some(SharedEntry {
            flags_domid: &self.entry.0,
            frame: &self.entry.1,
        })
    }
}

#[test]
fn a_guest_that_flips_its_entry_never_gets_a_wrong_pin() {
    let mut t = GrantTable::new(1);
    t.grow(1).unwrap();
    let good = 2 << 16 | PERMIT;
    let m = Racing {
        entry: (AtomicU32::new(good), AtomicU32::new(5)),
    };
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut mapped = 0;
    std::thread::scope(|s| {
        s.spawn(|| {
            for i in 0u32.. {
                m.entry.0.store(
                    [good, 3 << 16 | PERMIT, 2 << 16, good | READONLY][i as usize % 4],
                    SeqCst,
                );
                m.entry.1.store(i, SeqCst);
                if stop.load(SeqCst) {
                    break;
                }
            }
        });
        for _ in 0..100_000 {
            match t.begin_map(&m, GrantRef(0), DomId(2), WRITE, resolve) {
                Ok(info) => {
                    mapped += 1;
                    assert_eq!(t.in_use(GrantRef(0)), Some((info.mfn, DomId(2))));
                    assert_eq!(info.mfn.0, info.gfn.0 + 1000);
                    t.end(&m, GrantRef(0), WRITE).unwrap();
                }
                Err(e) => assert_eq!(e, GntStatus::GeneralError),
            }
            assert!(t.in_use(GrantRef(0)).is_none());
        }
        stop.store(true, SeqCst);
    });
    println!("{mapped} of 100000 mapped");
}

#[test]
fn mappings_outlive_the_granters_frames() {
    let (t, m) = table();
    m.grant(9, 2, 77, PERMIT);
    map(&t, &m, 9, 2, WRITE).unwrap();
    m.gone.set(true);
    assert_eq!(map(&t, &m, 9, 2, READ), Err(GntStatus::BadGntref));
    assert_eq!(t.in_use(GrantRef(9)), Some((Mfn(1077), DomId(2))));
    t.end(&m, GrantRef(9), WRITE).unwrap();
    assert!(t.in_use(GrantRef(9)).is_none());
}

#[test]
fn the_table_grows_to_its_limit() {
    let mut t = GrantTable::new(4);
    let m = Memory::new(4);
    assert_eq!((t.nr_frames(), t.nr_entries(), t.max_frames()), (0, 0, 4));
    assert_eq!(map(&t, &m, 0, 2, READ), Err(GntStatus::BadGntref));
    assert_eq!(t.plan_growth(3), Ok(0..3));
    t.grow(3).unwrap();
    assert_eq!(t.plan_growth(2), Ok(3..3));
    t.grow(1).unwrap();
    assert_eq!((t.nr_frames(), t.nr_entries()), (3, 1536));
    assert_eq!(t.plan_growth(5), Err(GntStatus::GeneralError));
    assert_eq!(t.grow(u32::MAX), Err(GntStatus::GeneralError));
}

#[test]
fn only_version_1_is_offered() {
    let (t, _) = table();
    assert_eq!(t.version(), 1);
    assert_eq!(t.set_version(1), Ok(()));
    assert_eq!(t.set_version(2), Err(Errno::ENOSYS));
    assert_eq!(t.set_version(3), Err(Errno::EINVAL));
}

#[test]
fn entries_swap_unless_in_use() {
    let (t, m) = table();
    m.grant(9, 2, 77, PERMIT);
    m.grant(600, 3, 88, PERMIT | READONLY);
    t.swap(&m, GrantRef(600), GrantRef(9)).unwrap();
    assert_eq!((m.frame(9), m.flags(9)), (88, PERMIT | READONLY));
    assert_eq!(map(&t, &m, 600, 2, READ).unwrap().mfn, Mfn(1077));
    assert_eq!(
        t.swap(&m, GrantRef(600), GrantRef(9)),
        Err(GntStatus::Eagain)
    );
    assert_eq!(t.swap(&m, GrantRef(8), GrantRef(8)), Ok(()));
    assert_eq!(
        t.swap(&m, GrantRef(8), GrantRef(1024)),
        Err(GntStatus::BadGntref)
    );
}

#[test]
fn map_flags_say_what_is_wanted() {
    let access = MapFlags(MapFlags::HOST_MAP | MapFlags::READONLY).access();
    assert_eq!(access, Ok(READ));
    assert_eq!(MapFlags(MapFlags::DEVICE_MAP).access(), Ok(DEV_WRITE));
    assert_eq!(
        MapFlags(MapFlags::READONLY).access(),
        Err(GntStatus::BadGntref)
    );
    assert_eq!(MapFlags(5 << 16 | 2).guest_avail(), 5);
}
