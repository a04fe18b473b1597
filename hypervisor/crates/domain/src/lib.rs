//! Domains and their virtual CPUs: who exists, what they own, and the life cycle from creation to the last page
//! given back. Key types: [`Domain`], [`Vcpu`], [`Registry`]; what they need of the machine is [`Host`].
//!
//! Pure logic: everything with an effect on hardware goes through `Host`. Neighbours: `hypercall` above, `mm`,
//! `evtchn`, `grant`, `sched` below.
//!
//! Lock order, outermost first: `Registry::pools`, `Domain::paging`, `Domain::grants` (granter, then mapper's `maptrack`),
//! `Domain::events` (by domain id), `Domain::irqs`, `Vcpu::pv`, `Hvm::p2m` (never two), `Domain::memory`, the heap. The registry is a leaf.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod cpuid;
pub mod dirty;
mod domain;
mod events;
mod guest_walk;
mod host;
pub mod hvm;
pub mod hvm_vcpu;
mod lifecycle;
mod lock;
mod memory;
pub mod physmap;
pub mod pool;
pub mod pv;
mod registry;
pub mod tsc;
mod vcpu;

pub use cpuid::{CpuidPolicy, CpuidResult, MAX_LEAVES, PV_XCR0};
pub use domain::{
    CreateParams, DEFAULT_GRANT_FRAMES, Domain, E820Entry, MAX_VCPUS, Memory, PirqMap,
    ShutdownState,
};
pub use events::wake_vcpu;
pub use events::{
    DomEvents, announce_pending, deliver, end_poll, interrupt_waits, is_interrupted, notify_port,
    send_global_virq, send_pirq, send_vcpu_virq,
};
pub use guest_walk::{Paging as GuestPaging, Tables as GuestTables, Use as GuestUse};
pub use host::{
    CpuMask, EfiInfo, EfiRegion, Fault, Host, HostInfo, IrqControl, MsiSource, SegmentBase,
};
pub use hvm::Hvm;
pub use hvm_vcpu::HvmVcpu;
pub use lifecycle::{
    after_close, crash, drop_fifo, kill_step, pause, pause_vcpu, shutdown, unpause, unpause_vcpu,
    wait_paused,
};
pub use lock::{Mutex, Relax, RwLock, relax, set_relax_hook};
pub use memory::{
    alloc_at, alloc_for_exchange, alloc_page, alloc_pages, alloc_shared_page, finish, put_page,
    put_writable, release_last, set_claim,
};
pub use registry::Registry;
pub use vcpu::{PF_BLOCKED, PF_DOWN, PF_POLLING, PF_RETIRED, Runstate, SharedSpot, Vcpu};
