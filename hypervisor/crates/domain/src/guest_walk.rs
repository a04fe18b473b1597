//! A hardware guest's own page tables, read for it: [`Paging::walk`]. Sources: SDM vol. 3 chapter "Paging", APM vol. 2
//! chapter 5. What the tables' addresses mean is the caller's to say.
use crate::Fault;

const CR0_PG: u64 = 1 << 31;
const CR0_WP: u64 = 1 << 16;
const CR4_PSE: u64 = 1 << 4;
const CR4_PAE: u64 = 1 << 5;
const CR4_LA57: u64 = 1 << 12;
const EFER_LMA: u64 = 1 << 10;
const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The control registers that say how addresses are translated.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct Paging {
    pub cr0: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub efer: u64,
}

/// What an address is used for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Use {
    /// A write.
    pub write: bool,
    /// By a program, not by the guest's kernel.
    pub user: bool,
}

/// A guest's tables in its memory. A function that reads an entry is one that leaves its bits alone.
pub trait Tables {
    /// Reads the aligned entry of 4 or 8 bytes at a guest-physical address.
    fn read(&mut self, at: u64, bytes: u32) -> Option<u64>;
    /// Notes in an entry that it has been used.
    fn set(&mut self, _at: u64, _bytes: u32, _bits: u64) {}
}

impl<F: FnMut(u64, u32) -> Option<u64>> Tables for F {
    fn read(&mut self, at: u64, bytes: u32) -> Option<u64> {
        self(at, bytes)
    }
}

/// The entries on the way to a page.
#[derive(Default)]
struct Path {
    at: [u64; 4],
    len: usize,
}

impl Path {
    fn push(&mut self, at: u64) {
        if let Some(slot) = self.at.get_mut(self.len) {
            *slot = at;
            self.len += 1;
        }
    }

    /// Marks all as used, the last as written if it was.
    fn mark(&self, tables: &mut impl Tables, bytes: u32, write: bool) {
        for (i, at) in self.at.iter().take(self.len).enumerate() {
            let dirty = if write && i + 1 == self.len { DIRTY } else { 0 };
            tables.set(*at, bytes, ACCESSED | dirty);
        }
    }
}

impl Paging {
    /// The guest-physical address of `gva` for its kernel.
    pub fn walk(&self, gva: u64, write: bool, tables: impl Tables) -> Result<u64, Fault> {
        let what = Use { write, user: false };
        self.translate(gva, what, tables).map_err(|_| Fault)
    }

    /// The guest-physical address of `gva`, or the error code of the page fault. Its tables learn of it as from a CPU.
    pub fn translate(&self, gva: u64, what: Use, mut tables: impl Tables) -> Result<u64, u32> {
        let tables = &mut tables;
        if self.cr0 & CR0_PG == 0 {
            return Ok(gva & 0xffff_ffff);
        }
        if self.efer & EFER_LMA != 0 {
            if self.cr4 & CR4_LA57 != 0 || (gva as i64) << 16 >> 16 != gva as i64 {
                return Err(what.missing());
            }
            return self.descend(gva, self.cr3 & ADDRESS, 39, what, tables);
        }
        let gva = gva & 0xffff_ffff;
        if self.cr4 & CR4_PAE == 0 {
            return self.descend_32(gva, what, tables);
        }
        let entry = tables
            .read((self.cr3 & 0xffff_ffe0) + (gva >> 30) * 8, 8)
            .filter(|e| e & PRESENT != 0)
            .ok_or(what.missing())?;
        self.descend(gva, entry & ADDRESS, 21, what, tables)
    }

    fn allowed(&self, entry: u64, what: Use) -> Result<(), u32> {
        if entry & PRESENT == 0 {
            return Err(what.missing());
        }
        let read_only = entry & WRITABLE == 0 && (what.user || self.cr0 & CR0_WP != 0);
        if what.write && read_only || what.user && entry & USER == 0 {
            return Err(what.missing() | PRESENT as u32);
        }
        Ok(())
    }

    /// Tables of 512 entries, from the one whose entries span `1 << shift` bytes.
    fn descend(
        &self,
        gva: u64,
        mut table: u64,
        mut shift: u32,
        what: Use,
        tables: &mut impl Tables,
    ) -> Result<u64, u32> {
        let mut path = Path::default();
        loop {
            let at = table + (gva >> shift & 511) * 8;
            let entry = tables.read(at, 8).ok_or(what.missing())?;
            self.allowed(entry, what)?;
            path.push(at);
            let large = entry & LARGE != 0 && (shift == 21 || shift == 30);
            if shift == 12 || large {
                path.mark(tables, 8, what.write);
                let low = (1u64 << shift) - 1;
                return Ok(entry & ADDRESS & !low | gva & low);
            }
            table = entry & ADDRESS;
            shift -= 9;
        }
    }

