//! The names an architecture must define, and the one architecture there is.

pub mod x86;
