//! The frame table and the machine-to-physical table (M2P).
//!
//! Both are arrays over all frames at fixed addresses. Only what describes RAM has memory of its own: the M2P comes in
//! 2 MiB extents (1 GiB of frames each), absent where there is no RAM; the frame table's holes read as zeroes, which
//! says "not RAM".

use super::build::map_new;
use super::paging::{self, NoMemory};
use super::{
    FRAME_TABLE_BASE, M2P_BASE, M2P_RW_BASE, PAGE_1G, PAGE_2M, PAGE_SIZE, alloc_table, early_alloc,
    idle_l4, phys_to_virt,
};
use ::mm::{FrameInfo, FrameTable};
use bootcfg::MemoryMap;
use core::mem::size_of;
use core::sync::atomic::{AtomicU64, Ordering};
use xen_abi::Mfn;
use xen_abi::xen::MACH2PHYS_VIRT_END;

const ENTRY: u64 = size_of::<FrameInfo>() as u64;
/// Bytes of RAM that one 2 MiB extent of M2P describes.
const EXTENT_COVERS: u64 = PAGE_2M / 8 * PAGE_SIZE;
/// A frame without a pseudo-physical address.
const INVALID: u64 = u64::MAX;

/// Makes both tables.
pub fn build(l4: u64, memory: &MemoryMap) -> Result<FrameTable<'static>, NoMemory> {
    build_m2p(l4, memory)?;
    fill_m2p_holes(l4)?;
    build_frame_table(l4, memory)?;
    let count = memory.ram_end() / PAGE_SIZE;
    // SAFETY: `count` entries are mapped, zeroed (a valid FrameInfo) and atomic; the mapping is never removed.
    let frames = unsafe {
        core::slice::from_raw_parts(FRAME_TABLE_BASE as *const FrameInfo, count as usize)
    };
    Ok(FrameTable::new(frames))
}

fn has_ram(memory: &MemoryMap, start: u64, end: u64) -> bool {
    memory.ram().any(|(s, e)| s < end && start < e)
}

fn build_m2p(l4: u64, memory: &MemoryMap) -> Result<(), NoMemory> {
    for extent in 0..memory.ram_end().div_ceil(EXTENT_COVERS) {
        if !has_ram(memory, extent * EXTENT_COVERS, (extent + 1) * EXTENT_COVERS) {
            continue;
        }
        let pa = early_alloc(PAGE_2M, PAGE_2M, u64::MAX).ok_or(NoMemory)?;
        // SAFETY: fresh memory, in the direct map. All ones: no pseudo-physical address.
        unsafe { core::ptr::write_bytes(phys_to_virt(pa), 0xff, PAGE_2M as usize) };
        let offset = extent * PAGE_2M;
        paging::map(
            l4,
            M2P_BASE + offset,
            pa,
            PAGE_2M,
            paging::RO | paging::U,
            PAGE_2M,
        )?;
        paging::map(l4, M2P_RW_BASE + offset, pa, PAGE_2M, paging::RW, PAGE_2M)?;
    }
    Ok(())
}

