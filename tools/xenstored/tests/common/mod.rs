//! What the tests share: [`Bench`], a server whose host is a table; [`Running`], a daemon in a thread.
#![allow(dead_code)]

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use xenstore::{Header, Op, XsError, wire};
use xenstored::access::Limits;
use xenstored::daemon::Daemon;
use xenstored::platform::Platform;
use xenstored::server::{ConnId, DomainState, Host, Server};

/// What the hypervisor would say about a domain.
#[derive(Clone, Copy)]
pub struct Fact(DomainState);

impl Fact {
    pub fn new(state: DomainState) -> Fact {
        Fact(state)
    }
}

struct Table<'a> {
    facts: &'a HashMap<u16, Fact>,
    disconnected: &'a mut Vec<ConnId>,
}

impl Host for Table<'_> {
    fn connect(&mut self, _: ConnId, _: u16, _: u64, _: u32) -> Result<(), XsError> {
        Ok(())
    }
    fn disconnect(&mut self, conn: ConnId) {
        self.disconnected.push(conn);
    }
    fn state(&self, domid: u16) -> DomainState {
        self.facts.get(&domid).map_or(DomainState::Alive, |f| f.0)
    }
}

/// A server without I/O.
pub struct Bench {
    pub server: Server,
    pub facts: HashMap<u16, Fact>,
    pub disconnected: Vec<ConnId>,
    events: HashMap<ConnId, Vec<String>>,
}

impl Bench {
    pub fn new() -> Bench {
        Bench::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Bench {
        let server = Server::new(limits);
        Bench {
            server,
            facts: HashMap::new(),
            disconnected: Vec::new(),
            events: HashMap::new(),
        }
    }

    /// A local client.
    pub fn dom0(&mut self) -> ConnId {
        self.server.open(0)
    }

    /// A domain that was introduced.
    pub fn introduce(&mut self, domid: u16) -> ConnId {
        let mut host = Table {
            facts: &self.facts,
            disconnected: &mut self.disconnected,
        };
        self.server.connect(&mut host, domid, 1, 1).unwrap();
        self.deliver();
        self.server.connection_of(domid).unwrap()
    }

    /// A domain that was introduced and owns its home.
    pub fn home(&mut self, domid: u16) -> ConnId {
        let (dom0, path) = (self.dom0(), xenstore::path::home(domid));
        self.ok(dom0, Op::MKDIR, &[&path]);
        self.ok(dom0, Op::SET_PERMS, &[&path, &format!("n{domid}")]);
        self.introduce(domid)
    }

    pub fn check_domains(&mut self) {
        let mut host = Table {
            facts: &self.facts,
            disconnected: &mut self.disconnected,
        };
        self.server.check_domains(&mut host);
        self.deliver();
    }

    fn deliver(&mut self) -> Option<Result<String, String>> {
        let mut reply = None;
        for m in self.server.take_outbox() {
            let header = Header::decode(m.bytes.first_chunk().unwrap());
            let body = &m.bytes[wire::HEADER_LEN..];
            assert_eq!(header.len as usize, body.len());
            let text = String::from_utf8_lossy(body).into_owned();
            if m.event {
                let shown = text.trim_end_matches('\0').replace('\0', " ");
                self.events.entry(m.conn).or_default().push(shown);
            } else {
                assert!(reply.is_none(), "two replies");
                let error = text.trim_end_matches('\0').to_string();
                reply = Some(if header.op == Op::ERROR {
                    Err(error)
                } else {
                    Ok(text)
                });
            }
        }
        reply
    }

    fn send(&mut self, tx: u32, conn: ConnId, op: Op, body: &[u8]) -> Result<String, String> {
        let mut host = Table {
            facts: &self.facts,
            disconnected: &mut self.disconnected,
        };
        let header = Header {
            op,
            req_id: 7,
            tx_id: tx,
            len: body.len() as u32,
        };
        self.server.handle(&mut host, conn, &header, body);
        self.server.tree().check().unwrap();
        self.deliver().expect("every request has a reply")
    }

    pub fn raw(&mut self, conn: ConnId, op: Op, body: &[u8]) -> Result<String, String> {
        self.send(0, conn, op, body)
    }

    pub fn ask_in(
        &mut self,
        tx: u32,
        conn: ConnId,
        op: Op,
        args: &[&str],
    ) -> Result<String, String> {
        let mut body = wire::join(args);
        if op == Op::WRITE {
            body.pop();
        }
        self.send(tx, conn, op, &body)
    }

    pub fn ask(&mut self, conn: ConnId, op: Op, args: &[&str]) -> Result<String, String> {
        self.ask_in(0, conn, op, args)
    }

    pub fn ok_in(&mut self, tx: u32, conn: ConnId, op: Op, args: &[&str]) {
        if let Err(e) = self.ask_in(tx, conn, op, args) {
            panic!("{op:?} {args:?}: {e}");
        }
    }

    pub fn ok(&mut self, conn: ConnId, op: Op, args: &[&str]) {
        self.ok_in(0, conn, op, args);
    }

    pub fn begin(&mut self, conn: ConnId) -> u32 {
        let id = self.ask(conn, Op::TRANSACTION_START, &[""]).unwrap();
        id.trim_end_matches('\0').parse().unwrap()
    }

    /// Events since the last call, as `path token`.
    pub fn events(&mut self, conn: ConnId) -> Vec<String> {
        self.events.remove(&conn).unwrap_or_default()
    }
}

/// A daemon in a thread, stopped when dropped.
pub struct Running {
    pub socket: PathBuf,
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub fn start<P: Platform + Send + 'static>(platform: P) -> Running {
        Running::start_with(platform, None)
    }

    pub fn start_with<P: Platform + Send + 'static>(
        platform: P,
        state: Option<PathBuf>,
    ) -> Running {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("xenstored-test-{}-{n}.sock", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let (stop, stopped) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || {
            let mut daemon = Daemon::new(listener, platform, Limits::default()).unwrap();
            if let Some(path) = state {
                daemon.keep_state(xenstored::state_file::StateFile::new(path));
            }
            daemon.run(Some(&stopped)).unwrap();
            daemon.server().tree().check().unwrap();
        });
        Running {
            socket,
            stop,
            thread: Some(thread),
        }
    }

    pub fn client(&self) -> xenstore::Client {
        xenstore::Client::open_path(&self.socket).unwrap()
    }

    pub fn raw(&self) -> UnixStream {
        UnixStream::connect(&self.socket).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.stop.write_all(b"x");
        let result = self.thread.take().map(JoinHandle::join);
        let _ = std::fs::remove_file(&self.socket);
        if !std::thread::panicking() {
            assert!(matches!(result, Some(Ok(()))), "the daemon panicked");
        }
    }
}
