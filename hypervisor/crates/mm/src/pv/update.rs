//! Changing entries of validated tables. The hot path: no allocation, no lock, two or three atomics.
//!
//! Always: take what the new entry names, write the entry, give back what the old one named.
use super::entry::{A, D, ENTRIES, P, RW, adjust, check, reserved, target};
use super::word::{self, PARTIAL, VALIDATED};
use super::{Budget, Level, PageType, Paging, Platform, PvTables, Update, UpdateEffect};
use crate::Result;
use xen_abi::Errno::{EAGAIN, EINVAL, ERESTART};
use xen_abi::{DomId, Mfn};

impl<'a, P_: Platform> Paging<'a, P_> {
    /// Changes one entry of a validated table of `level`. EINVAL: not such a table, bad index, or a forbidden entry;
    /// EPERM: MMIO the domain may not map; ERESTART: nothing changed yet, repeat.
    #[allow(clippy::too_many_arguments)]
    #[inline]
    pub fn update_entry(
        &self,
        t: &mut PvTables,
        level: Level,
        table: Mfn,
        index: usize,
        new: u64,
        how: Update,
        budget: &mut Budget,
    ) -> Result<UpdateEffect> {
        self.drain(t, budget)?;
        if index >= ENTRIES || self.table_level(table, t.domain) != Some(level) {
            return Err(EINVAL);
        }
        match level {
            Level::L1 => self.update_l1(t, table, index, new, how),
            _ => self.update_directory(t, level, table, index, new, how, budget),
        }
    }

    /// `MMU_NORMAL_PT_UPDATE`: [`Paging::update_entry`] at whatever level `table` has; a plain write if it is not a page
    /// table (but not if it holds descriptors).
    pub fn mmu_update(
        &self,
        t: &mut PvTables,
        table: Mfn,
        index: usize,
        new: u64,
        how: Update,
        budget: &mut Budget,
    ) -> Result<UpdateEffect> {
        if let Some(level) = self.table_level(table, t.domain) {
            return self.update_entry(t, level, table, index, new, how, budget);
        }
        self.drain(t, budget)?;
        if index >= ENTRIES {
            return Err(EINVAL);
        }
        let page = self.get_writable(table, t.domain)?;
        let old = self.platform.read(table, index);
        self.platform.write(table, index, new);
        self.free_if_last(self.put_writable(page));
        Ok(UpdateEffect { old, new })
    }

    /// Entry `index` of `table`, which must belong to `domain`.
    pub fn read_entry(&self, domain: DomId, table: Mfn, index: usize) -> Result<u64> {
        if index >= ENTRIES {
            return Err(EINVAL);
        }
        let page = self.frames.get_page(table, domain)?;
        let entry = self.platform.read(table, index);
        self.drop_page(page);
        Ok(entry)
    }

    /// Entry `index` of the domain's L1 table `table`. EINVAL: it is none.
    #[inline]
    pub fn l1_entry(&self, t: &PvTables, table: Mfn, index: usize) -> Result<u64> {
        if index >= ENTRIES || self.table_level(table, t.domain) != Some(Level::L1) {
            return Err(EINVAL);
        }
        Ok(self.platform.read(table, index))
    }

    /// Which page-table level `mfn` has been validated as, if it belongs to `domain`. Stable under its lock.
    #[inline]
    pub fn table_level(&self, mfn: Mfn, domain: DomId) -> Option<Level> {
        let f = self.frames.get(mfn)?;
        let (s, w) = (f.state(), f.word());
        let ours = s.refs() != 0 && s.owner() == domain;
        let ready = word::in_use(w) && w & (VALIDATED | PARTIAL) == VALIDATED;
        if ours && ready {
            Level::of(word::type_of(w))
        } else {
            None
        }
    }

    /// Type of `mfn` while it has one, and whether it is pinned. For `getpageframeinfo`.
    pub fn page_type(&self, mfn: Mfn) -> (PageType, bool) {
        let w = self.frames.word(mfn);
        if word::in_use(w) {
            (word::type_of(w), w & word::PINNED != 0)
        } else {
            (PageType::None, false)
        }
    }

