//! Guest-physical memory of hardware-assisted guests: [`P2m`] maps guest frames to machine frames in the nested page
//! tables that the hardware walks, with 4K, 2M and 1G leaves.
//!
//! Pure: it needs only [`Tables`] (words of frames, and frames for tables). It counts no references: who maps something holds them
//! (see `domain::hvm`) and gives them back after the flush that each change asks for with [`Flush`]. Tables that
//! are cut off wait in a list of their own until [`P2m::take_retired`]: a CPU may still be walking them.
mod entry;
mod ops;
#[cfg(test)]
mod tests;

pub use entry::{Format, Kind};
pub use ops::free_list;

use crate::{FrameTable, PageList, Result};
use core::cell::Cell;
use entry::Decoded;
use xen_abi::Errno::{EINVAL, ENOMEM};
use xen_abi::Mfn;

/// log2 of the pages in a 2M leaf.
pub const ORDER_2M: u32 = 9;
/// log2 of the pages in a 1G leaf.
pub const ORDER_1G: u32 = 18;
/// Guest frame numbers have this many bits (four levels of tables).
pub const GFN_BITS: u32 = 36;
const LEVELS: u32 = 4;
const ENTRIES: u64 = 512;
/// The root of a closed map: frame 0 is nobody's.
const NO_ROOT: Mfn = Mfn(0);

/// What the tables are made of.
pub trait Tables {
    /// The frame table, for the lists of tables.
    fn frames(&self) -> FrameTable<'_>;
    /// Entry `index` (below 512) of `table`.
    fn read_entry(&self, table: Mfn, index: usize) -> u64;
    /// Stores an entry in one 64-bit write.
    fn write_entry(&self, table: Mfn, index: usize, value: u64);
    /// A zeroed frame of the hypervisor's own.
    fn alloc_table(&self) -> Option<Mfn>;
    /// Gives such a frame back; no CPU walks it any more.
    fn free_table(&self, mfn: Mfn);
}

/// Must the guest's nested TLB entries be flushed before what was mapped may be given up?
#[must_use = "the references of what was mapped may only go after the flush"]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flush {
    /// No CPU can hold a translation that is wrong now.
    No,
    /// Flush, then release.
    Needed,
}

/// One guest frame as it is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The machine frame of the very guest frame asked for.
    pub mfn: Mfn,
    /// What it is.
    pub kind: Kind,
    /// log2 of the pages that the leaf around it maps: 0, 9 or 18.
    pub order: u32,
}

/// The nested page tables of one domain.
#[derive(Debug)]
pub struct P2m {
    format: Format,
    root: Mfn,
    /// Tables in use but for the root.
    tables: PageList,
    /// Tables cut off, for after the next flush.
    retired: PageList,
    /// Most tables, the root and those cut off included.
    limit: u32,
    /// One past the highest guest frame that was ever mapped.
    end: u64,
    /// Guest frames mapped.
    mapped: u64,
    memo: Memo,
}

/// Slots of a [`Memo`].
const MEMOS: usize = 8;
/// Pages that a slot covers: 2 MiB.
const MEMO_PAGES: u64 = 512;

/// Where large leaves were found last: walks of a guest's own tables come back to the same few again and again. Forgotten
/// with every change of the map.
#[derive(Debug, Default)]
struct Memo([Cell<Option<(u64, Entry)>>; MEMOS]);

impl Memo {
    #[inline]
    fn slot(&self, gfn: u64) -> &Cell<Option<(u64, Entry)>> {
        &self.0[(gfn / MEMO_PAGES) as usize % MEMOS]
    }

    #[inline]
    fn get(&self, gfn: u64) -> Option<Entry> {
        let (first, e) = self.slot(gfn).get()?;
        let part = gfn.wrapping_sub(first);
        (part < MEMO_PAGES).then(|| Entry {
            mfn: Mfn(e.mfn.0 + part),
            ..e
        })
    }

