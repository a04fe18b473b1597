//! The hypervisor's own page tables: mapping, and nothing but mapping.
//!
//! Tables live in RAM reached through the direct map. Slots are filled at boot and their L3 tables never change
//! place, so every guest L4 that copies the slots sees later mappings too.

use super::layout::{PAGE_1G, PAGE_2M, PAGE_SIZE};
use super::{alloc_table, phys_to_virt};
use core::sync::atomic::{AtomicU64, Ordering};

/// Present.
pub const P: u64 = 1 << 0;
/// Writable.
pub const W: u64 = 1 << 1;
/// Reachable from user mode.
pub const U: u64 = 1 << 2;
/// Write-through; with [`PCD`]: uncached.
pub const PWT: u64 = 1 << 3;
/// Cache disable.
pub const PCD: u64 = 1 << 4;
/// Accessed, dirty: set from the start, so that the CPU need not.
pub const AD: u64 = 3 << 5;
/// A leaf at L2 or L3.
pub const PS: u64 = 1 << 7;
/// No execute.
pub const NX: u64 = 1 << 63;
/// Physical address bits of an entry.
pub const ADDR: u64 = 0x000f_ffff_ffff_f000;

/// Read-write data.
pub const RW: u64 = P | W | AD | NX;
/// Read-only data.
pub const RO: u64 = P | AD | NX;
/// Code.
pub const RX: u64 = P | AD;
/// Device memory.
pub const UC: u64 = RW | PCD | PWT;

/// Running out of frames for page tables.
#[derive(Debug, Clone, Copy)]
pub struct NoMemory;

/// A table of 512 entries at physical address `pa`.
pub fn table(pa: u64) -> &'static [AtomicU64; 512] {
    // SAFETY: only addresses of page tables come here; those are never freed, and all accesses are atomic.
    unsafe { &*phys_to_virt(pa).cast() }
}

/// The entry that maps `va` at `level` (1..=4) in the tree rooted at `l4`, with tables made on the way down.
/// Intermediate entries allow everything that `flags` does.
pub fn entry(l4: u64, va: u64, level: u32, flags: u64) -> Result<&'static AtomicU64, NoMemory> {
    let mut pa = l4;
    let mut at = 4;
    loop {
        let entry = &table(pa)[(va >> (12 + 9 * (at - 1))) as usize & 511];
        if at == level {
            return Ok(entry);
        }
        let mut value = entry.load(Ordering::Relaxed);
        assert!(
            value & (P | PS) != P | PS,
            "a table is wanted where a large page is"
        );
        if value & P == 0 {
            value = alloc_table().ok_or(NoMemory)? | P | W | AD | (flags & U);
            entry.store(value, Ordering::Release);
        }
        pa = value & ADDR;
        at -= 1;
    }
}

/// Maps `len` bytes at `va` to `pa` with the largest pages that fit and that `largest` allows.
pub fn map(l4: u64, va: u64, pa: u64, len: u64, flags: u64, largest: u64) -> Result<(), NoMemory> {
    let mut done = 0;
    while done < len {
        let (va, pa, left) = (va + done, pa + done, len - done);
        let fits = |size: u64| size <= largest && (va | pa) & (size - 1) == 0 && left >= size;
        let (level, size, ps) = if fits(PAGE_1G) {
            (3, PAGE_1G, PS)
        } else if fits(PAGE_2M) {
            (2, PAGE_2M, PS)
        } else {
            (1, PAGE_SIZE, 0)
        };
        entry(l4, va, level, flags)?.store(pa | flags | ps, Ordering::Release);
        done += size;
    }
    Ok(())
}

/// The leaf entry that maps `va`, and the size of its page.
pub fn lookup(l4: u64, va: u64) -> Option<(u64, u64)> {
    let mut pa = l4;
    for at in (1..=4u32).rev() {
        let value = table(pa)[(va >> (12 + 9 * (at - 1))) as usize & 511].load(Ordering::Acquire);
        if value & P == 0 {
            return None;
        }
        if at == 1 || (at < 4 && value & PS != 0) {
            return Some((value, 1 << (12 + 9 * (at - 1))));
        }
        pa = value & ADDR;
    }
    None
}
