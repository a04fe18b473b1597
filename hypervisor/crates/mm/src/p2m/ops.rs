//! Changes to a [`P2m`]. Each checks first and allocates what it needs, then writes entries, which cannot fail.
use super::entry::Decoded;
use super::{ENTRIES, Entry, Flush, GFN_BITS, Kind, LEVELS, NO_ROOT, P2m, Tables, index, span};
use crate::{PageList, Result};
use xen_abi::Errno::{EBUSY, EEXIST, EINVAL, ENOENT, ENOMEM};
use xen_abi::Mfn;

impl P2m {
    /// Maps `2^order` frames from `mfn` at `gfn`, where nothing may be mapped yet. `order`: 0, 9 or 18, both numbers
    /// aligned to it. Nothing was mapped before, so nothing needs a flush (cut-off empty tables wait for the next one).
    ///
    /// EINVAL: order, alignment or range; EEXIST: something is mapped there; ENOMEM: no frame for a table, or over the limit.
    pub fn map(
        &mut self,
        t: &impl Tables,
        gfn: u64,
        order: u32,
        mfn: Mfn,
        kind: Kind,
    ) -> Result<()> {
        self.memo.forget();
        let level = match order {
            0 => 1,
            super::ORDER_2M => 2,
            super::ORDER_1G => 3,
            _ => return Err(EINVAL),
        };
        let mask = span(level) - 1;
        let end = gfn.checked_add(span(level)).ok_or(EINVAL)?;
        if gfn & mask != 0 || mfn.0 & mask != 0 || end > 1 << GFN_BITS || mfn.0 >> 40 != 0 {
            return Err(EINVAL);
        }
        if self.root == NO_ROOT {
            return Err(EINVAL);
        }
        let table = self.make_tables(t, gfn, level)?;
        let at = index(gfn, level);
        match self.format.decode(level, t.read_entry(table, at)) {
            None => {}
            Some(Decoded::Table(below)) if self.is_empty(t, below, level - 1) => {
                t.write_entry(table, at, 0);
                self.retire(t, below, level - 1);
            }
            Some(_) => return Err(EEXIST),
        }
        t.write_entry(table, at, self.format.leaf(level, mfn, kind));
        self.mapped += span(level);
        self.end = self.end.max(end);
        Ok(())
    }

    /// Unmaps one guest frame, splitting what is around it. ENOENT: nothing there; ENOMEM: no frame to split with.
    pub fn unmap(&mut self, t: &impl Tables, gfn: u64) -> Result<(Entry, Flush)> {
        let entry = self.lookup(t, gfn).ok_or(ENOENT)?;
        self.split(t, gfn, 0)?;
        self.unmap_leaf(t, gfn)
            .map(|(_, e, flush)| (Entry { order: 0, ..e }, flush))
            .filter(|(e, _)| e.mfn == entry.mfn)
            .ok_or(ENOENT)
    }

    /// Unmaps the whole leaf around `gfn`: its first guest frame, its first machine frame and order. Needs no memory.
    pub fn unmap_leaf(&mut self, t: &impl Tables, gfn: u64) -> Option<(u64, Entry, Flush)> {
        self.memo.forget();
        let (table, at, level, mfn, kind) = self.leaf(t, gfn).ok()?;
        t.write_entry(table, at, 0);
        self.mapped -= span(level);
        let entry = Entry {
            mfn,
            kind,
            order: (level - 1) * 9,
        };
        Some((gfn & !(span(level) - 1), entry, Flush::Needed))
    }

    /// Makes the leaf around `gfn` one of at most `2^order` pages. Translations stay the same: no flush.
    ///
    /// ENOENT: nothing there; ENOMEM: no frames for the tables (then a part may be done, which changes nothing either).
    pub fn split(&mut self, t: &impl Tables, gfn: u64, order: u32) -> Result<()> {
        self.memo.forget();
        loop {
            let (table, at, level, mfn, kind) = self.leaf(t, gfn).map_err(|_| ENOENT)?;
            if (level - 1) * 9 <= order {
                return Ok(());
            }
            let below = self.new_table(t)?;
            for i in 0..ENTRIES {
                let part = Mfn(mfn.0 + i * span(level - 1));
                t.write_entry(below, i as usize, self.format.leaf(level - 1, part, kind));
            }
            t.write_entry(table, at, self.format.table(below));
        }
    }

