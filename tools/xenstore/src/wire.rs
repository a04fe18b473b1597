//! The wire format: [`Header`], [`Op`], limits, NUL-separated arguments and the shared ring's layout.
//! Source: `public/io/xs_wire.h`. Little endian, as x86 is.

/// Longest payload a message may carry, in bytes (`XENSTORE_PAYLOAD_MAX`).
pub const PAYLOAD_MAX: usize = 4096;
/// Bytes in an encoded [`Header`].
pub const HEADER_LEN: usize = 16;

/// Layout of the page shared with a domain (`struct xenstore_domain_interface`), byte offsets.
pub mod ring {
    /// Bytes in each of the two rings.
    pub const SIZE: usize = 1024;
    /// Requests, domain to server.
    pub const REQ: usize = 0;
    /// Replies and watch events, server to domain.
    pub const RSP: usize = 1024;
    /// Request consumer index, u32, written by the server.
    pub const REQ_CONS: usize = 2048;
    /// Request producer index, u32, written by the domain.
    pub const REQ_PROD: usize = 2052;
    /// Response consumer index, u32, written by the domain.
    pub const RSP_CONS: usize = 2056;
    /// Response producer index, u32, written by the server.
    pub const RSP_PROD: usize = 2060;
    /// Bitmap of features the server offers, u32.
    pub const SERVER_FEATURES: usize = 2064;
    /// Connection state, u32: [`CONNECTED`] or [`RECONNECT`].
    pub const CONNECTION: usize = 2068;
    /// Why the server stopped serving the ring, u32: `ERROR_*`.
    pub const ERROR: usize = 2072;
    /// Feature: the domain may ask for a fresh connection.
    pub const FEATURE_RECONNECTION: u32 = 1;
    /// Feature: the `error` field is valid.
    pub const FEATURE_ERROR: u32 = 2;
    /// Steady state of `connection`.
    pub const CONNECTED: u32 = 0;
    /// The domain wants the connection to start over.
    pub const RECONNECT: u32 = 1;
    /// No error.
    pub const ERROR_NONE: u32 = 0;
    /// Communication problem.
    pub const ERROR_COMM: u32 = 1;
    /// Invalid ring index.
    pub const ERROR_RINGIDX: u32 = 2;
    /// Protocol violation, e.g. a payload too long.
    pub const ERROR_PROTO: u32 = 3;
}

/// A message type. Open: a peer may send any number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Op(pub u32);

macro_rules! ops {
    ($($(#[$doc:meta])* $name:ident = $num:literal;)*) => {
        impl Op {
            $($(#[$doc])* pub const $name: Op = Op($num);)*
            /// The header's name for this operation, without its prefix.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 { $($num => Some(stringify!($name)),)* _ => None }
            }
            /// Every operation that has a name.
            pub const ALL: &'static [Op] = &[$(Op::$name),*];
        }
    };
}

ops! {
    /// Server control (privileged).
    CONTROL = 0;
    /// List children.
    DIRECTORY = 1;
    /// Read a value.
    READ = 2;
    /// Read permissions.
    GET_PERMS = 3;
    /// Register a watch: path, token.
    WATCH = 4;
    /// Remove a watch: path, token.
    UNWATCH = 5;
    /// Open a transaction; the reply is its id in decimal.
    TRANSACTION_START = 6;
    /// End a transaction: `T` commits, `F` aborts.
    TRANSACTION_END = 7;
    /// Tell the server about a new domain: domid, gfn, port.
    INTRODUCE = 8;
    /// Tell the server a domain is gone: domid.
    RELEASE = 9;
    /// A domain's base path: domid.
    GET_DOMAIN_PATH = 10;
    /// Write a value: path NUL bytes.
    WRITE = 11;
    /// Create an empty node.
    MKDIR = 12;
    /// Remove a node and all below it.
    RM = 13;
    /// Replace permissions: path, perms...
    SET_PERMS = 14;
    /// Event, server to client: path, token.
    WATCH_EVENT = 15;
    /// Error reply: an error's name.
    ERROR = 16;
    /// `T` or `F`: domid.
    IS_DOMAIN_INTRODUCED = 17;
    /// Forget that a domain has shut down: domid.
    RESUME = 18;
    /// Give a domain the rights of another: domid, target.
    SET_TARGET = 19;
    /// Forget all of the caller's watches and transactions.
    RESET_WATCHES = 21;
    /// List children from an offset: path, offset.
    DIRECTORY_PART = 22;
    /// Read feature bits.
    GET_FEATURE = 23;
    /// Set feature bits for a domain.
    SET_FEATURE = 24;
    /// Read quota.
    GET_QUOTA = 25;
    /// Set quota.
    SET_QUOTA = 26;
}

impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(n) => f.write_str(n),
            None => write!(f, "op {}", self.0),
        }
    }
}

