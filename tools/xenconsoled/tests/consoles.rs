//! The console daemon with domains of heap pages, a real store server and real ptys.
use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use xenconsoled::client;
use xenconsoled::daemon::{Daemon, LogOptions};
use xenconsoled::platform::Platform;
use xendev::{HeapMem, SharedMem};
use xenstore::{Client, Store};

const PATIENCE: Duration = Duration::from_secs(10);
const IN_CONS: usize = 3072;
const IN_PROD: usize = 3076;
const OUT_CONS: usize = 3080;
const OUT_PROD: usize = 3084;

#[derive(Default)]
struct State {
    pages: BTreeMap<u16, Arc<HeapMem>>,
    rung: VecDeque<u32>,
    masked: Vec<u32>,
    bound: Vec<u32>,
    heard: usize,
}

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
    fn ring(&self, port: u32) {
        self.state().rung.push_back(port);
        (&*self.ringer).write_all(b"!").unwrap();
    }
}

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

impl Platform for Machine {
    fn map(&mut self, domid: u16, _: u64) -> Fallible<Box<dyn SharedMem>> {
        Ok(Box::new(
            self.state()
                .pages
                .get(&domid)
                .cloned()
                .ok_or("no such domain")?,
        ))
    }
    fn bind(&mut self, domid: u16, _: u32) -> Fallible<u32> {
        self.state().bound.push(domid.into());
        Ok(domid.into())
    }
    fn unbind(&mut self, local: u32) {
        self.state().bound.retain(|p| *p != local);
    }
    fn notify(&self, _: u32) {}
    fn next_bell(&mut self) -> Option<u32> {
        let _ = (&*self.bell).read(&mut [0; 4096]);
        let mut s = self.state();
        // A masked port is not heard until it is unmasked, and then once.
        let masked = s.masked.clone();
        let at = s.rung.iter().position(|p| !masked.contains(p))?;
        let port = s.rung.remove(at)?;
        s.rung.retain(|p| *p != port);
        s.masked.push(port);
        s.heard += 1;
        Some(port)
    }
    fn unmask(&self, local: u32) {
        let mut s = self.state();
        s.masked.retain(|p| *p != local);
        if s.rung.contains(&local) {
            (&*self.ringer).write_all(b"!").unwrap();
        }
    }
    fn bell_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.bell.as_fd())
    }
    fn domains(&self) -> Fallible<Vec<u16>> {
        Ok(self.state().pages.keys().copied().collect())
    }
    fn bind_hypervisor_console(&mut self) -> Fallible<u32> {
        Ok(1000)
    }
    fn hypervisor_console(&self, index: &mut u32) -> Fallible<Vec<u8>> {
        let text = b"(XEN) hello\n(XEN) again\n";
        let news = text.get(*index as usize..).unwrap_or_default().to_vec();
        *index = text.len() as u32;
        Ok(news)
    }
}

/// The store's machine: every domain has a page, nobody rings.
struct Pages;

impl xenstored::platform::Platform for Pages {
    fn map(&mut self, _: u16, _: u64) -> Fallible<Box<dyn SharedMem>> {
        Ok(Box::new(HeapMem::new(0, 4096)))
    }
    fn bind(&mut self, domid: u16, _: u32) -> Fallible<u32> {
        Ok(domid.into())
    }
    fn unbind(&mut self, _: u32) {}
    fn notify(&self, _: u32) {}
    fn next_bell(&mut self) -> Option<xenstored::platform::Bell> {
        None
    }
    fn bell_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    fn state(&self, _: u16) -> xenstored::server::DomainState {
        xenstored::server::DomainState::Alive
    }
    fn own_port(&self) -> Option<u32> {
        None
    }
}

struct Stage {
    machine: Machine,
    dir: PathBuf,
    threads: Vec<(UnixStream, JoinHandle<()>)>,
}

