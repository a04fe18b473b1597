//! Placeholder, filled in by the first commit of this crate.
fn main() {}
