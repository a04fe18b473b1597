//! Domains, as the administrator sees them: from an `xl.cfg` to a running guest, and back to nothing.
#![warn(missing_docs)]
#![forbid(unsafe_code)]

pub mod cfg;