/// `struct xsd_sockmsg`: precedes every payload, both ways.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// What is asked or answered.
    pub op: Op,
    /// Chosen by the client, echoed by the server.
    pub req_id: u32,
    /// Transaction, 0 for none.
    pub tx_id: u32,
    /// Payload bytes that follow.
    pub len: u32,
}

impl Header {
    /// Decode; any bytes decode, the fields are allegations.
    pub fn decode(b: &[u8; HEADER_LEN]) -> Header {
        let word = |i: usize| u32::from_le_bytes([b[i], b[i + 1], b[i + 2], b[i + 3]]);
        Header {
            op: Op(word(0)),
            req_id: word(4),
            tx_id: word(8),
            len: word(12),
        }
    }

    /// Encode.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        for (chunk, w) in
            out.chunks_exact_mut(4)
                .zip([self.op.0, self.req_id, self.tx_id, self.len])
        {
            chunk.copy_from_slice(&w.to_le_bytes());
        }
        out
    }
}

/// A whole message: header followed by `body`.
pub fn encode(op: Op, req_id: u32, tx_id: u32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_LEN + body.len());
    out.extend(
        Header {
            op,
            req_id,
            tx_id,
            len: body.len() as u32,
        }
        .encode(),
    );
    out.extend(body);
    out
}

/// `parts`, each followed by a NUL.
pub fn join<T: AsRef<[u8]>>(parts: &[T]) -> Vec<u8> {
    let mut out = Vec::new();
    for p in parts {
        out.extend(p.as_ref());
        out.push(0);
    }
    out
}

/// The NUL-terminated strings of `body`; a last one without its NUL counts too.
pub fn split(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let body = body
        .strip_suffix(&[0])
        .map_or((body, !body.is_empty()), |b| (b, true));
    body.0.split(|b| *b == 0).filter(move |_| body.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn operations_have_the_numbers_of_the_header() {
        assert_eq!(Op::SET_TARGET.0, 19);
        assert_eq!(Op::RESET_WATCHES.0, 21);
        assert_eq!(Op::DIRECTORY_PART.0, 22);
        assert_eq!(Op::WATCH_EVENT.0, 15);
        assert_eq!(Op(20).name(), None);
        assert_eq!(Op::ALL.len(), 26);
    }

    #[test]
    fn arguments_split_where_they_were_joined() {
        let list = |b: &[u8]| split(b).map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(list(b""), Vec::<Vec<u8>>::new());
        assert_eq!(list(b"\0"), [b"".to_vec()]);
        assert_eq!(list(b"a\0b\0"), [b"a".to_vec(), b"b".to_vec()]);
        assert_eq!(list(b"a\0b"), [b"a".to_vec(), b"b".to_vec()]);
        assert_eq!(list(b"a\0\0"), [b"a".to_vec(), b"".to_vec()]);
    }

    proptest! {
        #[test]
        fn any_sixteen_bytes_survive_a_round_trip(b in any::<[u8; HEADER_LEN]>()) {
            prop_assert_eq!(Header::decode(&b).encode(), b);
        }
    }
}
