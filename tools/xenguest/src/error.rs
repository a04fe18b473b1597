//! [`Error`]: which step failed, on what, why, and what to do about it.
use std::fmt;

/// A build that failed.
#[derive(Debug)]
pub struct Error {
    /// The step: "reading the kernel".
    pub step: &'static str,
    /// File or frame the step was at.
    pub object: String,
    /// What went wrong.
    pub cause: String,
    /// What to do about it, where there is something.
    pub hint: Option<&'static str>,
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn new(
        step: &'static str,
        object: impl fmt::Display,
        cause: impl fmt::Display,
    ) -> Self {
        Error {
            step,
            object: object.to_string(),
            cause: cause.to_string(),
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.step, self.object, self.cause)?;
        match self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