impl Stage {
    fn new() -> Stage {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("xenconsoled-test-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut stage = Stage {
            machine: Machine::new(),
            dir,
            threads: Vec::new(),
        };
        stage.start_store();
        let logs = LogOptions {
            guests: true,
            hypervisor: true,
            dir: stage.dir.clone(),
            ..LogOptions::default()
        };
        let (machine, socket) = (stage.machine.clone(), stage.socket());
        let (stop, stopped) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || {
            let connect = move || Client::open_path(&socket);
            Daemon::new(machine, connect, logs)
                .unwrap()
                .run(Some(&stopped))
                .unwrap();
        });
        stage.threads.push((stop, thread));
        stage
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("store")
    }

    fn start_store(&mut self) {
        let _ = std::fs::remove_file(self.socket());
        let listener = UnixListener::bind(self.socket()).unwrap();
        let (stop, stopped) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || {
            use xenstored::{access::Limits, daemon::Daemon};
            let mut d = Daemon::new(listener, Pages, Limits::default()).unwrap();
            d.run(Some(&stopped)).unwrap();
        });
        self.threads.insert(0, (stop, thread));
    }

    fn stop_store(&mut self) {
        let (stop, thread) = self.threads.remove(0);
        (&stop).write_all(b"x").unwrap();
        thread.join().unwrap();
    }

    fn store(&self) -> Client {
        Client::open_path(&self.socket()).unwrap()
    }

    /// A domain as the toolstack makes it; waits for its tty.
    fn domain(&self, domid: u16) -> Guest {
        let page = Arc::new(HeapMem::new(0, 4096));
        self.machine.state().pages.insert(domid, page.clone());
        let tty = self.announce(domid);
        Guest {
            machine: self.machine.clone(),
            port: domid.into(),
            page,
            tty,
        }
    }

    fn announce(&self, domid: u16) -> PathBuf {
        let s = self.store();
        let base = client::console_path(domid, 0);
        s.write(&format!("/local/domain/{domid}/name"), &format!("g{domid}"))
            .unwrap();
        s.introduce(domid, 1, 1).unwrap();
        s.transaction(|tx| {
            tx.write(&format!("{base}/ring-ref"), "1")?;
            tx.write(&format!("{base}/port"), "2")?;
            tx.write(&format!("{base}/type"), "xenconsoled")
        })
        .unwrap();
        client::wait_for_tty(&s, domid, 0, PATIENCE)
            .unwrap()
            .expect("a tty")
    }

    fn destroy(&self, g: &Guest) {
        self.machine.state().pages.remove(&(g.port as u16));
        self.store().release(g.port as u16).unwrap();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        while let Some((stop, thread)) = self.threads.pop() {
            let _ = (&stop).write_all(b"x");
            let _ = thread.join();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

struct Guest {
    machine: Machine,
    port: u32,
    page: Arc<HeapMem>,
    tty: PathBuf,
}

impl Guest {
    fn print(&self, text: &[u8]) {
        let deadline = Instant::now() + PATIENCE;
        for b in text {
            let prod = self.page.load_u32(OUT_PROD);
            while prod.wrapping_sub(self.page.load_u32(OUT_CONS)) >= 2048 {
                assert!(Instant::now() < deadline, "nobody takes the output");
                self.machine.ring(self.port);
                std::thread::sleep(Duration::from_millis(1));
            }
            self.page.write(1024 + prod as usize % 2048, &[*b]);
            self.page.store_u32(OUT_PROD, prod.wrapping_add(1));
        }
        self.machine.ring(self.port);
    }

    fn typed(&self, n: usize) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        let mut out = Vec::new();
        while out.len() < n {
            let cons = self.page.load_u32(IN_CONS);
            if cons == self.page.load_u32(IN_PROD) {
                assert!(Instant::now() < deadline, "nothing was typed");
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            let mut b = [0];
            self.page.read(cons as usize % 1024, &mut b);
            out.push(b[0]);
            self.page.store_u32(IN_CONS, cons.wrapping_add(1));
        }
        out
    }

    fn open(&self) -> File {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.tty)
            .unwrap()
    }
}

fn read_exactly(f: &mut File, n: usize) -> String {
    let mut out = vec![0; n];
    f.read_exact(&mut out).unwrap();
    String::from_utf8_lossy(&out).into_owned()
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_was_printed_before_anybody_looked_is_still_there() {
    let stage = Stage::new();
    let g = stage.domain(7);
    g.print(b"Linux version 6.1\r\nlogin: ");
    std::thread::sleep(Duration::from_millis(50));
    let mut tty = g.open();
    assert_eq!(read_exactly(&mut tty, 26), "Linux version 6.1\r\nlogin: ");
    tty.write_all(b"root\r\x03").unwrap();
    assert_eq!(g.typed(6), b"root\r\x03");
    // And again after somebody has gone and come back.
    drop(tty);
    g.print(b"more");
    assert_eq!(read_exactly(&mut g.open(), 4), "more");
}

#[test]
fn a_flood_is_throttled_and_delays_no_other_guest() {
    let stage = Stage::new();
    let (loud, quiet) = (stage.domain(1), stage.domain(2));
    let flood = std::thread::spawn(move || {
        let start = Instant::now();
        loud.print(&vec![b'x'; 600 << 10]);
        (start.elapsed(), loud)
    });
    let mut tty = quiet.open();
    for i in 0..20 {
        let line = format!("line {i}\n");
        let start = Instant::now();
        quiet.print(line.as_bytes());
        assert_eq!(read_exactly(&mut tty, line.len()), line);
        assert!(start.elapsed() < Duration::from_secs(2));
    }
    let (took, loud) = flood.join().unwrap();
    // 128 KiB per 200 ms: the first and the last period are not whole.
    assert!(took > Duration::from_millis(500), "{took:?}");
    // Bells without output are not heard more often than the budget says either.
    let before = stage.machine.state().heard;
    let end = Instant::now() + Duration::from_millis(400);
    while Instant::now() < end {
        stage.machine.ring(loud.port);
        std::thread::yield_now();
    }
    assert!(stage.machine.state().heard - before < 400);
}

#[test]
fn last_words_reach_whoever_is_looking_and_nothing_is_held() {
    let stage = Stage::new();
    let g = stage.domain(3);
    let mut tty = g.open();
    g.print(b"panic: ");
    assert_eq!(read_exactly(&mut tty, 7), "panic: ");
    let prod = g.page.load_u32(OUT_PROD);
    g.page.write(1024 + prod as usize, b"bye");
    g.page.store_u32(OUT_PROD, prod + 3);
    stage.destroy(&g);
    assert_eq!(read_exactly(&mut tty, 3), "bye");
    assert!(!matches!(tty.read(&mut [0; 8]), Ok(n) if n > 0));
    eventually("the port is closed", || {
        stage.machine.state().bound.is_empty()
    });
    assert_eq!(Arc::strong_count(&g.page), 1);
}

#[test]
fn lying_indices_end_the_service_of_that_guest_only() {
    let stage = Stage::new();
    let (liar, honest) = (stage.domain(1), stage.domain(2));
    liar.page.store_u32(OUT_PROD, 100_000);
    stage.machine.ring(1);
    eventually("the port is closed", || stage.machine.state().bound == [2]);
    honest.print(b"ok");
    assert_eq!(read_exactly(&mut honest.open(), 2), "ok");
}

#[test]
fn everything_is_logged_that_should_be() {
    let stage = Stage::new();
    let g = stage.domain(4);
    g.print(b"to the log\n");
    let read = |name: &str| std::fs::read_to_string(stage.dir.join(name)).unwrap_or_default();
    eventually("the guest's log", || read("guest-g4.log") == "to the log\n");
    eventually("the hypervisor's log", || {
        read("hypervisor.log") == "(XEN) hello\n(XEN) again\n"
    });
}

#[test]
fn consoles_survive_the_store() {
    let mut stage = Stage::new();
    let g = stage.domain(5);
    stage.stop_store();
    g.print(b"still here");
    assert_eq!(read_exactly(&mut g.open(), 10), "still here");
    stage.start_store();
    let tty = client::wait_for_tty(&stage.store(), 5, 0, PATIENCE)
        .unwrap()
        .unwrap();
    assert_eq!(tty, g.tty);
    let other = stage.domain(6);
    other.print(b"new");
    assert_eq!(read_exactly(&mut other.open(), 3), "new");
}
