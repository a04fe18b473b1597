//! Error names of the protocol ([`XsError`]) and the client's error type ([`Error`]).
use std::{fmt, io};

macro_rules! xs_errors {
    ($($name:ident = $num:literal,)*) => {
        /// An error as the server names it on the wire (`xsd_errors` in `xs_wire.h`).
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(i32)]
        #[allow(missing_docs)]
        pub enum XsError { $($name = $num,)* }

        impl XsError {
            /// The name sent in an `ERROR` reply.
            pub const fn name(self) -> &'static str {
                match self { $(XsError::$name => stringify!($name),)* }
            }
            /// The error with this name.
            pub fn from_name(name: &str) -> Option<XsError> {
                match name { $(stringify!($name) => Some(XsError::$name),)* _ => None }
            }
            /// Every error the protocol knows.
            pub const ALL: &'static [XsError] = &[$(XsError::$name),*];
        }
    };
}

xs_errors! {
    EINVAL = 22, EACCES = 13, EEXIST = 17, EISDIR = 21, ENOENT = 2, ENOMEM = 12, ENOSPC = 28,
    EIO = 5, ENOTEMPTY = 39, ENOSYS = 38, EROFS = 30, EBUSY = 16, EAGAIN = 11, EISCONN = 106,
    E2BIG = 7, EPERM = 1,
}

impl fmt::Display for XsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::error::Error for XsError {}

/// What a client call can fail with.
#[derive(Debug)]
pub enum Error {
    /// The server refused the request.
    Store(XsError),
    /// The connection failed.
    Io(io::Error),
    /// The server sent something that is not the protocol.
    Protocol(&'static str),
}

/// Result of a client call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The node (or transaction) named does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Store(XsError::ENOENT))
    }
    /// A transaction lost a race and must be retried.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Error::Store(XsError::EAGAIN))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Store(e) => write!(f, "xenstore: {e}"),
            Error::Io(e) => write!(f, "xenstore connection: {e}"),
            Error::Protocol(what) => write!(f, "xenstore protocol violation: {what}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<XsError> for Error {
    fn from(e: XsError) -> Self {
        Error::Store(e)
    }
}

impl From<io::Error> for Error {
    fn from(e: io::Error) -> Self {
        Error::Io(e)
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(e: rustix::io::Errno) -> Self {
        Error::Io(e.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_name_reads_back_as_itself() {
        for e in XsError::ALL {
            assert_eq!(XsError::from_name(e.name()), Some(*e));
        }
        assert_eq!(XsError::from_name("EQUOTA"), None);
    }
}
