//! What goes wrong, in one sentence, with what to do about it.
use crate::cfg::{Diagnostic, Diagnostics};
use std::fmt;

/// A failed operation on a domain or the host.
#[derive(Debug)]
pub enum Error {
    /// The configuration is wrong; every finding, warnings included.
    Config(Diagnostics),
    /// No domain of this name or id.
    NoSuchDomain(String),
    /// The hypervisor refused.
    Hypervisor(xenctrl::Error),
    /// The xenstore refused; what was attempted, and its answer.
    Store(String, xenstore::Error),
    /// Building the guest failed.
    Build(xenguest::Error),
    /// Anything else: what is wrong, and how to fix it.
    Other {
        /// What is wrong, with the object's name.
        message: String,
        /// How to fix it.
        hint: Option<String>,
    },
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of its own kind.
    pub fn new(message: impl Into<String>) -> Error {
        Error::Other {
            message: message.into(),
            hint: None,
        }
    }

    /// The same with a hint.
    pub fn hint(self, hint: impl Into<String>) -> Error {
        match self {
            Error::Other { message, .. } => Error::Other {
                message,
                hint: Some(hint.into()),
            },
            other => Error::Other {
                message: other.to_string(),
                hint: Some(hint.into()),
            },
        }
    }

    /// The configuration's findings.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            Error::Config(d) => &d.0,
            _ => &[],
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Config(d) => {
                for (i, d) in d.0.iter().enumerate() {
                    write!(f, "{}{d}", if i > 0 { "\n" } else { "" })?;
                }
                Ok(())
            }
            Error::NoSuchDomain(d) => write!(f, "there is no domain \"{d}\""),
            Error::Hypervisor(e) => e.fmt(f),
            Error::Store(what, e) => write!(f, "{what}: {e}"),
            Error::Build(e) => e.fmt(f),
            Error::Other {
                message,
                hint: Some(h),
            } => write!(f, "{message} ({h})"),
            Error::Other {
                message,
                hint: None,
            } => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {}

impl From<xenctrl::Error> for Error {
    fn from(e: xenctrl::Error) -> Self {
        Error::Hypervisor(e)
    }
}

impl From<xenguest::Error> for Error {
    fn from(e: xenguest::Error) -> Self {
        Error::Build(e)
    }
}

/// Says what a xenstore request was for.
pub trait StoreContext<T> {
    /// Adds it.
    fn during(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> StoreContext<T> for xenstore::Result<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::Store(what(), e))
    }
}
