//! Handles: given out, claimed, given back.
use grant::{GntStatus, Handle, MapFlags, Mapping, Maptrack};
use proptest::prelude::*;
use std::collections::BTreeMap;
use xen_abi::{DomId, GrantRef, Mfn};

const HOST: u32 = MapFlags::HOST_MAP;
const DEV: u32 = MapFlags::DEVICE_MAP;

fn mapping(gref: u32, flags: u32) -> Mapping {
    Mapping {
        granter: DomId(1),
        gref: GrantRef(gref),
        flags: MapFlags(flags),
        mfn: Mfn(7),
        host_addr: 0x1000,
    }
}

#[test]
fn host_and_device_parts_are_unmapped_separately() {
    let mut t = Maptrack::new(8);
    let h = t.insert(mapping(1, HOST | DEV)).unwrap();
    t.begin_unmap(h).unwrap();
    let first = t.finish_unmap(h, true, false).unwrap();
    assert!(first.access.host && !first.access.dev && !first.gone);
    assert_eq!(t.get(h).unwrap().flags, MapFlags(DEV));
    t.begin_unmap(h).unwrap();
    let again = t.finish_unmap(h, true, false).unwrap();
    assert!(!again.access.host && !again.gone, "it was unmapped before");
    t.begin_unmap(h).unwrap();
    assert!(t.finish_unmap(h, false, true).unwrap().gone);
    assert_eq!(t.get(h), Err(GntStatus::BadHandle));
}

#[test]
fn a_handle_is_unmapped_by_one_at_a_time() {
    let mut t = Maptrack::new(8);
    let h = t.insert(mapping(1, HOST)).unwrap();
    assert_eq!(t.finish_unmap(h, true, true), Err(GntStatus::BadHandle));
    t.begin_unmap(h).unwrap();
    assert_eq!(t.begin_unmap(h), Err(GntStatus::BadHandle));
    t.cancel_unmap(h);
    t.begin_unmap(h).unwrap();
    assert!(t.finish_unmap(h, true, true).unwrap().gone);
    for h in [h, Handle(7), Handle(300), Handle(u32::MAX)] {
        assert_eq!(t.begin_unmap(h), Err(GntStatus::BadHandle));
    }
}

#[test]
fn a_mapping_in_the_making_cannot_be_unmapped() {
    let mut t = Maptrack::new(8);
    let h = t.reserve(mapping(1, HOST)).unwrap();
    assert_eq!(t.begin_unmap(h), Err(GntStatus::BadHandle));
    assert!(t.finish_unmap(h, true, true).unwrap().gone, "it failed");
    let h = t.reserve(mapping(2, HOST)).unwrap();
    t.publish(h);
    assert!(t.begin_unmap(h).is_ok());
}

proptest! {
    #[test]
    fn handles_follow_a_plain_map(limit in 0u32..600, ops in prop::collection::vec((0u8..3, any::<u32>()), 0..1500)) {
        let mut t = Maptrack::new(limit);
        let mut model = BTreeMap::new();
        for (op, n) in ops {
            if op > 0 {
                match t.insert(mapping(n, HOST)) {
                    Ok(h) => assert!(h.0 < 1024 && model.insert(h, n).is_none()),
                    Err(e) => assert!(e == GntStatus::NoSpace && model.len() == limit as usize),
                }
            } else if let Some((&h, &gref)) = model.iter().nth(n as usize % model.len().max(1)) {
                assert_eq!(t.begin_unmap(h).unwrap().gref, GrantRef(gref));
                assert!(t.finish_unmap(h, true, true).unwrap().gone);
                model.remove(&h);
            }
            assert_eq!(t.used() as usize, model.len());
        }
        let mut from = Handle(0);
        let mut left = Vec::new();
        while let Some((h, m)) = t.next_used(from) {
            left.push((h, m.gref.0));
            from = Handle(h.0 + 1);
        }
        assert_eq!(left, model.into_iter().collect::<Vec<_>>());
    }
}
