//! [`Server`]: connections, domains and the store. Takes whole requests, leaves whole messages in the outbox.
//!
//! Pure: what has to happen outside (mapping a domain's page, asking whether it lives) goes through [`Host`].
mod control;
mod domains;
mod nodes;
mod saved;
mod watches;

use crate::access::{Caller, Limits};
use crate::transaction::Transaction;
use crate::tree::Tree;
use crate::watch::{WatchId, Watches};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use xenstore::{Header, Op, Path, Perm, XsError, wire};

/// Names a connection.
pub type ConnId = u64;

/// How a domain is, as the hypervisor says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DomainState {
    /// It runs, or could.
    Alive,
    /// It has shut down and waits for its end or its resumption.
    Shutdown,
    /// It is being destroyed or does not exist.
    Gone,
}

/// The world outside.
pub trait Host {
    /// Serve the ring in frame `gfn` of `domid`, which left `port` open for us, as connection `conn`.
    fn connect(&mut self, conn: ConnId, domid: u16, gfn: u64, port: u32) -> Result<(), XsError>;
    /// Stop serving `conn` and let go of its page and port.
    fn disconnect(&mut self, conn: ConnId);
    /// Ask the hypervisor about a domain.
    fn state(&self, domid: u16) -> DomainState;
}

/// A message on its way to a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// To whom.
    pub conn: ConnId,
    /// Header and payload.
    pub bytes: Vec<u8>,
    /// A watch event: waiting twice for the same reader says nothing more than waiting once.
    pub event: bool,
}

#[derive(Debug)]
struct Conn {
    caller: Caller,
    transactions: HashMap<u32, Transaction>,
    next_tx: u32,
    watches: Vec<WatchId>,
}

#[derive(Debug)]
struct Domain {
    conn: ConnId,
    gfn: u64,
    port: u32,
    shutdown: bool,
}

/// Watch fired when a domain is introduced.
pub const INTRODUCE_DOMAIN: &str = "@introduceDomain";
/// Watch fired when a domain shuts down or goes.
pub const RELEASE_DOMAIN: &str = "@releaseDomain";

/// The server's state.
pub struct Server {
    tree: Tree,
    limits: Limits,
    conns: HashMap<ConnId, Conn>,
    next_conn: ConnId,
    domains: BTreeMap<u16, Domain>,
    targets: HashMap<u16, u16>,
    watches: Watches,
    special_perms: HashMap<Path, Arc<[Perm]>>,
    outbox: Vec<Outgoing>,
    /// Grows with every change of domains, watches and special permissions.
    touched: u64,
}

/// A decoded request.
struct Request<'a> {
    conn: ConnId,
    caller: Caller,
    tx: u32,
    args: Vec<&'a [u8]>,
    body: &'a [u8],
}

impl Request<'_> {
    /// The one argument, NUL-terminated.
    fn only(&self) -> Result<&[u8], XsError> {
        match (self.args.as_slice(), self.body.last()) {
            ([one], Some(0)) => Ok(one),
            _ => Err(XsError::EINVAL),
        }
    }
    fn path(&self, raw: &[u8]) -> Result<Path, XsError> {
        Path::parse(raw, self.caller.domid)
    }
}

impl Server {
    /// A server with an empty store: `/`, `/tool/xenstored`, `/local/domain`.
    pub fn new(limits: Limits) -> Server {
        let mut tree = Tree::new();
        for node in ["/tool", "/tool/xenstored", "/local", "/local/domain"] {
            if let Ok(path) = Path::parse(node.as_bytes(), 0) {
                tree.insert(&path, [].into(), [Perm::none(0)].into());
            }
        }
        Server {
            tree,
            limits,
            conns: HashMap::new(),
            next_conn: 1,
            domains: BTreeMap::new(),
            targets: HashMap::new(),
            watches: Watches::default(),
            special_perms: HashMap::new(),
            outbox: Vec::new(),
            touched: 0,
        }
    }

