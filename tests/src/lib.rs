//! Stories about whole hosts: [`host::Host`] boots one in an emulator and talks to its dom0. The stories are in `tests/tests/`.
//!
//! Stories that need an emulator are `#[ignore]`d for a plain `cargo test`; `tests/run` runs them, one at a time.

pub mod host;

pub use host::{Builder, Host, Reply, Story, corten, xen};
