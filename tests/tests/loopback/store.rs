//! Our xenstored's server without its daemon: a request is a function call.

use std::cell::RefCell;
use xenstore::wire::{HEADER_LEN, Header};
use xenstore::{Error, Op, Store, XsError};
use xenstored::server::{ConnId, DomainState, Host, Server};

/// Domains connect, and nothing comes of it: no guest runs here.
struct Quiet;

impl Host for Quiet {
    fn connect(&mut self, _: ConnId, _: u16, _: u64, _: u32) -> Result<(), XsError> {
        Ok(())
    }
    fn disconnect(&mut self, _: ConnId) {}
    fn state(&self, _: u16) -> DomainState {
        DomainState::Alive
    }
}

/// dom0's connection to a server in this process.
pub struct InProcess {
    server: RefCell<Server>,
    conn: ConnId,
}

impl InProcess {
    pub fn new() -> InProcess {
        let mut server = Server::new(Default::default());
        let conn = server.open(0);
        InProcess {
            server: RefCell::new(server),
            conn,
        }
    }

    fn ask(&self, tx_id: u32, op: Op, body: &[u8]) -> xenstore::Result<Vec<u8>> {
        let mut server = self.server.borrow_mut();
        let header = Header {
            op,
            req_id: 1,
            tx_id,
            len: body.len() as u32,
        };
        server.handle(&mut Quiet, self.conn, &header, body);
        for message in server.take_outbox() {
            let (head, reply) = message.bytes.split_at(HEADER_LEN);
            let head = Header::decode(head.first_chunk().unwrap());
            if message.conn != self.conn || head.op == Op::WATCH_EVENT {
                continue;
            }
            if head.op == Op::ERROR {
                let name = String::from_utf8_lossy(reply);
                return Err(Error::Store(
                    XsError::from_name(name.trim_end_matches('\0')).unwrap(),
                ));
            }
            return Ok(reply.to_vec());
        }
        panic!("{op:?} was not answered");
    }
}

impl Store for InProcess {
    fn request(&self, op: Op, body: &[u8]) -> xenstore::Result<Vec<u8>> {
        self.ask(0, op, body)
    }
}

/// Requests within a transaction.
struct Within<'a>(&'a InProcess, u32);

impl Store for Within<'_> {
    fn request(&self, op: Op, body: &[u8]) -> xenstore::Result<Vec<u8>> {
        self.0.ask(self.1, op, body)
    }
}

impl libxl::Xenstore for InProcess {
    fn atomically(
        &self,
        body: &mut dyn FnMut(&dyn Store) -> xenstore::Result<()>,
    ) -> xenstore::Result<()> {
        let id = self.request(Op::TRANSACTION_START, b"\0")?;
        let id = String::from_utf8_lossy(&id)
            .trim_end_matches('\0')
            .parse()
            .unwrap();
        let result = body(&Within(self, id));
        let end: &[u8] = if result.is_ok() { b"T\0" } else { b"F\0" };
        self.ask(id, Op::TRANSACTION_END, end)?;
        result
    }
}