    /// Joins the 512 leaves of one kind around `gfn` into one of `2^order` pages (9 or 18). The old table is walked until
    /// the next flush; translations stay the same, but the flush is needed before anything here changes again.
    ///
    /// EINVAL: order; ENOENT: not all mapped; EBUSY: not in a row, of several kinds, or not aligned. Already so: no change.
    pub fn merge(&mut self, t: &impl Tables, gfn: u64, order: u32) -> Result<Flush> {
        self.memo.forget();
        let level = match order {
            super::ORDER_2M => 2,
            super::ORDER_1G => 3,
            _ => return Err(EINVAL),
        };
        if gfn >> GFN_BITS != 0 || self.root == NO_ROOT {
            return Err(EINVAL);
        }
        let (table, at) = match self.entry_at(t, gfn, level) {
            Ok(found) => found,
            Err(above) if above => return Ok(Flush::No),
            Err(_) => return Err(ENOENT),
        };
        let below = match self.format.decode(level, t.read_entry(table, at)) {
            Some(Decoded::Table(below)) => below,
            Some(Decoded::Leaf(..)) => return Ok(Flush::No),
            None => return Err(ENOENT),
        };
        let mut first = None;
        for i in 0..ENTRIES {
            match self
                .format
                .decode(level - 1, t.read_entry(below, i as usize))
            {
                None => return Err(ENOENT),
                Some(Decoded::Table(_)) => return Err(EBUSY),
                Some(Decoded::Leaf(mfn, kind)) => {
                    let (start, one) = *first.get_or_insert((mfn, kind));
                    let aligned = start.0 & (span(level) - 1) == 0;
                    if !aligned || one != kind || mfn.0 != start.0 + i * span(level - 1) {
                        return Err(EBUSY);
                    }
                }
            }
        }
        let (mfn, kind) = first.ok_or(ENOENT)?;
        t.write_entry(table, at, self.format.leaf(level, mfn, kind));
        self.retire(t, below, 0);
        Ok(Flush::Needed)
    }

    /// Gives the leaf around `gfn` another kind: of the same references, that is from one kind of RAM to another.
    /// Returns its first guest frame and order.
    pub fn change_kind(
        &mut self,
        t: &impl Tables,
        gfn: u64,
        kind: Kind,
    ) -> Result<(u64, u32, Flush)> {
        self.memo.forget();
        let (table, at, level, mfn, old) = self.leaf(t, gfn).map_err(|_| ENOENT)?;
        if !old.is_ram() || !kind.is_ram() {
            return Err(EINVAL);
        }
        t.write_entry(table, at, self.format.leaf(level, mfn, kind));
        let loses = old.writable() && !kind.writable();
        let flush = if loses { Flush::Needed } else { Flush::No };
        Ok((gfn & !(span(level) - 1), (level - 1) * 9, flush))
    }

    /// A write to `gfn` faulted: if its writes are logged, this one page becomes writable. `true`: it was so, log it and go
    /// on. The guest's next try walks the tables afresh, so nothing needs a flush. Without memory to split a large leaf, all of
    /// it becomes writable, and so dirty.
    pub fn dirtied(&mut self, t: &impl Tables, gfn: u64) -> Result<bool> {
        if self.lookup(t, gfn).is_none_or(|e| e.kind != Kind::LogDirty) {
            return Ok(false);
        }
        let _ = self.split(t, gfn, 0);
        let _ = self.change_kind(t, gfn, Kind::Ram)?;
        Ok(true)
    }

    /// The tables that were cut off so far: after a flush that begins later, give them to [`free_list`].
    pub fn take_retired(&mut self) -> PageList {
        core::mem::take(&mut self.retired)
    }

