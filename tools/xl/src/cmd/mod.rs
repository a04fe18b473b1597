//! One file for each family of verbs.
mod console;
mod create;
mod domain;
mod host;
mod list;
mod memory;
mod shutdown;
mod supervise;
mod uptime;
mod vcpu;

pub use console::console;
pub use create::create;
pub use domain::{destroy, domid, domname, pause, rename, unpause};
pub use host::{debug_keys, dmesg, docs, help, info, init_dom0, version};
pub use list::{list, vm_list};
pub use memory::{mem_max, mem_set};
pub use shutdown::{reboot, shutdown};
pub use supervise::supervise;
pub use uptime::uptime;
pub use vcpu::{vcpu_list, vcpu_set};
