//! The local APIC against a small model, and under random accesses.
use proptest::prelude::*;
use std::collections::BTreeSet;
use vdev::vlapic::{Action, Deadline, Dest, Effect, Ipi, Lapic, Waiting};
use vdev::{GeneralProtection, Now};

const T0: Now = Now { ns: 0, tsc: 0 };

fn at(ns: u64) -> Now {
    Now { ns, tsc: ns }
}

fn enabled(id: u32) -> Lapic {
    let mut lapic = Lapic::new(id, id == 0);
    lapic.mmio_write(0xf0, 4, 0x1ff, T0);
    lapic
}

fn x2(id: u32) -> Lapic {
    let mut lapic = enabled(id);
    lapic.set_base(lapic.base() | 0x400).unwrap();
    lapic
}

#[test]
fn modes_change_only_as_the_manual_allows() {
    let mut lapic = Lapic::new(0, true);
    assert_eq!(lapic.base(), 0xfee0_0900);
    assert_eq!(lapic.set_base(0xfee0_0500), Err(GeneralProtection));
    assert_eq!(lapic.set_base(0xfed0_0900), Err(GeneralProtection));
    lapic.set_base(0xfee0_0d00).unwrap();
    assert_eq!(lapic.set_base(0xfee0_0900), Err(GeneralProtection));
    lapic.set_base(0xfee0_0100).unwrap();
    assert_eq!(lapic.set_base(0xfee0_0d00), Err(GeneralProtection));
    lapic.set_base(0xfee0_0900).unwrap();
}

#[test]
fn timers_fire_once_again_and_at_the_deadline() {
    let mut lapic = enabled(0);
    lapic.mmio_write(0x3e0, 4, 0xb, T0);
    lapic.mmio_write(0x320, 4, 0x40, T0);
    lapic.mmio_write(0x380, 4, 1000, T0);
    assert_eq!(lapic.deadline(), Deadline::Ns(10_000));
    assert_eq!(lapic.mmio_read(0x390, 4, at(4_000)), 600);
    lapic.expire(at(9_999));
    assert_eq!(lapic.pending(), None);
    lapic.expire(at(10_000));
    assert_eq!(lapic.accept(), Some(0x40));
    assert_eq!(lapic.deadline(), Deadline::Never);
    lapic.mmio_write(0xb0, 4, 0, T0);

    lapic.mmio_write(0x320, 4, 0x2_0041, T0);
    lapic.mmio_write(0x380, 4, 10_000, at(0));
    lapic.expire(at(350_000));
    assert_eq!(lapic.accept(), Some(0x41));
    assert_eq!(lapic.deadline(), Deadline::Ns(400_000));
    lapic.mmio_write(0xb0, 4, 0, T0);

    lapic.mmio_write(0x320, 4, 0x4_0042, T0);
    assert_eq!(lapic.deadline(), Deadline::Never);
    lapic.set_tsc_deadline(77);
    assert_eq!(lapic.deadline(), Deadline::Tsc(77));
    lapic.expire(at(77));
    assert_eq!((lapic.pending(), lapic.tsc_deadline()), (Some(0x42), 0));
}

#[test]
fn level_vectors_are_told_to_the_io_apics() {
    let mut lapic = enabled(0);
    lapic.raise(0x50, true);
    lapic.raise(0x61, false);
    assert_eq!(lapic.accept(), Some(0x61));
    assert_eq!(lapic.accept(), None);
    assert_eq!(lapic.mmio_write(0xb0, 4, 0, T0), Effect::None);
    assert_eq!(lapic.accept(), Some(0x50));
    assert_eq!(lapic.mmio_write(0xb0, 4, 0, T0), Effect::EoiBroadcast(0x50));
}

