//! The host's memory map, as firmware and boot loader describe it, and the free ranges carved from it.
//!
//! Key types: [`MemoryMap`] (E820-like, sorted, without overlaps) and [`FreeRanges`] (what boot-time allocation takes from).

const PAGE: u64 = 4096;

/// What a region is, numbered as in the ACPI specification's INT 15h E820 types. Larger numbers win where regions overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum RegionKind {
    /// Free for use.
    Ram = 1,
    /// Not RAM, or firmware's.
    Reserved = 2,
    /// ACPI tables.
    AcpiReclaim = 3,
    /// Firmware's, kept over sleep.
    AcpiNvs = 4,
    /// Broken.
    Unusable = 5,
}

impl RegionKind {
    /// From an E820 type number; unknown ones are reserved.
    #[must_use]
    pub fn from_e820(number: u32) -> Self {
        match number {
            1 => Self::Ram,
            3 => Self::AcpiReclaim,
            4 => Self::AcpiNvs,
            5 => Self::Unusable,
            _ => Self::Reserved,
        }
    }

    /// From a UEFI memory type (UEFI 2.10 §7.2, `EFI_MEMORY_TYPE`), after boot services have ended.
    #[must_use]
    pub fn from_efi(number: u32) -> Option<Self> {
        Some(match number {
            1..=4 | 7 => Self::Ram,
            8 => Self::Unusable,
            9 => Self::AcpiReclaim,
            10 => Self::AcpiNvs,
            // Plain MMIO is a hole, not memory.
            11 | 12 => return None,
            _ => Self::Reserved,
        })
    }
}

/// Physical addresses `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First byte.
    pub start: u64,
    /// First byte after.
    pub end: u64,
    /// What it is.
    pub kind: RegionKind,
}

/// Regions a map can hold; more are dropped and counted.
pub const MAX_REGIONS: usize = 192;

/// A memory map.
#[derive(Clone, Copy)]
pub struct MemoryMap {
    list: [Region; MAX_REGIONS],
    len: usize,
    /// Regions that did not fit.
    pub dropped: usize,
}

impl Default for MemoryMap {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryMap {
    /// An empty map.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            list: [Region {
                start: 0,
                end: 0,
                kind: RegionKind::Reserved,
            }; MAX_REGIONS],
            len: 0,
            dropped: 0,
        }
    }

    /// The regions; sorted and disjoint after [`Self::normalise`].
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.list[..self.len]
    }

    /// Adds a region, glued to the last one if it continues it. Empty and wrapping ones are ignored.
    pub fn push(&mut self, start: u64, len: u64, kind: RegionKind) {
        let Some(end) = start.checked_add(len).filter(|end| *end > start) else {
            return;
        };
        if let Some(last) = self
            .len
            .checked_sub(1)
            .and_then(|last| self.list.get_mut(last))
            && last.end == start
            && last.kind == kind
        {
            last.end = end;
        } else if let Some(slot) = self.list.get_mut(self.len) {
            *slot = Region { start, end, kind };
            self.len += 1;
        } else {
            self.dropped += 1;
        }
    }

    /// Sorts, resolves overlaps in favour of the less usable kind, and merges neighbours.
    pub fn normalise(&mut self) {
        let raw = *self;
        let mut clean = Self {
            dropped: raw.dropped,
            ..Self::new()
        };
        let mut at = 0;
        // Walk from boundary to boundary; between two boundaries the winner does not change.
        while let Some(next) = raw
            .regions()
            .iter()
            .flat_map(|r| [r.start, r.end])
            .filter(|edge| *edge > at)
            .min()
        {
            if let Some(kind) = raw.kind_at(at) {
                clean.push(at, next - at, kind);
            }
            at = next;
        }
        *self = clean;
    }

    /// The kind of memory at `address`; the less usable one where regions overlap.
    #[must_use]
    pub fn kind_at(&self, address: u64) -> Option<RegionKind> {
        self.regions()
            .iter()
            .filter(|r| (r.start..r.end).contains(&address))
            .map(|r| r.kind)
            .max()
    }

    /// RAM in whole pages.
    pub fn ram(&self) -> impl Iterator<Item = (u64, u64)> {
        self.regions()
            .iter()
            .filter(|r| r.kind == RegionKind::Ram)
            .filter_map(|r| {
                let (start, end) = (r.start.checked_next_multiple_of(PAGE)?, r.end / PAGE * PAGE);
                (start < end).then_some((start, end))
            })
    }

    /// First address after all RAM.
    #[must_use]
    pub fn ram_end(&self) -> u64 {
        self.ram().map(|(_, end)| end).max().unwrap_or(0)
    }

    /// Bytes of RAM.
    #[must_use]
    pub fn ram_bytes(&self) -> u64 {
        self.ram().map(|(start, end)| end - start).sum()
    }
}

