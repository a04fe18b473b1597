//! The XenStore server: a tree of small values through which domains find and configure each other.
//!
//! Pure, in order of dependence: [`tree`] (persistent tree, O(1) snapshots), [`access`] (who may do what),
//! [`edit`] (reads and changes with permission checks), [`transaction`] (snapshot, conflict detection,
//! replay), [`watch`] (who watches what), [`server`] (requests of connections to replies and events).
//! I/O around it: [`ring`] (a domain's page), [`peer`] (one connection's buffers), [`platform`] (event
//! channels and mappings), [`state_file`] (for the daemon
//! that follows a killed one), [`daemon`] (the event loop).
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod access;
pub mod daemon;
pub mod edit;
pub mod peer;
pub mod platform;
pub mod ring;
pub mod server;
pub mod state_file;
pub mod transaction;
pub mod tree;
pub mod watch;
