//! [`Client`]: a blocking connection; [`Tx`]: a transaction on it; [`Event`]: a fired watch.
use crate::{Error, Op, Result, Store, XsError, wire};
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path as FsPath;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Where the server listens unless `XENSTORED_PATH` says otherwise.
pub const SOCKET: &str = "/var/run/xenstored/socket";
/// Kernel devices through which a domain reaches its server, in order of preference.
pub const DEVICES: [&str; 2] = ["/dev/xen/xenbus", "/proc/xen/xenbus"];
/// Exists where the server is to run: there the kernel's device would wait for a server for ever.
const BACKEND: &str = "/dev/xen/xenbus_backend";
/// How often [`Client::transaction`] starts over before it gives up with `EAGAIN`.
const TRANSACTION_ATTEMPTS: u32 = 200;

/// A watch that fired.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// What changed, absolute or relative as the watch was.
    pub path: String,
    /// The token given to [`Client::watch`].
    pub token: String,
}

/// A connection to the server. Calls may come from several threads; each waits for its reply.
#[derive(Debug)]
pub struct Client {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    next_id: u32,
    events: VecDeque<Event>,
    input: Vec<u8>,
}

impl Client {
    /// Connect: `XENSTORED_PATH`, else the server's socket, else (not in domain 0) the kernel's device.
    pub fn open() -> Result<Client> {
        if let Some(path) = std::env::var_os("XENSTORED_PATH") {
            return Client::open_path(FsPath::new(&path));
        }
        let mut result = Client::open_path(FsPath::new(SOCKET));
        if FsPath::new(BACKEND).exists() {
            return result;
        }
        for dev in DEVICES {
            if result.is_err() && FsPath::new(dev).exists() {
                result = Client::open_path(FsPath::new(dev));
            }
        }
        result
    }

    /// Connect to a socket or device at `path`.
    pub fn open_path(path: &FsPath) -> Result<Client> {
        use std::os::unix::fs::FileTypeExt;
        let kind = std::fs::metadata(path)?.file_type();
        if kind.is_socket() {
            Ok(Client::from_stream(UnixStream::connect(path)?))
        } else {
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            Ok(Client::from_file(file))
        }
    }

    /// Use an established socket.
    pub fn from_stream(stream: UnixStream) -> Client {
        Client::from_file(File::from(std::os::fd::OwnedFd::from(stream)))
    }

