//! Between CPUs: where a woken vcpu goes, and whom an idle or lucky CPU takes work from.
use crate::{CpuMask, Entity};

/// What one CPU publishes about itself; may be slightly out of date.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuView {
    /// Which CPU.
    pub cpu: u32,
    /// Takes part in scheduling.
    pub online: bool,
    /// Nothing runs and nothing is queued.
    pub idle: bool,
    /// Vcpus queued, the running one not included.
    pub queued: u32,
    /// Sum of the weights of all its vcpus, queued and running.
    pub load: u64,
    /// Lowest virtual runtime among the queued; `u64::MAX` if none.
    pub head_vruntime: u64,
}

/// The CPU for a vcpu that starts to be runnable: its last one if idle, another idle one (of its soft affinity
/// first), else the least loaded it may use, the last one preferred. A hard affinity without any CPU that is
/// online counts as none. `None` only if no CPU is online.
pub fn place(wake: &Entity, cpus: &[CpuView]) -> Option<u32> {
    let online = cpus
        .iter()
        .filter(|c| c.online)
        .fold(CpuMask(0), |m, c| CpuMask(m.0 | CpuMask::one(c.cpu).0));
    let allowed = match wake.hard.and(online) {
        m if m.is_empty() => online,
        m => m,
    };
    let usable = || cpus.iter().filter(|c| c.online && allowed.has(c.cpu));
    // Smaller is better: soft affinity beats warmth of the cache, and both beat a low number.
    let rank = |c: &&CpuView| (!wake.soft.has(c.cpu), c.cpu != wake.last_cpu, c.cpu);
    if let Some(idle) = usable().filter(|c| c.idle).min_by_key(rank) {
        return Some(idle.cpu);
    }
    usable().min_by_key(|c| (c.load, rank(c))).map(|c| c.cpu)
}

/// The CPU that `me` should try to [`crate::RunQueue::steal`] from: the one whose head is furthest behind.
/// When nothing there may move, add it to `tried` and ask again.
pub fn busiest(me: u32, tried: CpuMask, cpus: &[CpuView]) -> Option<u32> {
    cpus.iter()
        .filter(|c| c.online && c.queued > 0 && c.cpu != me && !tried.has(c.cpu))
        .min_by_key(|c| c.head_vruntime)
        .map(|c| c.cpu)
}
