//! Hardware-virtualised guests (`public/hvm`): parameters, calls, PVH start info, vcpu start state.
//!
//! Device-model calls are in [`dm_op`], I/O requests in [`ioreq`], saved state in [`save`].

pub mod dm_op;
pub mod ioreq;
mod ops;
mod params;
pub mod save;
mod start_info;
mod vcpu;

pub use ops::*;
pub use params::*;
pub use start_info::*;
pub use vcpu::*;
