//! XenStore: the wire codec (pure) and a blocking client.
//!
//! * [`wire`]: message header, operations, ring layout; [`path`], [`perms`], [`error`]: the vocabulary.
//! * [`Store`]: typed requests over anything that can carry one request ([`Client`], [`Tx`], or a
//!   server in the same process in tests).
//! * [`Client`]: over `/var/run/xenstored/socket` or `/dev/xen/xenbus`.
//!
//! Semantics: the published `docs/misc/xenstore.txt`; layout: `public/io/xs_wire.h`.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod client;
pub mod error;
pub mod path;
pub mod perms;
pub mod store;
pub mod wire;

pub use client::{Client, Event, Tx};
pub use error::{Error, Result, XsError};
pub use path::Path;
pub use perms::{Access, Perm};
pub use store::Store;
pub use wire::{Header, Op};
