//! Domains, as the administrator sees them: from an `xl.cfg` to a running guest, and back to nothing.
//!
//! * [`cfg`] reads configuration files, [`DomainConfig`] gives them meaning.
//! * [`Host`] is a machine to work on: a [`Hypervisor`] and a [`Xenstore`]. Its methods are in `create`, `destroy`,
//!   `lifecycle`, `supervise`, `retrieve`, `migrate`; [`Host::prepare`] checks everything before [`Prepared::create`] changes anything.
//! * `nodes` knows the xenstore's layout, `device` connects disks and interfaces, `json` prints `xl list -l`.
#![warn(missing_docs)]
#![forbid(unsafe_code)]

mod bootloader;
mod bridge;
pub mod cfg;
mod config;
mod core_dump;
mod cpuid;
mod cpulist;
mod create;
mod destroy;
mod device;
mod disk;
mod error;
mod firmware;
mod from_json;
mod hardware;
mod host;
mod hotplug;
mod json;
mod kind;
mod lifecycle;
mod migrate;
mod netlink;
pub mod nodes;
mod retrieve;
mod room;
mod shares;
mod supervise;
pub mod userdata;
mod uuid;
mod vdev;
mod vif;

pub use bootloader::Bootloader;
pub use config::{Action, Actions, DomainConfig};
pub use cpuid::Cpuid;
pub use cpulist::{CpuList, format as format_cpus};
pub use create::Prepared;
pub use device::{Handle, Limits, NetworkInterface};
pub use disk::{Disk, Format};
pub use error::{Error, Result, StoreContext};
pub use from_json::text_of_json;
pub use hardware::Hardware;
pub use host::{Host, Hypervisor, Image, Xenstore};
pub use kind::GuestKind;
pub use migrate::Saved;
pub use netlink::{Change, Links, Rtnetlink};
pub use shares::Shares;
pub use supervise::Outcome;
pub use uuid::Uuid;
pub use vdev::VirtualDevice;
pub use vif::{Mac, Vif};
