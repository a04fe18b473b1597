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

use xen_abi::event_channel as abi;

/// Ports a domain can have with the FIFO ABI.
pub const FIFO_PORTS: u32 = abi::EVTCHN_FIFO_NR_CHANNELS;
/// Ports a 64-bit domain can have with the 2-level ABI.
pub const TWO_LEVEL_PORTS: u32 = abi::EVTCHN_2L_NR_CHANNELS;
/// Event words in one page of the FIFO event array.
pub const WORDS_PER_PAGE: u32 = 1024;
/// Pages a full FIFO event array has.
pub const MAX_ARRAY_PAGES: u32 = FIFO_PORTS / WORDS_PER_PAGE;
/// Virtual interrupt numbers there are.
pub const NR_VIRQS: u32 = xen_abi::xen::NR_VIRQS;
/// Bits of a link, what `EVTCHNOP_init_control` reports.
pub const LINK_BITS: u8 = abi::EVTCHN_FIFO_LINK_BITS as u8;
/// Lowest priority of the FIFO ABI; 0 is the highest.
pub const PRIORITY_MIN: u8 = abi::EVTCHN_FIFO_PRIORITY_MIN as u8;
/// Priority of a fresh port.
pub const PRIORITY_DEFAULT: u8 = abi::EVTCHN_FIFO_PRIORITY_DEFAULT as u8;
/// Bytes of a FIFO control block (`struct evtchn_fifo_control_block`).
pub const CONTROL_BLOCK_SIZE: u32 = 8 + 4 * abi::EVTCHN_FIFO_MAX_QUEUES;
