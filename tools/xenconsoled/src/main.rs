//! `xenconsoled`: serves the consoles of all domains.
#![forbid(unsafe_code)]

fn main() {}
