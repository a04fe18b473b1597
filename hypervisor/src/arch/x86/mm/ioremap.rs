//! Device memory and firmware tables that the direct map does not cover.

use super::paging::{RW, UC};
use super::{IOREMAP_BASE, M2P_RW_BASE, NoMemory, PAGE_SIZE, map, phys_to_virt};
use crate::arch::x86::boot::{self, RegionKind};
use crate::sync::{Level, SpinLock};
use alloc::vec::Vec;

/// One mapping; mappings stay for ever, and are shared.
struct Mapping {
    pa: u64,
    len: u64,
    va: u64,
    flags: u64,
}

struct Window {
    next: u64,
    mappings: Vec<Mapping>,
}

static WINDOW: SpinLock<Window> = SpinLock::new(
    Level::Ioremap,
    Window {
        next: IOREMAP_BASE,
        mappings: Vec::new(),
    },
);

/// Maps `len` bytes of device memory at `pa`, uncached. Asking again for the same gives the same.
pub fn ioremap(pa: u64, len: u64) -> Result<*mut u8, NoMemory> {
    remap(pa, len, UC)
}

/// Reaches firmware's memory: through the direct map where it covers it, else through a mapping of its own. A page more
/// than asked for is mapped: tables of old revisions are shorter than the structures they are read through.
pub fn map_firmware(pa: u64, len: u64) -> Result<*mut u8, NoMemory> {
    let len = len.checked_add(PAGE_SIZE).ok_or(NoMemory)?;
    let end = pa.checked_add(len).ok_or(NoMemory)?;
    let direct = |kind| {
        matches!(
            kind,
            RegionKind::Ram | RegionKind::AcpiReclaim | RegionKind::AcpiNvs
        )
    };
    let memory = &boot::info().memory;
    let covered = end <= 1 << 20
        || memory
            .regions()
            .iter()
            .any(|r| direct(r.kind) && r.start <= pa && end <= r.end);
    if covered {
        Ok(phys_to_virt(pa))
    } else {
        remap(pa, len, RW)
    }
}

fn remap(pa: u64, len: u64, flags: u64) -> Result<*mut u8, NoMemory> {
    let offset = pa & (PAGE_SIZE - 1);
    let first = pa - offset;
    let len = offset
        .checked_add(len)
        .and_then(|len| len.checked_next_multiple_of(PAGE_SIZE))
        .ok_or(NoMemory)?;
    let mut window = WINDOW.lock();
    let known = window.mappings.iter().find(|m| {
        m.flags == flags && m.pa <= first && first - m.pa <= m.len && len <= m.len - (first - m.pa)
    });
    if let Some(m) = known {
        return Ok((m.va + (first - m.pa) + offset) as *mut u8);
    }
    let va = window.next;
    // One page of nothing between mappings.
    let next = va
        .checked_add(len + PAGE_SIZE)
        .filter(|next| *next <= M2P_RW_BASE)
        .ok_or(NoMemory)?;
    map(va, first, len, flags, PAGE_SIZE)?;
    window.next = next;
    window.mappings.push(Mapping {
        pa: first,
        len,
        va,
        flags,
    });
    Ok((va + offset) as *mut u8)
}

/// Whether nothing in the memory map speaks against `pa..pa + len` being a device's: no RAM, no ACPI memory.
pub fn is_device_memory(pa: u64, len: u64) -> bool {
    let Some(end) = pa.checked_add(len) else {
        return false;
    };
    !boot::info()
        .memory
        .regions()
        .iter()
        .any(|r| r.kind != RegionKind::Reserved && r.start < end && pa < r.end)
}
