//! Hypercalls with random numbers and arguments, from a seed, so that what happened can be had again.

use crate::probe::probe;
use crate::{mmu, say, wild};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use xen_abi::hypercall::{IRET, SCHED_OP, SCHED_OP_COMPAT};
use xen_abi::start_info::StartInfo;

/// Calls of one run.
const CALLS: u32 = 20_000;

/// Marsaglia's xorshift64.
pub struct Random(u64);

impl Random {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// An argument that gets past the first check now and then.
fn argument(random: &mut Random, info: &StartInfo) -> u64 {
    match random.below(12) {
        0 => 0,
        1..=3 => random.below(40),
        4 | 5 => mmu::window() + random.below(64) * 8,
        6 => 0x7ff0 + random.below(8),
        7 => info.pt_base + random.below(512) * 8,
        8 => core::ptr::from_ref(info) as u64,
        9 => 0xffff_8000_0000_0000 + random.below(1 << 47),
        10 => u64::MAX - random.below(4096),
        _ => random.next(),
    }
}

/// The words for the window, and the call to make.
static SEED: AtomicU64 = AtomicU64::new(0);

extern "C" fn fill_window(info: u64) {
    // SAFETY: start info is never freed; if a call has taken its page away, the probe ends here.
    let info = unsafe { &*(info as *const StartInfo) };
    let mut random = Random(SEED.load(Relaxed) | 1);
    for i in 0..512 {
        let word = if i % 2 == 0 {
            random.below(64)
        } else {
            argument(&mut random, info)
        };
        // SAFETY: the window is our own page. A call may have unmapped it: then the probe ends here.
        unsafe { (mmu::window() as *mut u64).add(i).write_volatile(word) }
    }
}

/// Makes the calls. That it may end this guest is part of it.
pub fn run(info: &StartInfo, seed: u64) {
    let mut random = Random::new(seed);
    let (mut succeeded, mut faults) = (0, 0);
    for n in 0..CALLS {
        if n % 8 == 0 {
            wild::ready();
            mmu::map_window((mmu::window_mfn() << 12) | mmu::RW);
            SEED.store(random.next(), Relaxed);
            faults += u32::from(probe(fill_window, core::ptr::from_ref(info) as u64));
        }
        let number = random.below(60) as u32;
        // These would end or suspend the run at once.
        if matches!(number, IRET | SCHED_OP | SCHED_OP_COMPAT) {
            continue;
        }
        let args = core::array::from_fn(|_| argument(&mut random, info));
        match wild::guarded_call(number, args) {
            Some(result) => succeeded += u32::from(result >= 0),
            None => faults += 1,
        }
        if n % 4000 == 0 {
            say!("hammer: {n} calls");
        }
    }
    say!("hammer: all {CALLS} calls made, {succeeded} succeeded, {faults} faults");
}
