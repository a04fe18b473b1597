//! The daemon over its socket: many clients, and hostile ones.
mod common;

use common::Running;
use std::io::{Read, Write};
use std::time::{Duration, Instant};
use xenstore::{Op, Store, wire};
use xenstored::platform::NoDomains;

#[test]
fn a_client_writes_reads_lists_and_removes() {
    let r = Running::start(NoDomains);
    let c = r.client();
    c.write("/a/b", "1").unwrap();
    assert_eq!(c.read_string("/a/b").unwrap(), "1");
    assert_eq!(c.directory("/a").unwrap(), ["b"]);
    assert!(c.read("/a/c").unwrap_err().is_not_found());
    assert_eq!(c.read_opt("/a/c").unwrap(), None);
    c.rm("/a").unwrap();
    assert!(!c.exists("/a").unwrap());
    assert_eq!(c.control(&["check"]).unwrap(), "OK");
}

#[test]
fn directories_of_any_size_are_listed() {
    let r = Running::start(NoDomains);
    let c = r.client();
    let names: Vec<String> = (0..1000).map(|i| format!("child-number-{i:05}")).collect();
    for n in &names {
        c.mkdir(&format!("/big/{n}")).unwrap();
    }
    assert_eq!(c.directory("/big").unwrap(), names);
}

#[test]
fn many_clients_count_without_losing_one() {
    let r = Running::start(NoDomains);
    r.client().write("/counter", "0").unwrap();
    std::thread::scope(|s| {
        for _ in 0..8 {
            s.spawn(|| {
                let c = r.client();
                for _ in 0..25 {
                    c.transaction(|tx| {
                        let n: u32 = tx.read_parsed("/counter")?.unwrap();
                        tx.write("/counter", &(n + 1).to_string())
                    })
                    .unwrap();
                }
            });
        }
    });
    assert_eq!(r.client().read_string("/counter").unwrap(), "200");
}

#[test]
fn a_watcher_waits_for_a_writer() {
    let r = Running::start(NoDomains);
    std::thread::scope(|s| {
        s.spawn(|| {
            std::thread::sleep(Duration::from_millis(50));
            r.client().write("/state", "4").unwrap();
        });
        let c = r.client();
        let wait = Duration::from_secs(10);
        let seen = c
            .wait_for("/state", wait, |c| c.read_opt("/state"))
            .unwrap();
        assert_eq!(seen.as_deref(), Some("4"));
    });
    let start = Instant::now();
    let c = r.client();
    let none: Option<()> = c
        .wait_for("/x", Duration::from_millis(50), |_| Ok(None))
        .unwrap();
    assert!(none.is_none() && start.elapsed() >= Duration::from_millis(50));
}

#[test]
fn messages_may_come_in_any_pieces() {
    let r = Running::start(NoDomains);
    let mut s = r.raw();
    let mut bytes = wire::encode(Op::WRITE, 1, 0, b"/a\0value");
    bytes.extend(wire::encode(Op::READ, 2, 0, b"/a\0"));
    for b in bytes {
        s.write_all(&[b]).unwrap();
    }
    let mut expected = wire::encode(Op::WRITE, 1, 0, b"OK\0");
    expected.extend(wire::encode(Op::READ, 2, 0, b"value"));
    let mut got = vec![0; expected.len()];
    s.read_exact(&mut got).unwrap();
    assert_eq!(got, expected);
}

#[test]
fn a_giant_length_closes_the_connection_and_no_other() {
    let r = Running::start(NoDomains);
    let c = r.client();
    let mut s = r.raw();
    let head = xenstore::Header {
        op: Op::READ,
        req_id: 1,
        tx_id: 0,
        len: u32::MAX,
    };
    s.write_all(&head.encode()).unwrap();
    let mut rest = Vec::new();
    let _ = s.read_to_end(&mut rest);
    assert!(rest.is_empty());
    c.write("/still", "here").unwrap();
}

#[test]
fn leaving_in_the_middle_of_anything_leaves_nothing() {
    let r = Running::start(NoDomains);
    let c = r.client();
    for cut in 1..24 {
        let mut s = r.raw();
        s.write_all(&wire::encode(Op::TRANSACTION_START, 1, 0, b"\0"))
            .unwrap();
        s.write_all(&wire::encode(Op::WRITE, 2, 1, b"/never\0x"))
            .unwrap();
        s.write_all(&wire::encode(Op::WATCH, 3, 0, b"/\0t\0"))
            .unwrap();
        s.write_all(&wire::encode(Op::WRITE, 4, 0, b"/neither\0x")[..cut])
            .unwrap();
    }
    c.write("/x", "1").unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let report = c.control(&["memreport"]).unwrap();
        if report.contains("watches 0") && report.contains("transactions 0") {
            break;
        }
        assert!(Instant::now() < deadline, "{report}");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!c.exists("/never").unwrap() && !c.exists("/neither").unwrap());
}

#[test]
fn a_client_that_never_reads_delays_nobody() {
    let r = Running::start(NoDomains);
    let mut deaf = r.raw();
    deaf.set_write_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    deaf.write_all(&wire::encode(Op::WATCH, 1, 0, b"/\0t\0"))
        .unwrap();
    let c = r.client();
    c.write("/big", &"x".repeat(4000)).unwrap();
    let read = wire::encode(Op::READ, 2, 0, b"/big\0");
    // Until its own requests are no longer taken.
    while deaf.write_all(&read).is_ok() {}
    let start = Instant::now();
    for i in 0..2000 {
        c.write("/n", &i.to_string()).unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn garbage_is_answered_or_refused_but_never_fatal() {
    let r = Running::start(NoDomains);
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for _ in 0..60 {
        let mut s = r.raw();
        s.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        for _ in 0..40 {
            let len = random() as usize % 64;
            let alphabet = b"/ab@\0\0TFn0r5019";
            let pick = |n: u64| alphabet[n as usize % alphabet.len()];
            let body: Vec<u8> = (0..len).map(|_| pick(random())).collect();
            let op = Op((random() % 30) as u32);
            if s.write_all(&wire::encode(op, 1, (random() % 4) as u32, &body))
                .is_err()
            {
                break;
            }
        }
        let _ = s.read(&mut [0; 65536]);
    }
    assert_eq!(r.client().control(&["check"]).unwrap(), "OK");
}
