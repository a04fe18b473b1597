//! [`Daemon`]: the event loop. One thread; every connection gets a bounded turn, whoever waits for somebody
//! slow waits alone.
use crate::access::Limits;
use crate::peer::{Endpoint, Fault, Peer};
use crate::platform::{Bell, Platform};
use crate::ring::Ring;
use crate::server::{ConnId, DomainState, Host, Outgoing, Server};
use crate::state_file::StateFile;
use rustix::event::{Timespec, epoll};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};
use xenstore::XsError;

/// Requests a connection may make before the others get their turn.
const TURN: usize = 32;
const LISTENER: u64 = u64::MAX;
const BELLS: u64 = u64::MAX - 1;
const STOP: u64 = u64::MAX - 2;

/// The server and everything it is connected to.
pub struct Daemon<P: Platform> {
    server: Server,
    links: Links<P>,
    listener: UnixListener,
    ready: VecDeque<ConnId>,
    state: Option<StateFile>,
}

/// The connections, apart from the server, so that it can ask for changes while it handles a request.
struct Links<P: Platform> {
    platform: P,
    epoll: OwnedFd,
    peers: HashMap<ConnId, Peer>,
    ports: HashMap<u32, ConnId>,
    limits: Limits,
}

impl<P: Platform> Host for Links<P> {
    fn connect(&mut self, conn: ConnId, domid: u16, gfn: u64, port: u32) -> Result<(), XsError> {
        let page = self
            .platform
            .map(domid, gfn)
            .map_err(|e| refused(domid, &*e))?;
        let local = self
            .platform
            .bind(domid, port)
            .map_err(|e| refused(domid, &*e))?;
        let replies = if domid == 0 {
            usize::MAX
        } else {
            self.limits.outstanding
        };
        self.peers
            .insert(conn, Peer::domain(Ring::new(page), local, replies));
        self.ports.insert(local, conn);
        // The domain may have written, or wait for a sign of life, before there was anybody.
        self.platform.notify(local);
        Ok(())
    }

    fn disconnect(&mut self, conn: ConnId) {
        let Some(peer) = self.peers.remove(&conn) else {
            return;
        };
        if let Endpoint::Domain(ring, port) = peer.endpoint {
            self.ports.remove(&port);
            drop(ring);
            self.platform.unbind(port);
        }
    }

    fn state(&self, domid: u16) -> DomainState {
        self.platform.state(domid)
    }
}

fn refused(domid: u16, e: &dyn std::error::Error) -> XsError {
    eprintln!("xenstored: domain {domid} not introduced: {e}");
    XsError::EINVAL
}

impl<P: Platform> Links<P> {
    /// Send what can be sent, ring the bell if bytes moved, and wait for the right things.
    fn settle(&mut self, conn: ConnId) -> Result<(), Fault> {
        let Some(peer) = self.peers.get_mut(&conn) else {
            return Ok(());
        };
        let flushed = peer.flush();
        match &peer.endpoint {
            Endpoint::Domain(_, port) => {
                let port = *port;
                if peer.take_moved() {
                    self.platform.notify(port);
                }
            }
            Endpoint::Socket(s) => {
                let mut flags = epoll::EventFlags::empty();
                flags.set(epoll::EventFlags::IN, !peer.is_throttled());
                flags.set(epoll::EventFlags::OUT, peer.has_output());
                epoll::modify(&self.epoll, s, epoll::EventData::new_u64(conn), flags)
                    .map_err(|_| Fault::Closed)?;
            }
        }
        flushed
    }
}

impl<P: Platform> Daemon<P> {
    /// Serve `listener`, and this domain's kernel if the platform has one that waits.
    pub fn new(listener: UnixListener, platform: P, limits: Limits) -> io::Result<Daemon<P>> {
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let input = epoll::EventFlags::IN;
        epoll::add(
            &epoll,
            &listener,
            epoll::EventData::new_u64(LISTENER),
            input,
        )?;
        if let Some(fd) = platform.bell_fd() {
            epoll::add(&epoll, fd, epoll::EventData::new_u64(BELLS), input)?;
        }
        let own_port = platform.own_port();
        let (peers, ports) = (HashMap::new(), HashMap::new());
        let links = Links {
            platform,
            epoll,
            peers,
            ports,
            limits,
        };
        let mut d = Daemon {
            server: Server::new(limits),
            links,
            listener,
            ready: VecDeque::new(),
            state: None,
        };
        if let Some(port) = own_port {
            match d.server.connect(&mut d.links, 0, 0, port) {
                Ok(()) => d.ready.extend(d.server.connection_of(0)),
                Err(_) => eprintln!("xenstored: this domain's kernel is not served"),
            }
        }
        Ok(d)
    }

    /// Go on from the state in this file, if it has one of this boot, and keep it up to date.
    pub fn keep_state(&mut self, file: StateFile) {
        if let Some(saved) = file.load() {
            if let Err(e) = self.server.restore(&mut self.links, &saved) {
                eprintln!("xenstored: the saved state is damaged ({e}); some of it is lost");
            }
            self.server.check_domains(&mut self.links);
            self.deliver();
            self.ready.extend(self.links.peers.keys());
        }
        self.state = Some(file);
    }