    /// Gives back tables of an empty map that no CPU uses any more, at most `most`; EBUSY while something is mapped.
    /// `true` when nothing but the root is left; then [`P2m::close`].
    pub fn free_tables(&mut self, t: &impl Tables, most: u32) -> Result<bool> {
        self.memo.forget();
        if self.mapped != 0 {
            return Err(EBUSY);
        }
        if self.root == NO_ROOT {
            return Ok(true);
        }
        for i in 0..ENTRIES as usize {
            t.write_entry(self.root, i, 0);
        }
        self.end = 0;
        for _ in 0..most {
            let Some(mfn) = self.tables.first() else {
                break;
            };
            self.tables.remove(t.frames(), mfn);
            t.free_table(mfn);
        }
        Ok(self.tables.is_empty())
    }

    /// The end: nothing can be mapped any more, and what was cut off and the root go back. The map is empty.
    pub fn close(&mut self, t: &impl Tables) {
        self.memo.forget();
        free_list(t, &mut self.tables);
        free_list(t, &mut self.retired);
        if self.root != NO_ROOT {
            t.free_table(self.root);
        }
        (self.root, self.end, self.mapped) = (NO_ROOT, 0, 0);
    }

    /// The table and index of the entry at `level` for `gfn`. Err: a larger leaf is there (`true`), or nothing.
    fn entry_at(
        &self,
        t: &impl Tables,
        gfn: u64,
        level: u32,
    ) -> core::result::Result<(Mfn, usize), bool> {
        let mut table = self.root;
        for l in (level + 1..=LEVELS).rev() {
            match self.format.decode(l, t.read_entry(table, index(gfn, l))) {
                Some(Decoded::Table(below)) => table = below,
                Some(Decoded::Leaf(..)) => return Err(true),
                None => return Err(false),
            }
        }
        Ok((table, index(gfn, level)))
    }

    /// The table of `level` for `gfn`, made if need be. EEXIST: a larger leaf is in the way.
    fn make_tables(&mut self, t: &impl Tables, gfn: u64, level: u32) -> Result<Mfn> {
        let mut table = self.root;
        for l in (level + 1..=LEVELS).rev() {
            let at = index(gfn, l);
            table = match self.format.decode(l, t.read_entry(table, at)) {
                Some(Decoded::Table(below)) => below,
                Some(Decoded::Leaf(..)) => return Err(EEXIST),
                None => {
                    let below = self.new_table(t)?;
                    t.write_entry(table, at, self.format.table(below));
                    below
                }
            };
        }
        Ok(table)
    }

    fn new_table(&mut self, t: &impl Tables) -> Result<Mfn> {
        if self.table_frames() >= self.limit {
            return Err(ENOMEM);
        }
        let mfn = t.alloc_table().ok_or(ENOMEM)?;
        self.tables.push(t.frames(), mfn);
        Ok(mfn)
    }

    /// Nothing mapped below `table` of `level`? At most two levels deep.
    fn is_empty(&self, t: &impl Tables, table: Mfn, level: u32) -> bool {
        (0..ENTRIES as usize).all(
            |i| match self.format.decode(level, t.read_entry(table, i)) {
                None => true,
                Some(Decoded::Table(below)) if level > 1 => self.is_empty(t, below, level - 1),
                Some(_) => false,
            },
        )
    }

    /// Cuts off a table, and with `level` above 1 the (empty) tables it names.
    fn retire(&mut self, t: &impl Tables, table: Mfn, level: u32) {
        for i in 0..ENTRIES as usize {
            if level > 1
                && let Some(Decoded::Table(below)) =
                    self.format.decode(level, t.read_entry(table, i))
            {
                self.retire(t, below, level - 1);
            }
        }
        self.tables.remove(t.frames(), table);
        self.retired.push(t.frames(), table);
    }
}

/// Gives back tables that [`P2m::take_retired`] gave, once no CPU walks them any more.
pub fn free_list(t: &impl Tables, list: &mut PageList) {
    while let Some(mfn) = list.first() {
        list.remove(t.frames(), mfn);
        t.free_table(mfn);
    }
}
