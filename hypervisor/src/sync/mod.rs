//! Spin locks with levels: a CPU takes locks in ascending level only, which debug builds check.
//!
//! [`SpinLock`] masks interrupts while held, so it may be taken in interrupt handlers. A CPU that spins keeps
//! answering cross-CPU calls (`smp::service_calls`), so waiting for an answer with a lock held is safe; what runs
//! in such a call must not lock.

use crate::percpu;
use core::ops::{Deref, DerefMut};
use domain::Relax;
use spin::mutex::{SpinMutex, SpinMutexGuard};
use x86_64::instructions::interrupts;

/// The order in which locks may be taken; one lock of each level at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Interrupt descriptors.
    Irq,
    /// PCI configuration ports.
    PciConfig,
    /// IO-APIC registers.
    IoApic,
    /// Device mappings.
    Ioremap,
    /// Small-object heap.
    ObjectHeap,
    /// The hypervisor's own page tables.
    Mapping,
    /// Frame heap.
    FrameHeap,
    /// Rate limit of guests' messages.
    Bucket,
    /// Console: anything may print.
    Console,
}

/// A spin lock that masks interrupts while it is held.
pub struct SpinLock<T> {
    level: Level,
    inner: SpinMutex<T, Relax>,
}

/// Access to what a [`SpinLock`] protects.
pub struct SpinGuard<'a, T> {
    // Dropped by hand, before interrupts come back.
    inner: core::mem::ManuallyDrop<SpinMutexGuard<'a, T, Relax>>,
    level: Level,
    interrupts: bool,
}

impl<T> SpinLock<T> {
    /// A lock of the given level.
    pub const fn new(level: Level, value: T) -> Self {
        Self {
            level,
            inner: SpinMutex::new(value),
        }
    }

    /// Waits for the lock.
    pub fn lock(&self) -> SpinGuard<'_, T> {
        let interrupts = interrupts::are_enabled();
        interrupts::disable();
        note_taken(self.level);
        SpinGuard {
            inner: core::mem::ManuallyDrop::new(self.inner.lock()),
            level: self.level,
            interrupts,
        }
    }

    /// The lock, if it is free.
    pub fn try_lock(&self) -> Option<SpinGuard<'_, T>> {
        let interrupts = interrupts::are_enabled();
        interrupts::disable();
        match self.inner.try_lock() {
            Some(inner) => {
                note_taken(self.level);
                Some(SpinGuard {
                    inner: core::mem::ManuallyDrop::new(inner),
                    level: self.level,
                    interrupts,
                })
            }
            None => {
                if interrupts {
                    interrupts::enable();
                }
                None
            }
        }
    }

    /// Frees the lock whoever holds it: for messages from a CPU that will not go on.
    ///
    /// # Safety
    /// Nobody may go on using a guard of this lock.
    pub unsafe fn break_lock(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.inner.force_unlock() };
    }
}

impl<T> Deref for SpinGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for SpinGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T> Drop for SpinGuard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: dropped once, here, and not used afterwards.
        unsafe { core::mem::ManuallyDrop::drop(&mut self.inner) };
        note_released(self.level);
        if self.interrupts {
            interrupts::enable();
        }
    }
}

#[inline]
fn note_taken(level: Level) {
    if cfg!(debug_assertions)
        && let Some(cpu) = percpu::try_current()
    {
        let held = cpu.locks_held.get();
        // The console is exempt: the message below would come back here.
        if held >> level as u32 != 0 && level != Level::Console {
            panic!("lock {level:?} taken while holding {held:#b}");
        }
        cpu.locks_held.set(held | 1 << level as u32);
    }
}

#[inline]
fn note_released(level: Level) {
    if cfg!(debug_assertions)
        && let Some(cpu) = percpu::try_current()
    {
        cpu.locks_held
            .set(cpu.locks_held.get() & !(1 << level as u32));
    }
}