    /// Two levels of 1024 entries.
    fn descend_32(&self, gva: u64, what: Use, tables: &mut impl Tables) -> Result<u64, u32> {
        let mut path = Path::default();
        let at = (self.cr3 & 0xffff_f000) + (gva >> 22) * 4;
        let entry = tables.read(at, 4).ok_or(what.missing())?;
        self.allowed(entry, what)?;
        path.push(at);
        if entry & LARGE != 0 && self.cr4 & CR4_PSE != 0 {
            path.mark(tables, 4, what.write);
            // PSE-36: bits 13 to 20 are address bits 32 to 39.
            return Ok((entry & 0xffc0_0000) | (entry >> 13 & 0xff) << 32 | gva & 0x3f_ffff);
        }
        let at = (entry & 0xffff_f000) + (gva >> 12 & 1023) * 4;
        let entry = tables.read(at, 4).ok_or(what.missing())?;
        self.allowed(entry, what)?;
        path.push(at);
        path.mark(tables, 4, what.write);
        Ok(entry & 0xffff_f000 | gva & 0xfff)
    }
}

impl Use {
    /// Error code of a page fault where nothing is mapped.
    fn missing(self) -> u32 {
        u32::from(self.write) << 1 | u32::from(self.user) << 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;

    fn on(tables: &[(u64, u64)]) -> impl FnMut(u64, u32) -> Option<u64> {
        let map: BTreeMap<u64, u64> = tables.iter().copied().collect();
        move |at, _| Some(map.get(&at).copied().unwrap_or(0))
    }

    #[test]
    fn without_paging_addresses_are_physical() {
        let none = |_, _| None;
        assert_eq!(
            Paging::default().walk(0x1_2345_6789, true, none),
            Ok(0x2345_6789)
        );
    }

    #[test]
    fn long_mode_has_pages_of_three_sizes() {
        let p = Paging {
            cr0: CR0_PG | CR0_WP,
            cr3: 0x1000,
            cr4: CR4_PAE,
            efer: EFER_LMA,
        };
        let tables = [
            (0x1000, 0x2003),
            (0x2000, 0x3003),
            (0x2008, 0x4000_0083),
            (0x3000, 0x4003),
            (0x3008, 0x80_0083),
            (0x4008, 0x7001),
        ];
        assert_eq!(p.walk(0x1123, false, on(&tables)), Ok(0x7123));
        assert_eq!(p.walk(0x1123, true, on(&tables)), Err(Fault));
        assert_eq!(p.walk(0x20_1234, true, on(&tables)), Ok(0x80_1234));
        assert_eq!(p.walk(0x4012_3456, true, on(&tables)), Ok(0x4012_3456));
        assert_eq!(p.walk(0x3000, false, on(&tables)), Err(Fault));
        assert_eq!(p.walk(1 << 47, false, on(&tables)), Err(Fault));
    }

    #[test]
    fn thirty_two_bits_come_with_and_without_pae() {
        let pae = Paging {
            cr0: CR0_PG,
            cr3: 0x1020,
            cr4: CR4_PAE,
            efer: 0,
        };
        let tables = [(0x1038, 0x2001), (0x2000, 0x60_0083)];
        assert_eq!(pae.walk(0xc000_0010, true, on(&tables)), Ok(0x60_0010));
        let old = Paging {
            cr0: CR0_PG,
            cr3: 0x1000,
            cr4: CR4_PSE,
            efer: 0,
        };
        let tables = [(0x1000, 0x2003), (0x2004, 0x5003), (0x1004, 0x40_2083)];
        assert_eq!(old.walk(0x1010, true, on(&tables)), Ok(0x5010));
        assert_eq!(old.walk(0x40_0010, true, on(&tables)), Ok(0x1_0040_0010));
    }

    /// Tables that remember what was noted in them.
    struct Noting(BTreeMap<u64, u64>);
    impl Tables for &mut Noting {
        fn read(&mut self, at: u64, _: u32) -> Option<u64> {
            Some(self.0.get(&at).copied().unwrap_or(0))
        }
        fn set(&mut self, at: u64, _: u32, bits: u64) {
            *self.0.entry(at).or_default() |= bits;
        }
    }

    #[test]
    fn programs_reach_their_own_pages_only_and_tables_learn_of_it() {
        let p = Paging {
            cr0: CR0_PG,
            cr3: 0x1000,
            cr4: CR4_PAE,
            efer: EFER_LMA,
        };
        let (all, kernel) = (7, 3);
        let map = [
            (0x1000, 0x2000 | all),
            (0x2000, 0x3000 | all),
            (0x3000, 0x4000 | all),
            (0x4000, 0x7000 | all),
            (0x4008, 0x8000 | kernel),
            (0x4010, 0x9000 | all & !2),
        ];
        let mut tables = Noting(map.into());
        let user = |write| Use { write, user: true };
        let kernel = |write| Use { write, user: false };
        assert_eq!(p.translate(0x1010, user(false), &mut tables), Err(5));
        assert_eq!(p.translate(0x2010, user(true), &mut tables), Err(7));
        assert_eq!(p.translate(0x3010, user(true), &mut tables), Err(6));
        assert_eq!(tables.0, map.into(), "refusals leave no trace");
        // Without CR0.WP the kernel writes what it likes.
        assert_eq!(p.translate(0x2010, kernel(true), &mut tables), Ok(0x9010));
        assert_eq!(p.translate(0x10, user(false), &mut tables), Ok(0x7010));
        for (at, bits) in [
            (0x1000, 0x20),
            (0x3000, 0x20),
            (0x4000, 0x20),
            (0x4008, 0),
            (0x4010, 0x60),
        ] {
            assert_eq!(tables.0[&at] & 0x60, bits, "{at:#x}");
        }
    }
}
