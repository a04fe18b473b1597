//! The daemon serving domains over shared pages: a well-behaved guest, and ones that are not.
mod common;

use common::Running;
use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use xendev::{HeapMem, SharedMem};
use xenstore::wire::{self, ring};
use xenstore::{Header, Op, Store};
use xenstored::platform::{Bell, Platform};
use xenstored::server::DomainState;

#[derive(Default)]
struct State {
    pages: HashMap<u16, Arc<HeapMem>>,
    gone: Vec<u16>,
    rung: VecDeque<Bell>,
    bound: Vec<u32>,
}

/// A machine of heap pages. A domain's local port is its number.
#[derive(Clone)]
struct Machine {
    state: Arc<Mutex<State>>,
    ringer: Arc<UnixStream>,
    bell: Arc<UnixStream>,
}

impl Machine {
    fn new() -> Machine {
        let (ringer, bell) = UnixStream::pair().unwrap();
        bell.set_nonblocking(true).unwrap();
        Machine {
            state: Arc::default(),
            ringer: ringer.into(),
            bell: bell.into(),
        }
    }
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
    fn domain(&self, domid: u16) -> Guest {
        let page = Arc::new(HeapMem::new(0, 4096));
        self.state().pages.insert(domid, page.clone());
        Guest {
            machine: self.clone(),
            domid,
            page,
        }
    }
    fn ring(&self, bell: Bell) {
        self.state().rung.push_back(bell);
        (&*self.ringer).write_all(b"!").unwrap();
    }
}

impl Platform for Machine {
    fn map(
        &mut self,
        domid: u16,
        _: u64,
    ) -> Result<Box<dyn SharedMem>, Box<dyn std::error::Error>> {
        let page = self
            .state()
            .pages
            .get(&domid)
            .cloned()
            .ok_or("no such domain")?;
        Ok(Box::new(page))
    }
    fn bind(&mut self, domid: u16, _: u32) -> Result<u32, Box<dyn std::error::Error>> {
        self.state().bound.push(domid.into());
        Ok(domid.into())
    }
    fn unbind(&mut self, local: u32) {
        self.state().bound.retain(|p| *p != local);
    }
    fn notify(&self, _: u32) {}
    fn next_bell(&mut self) -> Option<Bell> {
        let _ = (&*self.bell).read(&mut [0; 4096]);
        self.state().rung.pop_front()
    }
    fn bell_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.bell.as_fd())
    }
    fn state(&self, domid: u16) -> DomainState {
        match Machine::state(self).gone.contains(&domid) {
            true => DomainState::Gone,
            false => DomainState::Alive,
        }
    }
    fn own_port(&self) -> Option<u32> {
        None
    }
}

/// The guest's side of a ring.
struct Guest {
    machine: Machine,
    domid: u16,
    page: Arc<HeapMem>,
}

const PATIENCE: Duration = Duration::from_secs(10);

impl Guest {
    fn bell(&self) {
        self.machine.ring(Bell::Domain(self.domid.into()));
    }

    fn send(&self, bytes: &[u8]) {
        let deadline = Instant::now() + PATIENCE;
        for b in bytes {
            let prod = self.page.load_u32(ring::REQ_PROD);
            while prod.wrapping_sub(self.page.load_u32(ring::REQ_CONS)) as usize >= ring::SIZE {
                assert!(Instant::now() < deadline, "nobody reads the ring");
                self.bell();
                std::thread::sleep(Duration::from_millis(1));
            }
            self.page
                .write(ring::REQ + prod as usize % ring::SIZE, &[*b]);
            self.page.store_u32(ring::REQ_PROD, prod.wrapping_add(1));
        }
        self.bell();
    }

    fn receive(&self, n: usize) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        let mut out = Vec::new();
        while out.len() < n {
            let cons = self.page.load_u32(ring::RSP_CONS);
            if cons == self.page.load_u32(ring::RSP_PROD) {
                assert!(Instant::now() < deadline, "no answer");
                self.bell();
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            let mut b = [0];
            self.page
                .read(ring::RSP + cons as usize % ring::SIZE, &mut b);
            out.push(b[0]);
            self.page.store_u32(ring::RSP_CONS, cons.wrapping_add(1));
        }
        out
    }