#[test]
fn destinations() {
    let mut flat = enabled(3);
    flat.mmio_write(0xd0, 4, 0x0800_0000, T0);
    let to = |dest, wide| Ipi {
        dest,
        action: Action::Nmi,
        wide,
    };
    assert!(flat.is_addressed(&to(Dest::Logical(0x0c), false), 0));
    assert!(!flat.is_addressed(&to(Dest::Logical(0x07), false), 0));
    assert!(flat.is_addressed(&to(Dest::Physical(0xff), false), 0));
    assert!(!flat.is_addressed(&to(Dest::Others, false), 3));
    flat.mmio_write(0xe0, 4, 0, T0);
    flat.mmio_write(0xd0, 4, 0x2400_0000, T0);
    assert!(flat.is_addressed(&to(Dest::Logical(0x24), false), 0));
    assert!(!flat.is_addressed(&to(Dest::Logical(0x14), false), 0));
    let wide = x2(0x23);
    assert_eq!(wide.msr_read(0x80d, T0), Ok(0x2_0008));
    assert!(wide.is_addressed(&to(Dest::Logical(0x2_0008), true), 0));
    assert!(!wide.is_addressed(&to(Dest::Logical(0x1_0008), true), 0));
}

#[test]
fn x2apic_faults_on_what_is_reserved() {
    let mut lapic = x2(1);
    for (msr, value) in [
        (0x802, 0),
        (0x80b, 1),
        (0x80e, 0),
        (0x831, 0),
        (0x808, 0x100),
        (0x83f, 0x100),
        (0x900, 0),
    ] {
        assert_eq!(lapic.msr_write(msr, value, T0), Err(GeneralProtection));
    }
    let sent = lapic.msr_write(0x830, 0x5_0000_0641, T0);
    let ipi = Ipi {
        dest: Dest::Physical(5),
        action: Action::Startup(0x41),
        wide: true,
    };
    assert_eq!(sent, Ok(Effect::Send(ipi)));
    assert_eq!(lapic.msr_read(0x830, T0), Ok(0x5_0000_0641));
}

proptest! {
    #[test]
    fn priorities_are_the_models(ops in prop::collection::vec((0u8..4, any::<u8>()), 1..200)) {
        let mut lapic = enabled(0);
        let (mut irr, mut isr, mut tpr) = (BTreeSet::new(), BTreeSet::new(), 0u8);
        for (op, value) in ops {
            match op {
                0 => if lapic.raise(value, false) { irr.insert(value); },
                1 => { lapic.mmio_write(0x80, 4, value.into(), T0); tpr = value; }
                2 => { lapic.mmio_write(0xb0, 4, 0, T0); isr.pop_last(); }
                _ => {
                    let class = isr.last().copied().unwrap_or(0).max(tpr) >> 4;
                    let next = irr.last().copied().filter(|v| v >> 4 > class);
                    prop_assert_eq!(lapic.accept(), next);
                    if let Some(v) = next { irr.remove(&v); isr.insert(v); }
                }
            }
            prop_assert!(irr.iter().all(|v| *v >= 16));
            // What CR8 alone keeps back comes when it is below, and not before.
            let now = lapic.cr8();
            let mut comes_at = |class| {
                lapic.set_cr8(class);
                lapic.pending().is_some()
            };
            let first = (0..now).rev().find(|class| comes_at(*class));
            lapic.set_cr8(now);
            let expected = first.filter(|_| lapic.pending().is_none()).map(|class| class + 1);
            let held_back = match lapic.waiting() {
                Waiting::HeldBack(class) => Some(class),
                _ => None,
            };
            prop_assert_eq!(held_back, expected);
            lapic.mmio_write(0x80, 4, tpr.into(), T0);
        }
    }

    #[test]
    fn no_access_panics(ops in prop::collection::vec(
        (0u8..8, any::<u16>(), any::<u8>(), any::<u64>(), any::<u64>()), 1..200)) {
        let mut lapic = Lapic::new(7, false);
        for (op, place, size, value, ns) in ops {
            let now = Now { ns, tsc: ns.rotate_left(7) };
            let near = place & 0xff0;
            match op {
                0 => { lapic.mmio_read(place, size, now); }
                1 => { lapic.mmio_write(near, 4, value as u32, now); }
                2 => { lapic.mmio_write(place, size, value as u32, now); }
                3 => { let _ = lapic.msr_read(0x800 + u32::from(place & 0xff), now); }
                4 => { let _ = lapic.msr_write(0x800 + u32::from(place & 0x3f), value & 0xf_00ff, now); }
                5 => { let _ = lapic.set_base(0xfee0_0000 | value & 0xd00); }
                6 => { lapic.set_tsc_deadline(value); lapic.expire(now); }
                _ => { lapic.raise(size, value & 1 != 0); lapic.accept(); }
            }
            lapic.deadline();
            lapic.pending();
        }
    }
}