    /// The limits on unprivileged domains.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }
    /// The store.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// A new connection on behalf of `domid`.
    pub fn open(&mut self, domid: u16) -> ConnId {
        let conn = self.next_conn;
        self.next_conn += 1;
        let caller = Caller {
            domid,
            target: self.targets.get(&domid).copied(),
        };
        let fresh = Conn {
            caller,
            transactions: HashMap::new(),
            next_tx: 1,
            watches: Vec::new(),
        };
        self.conns.insert(conn, fresh);
        conn
    }

    /// The connection has ended: its watches and transactions go.
    pub fn close(&mut self, conn: ConnId) {
        self.reset(conn);
        self.conns.remove(&conn);
    }

    /// Forget the watches and transactions of a connection, as for a guest that starts over.
    pub fn reset(&mut self, conn: ConnId) {
        let Some(c) = self.conns.get_mut(&conn) else {
            return;
        };
        self.touched += u64::from(!c.watches.is_empty());
        c.transactions.clear();
        for id in std::mem::take(&mut c.watches) {
            self.watches.remove(id);
        }
    }

    /// Messages to deliver since the last call, in order.
    pub fn take_outbox(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.outbox)
    }

    /// Answer one request. Every request of a known connection gets exactly one reply.
    pub fn handle(&mut self, host: &mut dyn Host, conn: ConnId, header: &Header, body: &[u8]) {
        let Some(caller) = self.conns.get(&conn).map(|c| c.caller) else {
            return;
        };
        let args = wire::split(body).collect();
        let request = Request {
            conn,
            caller,
            tx: header.tx_id,
            args,
            body,
        };
        let at = self.outbox.len();
        let result = self.dispatch(host, header.op, &request).and_then(|reply| {
            if reply.len() > wire::PAYLOAD_MAX {
                Err(XsError::E2BIG)
            } else {
                Ok(reply)
            }
        });
        let (op, reply) = match result {
            Ok(reply) => (header.op, reply),
            Err(e) => (Op::ERROR, wire::join(&[e.name()])),
        };
        let bytes = wire::encode(op, header.req_id, header.tx_id, &reply);
        // The reply goes before the events that the request caused.
        let at = at.min(self.outbox.len());
        self.outbox.insert(
            at,
            Outgoing {
                conn,
                bytes,
                event: false,
            },
        );
    }

    fn dispatch(
        &mut self,
        host: &mut dyn Host,
        op: Op,
        r: &Request<'_>,
    ) -> Result<Vec<u8>, XsError> {
        self.touched += u64::from(touches(op));
        match op {
            Op::CONTROL => self.control(r),
            Op::DIRECTORY => self.directory(r),
            Op::DIRECTORY_PART => self.directory_part(r),
            Op::READ => self.read(r),
            Op::GET_PERMS => self.get_perms(r),
            Op::WRITE => self.write(r),
            Op::MKDIR => self.mkdir(r),
            Op::RM => self.rm(r),
            Op::SET_PERMS => self.set_perms(r),
            Op::WATCH => self.watch(r),
            Op::UNWATCH => self.unwatch(r),
            Op::RESET_WATCHES => self.reset_watches(r),
            Op::TRANSACTION_START => self.transaction_start(r),
            Op::TRANSACTION_END => self.transaction_end(r),
            Op::INTRODUCE => self.introduce(host, r),
            Op::RELEASE => self.release(host, r),
            Op::RESUME => self.resume(r),
            Op::SET_TARGET => self.set_target(r),
            Op::IS_DOMAIN_INTRODUCED => self.is_introduced(r),
            Op::GET_DOMAIN_PATH => self.domain_path(r),
            _ => Err(XsError::ENOSYS),
        }
    }
}

/// May the request change anything that is saved, besides the tree?
fn touches(op: Op) -> bool {
    matches!(
        op,
        Op::WATCH
            | Op::UNWATCH
            | Op::SET_PERMS
            | Op::INTRODUCE
            | Op::RELEASE
            | Op::RESUME
            | Op::SET_TARGET
    )
}

/// The acknowledgement of requests that have nothing else to say.
fn ok() -> Result<Vec<u8>, XsError> {
    Ok(b"OK\0".to_vec())
}
