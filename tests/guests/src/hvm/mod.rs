//! The same guest as a PVH kernel: on bare virtual hardware, with interrupt and page tables of its own.
//!
//! [`entry`] gets from 32-bit mode to here, [`cpu`] catches what faults, [`deeds`] are the misdeeds, [`remap`] those with its memory, [`priority`] CR8,
//! [`strings`] what is carried out for it, [`tsc`] the time-stamp counter, [`dom0`] is for when it is Domain-0.

mod cpu;
mod deeds;
mod dom0;
mod entry;
mod priority;
mod remap;
mod strings;
mod tsc;