/// Ranges a [`FreeRanges`] can hold.
pub const MAX_FREE: usize = 256;

/// Free physical memory at boot, before the real allocator exists. Boundaries are multiples of a page.
pub struct FreeRanges {
    list: [(u64, u64); MAX_FREE],
    len: usize,
}

impl Default for FreeRanges {
    fn default() -> Self {
        Self::new()
    }
}

impl FreeRanges {
    /// Nothing free.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            list: [(0, 0); MAX_FREE],
            len: 0,
        }
    }

    /// The free ranges, in no order.
    #[must_use]
    pub fn ranges(&self) -> &[(u64, u64)] {
        &self.list[..self.len]
    }

    /// Adds `start..end`, shrunk to whole pages. Forgets it when there is no slot left.
    pub fn add(&mut self, start: u64, end: u64) {
        let start = start.saturating_add(PAGE - 1) / PAGE * PAGE;
        let end = end / PAGE * PAGE;
        if start < end && self.len < MAX_FREE {
            self.list[self.len] = (start, end);
            self.len += 1;
        }
    }

    /// Takes out whatever lies in `start..end`, widened to whole pages.
    pub fn remove(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let start = start / PAGE * PAGE;
        let end = end.saturating_add(PAGE - 1) / PAGE * PAGE;
        let before = core::mem::take(self);
        for &(s, e) in before.ranges() {
            self.add(s, e.min(start));
            self.add(s.max(end), e);
        }
    }

    /// Takes `size` bytes aligned to `align` (a power of two), all below `limit`, from as high as possible.
    pub fn take(&mut self, size: u64, align: u64, limit: u64) -> Option<u64> {
        let best = self
            .ranges()
            .iter()
            .filter_map(|&(start, end)| {
                let at = end.min(limit).checked_sub(size)? & !(align - 1);
                (at >= start).then_some(at)
            })
            .max()?;
        self.remove(best, best + size);
        Some(best)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    #[test]
    fn overlaps_resolve_to_the_less_usable() {
        let mut map = MemoryMap::new();
        map.push(0x10_0000, 0x1f0_0000, RegionKind::Ram);
        map.push(0, 0x9_fc00, RegionKind::Ram);
        map.push(0x50_0000, 0x1800, RegionKind::AcpiNvs);
        map.push(0x50_1000, 0x1000, RegionKind::Reserved);
        map.push(u64::MAX - 5, 100, RegionKind::Ram);
        map.push(7, 0, RegionKind::Ram);
        map.normalise();
        let r = |start, end, kind| Region { start, end, kind };
        assert_eq!(
            map.regions(),
            [
                r(0, 0x9_fc00, RegionKind::Ram),
                r(0x10_0000, 0x50_0000, RegionKind::Ram),
                r(0x50_0000, 0x50_1800, RegionKind::AcpiNvs),
                r(0x50_1800, 0x50_2000, RegionKind::Reserved),
                r(0x50_2000, 0x200_0000, RegionKind::Ram),
            ]
        );
        assert_eq!(map.ram().next(), Some((0, 0x9_f000)));
        assert_eq!(map.ram_end(), 0x200_0000);
    }

    #[test]
    fn neighbours_merge_and_overflow_is_counted() {
        let mut map = MemoryMap::new();
        for i in 0..400 {
            map.push(i * PAGE, PAGE, RegionKind::Ram);
        }
        assert_eq!(map.regions().len(), 1);
        for i in 0..400 {
            map.push((1000 + 2 * i) * PAGE, PAGE, RegionKind::Ram);
        }
        assert_eq!(map.dropped, 400 - (MAX_REGIONS - 1));
    }

    #[test]
    fn taking_and_removing() {
        let mut free = FreeRanges::new();
        free.add(0x1000, 0x10_0000);
        free.add(0x20_0001, 0x40_0fff);
        assert_eq!(free.ranges()[1], (0x20_1000, 0x40_0000));
        assert_eq!(free.take(0x1000, 0x1000, u64::MAX), Some(0x3f_f000));
        assert_eq!(free.take(0x20_0000, 0x20_0000, u64::MAX), None);
        assert_eq!(free.take(0x8000, 0x8000, 0x10_0000), Some(0xf_8000));
        free.remove(0x2800, 0x3001);
        let mut left = Vec::from(free.ranges());
        left.sort();
        assert_eq!(
            left,
            [(0x1000, 0x2000), (0x4000, 0xf_8000), (0x20_1000, 0x3f_f000)]
        );
        assert_eq!(free.take(0x1000, 0x1000, 0x1000), None);
    }
}
