//! The clock chip as kernels and firmware use it, and random accesses.
use super::*;
use proptest::prelude::*;

/// 2024-02-29 23:59:58.
const START: i64 = 1_709_251_198 * 1_000_000_000;
const S: u64 = 1_000_000_000;

fn read(rtc: &mut Rtc, index: u8, now: u64) -> u8 {
    rtc.write(0x70, index, now);
    rtc.read(0x71, now).unwrap()
}

fn write(rtc: &mut Rtc, index: u8, value: u8, now: u64) -> bool {
    rtc.write(0x70, index, now);
    rtc.write(0x71, value, now)
}

fn date(rtc: &mut Rtc, now: u64) -> [u8; 8] {
    [0x32, 9, 8, 7, 6, 4, 2, 0].map(|index| read(rtc, index, now))
}

#[test]
fn the_time_goes_on_over_a_leap_day() {
    let mut rtc = Rtc::new(START);
    assert_eq!(
        date(&mut rtc, 0),
        [0x20, 0x24, 0x02, 0x29, 5, 0x23, 0x59, 0x58]
    );
    assert_eq!(date(&mut rtc, 2 * S), [0x20, 0x24, 0x03, 0x01, 6, 0, 0, 0]);
    write(&mut rtc, reg::B, BINARY, 2 * S);
    assert_eq!(
        date(&mut rtc, 15 * 3600 * S),
        [20, 24, 3, 1, 6, 0x80 | 2, 59, 58]
    );
    assert_eq!(read(&mut rtc, reg::D, 0), VALID);
}

#[test]
fn a_time_that_is_set_counts_from_the_release() {
    let mut rtc = Rtc::new(START);
    write(&mut rtc, reg::B, SET | HOURS_24, S);
    for (index, value) in [
        (0, 0x30),
        (2, 0x15),
        (4, 0x07),
        (7, 0x24),
        (8, 0x12),
        (9, 0x99),
        (0x32, 0x19),
    ] {
        assert!(write(&mut rtc, index, value, S));
    }
    assert_eq!(
        date(&mut rtc, 9 * S),
        [0x19, 0x99, 0x12, 0x24, 6, 0x07, 0x15, 0x30]
    );
    write(&mut rtc, reg::B, HOURS_24, 10 * S);
    assert_eq!(date(&mut rtc, 11 * S)[7], 0x31);
    assert!(!write(&mut rtc, reg::WEEKDAY, 2, 11 * S));
    assert_eq!(read(&mut rtc, reg::WEEKDAY, 11 * S + 86_400 * S), 3);
}

#[test]
fn a_periodic_interrupt_waits_to_be_acknowledged() {
    let mut rtc = Rtc::new(START);
    write(&mut rtc, reg::B, PERIODIC | HOURS_24, 0);
    let mut now = 0;
    for _ in 0..1024 {
        now = rtc.deadline().unwrap();
        assert!(!rtc.irq() && rtc.expire(now) && rtc.irq());
        assert_eq!(rtc.deadline(), None);
        assert_eq!(
            read(&mut rtc, reg::C, now) & (IRQF | PERIODIC),
            IRQF | PERIODIC
        );
    }
    assert_eq!(now, S);
    assert_eq!(read(&mut rtc, reg::C, now), 0);
}

#[test]
fn updates_are_announced_and_told() {
    let mut rtc = Rtc::new(START);
    assert_eq!(read(&mut rtc, reg::A, S - 300_000), 0x26);
    assert_eq!(read(&mut rtc, reg::A, S - 200_000), 0xa6);
    assert_eq!(read(&mut rtc, reg::C, S) & (IRQF | UPDATE), UPDATE);
    write(&mut rtc, reg::B, UPDATE | HOURS_24, S + 5);
    assert_eq!(rtc.deadline(), Some(2 * S));
    write(&mut rtc, reg::B, SET | UPDATE | HOURS_24, S + 5);
    assert_eq!(rtc.deadline(), None);
}

