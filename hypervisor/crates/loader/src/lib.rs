//! Placeholder, filled in by the first commit of this crate.
#![no_std]
#![forbid(unsafe_code)]