    /// Save the state if it is time; says how long until it is, if there is anything to save.
    fn save(&mut self) -> Option<Duration> {
        let (file, epoch) = (self.state.as_mut()?, self.server.epoch());
        let wait = file.due(epoch)?.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            file.store(epoch, || self.server.save());
            return None;
        }
        Some(wait)
    }

    /// The server's state, to look at.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Serve until `stop` is readable (for ever without it).
    pub fn run(&mut self, stop: Option<&UnixStream>) -> io::Result<()> {
        if let Some(stop) = stop {
            let data = epoll::EventData::new_u64(STOP);
            epoll::add(&self.links.epoll, stop.as_fd(), data, epoll::EventFlags::IN)?;
        }
        let mut events = Vec::with_capacity(64);
        loop {
            let idle = self.save();
            let wait = if self.ready.is_empty() {
                idle
            } else {
                Some(Duration::ZERO)
            };
            let timeout = wait.map(|w| Timespec {
                tv_sec: w.as_secs() as i64,
                tv_nsec: w.subsec_nanos().into(),
            });
            events.clear();
            let room = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.links.epoll, room, timeout.as_ref()) {
                Err(rustix::io::Errno::INTR) => continue,
                other => drop(other?),
            }
            let mut turn: BTreeSet<ConnId> = self.ready.drain(..).collect();
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    BELLS => self.answer_bells(&mut turn),
                    STOP => return Ok(()),
                    conn => drop(turn.insert(conn)),
                }
            }
            for conn in turn {
                self.serve(conn);
            }
        }
    }

    fn accept(&mut self) {
        match self.listener.accept() {
            Ok((stream, _)) => {
                if let Err(e) = self.add_socket(stream) {
                    eprintln!("xenstored: new connection: {e}");
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => {
                eprintln!("xenstored: accepting a connection: {e}");
                // Out of descriptors, most likely: do not spin.
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    fn add_socket(&mut self, stream: UnixStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let conn = self.server.open(0);
        let data = epoll::EventData::new_u64(conn);
        if let Err(e) = epoll::add(&self.links.epoll, &stream, data, epoll::EventFlags::IN) {
            self.server.close(conn);
            return Err(e.into());
        }
        self.links.peers.insert(conn, Peer::socket(stream));
        Ok(())
    }

    fn answer_bells(&mut self, turn: &mut BTreeSet<ConnId>) {
        // Bounded: what rings faster than this waits for the next round.
        for _ in 0..1024 {
            match self.links.platform.next_bell() {
                None => break,
                Some(Bell::Domain(port)) => turn.extend(self.links.ports.get(&port)),
                Some(Bell::DomainException) => {
                    self.server.check_domains(&mut self.links);
                    self.deliver();
                }
            }
        }
    }

    /// A connection's turn: some of its requests, and what they cause.
    fn serve(&mut self, conn: ConnId) {
        self.reconnect_if_asked(conn);
        for n in 0.. {
            let Some(peer) = self.links.peers.get_mut(&conn) else {
                return;
            };
            let next = peer.flush().and_then(|()| {
                if peer.is_throttled() {
                    Ok(None)
                } else {
                    peer.next_request()
                }
            });
            match next {
                Ok(Some((header, body))) => {
                    self.server.handle(&mut self.links, conn, &header, &body);
                    self.deliver();
                    if n == TURN {
                        self.ready.push_back(conn);
                        break;
                    }
                }
                Ok(None) => break,
                Err(fault) => return self.fail(conn, fault),
            }
        }
        if let Err(fault) = self.links.settle(conn) {
            self.fail(conn, fault);
        }
    }

    fn reconnect_if_asked(&mut self, conn: ConnId) {
        let Some(peer) = self.links.peers.get_mut(&conn) else {
            return;
        };
        if let Endpoint::Domain(ring, _) = &peer.endpoint
            && ring.wants_reconnect()
        {
            ring.reconnect();
            peer.clear();
            peer.broken = false;
            self.server.reset(conn);
        }
    }

    /// Hand out what the server left in its outbox.
    fn deliver(&mut self) {
        let mut touched: BTreeSet<ConnId> = BTreeSet::new();
        let mut failed = Vec::new();
        for message in self.server.take_outbox() {
            let Outgoing { conn, .. } = message;
            if let Some(peer) = self.links.peers.get_mut(&conn) {
                touched.insert(conn);
                if let Err(fault) = peer.push(message) {
                    failed.push((conn, fault));
                }
            }
        }
        for conn in touched {
            if let Err(fault) = self.links.settle(conn) {
                failed.push((conn, fault));
            }
        }
        for (conn, fault) in failed {
            self.fail(conn, fault);
        }
    }

    /// A socket is closed; a domain is ignored from now on, until it asks for a new connection.
    fn fail(&mut self, conn: ConnId, fault: Fault) {
        let Some(peer) = self.links.peers.get_mut(&conn) else {
            return;
        };
        match &peer.endpoint {
            Endpoint::Socket(_) => {
                self.links.peers.remove(&conn);
                self.server.close(conn);
            }
            Endpoint::Domain(..) => {
                if !peer.broken {
                    eprintln!("xenstored: connection {conn} is ignored from now on: {fault:?}");
                }
                peer.fail(fault);
                self.server.reset(conn);
            }
        }
    }
}