    fn ask(&self, op: Op, body: &[u8]) -> (Op, Vec<u8>) {
        self.send(&wire::encode(op, 1, 0, body));
        let header = Header::decode(self.receive(16).first_chunk().unwrap());
        (header.op, self.receive(header.len as usize))
    }
}

fn start() -> (Machine, Running) {
    let machine = Machine::new();
    let running = Running::start(machine.clone());
    (machine, running)
}

fn introduce(m: &Machine, r: &Running, domid: u16) -> Guest {
    let guest = m.domain(domid);
    let c = r.client();
    let home = xenstore::path::home(domid);
    c.mkdir(&home).unwrap();
    c.set_perms(&home, &[xenstore::Perm::none(domid)]).unwrap();
    c.introduce(domid, 1, 1).unwrap();
    guest
}

#[test]
fn a_guest_is_served_through_its_page() {
    let (m, r) = start();
    let g = introduce(&m, &r, 3);
    let value = "v".repeat(1900);
    let body = format!("data\0{value}");
    assert_eq!(
        g.ask(Op::WRITE, body.as_bytes()),
        (Op::WRITE, b"OK\0".to_vec())
    );
    assert_eq!(
        g.ask(Op::READ, b"data\0"),
        (Op::READ, value.clone().into_bytes())
    );
    assert_eq!(
        r.client().read_string("/local/domain/3/data").unwrap(),
        value
    );
    assert_eq!(g.page.load_u32(ring::SERVER_FEATURES), 3);
}

