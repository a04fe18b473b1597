//! The 8254: what kernels do with it, and random accesses.
use proptest::prelude::*;
use vdev::vpit::Pit;

#[test]
fn a_hundred_times_a_second() {
    let mut pit = Pit::default();
    assert_eq!(pit.deadline(), None);
    for (port, value) in [(0x43, 0x34), (0x40, 0x9c), (0x40, 0x2e)] {
        pit.write(port, value, 0);
    }
    let mut edges = 0;
    while pit.deadline().unwrap() <= 1_000_100_000 {
        assert!(pit.expire(pit.deadline().unwrap()));
        edges += 1;
    }
    assert_eq!(edges, 100);
    assert!(pit.expire(5_000_000_000));
    assert!(!pit.expire(5_000_000_000));
}

#[test]
fn the_clock_is_calibrated_on_channel_two() {
    let mut pit = Pit::default();
    pit.write(0x61, 1, 0);
    for (port, value) in [(0x43, 0xb0), (0x42, 0xff), (0x42, 0xff)] {
        pit.write(port, value, 0);
    }
    assert_eq!(pit.read(0x61, 54_000_000).unwrap() & 0x20, 0);
    assert_eq!(pit.read(0x61, 55_000_000).unwrap() & 0x20, 0x20);
}

#[test]
fn latches_hold_the_count_and_the_state() {
    let mut pit = Pit::default();
    for (port, value) in [(0x43, 0x34), (0x40, 0), (0x40, 0), (0x43, 0)] {
        pit.write(port, value, 0);
    }
    assert_eq!(pit.read(0x40, 9_000_000), Some(0));
    assert_eq!(pit.read(0x40, 9_000_000), Some(0));
    pit.write(0x43, 0xe2, 0);
    assert_eq!(pit.read(0x40, 0), Some(0xb4));
}

proptest! {
    #[test]
    fn no_access_panics(ops in prop::collection::vec((0u8..3, 0usize..6, any::<u8>(), any::<u64>()), 1..300)) {
        const PORTS: [u16; 6] = [0x40, 0x41, 0x42, 0x43, 0x61, 0];
        let mut pit = Pit::default();
        for (op, place, value, now) in ops {
            match op {
                0 => { pit.read(PORTS[place], now); }
                1 => pit.write(PORTS[place], value, now),
                _ => { pit.expire(now); pit.deadline(); }
            }
        }
    }
}
