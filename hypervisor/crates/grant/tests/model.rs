//! Random uses of a few grants by two domains, with a granter that rewrites its entries at any time, against a
//! plain model.
mod support;
use grant::{Access, GntStatus};
use proptest::prelude::*;
use support::*;
use xen_abi::{DomId, GrantRef, Mfn};

#[derive(Clone, Debug)]
enum Op {
    Write {
        gref: u32,
        to: u16,
        frame: u32,
        flags: u32,
    },
    Begin {
        gref: u32,
        by: u16,
        access: Access,
        copy: bool,
    },
    End {
        gref: u32,
        nth: usize,
    },
}

fn access() -> impl Strategy<Value = Access> {
    prop::sample::select(vec![READ, WRITE, DEV_WRITE, BOTH])
}

fn op() -> impl Strategy<Value = Op> {
    let flags = prop::sample::select(vec![
        PERMIT,
        PERMIT | READONLY,
        PERMIT | SUB_PAGE,
        0,
        2,
        0xffff,
    ]);
    prop_oneof![
        (0u32..3, 1u16..3, 0u32..9, flags).prop_map(|(gref, to, frame, flags)| Op::Write {
            gref,
            to,
            frame,
            flags
        }),
        (0u32..3, 1u16..3, access(), any::<bool>()).prop_map(|(gref, by, access, copy)| {
            Op::Begin {
                gref,
                by,
                access,
                copy,
            }
        }),
        (0u32..3, 0usize..8).prop_map(|(gref, nth)| Op::End { gref, nth }),
    ]
}

#[derive(Default)]
struct Entry {
    uses: Vec<Access>,
    by: u16,
    frame: u32,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn pins_follow_the_model(ops in prop::collection::vec(op(), 1..200)) {
        let (t, m) = table();
        let mut model: Vec<Entry> = (0..3).map(|_| Entry::default()).collect();
        let mut owner = [0u16; 3];
        for op in ops {
            match op {
                Op::Write { gref, to, frame, flags } => {
                    m.grant(gref, to, frame, flags);
                    owner[gref as usize] = to;
                }
                Op::Begin { gref, by, access, copy } => {
                    let e = &mut model[gref as usize];
                    let (before, frame) = (m.flags(gref), m.frame(gref));
                    let writing = e.uses.iter().any(|a| a.write);
                    let need_claim = e.uses.is_empty() || (access.write && !writing);
                    let granted = before & 3 == PERMIT
                        && owner[gref as usize] == by
                        && !(access.write && before & READONLY != 0)
                        && (copy || before & SUB_PAGE == 0);
                    let ok = (e.uses.is_empty() || e.by == by) && (!need_claim || granted);
                    let got = if copy {
                        t.begin_copy(&m, GrantRef(gref), DomId(by), access, resolve)
                    } else {
                        t.begin_map(&m, GrantRef(gref), DomId(by), access, resolve)
                    };
                    if !ok {
                        prop_assert_eq!(got, Err(GntStatus::GeneralError));
                        prop_assert_eq!(m.flags(gref), before);
                        continue;
                    }
                    if e.uses.is_empty() {
                        (e.by, e.frame) = (by, frame);
                    }
                    e.uses.push(access);
                    prop_assert_eq!(got.unwrap().mfn, Mfn(u64::from(e.frame) + 1000));
                    if need_claim {
                        prop_assert!(m.flags(gref) & READING != 0);
                        prop_assert!(!access.write || m.flags(gref) & WRITING != 0);
                    }
                }
                Op::End { gref, nth } => {
                    let e = &mut model[gref as usize];
                    if e.uses.is_empty() {
                        prop_assert_eq!(t.end(&m, GrantRef(gref), READ), Err(GntStatus::BadGntref));
                        continue;
                    }
                    let access = e.uses.remove(nth % e.uses.len());
                    t.end(&m, GrantRef(gref), access).unwrap();
                    prop_assert!(!e.uses.is_empty() || m.flags(gref) & READING == 0);
                    prop_assert!(e.uses.iter().any(|a| a.write) || m.flags(gref) & WRITING == 0);
                }
            }
            for (gref, e) in model.iter().enumerate() {
                let expect = (!e.uses.is_empty()).then_some((Mfn(u64::from(e.frame) + 1000), DomId(e.by)));
                prop_assert_eq!(t.in_use(GrantRef(gref as u32)), expect);
            }
        }
    }
}