#[test]
fn lying_indices_end_the_service_of_that_guest_only() {
    let (m, r) = start();
    let (liar, honest) = (introduce(&m, &r, 3), introduce(&m, &r, 4));
    liar.page.store_u32(ring::REQ_PROD, 5000);
    liar.bell();
    assert_eq!(honest.ask(Op::WRITE, b"x\0y").0, Op::WRITE);
    assert_eq!(liar.page.load_u32(ring::ERROR), ring::ERROR_RINGIDX);

    // It may ask to start over.
    liar.page.store_u32(ring::CONNECTION, ring::RECONNECT);
    liar.bell();
    let deadline = Instant::now() + PATIENCE;
    while liar.page.load_u32(ring::CONNECTION) != ring::CONNECTED {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(liar.ask(Op::WRITE, b"x\0y").0, Op::WRITE);
}

#[test]
fn a_payload_too_long_is_a_protocol_violation() {
    let (m, r) = start();
    let g = introduce(&m, &r, 3);
    g.send(
        &Header {
            op: Op::READ,
            req_id: 0,
            tx_id: 0,
            len: 4097,
        }
        .encode(),
    );
    r.client().write("/x", "1").unwrap();
    let deadline = Instant::now() + PATIENCE;
    while g.page.load_u32(ring::ERROR) != ring::ERROR_PROTO {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_guest_that_never_reads_is_in_nobodys_way() {
    let (m, r) = start();
    let (deaf, other) = (introduce(&m, &r, 3), introduce(&m, &r, 4));
    deaf.send(&wire::encode(Op::WATCH, 1, 0, b"/local/domain/3\0t\0"));
    let read = wire::encode(Op::DIRECTORY, 2, 0, b"/local/domain/3\0");
    for _ in 0..40 {
        let (cons, prod) = (
            deaf.page.load_u32(ring::REQ_CONS),
            deaf.page.load_u32(ring::REQ_PROD),
        );
        if prod.wrapping_sub(cons) as usize + read.len() <= ring::SIZE {
            deaf.send(&read);
        }
    }
    let c = r.client();
    for i in 0..3000 {
        c.write(&format!("/local/domain/3/n{i}"), "x").unwrap();
    }
    assert_eq!(other.ask(Op::WRITE, b"x\0y").0, Op::WRITE);
    assert_eq!(c.control(&["check"]).unwrap(), "OK");
}

#[test]
fn a_dead_guests_page_and_port_are_let_go() {
    let (m, r) = start();
    let g = introduce(&m, &r, 3);
    g.ask(Op::WRITE, b"x\0y");
    let c = r.client();
    c.watch("@releaseDomain", "t").unwrap();
    c.next_event(Some(PATIENCE)).unwrap().unwrap();
    m.state().gone.push(3);
    m.ring(Bell::DomainException);
    assert_eq!(
        c.next_event(Some(PATIENCE)).unwrap().unwrap().path,
        "@releaseDomain"
    );
    assert!(!c.is_introduced(3).unwrap());
    assert!(m.state().bound.is_empty());
    m.state().pages.remove(&3);
    assert_eq!(Arc::strong_count(&g.page), 1);
    assert!(!c.exists("/local/domain/3").unwrap());
}

#[test]
fn introducing_a_domain_that_is_not_there_fails_cleanly() {
    let (m, r) = start();
    let c = r.client();
    assert!(matches!(
        c.introduce(9, 1, 1),
        Err(xenstore::Error::Store(xenstore::XsError::EINVAL))
    ));
    assert!(!c.is_introduced(9).unwrap());
    introduce(&m, &r, 9).ask(Op::WRITE, b"x\0y");
    // Again, as after a migration: a new page, and nothing left of the old connection.
    let again = m.domain(9);
    c.introduce(9, 2, 2).unwrap();
    assert_eq!(again.ask(Op::READ, b"x\0"), (Op::READ, b"y".to_vec()));
    assert_eq!(m.state().bound, [9]);
}

#[test]
fn a_daemon_that_follows_a_killed_one_goes_on() {
    let path = std::env::temp_dir().join(format!("xenstored-state-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let machine = Machine::new();
    let first = Running::start_with(machine.clone(), Some(path.clone()));
    let (g, lost) = (
        introduce(&machine, &first, 3),
        introduce(&machine, &first, 4),
    );
    g.ask(Op::WRITE, b"data\0precious");
    g.send(&wire::encode(Op::WATCH, 1, 0, b"data\0token\0"));
    g.receive(16 + 3 + 16 + 11);
    let c = first.client();
    c.set_perms(
        "@releaseDomain",
        &[xenstore::Perm::none(0), xenstore::Perm::read(3)],
    )
    .unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !std::fs::read(&path).is_ok_and(|f| f.windows(5).any(|w| w == b"token")) {
        assert!(Instant::now() < deadline, "nothing was saved");
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(300));
    drop(first);
    machine.state().bound.clear();
    machine.state().gone.push(lost.domid);
    machine.state().pages.remove(&lost.domid);

    let second = Running::start_with(machine.clone(), Some(path.clone()));
    let event = wire::encode(Op::WATCH_EVENT, 0, 0, b"data\0token\0");
    assert_eq!(
        g.receive(event.len()),
        event,
        "its watch fires, in case something was missed"
    );
    assert_eq!(g.ask(Op::READ, b"data\0"), (Op::READ, b"precious".to_vec()));
    let c = second.client();
    assert!(c.is_introduced(3).unwrap() && !c.is_introduced(4).unwrap());
    assert_eq!(
        c.perms("/local/domain/3/data").unwrap(),
        [xenstore::Perm::none(3)]
    );
    assert_eq!(c.perms("@releaseDomain").unwrap().len(), 2);
    c.write("/local/domain/3/data/new", "1").unwrap();
    let event = wire::encode(Op::WATCH_EVENT, 0, 0, b"data/new\0token\0");
    assert_eq!(g.receive(event.len()), event);
    let _ = std::fs::remove_file(&path);
}

#[test]
fn a_torn_or_foreign_state_is_left_alone() {
    for content in [&b""[..], b"rubbish", b"xenstored 1\nn"] {
        let path = std::env::temp_dir().join(format!("xenstored-torn-{}", std::process::id()));
        let mut all = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap();
        all.extend(content);
        std::fs::write(&path, all).unwrap();
        let r = Running::start_with(Machine::new(), Some(path.clone()));
        assert_eq!(r.client().control(&["check"]).unwrap(), "OK");
        let _ = std::fs::remove_file(&path);
    }
}
