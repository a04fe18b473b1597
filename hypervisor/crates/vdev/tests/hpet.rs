//! The HPET: what kernels do with it, and random accesses.
use proptest::prelude::*;
use vdev::hpet::{Hpet, TICK_NS};

const CONFIG: u64 = 0x10;
const COUNTER: u64 = 0xf0;

/// Configuration and comparator of a timer.
fn timer(n: u64) -> (u64, u64) {
    (0x100 + n * 0x20, 0x108 + n * 0x20)
}

#[test]
fn the_counter_counts_while_it_is_enabled() {
    let mut hpet = Hpet::default();
    assert_eq!(hpet.read(4, 4, 0), TICK_NS * 1_000_000);
    assert_eq!(hpet.read(0, 4, 0) & 0xff, 1);
    assert_eq!(hpet.read(COUNTER, 8, 5000), 0);
    hpet.write(COUNTER, 8, 100, 5000);
    hpet.write(CONFIG, 4, 1, 8000);
    assert_eq!(hpet.read(COUNTER, 8, 8000 + 160), 110);
    hpet.write(CONFIG, 4, 0, 8000 + 320);
    assert_eq!(hpet.read(COUNTER, 4, 1 << 40), 120);
    hpet.write(COUNTER + 4, 4, 7, 0);
    assert_eq!(hpet.read(COUNTER, 8, 0), 7 << 32 | 120);
}

#[test]
fn one_shots_match_once_where_they_are_routed() {
    let mut hpet = Hpet::default();
    let (config, comparator) = timer(2);
    hpet.write(CONFIG, 8, 1, 0);
    hpet.write(config, 4, 1 << 2 | 21 << 9, 0);
    hpet.write(comparator, 8, 1000, 0);
    assert_eq!(hpet.deadline(), Some(16_000));
    assert_eq!(hpet.expire(15_999), 0);
    assert_eq!(hpet.expire(16_000), 1 << 21);
    assert_eq!((hpet.expire(u64::MAX), hpet.deadline()), (0, None));
    // A moment too late is at once, long ago is a round later.
    hpet.write(comparator, 8, 1990, 32_000);
    assert_eq!(hpet.deadline(), Some(32_000));
    hpet.write(config, 4, 1 << 2 | 1 << 8 | 21 << 9, 32_000);
    hpet.write(comparator, 8, 0, 16_000_000);
    assert_eq!(hpet.deadline(), Some((1 << 32) * TICK_NS));
}

#[test]
fn periods_are_kept_in_legacy_mode() {
    let mut hpet = Hpet::default();
    let (config, comparator) = timer(0);
    hpet.write(config, 4, 1 << 2 | 1 << 3 | 1 << 6, 0);
    hpet.write(comparator, 8, 62_500, 0);
    hpet.write(comparator, 8, 62_500, 0);
    hpet.write(CONFIG, 4, 3, 0);
    assert!(hpet.is_legacy());
    for n in 1..=1000 {
        assert_eq!(hpet.deadline(), Some(n * 1_000_000));
        assert_eq!(hpet.expire(n * 1_000_000 + n % 3), 1 << 2);
    }
    // Those missed count once, and the beat is kept.
    assert_eq!(hpet.expire(2_000_300_000), 1 << 2);
    assert_eq!(hpet.deadline(), Some(2_001_000_000));
}

#[test]
fn levels_are_held_until_cleared() {
    let mut hpet = Hpet::default();
    let (config, comparator) = timer(1);
    hpet.write(CONFIG, 4, 1, 0);
    hpet.write(config, 4, 1 << 1 | 1 << 2 | 23 << 9, 0);
    hpet.write(comparator, 4, 10, 0);
    assert_eq!((hpet.expire(160), hpet.levels()), (0, 1 << 23));
    assert_eq!(hpet.read(0x20, 4, 160), 2);
    hpet.write(0x20, 4, 2, 160);
    assert_eq!(hpet.levels(), 0);
}

proptest! {
    #[test]
    fn no_access_panics(ops in prop::collection::vec((0u8..4, 0u64..0x180, 0u8..12, any::<u64>(), any::<u64>()), 1..300)) {
        let mut hpet = Hpet::default();
        for (op, offset, size, value, now) in ops {
            match op {
                0 => { hpet.read(offset, size, now); }
                1 => hpet.write(offset & !7, size, value & 0x3f4f, now),
                2 => hpet.write(offset, size, value, now),
                _ => { hpet.expire(now); }
            }
            hpet.deadline();
            hpet.levels();
        }
        hpet.read(u64::MAX, 8, 0);
        hpet.write(u64::MAX, 8, 0, 0);
    }

    /// After a match the next one is in the future: a host that serves deadlines does not loop.
    #[test]
    fn deadlines_move_on(config in any::<u64>(), comparator: u64, period: u64, at: u64) {
        let mut hpet = Hpet::default();
        hpet.write(0x100, 8, config | 4, 0);
        hpet.write(0x108, 8, comparator, 0);
        hpet.write(0x108, 8, period, 0);
        hpet.write(CONFIG, 8, 1, 0);
        for _ in 0..4 {
            if let Some(due) = hpet.deadline() {
                let now = due.max(at);
                hpet.expire(now);
                prop_assert!(hpet.deadline().is_none_or(|next| next > now || next == u64::MAX));
            }
        }
    }
}
