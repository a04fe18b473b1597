//! The error of device-file operations: what was attempted, and what the kernel said.
use std::{fmt, io};

/// A failed operation on a Xen device file.
#[derive(Debug)]
pub struct Error {
    /// What was attempted, with its object: `"mapping 4 frames of d3"`.
    pub operation: String,
    /// What the kernel answered.
    pub cause: io::Error,
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error from its parts.
    pub fn new(operation: impl Into<String>, cause: io::Error) -> Self {
        Error {
            operation: operation.into(),
            cause,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.cause)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}
