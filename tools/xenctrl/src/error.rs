//! The error of hypervisor calls: operation, object, cause.
use std::fmt;
use xen_abi::Errno;

/// A hypervisor call that failed.
#[derive(Debug, Clone)]
pub struct Error {
    /// What was attempted, with its object: `"pausing d3"`.
    pub operation: String,
    /// The hypervisor's answer.
    pub errno: Errno,
    /// More, where the number does not say it all.
    pub detail: Option<String>,
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error from its parts.
    pub fn new(operation: impl Into<String>, errno: Errno) -> Self {
        Error {
            operation: operation.into(),
            errno,
            detail: None,
        }
    }

    /// Adds an explanation.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// A device file's error, with its number where the ABI knows it.
    pub fn from_device(e: xendev::Error) -> Self {
        let errno = e
            .cause
            .raw_os_error()
            .and_then(Errno::from_raw)
            .unwrap_or(Errno::EIO);
        Error {
            operation: e.operation,
            errno,
            detail: None,
        }
    }

    /// Whether the call's object does not exist.
    pub fn is_no_such_domain(&self) -> bool {
        self.errno == Errno::ESRCH
    }
}

impl From<xendev::Error> for Error {
    fn from(e: xendev::Error) -> Self {
        Error::from_device(e)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.errno)?;
        match &self.detail {
            Some(d) => write!(f, ", {d}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
