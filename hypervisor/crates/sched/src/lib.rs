//! The scheduler's policy as plain values: who runs next, for how long, and where a woken vcpu goes.
//!
//! Key types: [`Entity`] (what the policy knows of one vcpu), [`RunQueue`] (one CPU's), [`RunState`] (may a vcpu
//! run at all), [`place`] and [`RunQueue::steal`] (between CPUs), [`Pools`] (which CPUs for which domains). Weighted fair by virtual runtime, with caps.
//! Nothing here locks, reads a clock or switches a context: the hypervisor keeps each run queue behind its own
//! lock, passes the time in nanoseconds, and does what it is told.
//!
//! An [`Entity`] moves by value and is in one place only: queued or current in one run queue, or parked with its
//! blocked vcpu. After [`RunQueue::schedule`] hands out a parked entity, its registers are still being saved on
//! that CPU: whoever runs it elsewhere must wait for that first.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod budget;
mod clock;
mod entity;
mod place;
mod pools;
mod runqueue;
mod state;

pub use clock::VirtualClock;
pub use entity::{CpuMask, DEFAULT_WEIGHT, Entity, Key};
pub use place::{CpuView, busiest, place};
pub use pools::{POOL0, Pool, Pools, RATELIMIT_US, allowed};
pub use runqueue::{Choice, Enqueue, Params, Preempt, Prev, RunQueue};
pub use state::{RunState, Transition};

/// A point in time that never comes.
pub const NEVER: u64 = u64::MAX;
