//! [`Daemon`]: the event loop. Finds domains through the store, serves each one's [`Console`]. Survives the
//! store: when the server goes, consoles stay, and are announced again once it is back.
use crate::console::{Console, DEFAULT_LIMIT, Pty};
use crate::log::Log;
use crate::platform::Platform;
use crate::ring::Ring;
use rustix::event::{Timespec, epoll};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use xenstore::{Client, Store};

/// How long last words may wait for somebody to read them, and how often to look whether he has.
const LINGER: Duration = Duration::from_secs(2);
const GLANCE: Duration = Duration::from_millis(20);
/// How often to look for a store that went away.
const RECONNECT: Duration = Duration::from_secs(1);

const BELLS: u64 = u64::MAX;
const STORE: u64 = u64::MAX - 1;
const STOP: u64 = u64::MAX - 2;

/// What to log, and where.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Each domain's output.
    pub guests: bool,
    /// The hypervisor's console.
    pub hypervisor: bool,
    /// Directory of the files.
    pub dir: PathBuf,
    /// Begin the lines of guests' logs with the time.
    pub guest_times: bool,
    /// Begin the lines of the hypervisor's log with the time.
    pub hypervisor_times: bool,
}

/// A domain with a console.
struct Served {
    console: Console,
    gfn: u64,
    remote_port: u32,
    port: Option<u32>,
    /// Rang more than it may, and stays unheard until its budget is renewed.
    silenced: bool,
    /// The domain has gone; the pty goes once its last words are read.
    leaving: Option<Leaving>,
}

struct Leaving {
    look_at: Instant,
    ends: Instant,
}

struct StoreLink {
    client: Client,
    fd: OwnedFd,
}

struct Hypervisor {
    port: u32,
    index: u32,
    log: Log,
}

/// The console daemon.
pub struct Daemon<P: Platform> {
    platform: P,
    epoll: OwnedFd,
    connect: Box<dyn Fn() -> xenstore::Result<Client>>,
    store: Option<StoreLink>,
    retry_at: Instant,
    served: BTreeMap<u16, Served>,
    ports: HashMap<u32, u16>,
    logs: LogOptions,
    hypervisor: Option<Hypervisor>,
}

