//! What goes into the page tables of a [`PvLayout`]: which table holds which entries, read-only where a page is itself
//! a table. Targets are pfns; the caller translates to machine frames, with [`PvLayout::fill_table`] or by itself.
use crate::pv::{PvLayout, TableRun, table_shift};
use crate::{PAGE_SHIFT, PAGE_SIZE};

/// Present, user, accessed, dirty: what every entry of a 64-bit PV guest has.
pub const FLAGS_RO: u64 = 0x65;
/// The same, writable.
pub const FLAGS_RW: u64 = 0x67;
/// Entries in a table.
pub const ENTRIES: usize = 512;

/// One page-table page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PtTable {
    /// 1 to 4; 4 is the root.
    pub level: usize,
    /// Its frame.
    pub pfn: u64,
    /// The address that entry 0 maps.
    pub vaddr: u64,
}

/// One present entry of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PtEntry {
    /// Level of the table that holds it.
    pub level: usize,
    /// Frame of the table that holds it.
    pub table_pfn: u64,
    /// Its index in the table.
    pub index: usize,
    /// The frame it names.
    pub target_pfn: u64,
    /// Its flag bits.
    pub flags: u64,
}

impl PvLayout {
    /// Every page-table page, the root first, each before the ones below it.
    pub fn tables(&self) -> impl Iterator<Item = PtTable> + '_ {
        (1..=4usize).rev().flat_map(move |level| {
            let p2m = self.p2m_tables.get(level - 1).copied().unwrap_or_default();
            run(level, self.region[level - 1]).chain(run(level, p2m))
        })
    }

    /// The present entries of `table`.
    pub fn entries(&self, table: PtTable) -> impl Iterator<Item = PtEntry> + '_ {
        (0..ENTRIES).filter_map(move |index| {
            let (target_pfn, flags) = self.entry(table, index)?;
            Some(PtEntry {
                level: table.level,
                table_pfn: table.pfn,
                index,
                target_pfn,
                flags,
            })
        })
    }

    /// Every present entry of every table.
    pub fn all_entries(&self) -> impl Iterator<Item = PtEntry> + '_ {
        self.tables().flat_map(|table| self.entries(table))
    }

    /// Writes all of `table`, translating frames with `mfn_of`. Returns the pfn that had no translation, if one had none.
    pub fn fill_table(
        &self,
        table: PtTable,
        out: &mut [u64; ENTRIES],
        mut mfn_of: impl FnMut(u64) -> Option<u64>,
    ) -> Result<(), u64> {
        out.fill(0);
        for entry in self.entries(table) {
            let mfn = mfn_of(entry.target_pfn).ok_or(entry.target_pfn)?;
            out[entry.index] = mfn << PAGE_SHIFT | entry.flags;
        }
        Ok(())
    }

    /// Whether `pfn` is a page-table page.
    pub fn is_table(&self, pfn: u64) -> bool {
        let first = self.region[3].pfn;
        let behind_list = self.p2m.pfn + self.p2m.list_pages;
        (first..first + self.nr_pt).contains(&pfn)
            || (behind_list..behind_list + self.p2m.table_pages).contains(&pfn)
    }

    fn entry(&self, table: PtTable, index: usize) -> Option<(u64, u64)> {
        let vaddr = canonical(
            table
                .vaddr
                .wrapping_add((index as u64) << table_shift(table.level - 1)),
        );
        if table.level > 1 {
            return Some((self.table_pfn(table.level - 1, vaddr)?, FLAGS_RW));
        }
        let pfn = self.mapped_pfn(vaddr)?;
        Some((
            pfn,
            if self.is_table(pfn) {
                FLAGS_RO
            } else {
                FLAGS_RW
            },
        ))
    }

    fn table_pfn(&self, level: usize, vaddr: u64) -> Option<u64> {
        let index = vaddr >> table_shift(level);
        let find = |run: &TableRun| {
            (run.first..run.first + run.count)
                .contains(&index)
                .then(|| run.pfn + index - run.first)
        };
        find(&self.region[level - 1]).or_else(|| self.p2m_tables.get(level - 1).and_then(find))
    }

    /// The frame that the first address space maps at `vaddr`.
    pub fn mapped_pfn(&self, vaddr: u64) -> Option<u64> {
        let p2m = &self.p2m;
        self.pfn_of(vaddr).or_else(|| {
            let offset = vaddr
                .checked_sub(p2m.vaddr)
                .filter(|o| *o < p2m.list_pages * PAGE_SIZE)?;
            Some(p2m.pfn + (offset >> PAGE_SHIFT))
        })
    }
}

fn run(level: usize, run: TableRun) -> impl Iterator<Item = PtTable> {
    (0..run.count).map(move |n| PtTable {
        level,
        pfn: run.pfn + n,
        // The root's run starts at 0 and a shift by 48 leaves it there.
        vaddr: (run.first + n) << table_shift(level),
    })
}

/// Sign-extends bit 47.
fn canonical(vaddr: u64) -> u64 {
    ((vaddr << 16) as i64 >> 16) as u64
}