#[test]
fn a_divider_that_is_reset_begins_half_a_second_later() {
    let mut rtc = Rtc::new(START);
    write(&mut rtc, reg::A, 0x70, S / 4);
    write(&mut rtc, reg::B, UPDATE | HOURS_24, S / 4);
    assert_eq!(rtc.deadline(), None);
    write(&mut rtc, reg::A, 0x26, 7 * S);
    assert_eq!(rtc.deadline(), Some(7 * S + S / 2));
}

#[test]
fn alarms_match_a_moment_or_anything() {
    // At 23:59:58: hour, minute and second wanted, seconds until then.
    let cases = [
        ([0x00, 0x00, 0x00], 2),
        ([0x23, 0x59, 0x58], 86_400),
        ([0x23, 0x59, 0x59], 1),
        ([0xff, 0xff, 0x57], 59),
        ([0xff, 0x30, 0x10], 30 * 60 + 12),
        ([0xff, 0xff, 0xff], 1),
        ([0x07, 0xc0, 0xc0], 7 * 3600 + 2),
        ([0x23, 0x59, 0xc0], 1),
    ];
    for ([hour, minute, second], after) in cases {
        let mut rtc = Rtc::new(START);
        for (index, value) in [(5, hour), (3, minute), (1, second), (11, ALARM | HOURS_24)] {
            write(&mut rtc, index, value, 0);
        }
        assert_eq!(
            rtc.deadline(),
            Some(after * S),
            "{hour:x}:{minute:x}:{second:x}"
        );
        assert!(!rtc.expire(after * S - 1) && rtc.expire(after * S));
    }
    let mut rtc = Rtc::new(START);
    for (index, value) in [(5, 0x24), (11, ALARM | HOURS_24)] {
        write(&mut rtc, index, value, 0);
    }
    assert_eq!(rtc.deadline(), None);
    // Half past eleven at night in halves of a day.
    for (index, value) in [(11, ALARM), (5, 0x91), (3, 0x30), (1, 0)] {
        write(&mut rtc, index, value, 0);
    }
    assert_eq!(rtc.deadline(), Some((23 * 3600 + 1802) * S));
}

#[test]
fn memory_is_remembered_and_time_is_not_memory() {
    let mut rtc = Rtc::new(START);
    rtc.set_cmos(0x15, 0x80);
    rtc.set_cmos(reg::YEAR, 1);
    rtc.set_cmos(CENTURY, 1);
    assert!(!write(&mut rtc, 0x7f, 0x5a, 0));
    assert_eq!(
        [0x15, 0x7f, 9, 0x32].map(|i| read(&mut rtc, i, 0)),
        [0x80, 0x5a, 0x24, 0x20]
    );
    assert_eq!((rtc.read(0x70, 0), rtc.read(0x72, 0)), (Some(0xff), None));
}

proptest! {
    #[test]
    fn no_access_panics(epoch: i64, ops in prop::collection::vec((0u8..8, any::<u8>(), any::<u8>(), any::<u64>()), 1..300)) {
        let mut rtc = Rtc::new(epoch);
        for (op, index, value, now) in ops {
            let index = if op & 1 == 0 { index & 15 } else { index };
            match op {
                0..=3 => { write(&mut rtc, index, value, now); }
                4..=5 => { read(&mut rtc, index, now); }
                _ => { rtc.expire(now); }
            }
            rtc.deadline();
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// A timer at each deadline sees the same as looking often does.
    #[test]
    fn deadlines_miss_nothing(rate in 10u8..=15, enabled in 1u8..8, start in 0u64..S, alarm: [u8; 3]) {
        let mut rtc = Rtc::new(START);
        write(&mut rtc, reg::A, 0x20 | rate, start);
        for (index, value) in [1, 3, 5].into_iter().zip(alarm) {
            write(&mut rtc, index, value, start);
        }
        write(&mut rtc, reg::B, enabled << 4 | HOURS_24, start);
        let mut often = rtc;
        let mut now = start;
        while now < start + 100 * S {
            now += 40_000_003;
            let due = rtc.deadline().is_some_and(|at| at <= now);
            prop_assert_eq!(due, rtc.expire(now));
            prop_assert_eq!(due, often.expire(now));
            if due {
                prop_assert_eq!(read(&mut rtc, reg::C, now), read(&mut often, reg::C, now));
            }
        }
    }
}