/// Guests look up every frame they find in a page table, those of devices too: where there is no RAM they read "no
/// pseudo-physical address" from one page that is mapped everywhere, instead of taking a fault each time.
fn fill_m2p_holes(l4: u64) -> Result<(), NoMemory> {
    let page = alloc_table().ok_or(NoMemory)?;
    for word in paging::table(page) {
        word.store(INVALID, Ordering::Relaxed);
    }
    let below = paging::P | paging::AD | paging::U;
    let repeated = |target: u64| {
        let table = alloc_table().ok_or(NoMemory)?;
        for entry in paging::table(table) {
            entry.store(target, Ordering::Relaxed);
        }
        Ok(table)
    };
    let l1 = repeated(page | paging::RO | paging::U)?;
    let l2 = repeated(l1 | below)?;
    for gib in 0..(MACH2PHYS_VIRT_END - M2P_BASE) / PAGE_1G {
        let l3 = paging::entry(l4, M2P_BASE + gib * PAGE_1G, 3, paging::U)?;
        let value = l3.load(Ordering::Relaxed);
        if value & paging::P == 0 {
            l3.store(l2 | below, Ordering::Relaxed);
            continue;
        }
        for entry in paging::table(value & paging::ADDR) {
            if entry.load(Ordering::Relaxed) & paging::P == 0 {
                entry.store(l1 | below, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

fn build_frame_table(l4: u64, memory: &MemoryMap) -> Result<(), NoMemory> {
    let len = (memory.ram_end() / PAGE_SIZE * ENTRY).next_multiple_of(PAGE_SIZE);
    let zero_page = alloc_table().ok_or(NoMemory)?;
    let zero_table = alloc_table().ok_or(NoMemory)?;
    for entry in paging::table(zero_table) {
        entry.store(zero_page | paging::RO, Ordering::Relaxed);
    }
    let covers = |offset: u64, size: u64| {
        let first = offset / ENTRY * PAGE_SIZE;
        (first, (offset + size).div_ceil(ENTRY) * PAGE_SIZE)
    };
    let mut offset = 0;
    while offset < len {
        let va = FRAME_TABLE_BASE + offset;
        let (start, end) = covers(offset, PAGE_2M);
        if offset.is_multiple_of(PAGE_2M) && len - offset >= PAGE_2M {
            let inside = memory.ram().any(|(s, e)| s <= start && end <= e);
            if inside {
                map_new(l4, va, PAGE_2M, paging::RW)?;
                offset += PAGE_2M;
                continue;
            }
            if !has_ram(memory, start, end) {
                paging::entry(l4, va, 2, 0)?.store(
                    zero_table | paging::P | paging::W | paging::AD,
                    Ordering::Relaxed,
                );
                offset += PAGE_2M;
                continue;
            }
        }
        let (start, end) = covers(offset, PAGE_SIZE);
        if has_ram(memory, start, end) {
            map_new(l4, va, PAGE_SIZE, paging::RW)?;
        } else {
            paging::map(l4, va, zero_page, PAGE_SIZE, paging::RO, PAGE_SIZE)?;
        }
        offset += PAGE_SIZE;
    }
    Ok(())
}

fn m2p_entry(mfn: Mfn) -> Option<&'static AtomicU64> {
    if mfn.0 >= super::max_mfn().0 {
        return None;
    }
    let va = M2P_RW_BASE + mfn.0 * 8;
    paging::lookup(idle_l4(), va)?;
    // SAFETY: mapped (just looked up), never unmapped, and atomic.
    Some(unsafe { &*(va as *const AtomicU64) })
}

/// Records that `mfn` is known to its owner as `pfn`; `u64::MAX` for none. Frames that are not RAM have no entry.
#[inline]
pub fn m2p_set(mfn: Mfn, pfn: u64) {
    if let Some(entry) = m2p_entry(mfn) {
        entry.store(pfn, Ordering::Relaxed);
    }
}

/// The first frame of an extent of the table.
pub fn m2p_extent(index: u64) -> Option<Mfn> {
    let va = index.checked_mul(PAGE_2M)?.checked_add(M2P_RW_BASE)?;
    if index >= super::max_mfn().0.div_ceil(EXTENT_COVERS / PAGE_SIZE) {
        return None;
    }
    let (entry, _) = paging::lookup(idle_l4(), va)?;
    Some(Mfn((entry & paging::ADDR) / PAGE_SIZE))
}

/// All of them, with how many frames each has.
pub fn m2p_extents() -> impl Iterator<Item = (Mfn, u64)> {
    let count = super::max_mfn().0.div_ceil(EXTENT_COVERS / PAGE_SIZE);
    (0..count).filter_map(|i| Some((m2p_extent(i)?, PAGE_2M / PAGE_SIZE)))
}

/// What [`m2p_set`] recorded for `mfn`.
#[inline]
pub fn m2p_get(mfn: Mfn) -> u64 {
    m2p_entry(mfn).map_or(INVALID, |entry| entry.load(Ordering::Relaxed))
}
