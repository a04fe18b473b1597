//! [`Peer`]: one connection's bytes. Cuts its input into requests and keeps its output until it is taken,
//! within limits: a peer that does not read is not served, and is in nobody's way.
use crate::ring::Ring;
use crate::server::Outgoing;
use std::collections::{HashSet, VecDeque};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use xenstore::wire::{self, HEADER_LEN, Header, PAYLOAD_MAX};

/// Distinct events that may wait for a domain; later ones are dropped. Not for dom0's kernel: a guest with many devices
/// causes more at once, and a device that it does not hear of never connects.
const DOMAIN_EVENTS: usize = 1024;
/// Bytes that may wait for a local socket before it is closed.
const SOCKET_BYTES: usize = 64 << 20;
/// Replies that may wait for a local socket before its requests have to.
const SOCKET_REPLIES: usize = 256;

/// Where the bytes come from and go to.
pub enum Endpoint {
    /// A process of this domain. Non-blocking.
    Socket(UnixStream),
    /// A domain's page, and the local port that rings its bell.
    Domain(Ring, u32),
}

/// Why a connection cannot go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It closed, or the transport failed.
    Closed,
    /// Ring indices that cannot be.
    Index,
    /// A payload too long.
    Protocol,
}

/// A connection.
pub struct Peer {
    /// Its transport.
    pub endpoint: Endpoint,
    /// Set once it broke the rules: nothing more is read from or written to it.
    pub broken: bool,
    /// Bytes moved since the last [`Peer::take_moved`].
    moved: bool,
    input: Vec<u8>,
    output: VecDeque<Outgoing>,
    sent: usize,
    waiting_bytes: usize,
    waiting_replies: usize,
    waiting_events: HashSet<Vec<u8>>,
    max_replies: usize,
    max_events: usize,
}

impl Peer {
    /// A connection over a local socket.
    pub fn socket(stream: UnixStream) -> Peer {
        Peer::new(Endpoint::Socket(stream), SOCKET_REPLIES)
    }

    /// A domain's connection, which may have `max_replies` replies waiting; without such a limit (dom0) it loses no events.
    pub fn domain(ring: Ring, port: u32, max_replies: usize) -> Peer {
        let max_events = match max_replies {
            usize::MAX => usize::MAX,
            _ => DOMAIN_EVENTS,
        };
        Peer {
            max_events,
            ..Peer::new(Endpoint::Domain(ring, port), max_replies)
        }
    }

    fn new(endpoint: Endpoint, max_replies: usize) -> Peer {
        Peer {
            endpoint,
            broken: false,
            moved: false,
            input: Vec::new(),
            output: VecDeque::new(),
            sent: 0,
            waiting_bytes: 0,
            waiting_replies: 0,
            waiting_events: HashSet::new(),
            max_replies,
            max_events: usize::MAX,
        }
    }

    /// Forget all bytes in both directions.
    pub fn clear(&mut self) {
        self.input.clear();
        self.output.clear();
        self.waiting_events.clear();
        (self.sent, self.waiting_bytes, self.waiting_replies) = (0, 0, 0);
    }

    /// Must its requests wait until it has read what it was sent?
    pub fn is_throttled(&self) -> bool {
        self.broken || self.waiting_replies >= self.max_replies
    }

    /// Is there anything to send?
    pub fn has_output(&self) -> bool {
        !self.broken && !self.output.is_empty()
    }

    /// Did bytes move since the last call? Then a domain wants to hear the bell.
    pub fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Put a message in the queue.
    pub fn push(&mut self, message: Outgoing) -> Result<(), Fault> {
        if self.broken {
            return Ok(());
        }
        if message.event {
            if self.waiting_events.len() >= self.max_events {
                return Ok(());
            }
            if !self.waiting_events.insert(message.bytes.clone()) {
                return Ok(());
            }
        } else {
            self.waiting_replies += 1;
        }
        self.waiting_bytes += message.bytes.len();
        self.output.push_back(message);
        if self.waiting_bytes > SOCKET_BYTES {
            Err(Fault::Closed)
        } else {
            Ok(())
        }
    }

    /// Send what the other side takes.
    pub fn flush(&mut self) -> Result<(), Fault> {
        while let Some(front) = self.output.front().filter(|_| !self.broken) {
            if self.sent == 0 && front.event {
                // From here on the same event is news again.
                self.waiting_events.remove(&front.bytes);
            }
            let n = send(&mut self.endpoint, &front.bytes[self.sent..])?;
            if n == 0 {
                break;
            }
            self.moved = true;
            self.sent += n;
            if self.sent == front.bytes.len() {
                self.waiting_bytes -= front.bytes.len();
                self.waiting_replies -= usize::from(!front.event);
                self.sent = 0;
                self.output.pop_front();
            }
        }
        Ok(())
    }

    /// The next whole request, if it has arrived.
    pub fn next_request(&mut self) -> Result<Option<(Header, Vec<u8>)>, Fault> {
        loop {
            if let Some(head) = self.input.first_chunk::<HEADER_LEN>() {
                let header = Header::decode(head);
                if header.len as usize > PAYLOAD_MAX {
                    return Err(Fault::Protocol);
                }
                let end = HEADER_LEN + header.len as usize;
                if self.input.len() >= end {
                    let body = self.input[HEADER_LEN..end].to_vec();
                    self.input.drain(..end);
                    return Ok(Some((header, body)));
                }
            }
            if self.broken || receive(&mut self.endpoint, &mut self.input)? == 0 {
                return Ok(None);
            }
            self.moved = true;
        }
    }

    /// The connection broke the rules: stop serving it and tell it why, if it is a domain.
    pub fn fail(&mut self, fault: Fault) {
        self.clear();
        self.broken = true;
        if let Endpoint::Domain(ring, _) = &self.endpoint {
            ring.set_error(match fault {
                Fault::Closed => wire::ring::ERROR_COMM,
                Fault::Index => wire::ring::ERROR_RINGIDX,
                Fault::Protocol => wire::ring::ERROR_PROTO,
            });
        }
    }
}

fn send(endpoint: &mut Endpoint, data: &[u8]) -> Result<usize, Fault> {
    match endpoint {
        Endpoint::Domain(ring, _) => ring.write(data).map_err(|_| Fault::Index),
        Endpoint::Socket(s) => transferred(s.write(data)),
    }
}

/// Add what has arrived to `input`, at most one longest message; 0 if nothing has.
fn receive(endpoint: &mut Endpoint, input: &mut Vec<u8>) -> Result<usize, Fault> {
    let mut buf = [0; HEADER_LEN + PAYLOAD_MAX];
    let n = match endpoint {
        Endpoint::Domain(ring, _) => ring.read(&mut buf).map_err(|_| Fault::Index)?,
        Endpoint::Socket(s) => match s.read(&mut buf) {
            Ok(0) => return Err(Fault::Closed),
            other => transferred(other)?,
        },
    };
    input.extend(&buf[..n]);
    Ok(n)
}

fn transferred(result: io::Result<usize>) -> Result<usize, Fault> {
    match result {
        Ok(n) => Ok(n),
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ) =>
        {
            Ok(0)
        }
        Err(_) => Err(Fault::Closed),
    }
}
