//! The 8259A pair: a PC's usual life, and random accesses.
use proptest::prelude::*;
use vdev::vpic::Pic;

fn started() -> Pic {
    let mut pic = Pic::default();
    for (port, base, wire) in [(0x20, 0x20, 4), (0xa0, 0x28, 2)] {
        for (at, value) in [(0, 0x11), (1, base), (1, wire), (1, 1), (1, 0)] {
            pic.write(port + at, value);
        }
    }
    pic
}

#[test]
fn lines_are_served_by_priority_and_ended() {
    let mut pic = started();
    pic.set_line(4, true);
    pic.set_line(1, true);
    assert_eq!(pic.acknowledge(), 0x21);
    assert!(!pic.pending());
    pic.write(0x20, 0x20);
    assert_eq!(pic.acknowledge(), 0x24);
    pic.write(0x20, 0x64);
    assert!(!pic.pending());
    assert_eq!(pic.acknowledge(), 0x27);
}

#[test]
fn the_slave_is_served_through_line_two() {
    let mut pic = started();
    pic.set_line(12, true);
    pic.set_line(8, true);
    assert_eq!(pic.acknowledge(), 0x28);
    pic.write(0xa0, 0x20);
    pic.write(0x20, 0x20);
    assert_eq!(pic.acknowledge(), 0x2c);
}

#[test]
fn levels_ask_again_and_polling_names_the_line() {
    let mut pic = started();
    pic.write(0x4d0, 0xff);
    assert_eq!(pic.read(0x4d0), Some(0xf8));
    pic.set_line(5, true);
    assert_eq!(pic.acknowledge(), 0x25);
    pic.write(0x20, 0x20);
    assert!(pic.pending());
    pic.write(0x20, 0x0c);
    assert_eq!(pic.read(0x20), Some(0x85));
}

#[test]
fn a_masked_line_waits_and_rotation_puts_the_served_last() {
    let mut pic = started();
    pic.write(0x21, 1 << 3);
    pic.set_line(3, true);
    assert!(!pic.pending());
    pic.write(0x21, 0);
    assert_eq!(pic.acknowledge(), 0x23);
    pic.write(0x20, 0xa0);
    pic.set_line(0, true);
    pic.set_line(4, true);
    assert_eq!(pic.acknowledge(), 0x24);
}

proptest! {
    #[test]
    fn no_access_panics(ops in prop::collection::vec((0u8..4, any::<u8>(), any::<u8>()), 1..300)) {
        const PORTS: [u16; 8] = [0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0, 0xffff];
        let mut pic = Pic::default();
        for (op, place, value) in ops {
            let port = PORTS[usize::from(place % 8)];
            match op {
                0 => { pic.read(port); }
                1 => pic.write(port, value),
                2 => pic.set_line(place, value & 1 != 0),
                _ => if pic.pending() { pic.acknowledge(); },
            }
        }
    }
}
