//! One file for each family of verbs.
mod absent;
mod block;
mod config;
mod console;
mod cpupool;
mod create;
mod domain;
mod dump;
mod host;
mod list;
mod memory;
mod migrate;
mod network;
mod save;
mod sched;
mod shutdown;
mod signal;
mod supervise;
mod top;
mod uptime;
mod vcpu;

pub use absent::{no_display, no_passthrough, not_here};
pub use block::{block_attach, block_detach, block_list, cd_eject, cd_insert};
pub use config::config_update;
pub use console::{channel_list, console};
pub use cpupool::{
    cpupool_cpu_add, cpupool_cpu_remove, cpupool_create, cpupool_destroy, cpupool_list,
    cpupool_migrate, cpupool_numa_split, cpupool_rename,
};
pub use create::create;
pub use domain::{destroy, domid, domname, pause, rename, unpause};
pub use dump::dump_core;
pub use host::{debug_keys, dmesg, docs, help, info, init_dom0, set_parameters, version};
pub use list::{claims, list, pretty, vm_list};
pub use memory::{mem_max, mem_set};
pub use migrate::{migrate, migrate_receive};
pub use network::{network_attach, network_detach, network_list};
pub use save::{restore, resume, save, suspend};
pub use sched::{sched_credit, sched_credit2};
pub use shutdown::{reboot, shutdown};
pub use signal::{button_press, sysrq, trigger};
pub use supervise::supervise;
pub use top::top;
pub use uptime::uptime;
pub use vcpu::{vcpu_list, vcpu_pin, vcpu_set};