    fn from_file(file: File) -> Client {
        let inner = Inner {
            file,
            next_id: 0,
            events: VecDeque::new(),
            input: Vec::new(),
        };
        Client {
            inner: Mutex::new(inner),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A duplicate of the connection's descriptor, to poll it in an event loop. When it is readable, and after
    /// every other call on this client, [`Client::next_event`] with a zero timeout may have something.
    pub fn poll_fd(&self) -> Result<std::os::fd::OwnedFd> {
        Ok(self.lock().file.as_fd().try_clone_to_owned()?)
    }

    /// Send one request within transaction `tx` (0: none) and wait for the reply.
    pub fn request_in(&self, tx: u32, op: Op, body: &[u8]) -> Result<Vec<u8>> {
        if body.len() > wire::PAYLOAD_MAX {
            return Err(XsError::E2BIG.into());
        }
        self.lock().transact(tx, op, body)
    }

    /// Start a transaction; it is aborted when dropped without [`Tx::commit`].
    pub fn begin(&self) -> Result<Tx<'_>> {
        let reply = self.request(Op::TRANSACTION_START, b"\0")?;
        let id = crate::perms::parse_number(reply.strip_suffix(&[0]).unwrap_or(&reply))
            .map_err(|_| Error::Protocol("malformed transaction id"))?;
        Ok(Tx {
            client: self,
            id,
            open: true,
        })
    }

    /// Run `body` in a transaction and commit; start over whenever another client interfered.
    ///
    /// `body` may run several times, so it must have no effect outside the transaction.
    pub fn transaction<T>(&self, mut body: impl FnMut(&Tx<'_>) -> Result<T>) -> Result<T> {
        for attempt in 0.. {
            let tx = self.begin()?;
            let done = body(&tx).and_then(|v| tx.commit().map(|()| v));
            match done {
                Err(e) if e.is_conflict() && attempt < TRANSACTION_ATTEMPTS => continue,
                other => return other,
            }
        }
        Err(XsError::EAGAIN.into())
    }

    /// Watch `path` and all below it; fires once at once. `path` may be `@introduceDomain` or
    /// `@releaseDomain`.
    pub fn watch(&self, path: &str, token: &str) -> Result<()> {
        self.request(Op::WATCH, &wire::join(&[path, token]))
            .map(drop)
    }

    /// Remove a watch, and its events that were not taken yet.
    pub fn unwatch(&self, path: &str, token: &str) -> Result<()> {
        let mut inner = self.lock();
        inner.transact(0, Op::UNWATCH, &wire::join(&[path, token]))?;
        inner
            .events
            .retain(|e| e.token != token || !covers(path, &e.path));
        Ok(())
    }

    /// The next fired watch; `None` after `timeout` (wait for ever without one).
    pub fn next_event(&self, timeout: Option<Duration>) -> Result<Option<Event>> {
        let deadline = timeout.map(|t| Instant::now() + t);
        let mut inner = self.lock();
        loop {
            // What came along with an earlier reply is not announced by the descriptor any more.
            while let Some((h, _)) = inner.take_message()? {
                if h.op != Op::WATCH_EVENT {
                    return Err(Error::Protocol("a reply to no request"));
                }
            }
            if let Some(e) = inner.events.pop_front() {
                return Ok(Some(e));
            }
            if !inner.fill(deadline)? {
                return Ok(None);
            }
        }
    }

    /// Wait until `check` yields something, looking again whenever `path` changes.
    /// `None` when `timeout` passes first.
    pub fn wait_for<T>(
        &self,
        path: &str,
        timeout: Duration,
        mut check: impl FnMut(&Client) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let deadline = Instant::now() + timeout;
        let token = format!("wait-{path}");
        self.watch(path, &token)?;
        let result = loop {
            match check(self) {
                Ok(None) => {}
                done => break done,
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.next_event(Some(left)) {
                Ok(Some(_)) => {}
                Ok(None) => break check(self),
                Err(e) => break Err(e),
            }
        };
        self.unwatch(path, &token)?;
        result
    }
}

impl Store for Client {
    fn request(&self, op: Op, body: &[u8]) -> Result<Vec<u8>> {
        self.request_in(0, op, body)
    }
}

/// Is `path` `watched` or below it?
fn covers(watched: &str, path: &str) -> bool {
    path.strip_prefix(watched)
        .is_some_and(|r| r.is_empty() || r.starts_with('/') || watched == "/")
}

impl Inner {
    fn transact(&mut self, tx: u32, op: Op, body: &[u8]) -> Result<Vec<u8>> {
        self.next_id = self.next_id.wrapping_add(1);
        let id = self.next_id;
        self.file.write_all(&wire::encode(op, id, tx, body))?;
        loop {
            match self.take_message()? {
                None => drop(self.fill(None)?),
                Some((h, _)) if h.op == Op::WATCH_EVENT => {}
                Some((h, _)) if h.req_id != id => return Err(Error::Protocol("unexpected reply")),
                Some((h, body)) if h.op == Op::ERROR => return Err(named_error(&body)),
                Some((h, body)) if h.op == op => return Ok(body),
                Some(_) => return Err(Error::Protocol("reply of another type")),
            }
        }
    }

    /// Read whatever has arrived; false if nothing did before `deadline`.
    fn fill(&mut self, deadline: Option<Instant>) -> Result<bool> {
        if let Some(deadline) = deadline
            && !readable(self.file.as_fd(), deadline)?
        {
            return Ok(false);
        }
        let mut buf = [0; 4096];
        let n = match self.file.read(&mut buf) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(true),
            other => other?,
        };
        if n == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        self.input.extend(&buf[..n]);
        Ok(true)
    }

    /// Take one whole message from the input; events go to the queue as well.
    fn take_message(&mut self) -> Result<Option<(wire::Header, Vec<u8>)>> {
        let Some(head) = self.input.first_chunk() else {
            return Ok(None);
        };
        let h = wire::Header::decode(head);
        if h.len as usize > wire::PAYLOAD_MAX {
            return Err(Error::Protocol("payload too long"));
        }
        let end = wire::HEADER_LEN + h.len as usize;
        if self.input.len() < end {
            return Ok(None);
        }
        let body = self.input[wire::HEADER_LEN..end].to_vec();
        self.input.drain(..end);
        if h.op == Op::WATCH_EVENT {
            let mut parts = wire::split(&body).map(|s| String::from_utf8_lossy(s).into_owned());
            let (path, token) = (parts.next(), parts.next());
            let (Some(path), Some(token)) = (path, token) else {
                return Err(Error::Protocol("malformed watch event"));
            };
            self.events.push_back(Event { path, token });
        }
        Ok(Some((h, body)))
    }
}

fn named_error(body: &[u8]) -> Error {
    let name = String::from_utf8_lossy(body);
    XsError::from_name(name.trim_end_matches('\0'))
        .map_or(Error::Protocol("unknown error name"), Error::Store)
}

fn readable(fd: BorrowedFd<'_>, deadline: Instant) -> Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let spec = rustix::time::Timespec {
            tv_sec: left.as_secs().min(i32::MAX as u64) as i64,
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&spec)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// An open transaction. Requests made through it are seen by nobody until [`Tx::commit`].
#[derive(Debug)]
pub struct Tx<'a> {
    client: &'a Client,
    id: u32,
    open: bool,
}

impl Tx<'_> {
    /// Make the changes visible; `EAGAIN` if another client interfered.
    pub fn commit(mut self) -> Result<()> {
        self.open = false;
        self.client
            .request_in(self.id, Op::TRANSACTION_END, b"T\0")
            .map(drop)
    }

    /// Forget the changes.
    pub fn abort(mut self) -> Result<()> {
        self.open = false;
        self.client
            .request_in(self.id, Op::TRANSACTION_END, b"F\0")
            .map(drop)
    }
}

impl Store for Tx<'_> {
    fn request(&self, op: Op, body: &[u8]) -> Result<Vec<u8>> {
        self.client.request_in(self.id, op, body)
    }
}

impl Drop for Tx<'_> {
    fn drop(&mut self) {
        if self.open {
            // Nobody is left to tell: the server aborts it too when the connection closes.
            let _ = self.client.request_in(self.id, Op::TRANSACTION_END, b"F\0");
        }
    }
}
