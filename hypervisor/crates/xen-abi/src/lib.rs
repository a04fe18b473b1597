//! The Xen 4.17 ABI as published in its MIT-licensed public headers, typed once.
//!
//! One module per public header; names follow the headers in Rust's case: `XENMEM_populate_physmap` is
//! [`memory::POPULATE_PHYSMAP`], `struct xen_domctl_createdomain` is [`domctl::CreateDomain`]. Used by the hypervisor,
//! the toolstack and the test guests alike. Every struct has explicit padding and its size and offsets asserted at
//! compile time; `tests/layout.rs` compares them and every constant with the C headers where those are installed.
//!
//! | what | where |
//! |---|---|
//! | identifiers, page size | [`types`] |
//! | errors | [`errno`] |
//! | guest handles, unions | [`handle`] |
//! | hypercall numbers | [`hypercall`] |
//! | virtual interrupts, VM assists; re-exports the next three | [`xen`] |
//! | PV page tables, multicall | [`mmu`] |
//! | vcpu info, shared info, time | [`shared`] |
//! | PV start info | [`start_info`] |
//! | registers, selectors, address-space layout | [`arch_x86`] |
//! | event channels, two-level and FIFO | [`event_channel`] |
//! | grant tables | [`grant_table`] |
//! | reservations, physmap, E820 | [`memory`] |
//! | pirqs and PCI of a PV dom0 | [`physdev`] |
//! | dom0's platform calls | [`platform`] |
//! | scheduling, vcpus, entry points, NMI | [`sched`], [`vcpu`], [`callback`], [`nmi`] |
//! | version, feature bits, ELF notes | [`version`], [`features`], [`elfnote`] |
//! | domain control | [`domctl`] |
//! | system control | [`sysctl`] |
//! | HVM and PVH guests, device models | [`hvm`] |
//! | hypervisor CPUID leaves, CPU features | [`cpuid`], [`featureset`] |
//! | rings: xenstore, console, block, net | [`io`] |
//! | numbers only | [`kexec`], [`mca`], [`pmu`] |
//! | ioctls of Linux's Xen devices | [`linux`] |
#![no_std]
#![forbid(unsafe_code)]

#[macro_use]
mod macros;

pub mod arch_x86;
pub mod callback;
pub mod cpuid;
pub mod domctl;
pub mod elfnote;
pub mod errno;
pub mod event_channel;
pub mod features;
pub mod featureset;
pub mod grant_table;
pub mod handle;
pub mod hvm;
pub mod hypercall;
pub mod io;
pub mod kexec;
pub mod layout;
pub mod linux;
pub mod mca;
pub mod memory;
pub mod mmu;
pub mod nmi;
pub mod physdev;
pub mod platform;
pub mod pmu;
pub mod sched;
pub mod shared;
pub mod start_info;
pub mod sysctl;
pub mod types;
pub mod vcpu;
pub mod version;
pub mod xen;

pub use errno::Errno;
pub use handle::{DomainHandle, GuestHandle, GuestHandle64, Payload, Payload32};
pub use types::{DomId, Gfn, GrantRef, Mfn, Pfn, Pirq, Port, VcpuId};
