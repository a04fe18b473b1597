//! The Xen 4.17 ABI as published in its MIT-licensed public headers, typed once.
//!
//! One module per public header; names follow the headers in Rust's case. Used by the hypervisor, the
//! toolstack and the test guests alike. Every struct has its size and offsets asserted at compile time.
#![no_std]
#![forbid(unsafe_code)]

pub mod errno;
pub mod types;

pub use errno::Errno;
pub use types::{DomId, Gfn, GrantRef, Mfn, Pfn, Pirq, Port, VcpuId};
