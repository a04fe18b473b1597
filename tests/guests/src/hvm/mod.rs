//! The same guest as a PVH kernel: on bare virtual hardware, with interrupt and page tables of its own.
//!
//! [`entry`] gets from 32-bit mode to here, [`cpu`] catches what faults, [`deeds`] are the misdeeds.

mod cpu;
mod deeds;
mod entry;
