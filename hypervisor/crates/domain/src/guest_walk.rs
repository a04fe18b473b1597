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

impl Paging {
    /// The guest-physical address of `gva` for its kernel. `read(address, bytes)` reads an aligned table entry of 4 or 8
    /// bytes.
    pub fn walk(
        &self,
        gva: u64,
        write: bool,
        mut read: impl FnMut(u64, u32) -> Option<u64>,
    ) -> Result<u64, Fault> {
        if self.cr0 & CR0_PG == 0 {
            return Ok(gva & 0xffff_ffff);
        }
        if self.efer & EFER_LMA != 0 {
            if self.cr4 & CR4_LA57 != 0 || (gva as i64) << 16 >> 16 != gva as i64 {
                return Err(Fault);
            }
            return self.descend(gva, self.cr3 & ADDRESS, 39, write, read);
        }
        if self.cr4 & CR4_PAE != 0 {
            let gva = gva & 0xffff_ffff;
            let entry = read((self.cr3 & 0xffff_ffe0) + (gva >> 30) * 8, 8).ok_or(Fault)?;
            if entry & PRESENT == 0 {
                return Err(Fault);
            }
            return self.descend(gva, entry & ADDRESS, 21, write, read);
        }
        self.descend_32(gva & 0xffff_ffff, write, read)
    }

    fn allowed(&self, entry: u64, write: bool) -> Result<(), Fault> {
        let refused = write && entry & WRITABLE == 0 && self.cr0 & CR0_WP != 0;
        if entry & PRESENT == 0 || refused {
            return Err(Fault);
        }
        Ok(())
    }

    /// Tables of 512 entries, from the one whose entries span `1 << shift` bytes.
    fn descend(
        &self,
        gva: u64,
        mut table: u64,
        mut shift: u32,
        write: bool,
        mut read: impl FnMut(u64, u32) -> Option<u64>,
    ) -> Result<u64, Fault> {
        loop {
            let entry = read(table + (gva >> shift & 511) * 8, 8).ok_or(Fault)?;
            self.allowed(entry, write)?;
            let large = entry & LARGE != 0 && (shift == 21 || shift == 30);
            if shift == 12 || large {
                let low = (1u64 << shift) - 1;
                return Ok(entry & ADDRESS & !low | gva & low);
            }
            table = entry & ADDRESS;
            shift -= 9;
        }
    }

    /// Two levels of 1024 entries.
    fn descend_32(
        &self,
        gva: u64,
        write: bool,
        mut read: impl FnMut(u64, u32) -> Option<u64>,
    ) -> Result<u64, Fault> {
        let entry = read((self.cr3 & 0xffff_f000) + (gva >> 22) * 4, 4).ok_or(Fault)?;
        self.allowed(entry, write)?;
        if entry & LARGE != 0 && self.cr4 & CR4_PSE != 0 {
            // PSE-36: bits 13 to 20 are address bits 32 to 39.
            return Ok((entry & 0xffc0_0000) | (entry >> 13 & 0xff) << 32 | gva & 0x3f_ffff);
        }
        let entry = read((entry & 0xffff_f000) + (gva >> 12 & 1023) * 4, 4).ok_or(Fault)?;
        self.allowed(entry, write)?;
        Ok(entry & 0xffff_f000 | gva & 0xfff)
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
}