    /// Remembers what `gfn` is mapped by.
    #[inline]
    fn put(&self, gfn: u64, e: Entry) {
        let part = gfn % MEMO_PAGES;
        if e.order >= MEMO_PAGES.trailing_zeros() {
            let mfn = Mfn(e.mfn.0 - part);
            self.slot(gfn).set(Some((gfn - part, Entry { mfn, ..e })));
        }
    }

    fn forget(&mut self) {
        *self = Memo::default();
    }
}

impl P2m {
    /// An empty map that may use `limit` frames for tables. ENOMEM without a frame for the root.
    pub fn new(t: &impl Tables, format: Format, limit: u32) -> Result<P2m> {
        if limit == 0 {
            return Err(EINVAL);
        }
        Ok(P2m {
            format,
            root: t.alloc_table().ok_or(ENOMEM)?,
            tables: PageList::new(),
            retired: PageList::new(),
            limit,
            end: 0,
            mapped: 0,
            memo: Memo::default(),
        })
    }

    /// Whose tables these are.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The frame of the top table.
    pub fn root(&self) -> Mfn {
        self.root
    }

    /// The value for nCR3, or the EPTP.
    pub fn root_pointer(&self) -> u64 {
        self.format.root_pointer(self.root)
    }

    /// Guest frames mapped at this moment.
    pub fn mapped(&self) -> u64 {
        self.mapped
    }

    /// The highest guest frame that was ever mapped (`XENMEM_maximum_gpfn`); 0 if none.
    pub fn max_gfn(&self) -> u64 {
        self.end.saturating_sub(1)
    }

    /// Frames used for tables, the root and those waiting for a flush included.
    pub fn table_frames(&self) -> u32 {
        1 + self.tables.len() + self.retired.len()
    }

    /// The limit of [`P2m::table_frames`]; lowering it below the present use only keeps new tables away.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Sets the limit.
    pub fn set_limit(&mut self, frames: u32) {
        self.limit = frames.max(1);
    }

    /// What is at `gfn`.
    #[inline]
    pub fn lookup(&self, t: &impl Tables, gfn: u64) -> Option<Entry> {
        if let Some(entry) = self.memo.get(gfn) {
            return Some(entry);
        }
        let (_, _, level, mfn, kind) = self.leaf(t, gfn).ok()?;
        let order = (level - 1) * 9;
        let mfn = Mfn(mfn.0 + (gfn & ((1 << order) - 1)));
        let entry = Entry { mfn, kind, order };
        self.memo.put(gfn, entry);
        Some(entry)
    }

    /// The first mapped guest frame at or above `gfn`, with its leaf. `None`: there is none.
    pub fn next(&self, t: &impl Tables, mut gfn: u64) -> Option<(u64, Entry)> {
        while gfn < self.end {
            match self.leaf(t, gfn) {
                Ok(_) => return self.lookup(t, gfn).map(|e| (gfn, e)),
                // Nothing in what the empty entry covers.
                Err(level) => gfn = (gfn | (span(level) - 1)) + 1,
            }
        }
        None
    }

    /// The leaf around `gfn`: its table, index, level, first frame and kind; or the level at which the walk ends.
    #[inline]
    fn leaf(
        &self,
        t: &impl Tables,
        gfn: u64,
    ) -> core::result::Result<(Mfn, usize, u32, Mfn, Kind), u32> {
        if gfn >> GFN_BITS != 0 || self.root == NO_ROOT {
            return Err(LEVELS);
        }
        let mut table = self.root;
        let mut level = LEVELS;
        loop {
            let index = index(gfn, level);
            match self.format.decode(level, t.read_entry(table, index)) {
                Some(Decoded::Leaf(mfn, kind)) => return Ok((table, index, level, mfn, kind)),
                Some(Decoded::Table(below)) if level > 1 => {
                    table = below;
                    level -= 1;
                }
                _ => return Err(level),
            }
        }
    }
}

/// Index of `gfn` in a table of `level`.
fn index(gfn: u64, level: u32) -> usize {
    (gfn >> ((level - 1) * 9)) as usize & 511
}

/// Pages that an entry at `level` covers.
fn span(level: u32) -> u64 {
    1 << ((level - 1) * 9)
}
