//! Ways into the hypervisor: exceptions, interrupts and guest calls.

pub mod cpuinfo;
