//! [`PvhLayout::in_place`]: a PVH domain in memory that is given, rather than counted: Domain-0, whose frame numbers are the
//! machine's, so that devices find its memory where it says.
use crate::kernel::Kernel;
use crate::pvh::{PvhLayout, PvhRequest, Shape, check};
use crate::{LoadError, PAGE_SHIFT, PAGE_SIZE, pages};
use alloc::vec::Vec;
use core::ops::Range;
use xen_abi::hvm::{MEMMAP_TYPE_ACPI, MEMMAP_TYPE_RAM, MemmapTableEntry};

/// What is not the kernel goes between these addresses: above what real mode uses, below what 32 bits reach.
const REACH: Range<u64> = 1 << 20..1 << 32;

impl PvhLayout {
    /// Lays out `kernel` in `ram` (frames, sorted, disjoint), `request.nr_pages` of it. `others` is the rest of the memory map.
    ///
    /// Beyond the errors of [`PvhLayout::new`]: [`LoadError::Occupied`] if the kernel's place is not in `ram`.
    pub fn in_place(
        kernel: &Kernel<'_>,
        request: &PvhRequest<'_>,
        ram: Vec<Range<u64>>,
        others: &[MemmapTableEntry],
    ) -> Result<PvhLayout, LoadError> {
        let entry = check(kernel, request)?;
        let image = kernel.elf.pstart..kernel.elf.pend;
        let mut room = Room::new(&ram, &image, request.nr_pages)?;
        let acpi = match request.acpi_len {
            0 => 0..0,
            len => room.take(len)?,
        };
        let memmap = memory_map(&ram, &acpi, others);
        let shape = Shape::new(memmap.len(), request);
        let start_info = room.take(shape.len as u64)?.start;
        let initrd = match request.initrd_len {
            0 => None,
            len => Some(room.take(len)?),
        };
        let block = shape.fill(start_info, &memmap, initrd.as_ref(), acpi.start, request);
        Ok(PvhLayout {
            entry,
            kernel: image,
            initrd,
            start_info,
            block,
            ram,
            memmap,
            acpi: acpi.start,
        })
    }
}

/// What is free for the rest, in bytes.
struct Room {
    free: Vec<Range<u64>>,
    need: u64,
    have: u64,
}

impl Room {
    /// All but the kernel's place.
    fn new(ram: &[Range<u64>], image: &Range<u64>, nr_pages: u64) -> Result<Room, LoadError> {
        let kernel = image.start & !(PAGE_SIZE - 1)..image.end.next_multiple_of(PAGE_SIZE);
        let bytes = |r: &Range<u64>| r.start << PAGE_SHIFT..r.end << PAGE_SHIFT;
        let holds = |r: &Range<u64>| r.start <= kernel.start && kernel.end <= r.end;
        if !ram.iter().map(bytes).any(|r| holds(&r)) {
            if ram.last().is_none_or(|r| r.end << PAGE_SHIFT < kernel.end) {
                return Err(LoadError::TooFewPages {
                    need: pages(kernel.end),
                    have: nr_pages,
                });
            }
            return Err(LoadError::Occupied {
                start: image.start,
                end: image.end,
            });
        }
        let cut = |r: Range<u64>| match holds(&r) {
            true => [kernel.end..r.end, r.start..kernel.start],
            false => [r, 0..0],
        };
        let within = |r: Range<u64>| r.start.max(REACH.start)..r.end.min(REACH.end);
        let mut free: Vec<_> = ram.iter().map(bytes).flat_map(cut).map(within).collect();
        // Behind the kernel first, as loaders do it.
        free.sort_by_key(|r| (r.start < kernel.start, r.start));
        Ok(Room {
            free,
            need: pages(kernel.end),
            have: nr_pages,
        })
    }

    /// The first room for `len` bytes, in whole pages.
    fn take(&mut self, len: u64) -> Result<Range<u64>, LoadError> {
        let size = pages(len) << PAGE_SHIFT;
        self.need += pages(len);
        let fits = |r: &&mut Range<u64>| r.end.saturating_sub(r.start) >= size;
        let Some(range) = self.free.iter_mut().find(fits) else {
            return Err(LoadError::TooFewPages {
                need: self.need,
                have: self.have,
            });
        };
        let at = range.start;
        range.start += size;
        Ok(at..at + len)
    }
}

fn memory_map(
    ram: &[Range<u64>],
    acpi: &Range<u64>,
    others: &[MemmapTableEntry],
) -> Vec<MemmapTableEntry> {
    let acpi = acpi.start..acpi.end.next_multiple_of(PAGE_SIZE);
    let mut map = others.to_vec();
    let mut add = |range: Range<u64>, r#type: u32| {
        if !range.is_empty() {
            map.push(MemmapTableEntry {
                addr: range.start,
                size: range.end - range.start,
                r#type,
                reserved: 0,
            });
        }
    };
    for r in ram {
        let r = r.start << PAGE_SHIFT..r.end << PAGE_SHIFT;
        if r.contains(&acpi.start) && !acpi.is_empty() {
            add(r.start..acpi.start, MEMMAP_TYPE_RAM);
            add(acpi.end..r.end, MEMMAP_TYPE_RAM);
        } else {
            add(r, MEMMAP_TYPE_RAM);
        }
    }
    add(acpi, MEMMAP_TYPE_ACPI);
    map.sort_by_key(|e| e.addr);
    map
}
