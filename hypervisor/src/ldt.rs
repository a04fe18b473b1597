//! Each CPU's private copies of LDT pages, made on first use. A guest's LDT is read through these copies: see
//! `pv::context::fault_in_ldt`.

use crate::arch::x86::mm;
use crate::percpu::MAX_CPUS;
use core::sync::atomic::{AtomicU64, Ordering};
use xen_abi::Mfn;

/// Pages of the largest LDT.
const PAGES: usize = 16;
/// Physical addresses, 0 = not yet.
static COPIES: [[AtomicU64; PAGES]; MAX_CPUS] =
    [const { [const { AtomicU64::new(0) }; PAGES] }; MAX_CPUS];

/// The frame for copy `slot` on `cpu`; `None` without memory. Only `cpu` asks for its own.
pub fn page(cpu: u32, slot: usize) -> Option<Mfn> {
    let entry = COPIES.get(cpu as usize)?.get(slot)?;
    let pa = match entry.load(Ordering::Relaxed) {
        0 => {
            let pa = mm::alloc_frames(0, None)?;
            entry.store(pa, Ordering::Relaxed);
            pa
        }
        pa => pa,
    };
    Some(Mfn::from_addr(pa))
}
