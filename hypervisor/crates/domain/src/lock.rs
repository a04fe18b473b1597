//! Locks of the hypervisor: spin locks whose waiting loop keeps answering other CPUs.
//!
//! The hypervisor runs with interrupts off, so a CPU that spins must still acknowledge TLB shootdowns sent
//! by the CPU that holds the lock. [`set_relax_hook`] names the function that does so.
use spin::relax::RelaxStrategy;

static RELAX: spin::Once<fn()> = spin::Once::new();

/// Installs what a CPU does while it waits for a lock. Called once at boot; later calls are ignored.
pub fn set_relax_hook(hook: fn()) {
    RELAX.call_once(|| hook);
}

/// Runs the relax hook, or just pauses the CPU before there is one.
pub fn relax() {
    core::hint::spin_loop();
    if let Some(hook) = RELAX.get() {
        hook();
    }
}

/// The relax strategy used by [`Mutex`] and [`RwLock`].
pub struct Relax;

impl RelaxStrategy for Relax {
    #[inline]
    fn relax() {
        relax();
    }
}

/// Mutual exclusion between CPUs.
pub type Mutex<T> = spin::mutex::SpinMutex<T, Relax>;
/// Many readers or one writer.
pub type RwLock<T> = spin::rwlock::RwLock<T, Relax>;
