//! Requests to device models: who is asked, what is answered, rings whose other side misbehaves.
use proptest::prelude::*;
use vdev::ioreq::*;
use xen_abi::Errno;
use xen_abi::hvm::ioreq::*;

const PORT: u32 = 0;
const MEMORY: u32 = 1;
const PCI: u32 = 2;

fn request(space: Space, addr: u64, size: u8) -> Request {
    Request {
        space,
        addr,
        data: 0x1122_3344_5566_7788,
        size,
        count: 1,
        read: false,
        down: false,
        by_pointer: false,
    }
}

#[test]
fn whole_requests_go_to_the_one_who_registered() {
    let mut s = Servers::default();
    let (a, b) = (s.create(0).unwrap(), s.create(2).unwrap());
    s.map(a, PORT, 0x60, 0x64).unwrap();
    s.map(b, MEMORY, 0xa0000, 0xbffff).unwrap();
    assert_eq!(
        s.select(&request(Space::Port, 0x60, 4)),
        None,
        "not enabled"
    );
    s.set_enabled(a, true).unwrap();
    s.set_enabled(b, true).unwrap();
    assert_eq!(s.select(&request(Space::Port, 0x61, 4)), Some(a));
    assert_eq!(s.select(&request(Space::Port, 0x62, 4)), None);
    let mut stos = request(Space::Memory, 0xbfff0, 4);
    stos.count = 4;
    assert_eq!(s.select(&stos), Some(b));
    stos.count = 5;
    assert_eq!(s.select(&stos), None);
    stos.down = true;
    assert_eq!(s.select(&stos), Some(b));
    assert!(!s.takes_buffered(a) && s.takes_buffered(b) && !s.takes_buffered(99));
    s.destroy(b).unwrap();
    assert_eq!(s.select(&stos), None);
    assert_eq!(s.destroy(b), Err(Errno::ENOENT));
}

#[test]
fn configuration_is_reached_by_its_address_port() {
    let mut s = Servers::default();
    let a = s.create(1).unwrap();
    s.set_enabled(a, true).unwrap();
    s.map(a, PCI, 0x0018, 0x0018).unwrap();
    let r = request(Space::Port, 0xcfe, 2);
    assert_eq!(r.through_cf8(0x1804).space, Space::Port);
    let r = r.through_cf8(0x8000_1804);
    assert_eq!((r.space, r.addr), (Space::Pci, 0x18 << 32 | 6));
    assert_eq!(s.select(&r), Some(a));
    assert_eq!(
        r.encode(xen_abi::Port(5)).r#type,
        IOREQ_TYPE_PCI_CONFIG as u8
    );
}

#[test]
fn ranges_are_taken_back_as_they_were_given_or_in_part() {
    let mut s = Servers::default();
    let a = s.create(0).unwrap();
    s.set_enabled(a, true).unwrap();
    s.map(a, MEMORY, 0, 9).unwrap();
    s.map(a, MEMORY, 20, u64::MAX).unwrap();
    s.map(a, MEMORY, 10, 19).unwrap();
    assert_eq!(s.map(a, MEMORY, 5, 5), Err(Errno::EEXIST));
    assert_eq!(s.unmap(a, PORT, 5, 5), Err(Errno::ENOENT));
    assert_eq!(s.map(a, 3, 0, 0), Err(Errno::EINVAL));
    assert_eq!(s.map(a, PORT, 1, 0), Err(Errno::EINVAL));
    assert_eq!(s.map(9, PORT, 0, 0), Err(Errno::ENOENT));
    s.unmap(a, MEMORY, 8, 30).unwrap();
    let taken = |at| s.select(&request(Space::Memory, at, 1)).is_some();
    assert_eq!([7, 8, 30, 31].map(taken), [true, false, false, true]);
    for n in 0..RANGES as u64 - 2 {
        s.map(a, PORT, n * 2, n * 2).unwrap();
    }
    assert_eq!(s.map(a, PORT, 0xffff, 0xffff), Err(Errno::ENOSPC));
    assert_eq!(s.unmap(a, MEMORY, 40, 41), Err(Errno::ENOSPC));
    assert_eq!((s.create(3), s.create(0)), (Err(Errno::EINVAL), Ok(1)));
}

#[test]
fn answers_are_taken_in_order() {
    let mut read = request(Space::Port, 0x71, 1);
    read.read = true;
    let mut place = read.encode(xen_abi::Port(7));
    assert!(place.is_read() && !place.df() && !place.data_is_ptr());
    assert_eq!((place.size, place.count), (1, 1));
    let mut p = Pending::new(0, read);
    assert_eq!(p.poll(&place), Answer::Waiting);
    place.set_state(STATE_IOREQ_INPROCESS as u8);
    assert_eq!(p.poll(&place), Answer::Waiting);
    place.data = 0xabcd;
    let mut answered = p;
    place.set_state(STATE_IORESP_READY as u8);
    assert_eq!(answered.poll(&place), Answer::Data(0xcd));
    for wrong in [STATE_IOREQ_READY, STATE_IOREQ_NONE, 9] {
        place.set_state(wrong as u8);
        assert_eq!(p.clone().poll(&place), Answer::Broken);
    }
    assert_eq!(p.abandon(), 0xff);
}

#[test]
fn writes_are_buffered_while_there_is_room() {
    let vga = request(Space::Memory, 0xa0010, 8);
    let put = put_buffered(&vga, 10, 510).unwrap();
    assert_eq!(
        put,
        Buffered {
            write_pointer: 512,
            ..put_buffered(&vga, 510, 510).unwrap()
        }
    );
    let [Some((510, low)), Some((0, high))] = put.slots else {
        panic!("{put:?}");
    };
    assert_eq!((low.data, high.data), (0x5566_7788, 0x1122_3344));
    assert_eq!(low._bits, 1 | 3 << 10 | 0xa0010 << 12);
    assert_eq!(put_buffered(&vga, 0, 511), None);
    assert_eq!(
        put_buffered(&request(Space::Memory, 1 << 20, 1), 0, 0),
        None
    );
    assert_eq!(put_buffered(&request(Space::Memory, 0, 3), 0, 0), None);
    assert_eq!(wrap_pointers(511, 600), Some((0, 89)));
    assert_eq!(wrap_pointers(510, 600), None);
}

proptest! {
    #[test]
    fn nothing_panics(ops in prop::collection::vec((0u8..6, 0u16..10, 0u32..4, any::<u64>(), any::<u64>(), any::<u8>()), 1..100), pointers: [u32; 2]) {
        let mut s = Servers::default();
        for (op, id, kind, a, b, size) in ops {
            let (a, b) = if op & 1 == 0 { (a, b) } else { (a & 63, a.wrapping_add(b & 7) & 63) };
            let space = [Space::Port, Space::Memory, Space::Pci][kind as usize % 3];
            let r = Request { count: b as u32, down: a & 1 != 0, ..request(space, a, size) };
            match op {
                0 => { let _ = s.create(id as u8 & 3); }
                1 => { let _ = s.destroy(id); }
                2 | 3 => { let _ = s.map(id, kind, a, b); }
                _ => { let _ = s.unmap(id, kind, a, b); }
            }
            let _ = s.set_enabled(id, true);
            s.select(&r);
            s.select(&r.through_cf8(b as u32));
            if let Some(put) = put_buffered(&r, pointers[0], pointers[1]) {
                prop_assert!(put.slots.iter().flatten().all(|(n, _)| *n < 511));
            }
        }
    }
}