impl<P: Platform> Daemon<P> {
    /// Serve the domains of `platform`, finding the store with `connect`.
    pub fn new(
        mut platform: P,
        connect: impl Fn() -> xenstore::Result<Client> + 'static,
        logs: LogOptions,
    ) -> io::Result<Daemon<P>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        if let Some(fd) = platform.bell_fd() {
            epoll::add(
                &epoll,
                fd,
                epoll::EventData::new_u64(BELLS),
                epoll::EventFlags::IN,
            )?;
        }
        let hypervisor = logs
            .hypervisor
            .then(|| open_hypervisor(&mut platform, &logs))
            .flatten();
        let mut d = Daemon {
            platform,
            epoll,
            connect: Box::new(connect),
            store: None,
            retry_at: Instant::now(),
            served: BTreeMap::new(),
            ports: HashMap::new(),
            logs,
            hypervisor,
        };
        d.read_hypervisor();
        d.reconnect();
        Ok(d)
    }

    /// Serve until `stop` is readable (for ever without it).
    pub fn run(&mut self, stop: Option<&UnixStream>) -> io::Result<()> {
        if let Some(stop) = stop {
            let data = epoll::EventData::new_u64(STOP);
            epoll::add(&self.epoll, stop, data, epoll::EventFlags::IN)?;
        }
        let mut events = Vec::with_capacity(64);
        loop {
            let timeout = self.timeout();
            events.clear();
            let room = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, room, timeout.as_ref()) {
                Err(rustix::io::Errno::INTR) => continue,
                other => drop(other?),
            }
            for event in &events {
                match event.data.u64() {
                    BELLS => self.answer_bells(),
                    STORE => self.read_store(),
                    STOP => return Ok(()),
                    domid => self.pump(domid as u16),
                }
            }
            self.on_time();
        }
    }

    fn timeout(&mut self) -> Option<Timespec> {
        let now = Instant::now();
        let retry = self.store.is_none().then_some(self.retry_at);
        let waits = self.served.values_mut().filter_map(|s| {
            let budget = if s.silenced {
                s.console.budget.exhausted_until(now).or(Some(now))
            } else {
                None
            };
            s.leaving.as_ref().map(|l| l.look_at).or(budget)
        });
        let next = waits.chain(retry).min()?;
        let left = next.saturating_duration_since(now) + Duration::from_millis(1);
        Some(Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        })
    }

    /// What the passing of time brings.
    fn on_time(&mut self) {
        let now = Instant::now();
        if self.store.is_none() && now >= self.retry_at {
            self.reconnect();
        }
        self.served.retain(|_, s| match &mut s.leaving {
            Some(l) if l.ends <= now => false,
            Some(l) if l.look_at <= now => {
                l.look_at = now + GLANCE;
                !s.console.is_read()
            }
            _ => true,
        });
        let heard: Vec<u16> = self
            .served
            .iter_mut()
            .filter_map(|(d, s)| {
                (s.silenced && s.console.budget.exhausted_until(now).is_none()).then_some(*d)
            })
            .collect();
        for domid in heard {
            self.pump(domid);
        }
    }

    fn answer_bells(&mut self) {
        let now = Instant::now();
        for _ in 0..1024 {
            let Some(port) = self.platform.next_bell() else {
                break;
            };
            if self.hypervisor.as_ref().is_some_and(|h| h.port == port) {
                self.platform.unmask(port);
                self.read_hypervisor();
            } else if let Some(domid) = self.ports.get(&port).copied() {
                if let Some(s) = self.served.get_mut(&domid) {
                    s.console.budget.rang(now);
                    s.silenced = true;
                }
                self.pump(domid);
            }
        }
    }

    /// Move bytes; let the domain ring again if it has any budget left.
    fn pump(&mut self, domid: u16) {
        let now = Instant::now();
        let Some(s) = self.served.get_mut(&domid) else {
            return;
        };
        let may_ring = s.console.budget.exhausted_until(now).is_none();
        if let Some(port) = s.port
            && s.silenced
            && may_ring
        {
            // Before looking at the ring, so that nothing printed meanwhile is overlooked.
            self.platform.unmask(port);
            s.silenced = false;
        }
        match s.console.pump(now) {
            Ok(done) => {
                if let (true, Some(port)) = (done.moved, s.port) {
                    self.platform.notify(port);
                }
                // Ran out in this very turn: what is left waits for the next period.
                if s.console.budget.exhausted_until(now).is_some() && s.port.is_some() {
                    s.silenced = true;
                }
                let mut flags = epoll::EventFlags::empty();
                flags.set(epoll::EventFlags::IN, done.wants_read);
                flags.set(epoll::EventFlags::OUT, done.wants_write);
                let data = epoll::EventData::new_u64(domid.into());
                let _ = epoll::modify(&self.epoll, &s.console.pty.master, data, flags);
            }
            Err(_) => {
                eprintln!("xenconsoled: domain {domid} broke its console ring and is ignored");
                self.let_go(domid);
            }
        }
    }

    /// Close the domain's port and ring; the pty stays.
    fn let_go(&mut self, domid: u16) {
        let Some(s) = self.served.get_mut(&domid) else {
            return;
        };
        s.console.ring = None;
        s.silenced = false;
        if let Some(port) = s.port.take() {
            self.ports.remove(&port);
            self.platform.unbind(port);
        }
        let data = epoll::EventData::new_u64(domid.into());
        let none = epoll::EventFlags::empty();
        let _ = epoll::modify(&self.epoll, &s.console.pty.master, data, none);
    }

    fn read_hypervisor(&mut self) {
        let Some(h) = &mut self.hypervisor else {
            return;
        };
        match self.platform.hypervisor_console(&mut h.index) {
            Ok(text) => h.log.write(&text),
            Err(e) => eprintln!("xenconsoled: {e}"),
        }
    }

    fn reconnect(&mut self) {
        self.retry_at = Instant::now() + RECONNECT;
        let Ok(client) = (self.connect)() else { return };
        let watched = client
            .watch("@introduceDomain", "domains")
            .and_then(|()| client.watch("@releaseDomain", "domains"));
        let Ok(fd) = watched.and_then(|()| client.poll_fd()) else {
            return;
        };
        let data = epoll::EventData::new_u64(STORE);
        if epoll::add(&self.epoll, &fd, data, epoll::EventFlags::IN).is_err() {
            return;
        }
        self.store = Some(StoreLink { client, fd });
        self.find_domains();
        self.announce_again();
        self.read_store();
    }

    /// Watch the consoles that live on, and say again where they are. A failure shows at the next read.
    fn announce_again(&self) {
        let Some(link) = &self.store else { return };
        for (domid, s) in self.served.iter().filter(|(_, s)| s.leaving.is_none()) {
            let base = console_path(*domid);
            let _ = link.client.watch(&base, &domid.to_string());
            let _ = link
                .client
                .write(&format!("{base}/tty"), &s.console.pty.name);
        }
    }

    /// Take all watch events that have arrived.
    fn read_store(&mut self) {
        while let Some(link) = &self.store {
            match link.client.next_event(Some(Duration::ZERO)) {
                Ok(None) => return,
                Ok(Some(e)) if e.token == "domains" => self.find_domains(),
                Ok(Some(e)) => {
                    if let Ok(domid) = e.token.parse() {
                        self.look_at(domid);
                    }
                }
                Err(e) => return self.lost_store(&e),
            }
        }
    }

    fn lost_store(&mut self, e: &xenstore::Error) {
        eprintln!("xenconsoled: {e}; waiting for the store to come back");
        if let Some(link) = self.store.take() {
            let _ = epoll::delete(&self.epoll, &link.fd);
        }
        self.retry_at = Instant::now() + RECONNECT;
    }

    /// Some domain came or went: compare who lives with whom we serve.
    fn find_domains(&mut self) {
        let alive = match self.platform.domains() {
            Ok(d) => d,
            Err(e) => return eprintln!("xenconsoled: {e}"),
        };
        let gone: Vec<u16> = self
            .served
            .keys()
            .filter(|d| !alive.contains(d))
            .copied()
            .collect();
        for domid in gone {
            self.domain_gone(domid);
        }
        for domid in alive.into_iter().filter(|d| *d != 0) {
            if self.served.get(&domid).is_none_or(|s| s.leaving.is_some()) {
                // Fires at once, and again when the toolstack fills it in.
                if let Some(link) = &self.store {
                    let _ = link.client.watch(&console_path(domid), &domid.to_string());
                }
                self.look_at(domid);
            }
        }
    }

    fn domain_gone(&mut self, domid: u16) {
        let now = Instant::now();
        let Some(s) = self.served.get_mut(&domid).filter(|s| s.leaving.is_none()) else {
            return;
        };
        s.console.finish(now);
        // Closing our end now would throw away what is in the pty, even if somebody is reading it.
        s.leaving = Some(Leaving {
            look_at: now + GLANCE,
            ends: now + LINGER,
        });
        self.let_go(domid);
        self.pump(domid);
        if let Some(link) = &self.store {
            let _ = link
                .client
                .unwatch(&console_path(domid), &domid.to_string());
        }
    }

    /// Serve a domain as soon as its console nodes are complete.
    fn look_at(&mut self, domid: u16) {
        let Some(link) = &self.store else { return };
        let base = console_path(domid);
        let get = |node: &str| {
            link.client
                .read_opt(&format!("{base}/{node}"))
                .ok()
                .flatten()
        };
        let number = |node: &str| get(node).and_then(|s| s.parse::<u64>().ok());
        let (Some(gfn), Some(port)) = (number("ring-ref"), number("port")) else {
            return;
        };
        let Ok(port) = u32::try_from(port) else {
            return;
        };
        if get("type").is_some_and(|t| t != "xenconsoled") {
            return;
        }
        if let Some(s) = self.served.get(&domid)
            && s.leaving.is_none()
            && (s.gfn, s.remote_port) == (gfn, port)
        {
            return;
        }
        let limit = number("limit")
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| *n > 0);
        let name = link
            .client
            .read_opt(&format!("{}/name", xenstore::path::home(domid)));
        let name = name.ok().flatten().unwrap_or_else(|| domid.to_string());
        if let Err(e) = self.serve(domid, gfn, port, limit.unwrap_or(DEFAULT_LIMIT), &name) {
            eprintln!("xenconsoled: console of domain {domid}: {e}");
        }
    }

    fn serve(
        &mut self,
        domid: u16,
        gfn: u64,
        remote_port: u32,
        limit: usize,
        name: &str,
    ) -> Result<(), Box<dyn std::error::Error>> {
        // A domain that comes with another ring (it was reset) keeps nothing of the old one.
        self.let_go(domid);
        self.served.remove(&domid);
        let pty = Pty::open()?;
        let ring = Ring::new(self.platform.map(domid, gfn)?);
        let port = self.platform.bind(domid, remote_port)?;
        let log = self.logs.guests.then(|| {
            Log::open(
                &self.logs.dir,
                &format!("guest-{name}"),
                self.logs.guest_times,
            )
            .inspect_err(|e| eprintln!("xenconsoled: log of domain {domid}: {e}"))
            .ok()
        });
        let data = epoll::EventData::new_u64(domid.into());
        epoll::add(&self.epoll, &pty.master, data, epoll::EventFlags::IN)?;
        let tty = pty.name.clone();
        let console = Console::new(ring, pty, limit, log.flatten());
        let port = Some(port);
        self.ports.extend(port.map(|p| (p, domid)));
        let served = Served {
            console,
            gfn,
            remote_port,
            port,
            silenced: false,
            leaving: None,
        };
        self.served.insert(domid, served);
        if let Some(link) = &self.store {
            link.client
                .write(&format!("{}/tty", console_path(domid)), &tty)?;
        }
        self.pump(domid);
        Ok(())
    }
}

fn open_hypervisor<P: Platform>(platform: &mut P, logs: &LogOptions) -> Option<Hypervisor> {
    let port = platform
        .bind_hypervisor_console()
        .map_err(|e| e.to_string());
    let log = Log::open(&logs.dir, "hypervisor", logs.hypervisor_times).map_err(|e| e.to_string());
    match (port, log) {
        (Ok(port), Ok(log)) => Some(Hypervisor {
            port,
            index: 0,
            log,
        }),
        (Err(e), _) | (_, Err(e)) => {
            eprintln!("xenconsoled: the hypervisor's log: {e}");
            None
        }
    }
}

fn console_path(domid: u16) -> String {
    crate::client::console_path(domid, 0)
}
