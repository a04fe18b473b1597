//! The IO-APIC: edges, levels, and random accesses.
use proptest::prelude::*;
use vdev::vioapic::{IoApic, Message};

fn set(apic: &mut IoApic, pin: u32, low: u32) -> Vec<Message> {
    let mut sent = Vec::new();
    apic.write(0, 4, 0x11 + 2 * pin, |m| sent.push(m));
    apic.write(0x10, 4, 0x0300_0000, |m| sent.push(m));
    apic.write(0, 4, 0x10 + 2 * pin, |m| sent.push(m));
    apic.write(0x10, 4, low, |m| sent.push(m));
    sent
}

fn eoi(apic: &mut IoApic, vector: u8) -> usize {
    let mut sent = 0;
    apic.eoi(vector, |_| sent += 1);
    sent
}

#[test]
fn an_edge_is_told_once() {
    let mut apic = IoApic::new(24, 1);
    assert!(apic.set_line(4, true).is_none());
    assert!(set(&mut apic, 4, 0x31).is_empty());
    assert!(apic.set_line(4, true).is_none());
    apic.set_line(4, false);
    let message = apic.set_line(4, true).unwrap();
    assert_eq!(
        (message.vector, message.dest, message.level),
        (0x31, 3, false)
    );
}

#[test]
fn a_level_is_told_until_it_falls() {
    let mut apic = IoApic::new(48, 1);
    apic.set_line(20, true);
    assert_eq!(set(&mut apic, 20, 0x8040).len(), 1);
    assert_eq!(apic.read(0x10, 4), 0xc040);
    assert!(apic.set_line(20, true).is_none());
    assert_eq!(eoi(&mut apic, 0x41), 0);
    assert_eq!(eoi(&mut apic, 0x40), 1);
    apic.set_line(20, false);
    assert_eq!(eoi(&mut apic, 0x40), 0);
    assert_eq!(apic.read(0x10, 4), 0x8040);
}

#[test]
fn the_version_tells_the_pins() {
    let mut apic = IoApic::new(48, 1);
    apic.write(0, 4, 1, |_| ());
    assert_eq!(apic.read(0x10, 4), 0x002f_0020);
}

proptest! {
    #[test]
    fn no_access_panics_and_messages_are_bounded(ops in prop::collection::vec(
        (0u8..4, any::<u16>(), 0u8..10, any::<u32>()), 1..300), pins in 0usize..100) {
        let mut apic = IoApic::new(pins, 0);
        for (op, place, size, value) in ops {
            let mut sent = 0;
            match op {
                0 => { apic.read(place & 0x7f, size); }
                1 => apic.write(place & 0x50, 4, value, |_| sent += 1),
                2 => apic.write(place & 0x7f, size, value, |_| sent += 1),
                _ => { apic.set_line(usize::from(place & 0x7f), value & 1 != 0); }
            }
            prop_assert!(sent <= 48);
        }
    }
}
