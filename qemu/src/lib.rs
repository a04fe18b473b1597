//! Everything around the hypervisor: fetches Debian's parts, lays out a host, makes its initrd and boot image, and runs it in an emulator.
//!
//! [`machine::Machine`] is what a test talks to; [`host::HostSpec`] says what is booted. The command line is `bin/xtask.rs`.

pub mod bench;
pub mod bochs;
pub mod check;
pub mod cpio;
pub mod debian;
pub mod demo;
pub mod disk;
pub mod dist;
pub mod elf;
pub mod error;
pub mod host;
pub mod image;
pub mod initrd;
pub mod kernel;
pub mod machine;
pub mod package;
pub mod paths;
pub mod qemu;
pub mod run;
pub mod steps;
pub mod stories;
pub mod tidy;

pub use error::{Context, Result};