    #[inline]
    fn update_l1(
        &self,
        t: &PvTables,
        table: Mfn,
        index: usize,
        new: u64,
        how: Update,
    ) -> Result<UpdateEffect> {
        let old = self.platform.read(table, index);
        let new = adjust(Level::L1, new);
        let same = old & P != 0 && target(old) == target(new);
        if new & P != 0 {
            check(self.platform, t.domain, Level::L1, new)?;
            if same && (old ^ new) & RW == 0 {
                // What the entry holds stays the same.
                return self.store_l1(table, index, old, new, how);
            }
            if same && old & RW != 0 {
                let effect = self.store_l1(table, index, old, new, how)?;
                self.put_target_write(old);
                return Ok(effect);
            }
        }
        let new = if new & P != 0 {
            self.get_target(t.domain, how.pg_owner, new)?
        } else {
            new
        };
        match self.store_l1(table, index, old, new, how) {
            Ok(effect) => {
                self.put_target(old);
                Ok(effect)
            }
            Err(e) => {
                self.put_target(new);
                Err(e)
            }
        }
    }

    /// [`Paging::store`], or a compare-exchange where the caller names the entry it has seen.
    #[inline]
    fn store_l1(
        &self,
        table: Mfn,
        index: usize,
        old: u64,
        new: u64,
        how: Update,
    ) -> Result<UpdateEffect> {
        match how.expected {
            None => Ok(self.store(table, index, old, new, how.preserve_ad)),
            Some(seen) if seen == old => match self.platform.cmpxchg(table, index, old, new) {
                Ok(()) => Ok(UpdateEffect { old, new }),
                Err(_) => Err(EAGAIN),
            },
            Some(_) => Err(EAGAIN),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn update_directory(
        &self,
        t: &mut PvTables,
        level: Level,
        table: Mfn,
        index: usize,
        new: u64,
        how: Update,
        budget: &mut Budget,
    ) -> Result<UpdateEffect> {
        if reserved(level, index) {
            return Err(EINVAL);
        }
        let old = self.platform.read(table, index);
        let new = adjust(level, new);
        if new & P != 0 {
            check(self.platform, t.domain, level, new)?;
            if old & P != 0 && target(old) == target(new) {
                return Ok(self.store(table, index, old, new, how.preserve_ad));
            }
            self.acquire(t, level.below(), target(new), budget)?;
        }
        let effect = self.store(table, index, old, new, how.preserve_ad);
        if old & P != 0 {
            self.surrender(t, level.below(), target(old), budget);
        }
        Ok(effect)
    }

    /// [`Paging::get_table`], cleaning up after a table that was refused.
    pub(super) fn acquire(
        &self,
        t: &mut PvTables,
        level: Level,
        mfn: Mfn,
        budget: &mut Budget,
    ) -> Result<()> {
        let result = self.get_table(t, level, mfn, budget);
        if result.is_err_and(|e| e != ERESTART) {
            self.abandon(t, mfn, budget);
        }
        result
    }

    /// [`Paging::put_table`], remembering what is left to do.
    pub(super) fn surrender(&self, t: &mut PvTables, level: Level, mfn: Mfn, budget: &mut Budget) {
        if self.put_table(t, level, mfn, budget).is_err() {
            t.unfinished = Some(mfn);
        }
    }

    /// Writes an entry. Only the CPU changes `old` meanwhile, by setting accessed and dirty: a few tries keep those.
    #[inline]
    fn store(
        &self,
        table: Mfn,
        index: usize,
        mut old: u64,
        new: u64,
        preserve_ad: bool,
    ) -> UpdateEffect {
        if preserve_ad {
            for _ in 0..4 {
                let kept = if new & P != 0 {
                    new | old & (A | D)
                } else {
                    new
                };
                match self.platform.cmpxchg(table, index, old, kept) {
                    Ok(()) => return UpdateEffect { old, new: kept },
                    Err(now) => old = now,
                }
            }
        }
        self.platform.write(table, index, new);
        UpdateEffect { old, new }
    }
}
