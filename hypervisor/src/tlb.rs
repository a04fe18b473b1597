//! TLB bookkeeping: a clock that ticks between the end of a frame's use and the next flush, and shootdowns.
//!
//! A frame that stops being used records the clock ([`mm::Platform::tlb_clock`]), which makes it odd. The next flush makes
//! it even again; flushes while it is even only read it, so that CPUs that switch between a guest's kernel and its user
//! mode do not fight for its cache line. Before the frame is used for something else, [`sync`] makes every CPU whose last
//! flush is older flush. Most of the time nobody is.

use crate::percpu::{self, MAX_CPUS};
use crate::smp;
use core::arch::asm;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Odd: a frame has recorded this time.
static CLOCK: AtomicU32 = AtomicU32::new(2);
/// The (even) clock before each CPU's last full flush.
static LAST: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(0) }; MAX_CPUS];

/// CPUs that idle on the hypervisor's own root: their TLBs hold nothing of any guest.
static CLEAN: AtomicU64 = AtomicU64::new(0);

/// Leaves all guests' page tables for `root`, the hypervisor's own.
pub fn load_idle_root(root: u64) {
    load_root(root);
    CLEAN.fetch_or(1 << percpu::cpu_id(), Ordering::SeqCst);
}

/// This CPU is about to load a guest's root.
pub fn guest_here() {
    CLEAN.fetch_and(!(1 << percpu::cpu_id()), Ordering::SeqCst);
}

/// Now, for a frame that stops being used: flushes from now on are later.
#[inline]
pub fn clock() -> u32 {
    let now = CLOCK.load(Ordering::SeqCst);
    if now & 1 != 0 {
        return now;
    }
    CLOCK.fetch_or(1, Ordering::SeqCst) | 1
}

/// The time before a flush that is about to begin: later than all that `clock` gave before, not later than what it gives
/// from now on, as what is given up while the flush goes on may be in the TLB again.
#[inline]
fn before_flush() -> u32 {
    let now = CLOCK.load(Ordering::SeqCst);
    if now & 1 == 0 {
        return now;
    }
    match CLOCK.compare_exchange(now, now.wrapping_add(1), Ordering::SeqCst, Ordering::SeqCst) {
        Ok(_) => now.wrapping_add(1),
        // Another CPU has made it tick; what was recorded since counts as later.
        Err(now) => now & !1,
    }
}

/// Loads a page-table root (a validated one, or the idle one), which flushes this CPU's TLB: no page is global.
#[inline]
pub fn load_root(root: u64) {
    let now = before_flush();
    // SAFETY: callers pass roots that hold the hypervisor's slots.
    unsafe { asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags)) };
    if let Some(last) = LAST.get(percpu::cpu_id() as usize) {
        // Whoever still sees the old value flushes once more.
        last.store(now, Ordering::Release);
    }
}

/// Flushes this CPU's TLB.
pub fn flush_local() {
    let root: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr3", out(reg) root, options(nomem, nostack, preserves_flags)) };
    load_root(root);
}

/// Drops one page on this CPU.
pub fn flush_page_local(va: u64) {
    // SAFETY: only drops a cached translation.
    unsafe { asm!("invlpg [{}]", in(reg) va, options(nostack, preserves_flags)) };
}

/// Flushes on `cpus` and waits; one page if given.
pub fn flush_mask(cpus: u64, va: Option<u64>) {
    match va {
        Some(va) => smp::call_on(cpus, flush_page_local, va, true),
        None => smp::call_on(cpus, |_| flush_local(), 0, true),
    }
}

/// Is flush time `last` older than `stamp`? The clock wraps; distances stay below half of it.
fn older(last: u32, stamp: u32) -> bool {
    (last.wrapping_sub(stamp) as i32) <= 0
}

/// Returns once every CPU of `cpus` has flushed after `stamp`.
pub fn sync(cpus: u64, stamp: u32) {
    let mut stale = 0u64;
    let relevant = cpus & !CLEAN.load(Ordering::SeqCst);
    for cpu in 0..smp::cpu_count() {
        if relevant & 1 << cpu == 0 {
            continue;
        }
        let last = LAST
            .get(cpu as usize)
            .map_or(0, |l| l.load(Ordering::SeqCst));
        if older(last, stamp) {
            stale |= 1 << cpu;
        }
    }
    if stale != 0 {
        flush_mask(stale, None);
    }
}
