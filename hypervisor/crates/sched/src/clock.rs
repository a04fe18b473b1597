//! [`VirtualClock`]: keeps the run queues' virtual times on one scale.
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// Changes smaller than this are not worth a shared write.
const GRAIN_NS: u64 = 500_000;

/// The highest virtual time any CPU has reached, about. Shared by all run queues; a hint, so unordered.
#[derive(Debug, Default)]
pub struct VirtualClock(AtomicU64);

impl VirtualClock {
    /// The highest time reported.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// A CPU has reached `vtime`.
    pub(crate) fn report(&self, vtime: u64) {
        if vtime > self.get().saturating_add(GRAIN_NS) {
            self.0.fetch_max(vtime, Relaxed);
        }
    }
}
