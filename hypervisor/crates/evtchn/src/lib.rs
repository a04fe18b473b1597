//! Event channels of one domain: the port table, the 2-level and the FIFO delivery ABI.
//!
//! [`Ports`] is the key type. Changes take `&mut Ports`; the hot path (`send`, then `set_pending` on the
//! receiver's table) takes `&Ports`, so a reader-writer lock held by the caller is enough. Everything that
//! must happen outside (kick a vcpu, unbind an interrupt, tell the peer) is a returned value.
//! Layouts follow the public header `event_channel.h`; words shared with the guest are reached through
//! [`SharedEvents`] and are treated as hostile. Neighbours: `hypercall` (the calls), `domain` (the owner).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod bind;
mod close;
mod deliver;
mod fifo;
mod poll;
mod setup;
mod shared;
mod table;
mod two_level;
mod types;

pub use bind::{bind_interdomain, is_per_vcpu_virq};
pub use shared::{ControlBlock, SharedEvents, VcpuEvents};
pub use table::Ports;
pub use types::{Abi, Binding, Bound, Closed, Consumer, Limits, MoveIrq, Send, Wake};

/// Ports a domain can have with the FIFO ABI (`EVTCHN_FIFO_NR_CHANNELS`).
pub const FIFO_PORTS: u32 = 1 << 17;
/// Ports a 64-bit domain can have with the 2-level ABI (`EVTCHN_2L_NR_CHANNELS`).
pub const TWO_LEVEL_PORTS: u32 = 64 * 64;
/// Event words in one page of the FIFO event array.
pub const WORDS_PER_PAGE: u32 = 1024;
/// Pages a full FIFO event array has.
pub const MAX_ARRAY_PAGES: u32 = FIFO_PORTS / WORDS_PER_PAGE;
/// Virtual interrupt numbers (`NR_VIRQS`).
pub const NR_VIRQS: u32 = 24;
/// Bits of a link, what `EVTCHNOP_init_control` reports (`EVTCHN_FIFO_LINK_BITS`).
pub const LINK_BITS: u8 = 17;
/// Lowest priority of the FIFO ABI (`EVTCHN_FIFO_PRIORITY_MIN`); 0 is the highest.
pub const PRIORITY_MIN: u8 = 15;
/// Priority of a fresh port (`EVTCHN_FIFO_PRIORITY_DEFAULT`).
pub const PRIORITY_DEFAULT: u8 = 7;
/// Bytes of a FIFO control block (`struct evtchn_fifo_control_block`).
pub const CONTROL_BLOCK_SIZE: u32 = 8 + 4 * 16;
