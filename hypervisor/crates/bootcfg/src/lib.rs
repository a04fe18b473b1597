//! The hypervisor's command line: one table of options, `dom0_mem` arithmetic, and how boot loaders quote strings.
//!
//! Key types: [`Config`], [`OPTIONS`], [`Dom0Mem`]. Used by the boot code; pure, so the host tests it.
#![no_std]
#![forbid(unsafe_code)]

mod dom0_mem;
mod loader_quirks;
mod memmap;
mod options;
mod size;

pub use dom0_mem::{Dom0Mem, Dom0Pages, MemSpec};
pub use loader_quirks::arguments;
pub use memmap::{FreeRanges, MemoryMap, Region, RegionKind};
pub use options::{
    Com, Config, Consoles, Kind, LogLevel, LogThreshold, OPTIONS, Opt, Problem, VcpuRange, parse,
};
pub use size::parse_size;
