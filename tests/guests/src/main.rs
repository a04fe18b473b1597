//! A PV or PVH guest of a few kilobytes that misbehaves as the first word of its command line says. Linux is too polite for that.
//!
//! `hello` is the well-behaved one; [`misdeeds`] crash or hang; [`forge`] tries forbidden page-table entries; [`hammer`] makes random calls,
//! [`wild`] does what ring 3 may not, [`leaks`] tries to keep more than it has; [`hvm`] is for PVH.
//! Everything it says goes to its console ([`console`]). On the host this is an empty program.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod console;
#[cfg(target_os = "none")]
mod entry;
#[cfg(target_os = "none")]
mod forge;
#[cfg(target_os = "none")]
mod hammer;
#[cfg(target_os = "none")]
mod hv;
#[cfg(target_os = "none")]
mod hvm;
#[cfg(target_os = "none")]
mod leaks;
#[cfg(target_os = "none")]
mod misdeeds;
#[cfg(target_os = "none")]
mod mmu;
#[cfg(target_os = "none")]
mod probe;
#[cfg(target_os = "none")]
mod wild;

#[cfg(not(target_os = "none"))]
fn main() {}
