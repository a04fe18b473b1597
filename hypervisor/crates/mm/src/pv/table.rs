//! Taking and releasing references to page tables: validation on the first, release on the last.
//!
//! Levels strictly decrease from table to entry, so recursion is at most four deep and there are no cycles. Everything
//! here runs under the domain's page-table lock.
use super::entry::{ENTRIES, P, adjust, check, reserved, target};
use super::word::{self, PARTIAL, Taken, VALIDATED};
use super::{Budget, Level, Paging, Platform, PvTables};
use crate::{PageRef, Result};
use xen_abi::Errno::{EINVAL, ERESTART};
use xen_abi::Mfn;

impl<'a, P_: Platform> Paging<'a, P_> {
    /// One general and one type reference on a table of `level`, validated.
    ///
    /// On any error nothing is held by the caller. The table (L2 and above) may be left PARTIAL: with ERESTART the next
    /// attempt goes on from there; with another error the caller hands it to [`Paging::abandon`].
    pub(super) fn get_table(
        &self,
        t: &mut PvTables,
        level: Level,
        mfn: Mfn,
        budget: &mut Budget,
    ) -> Result<()> {
        let page = self.frames.get_page(mfn, t.domain)?;
        let start = match self.take_type(mfn, level.into(), t.domain) {
            Ok(Taken::Ready) => {
                let _ = page.into_raw();
                return Ok(());
            }
            Ok(Taken::Fresh { .. }) => None,
            Ok(Taken::Partial(done)) => Some(done),
            Err(e) => {
                self.drop_page(page);
                return Err(e);
            }
        };
        let Some(f) = self.frames.get(mfn) else {
            return Err(EINVAL);
        };
        let outcome = match level {
            Level::L1 => self.validate_l1(t, mfn),
            _ => self.validate_directory(t, level, mfn, start.unwrap_or(0), budget),
        };
        let ty = word::bits(level.into());
        let (word, result) = match outcome {
            Ok(()) => (ty | VALIDATED | 1, Ok(())),
            Err((_, e)) if level == Level::L1 => {
                // All or nothing: as if it never had been asked.
                f.touch(self.platform.tlb_clock());
                f.set_word(ty);
                self.drop_page(page);
                return Err(e);
            }
            Err((done, e)) => (ty | PARTIAL | done as u32, Err(e)),
        };
        f.set_word(word);
        match start {
            // Our reference becomes the caller's, or the half-way table's own.
            None => {
                let _ = page.into_raw();
            }
            // It has one already: that one becomes the caller's, or stays.
            Some(_) => self.drop_page(page),
        }
        result
    }

    /// Takes what every entry of an L1 names; all or nothing.
    fn validate_l1(
        &self,
        t: &PvTables,
        mfn: Mfn,
    ) -> core::result::Result<(), (usize, xen_abi::Errno)> {
        let mut next = 0;
        while let Some(i) = self.platform.first_present(mfn, next) {
            next = i + 1;
            let old = self.platform.read(mfn, i);
            if old & P == 0 {
                continue;
            }
            let got = check(self.platform, t.domain, Level::L1, old)
                .and_then(|()| self.get_target(t.domain, t.domain, adjust(Level::L1, old)));
            match got {
                Ok(new) if new != old => self.platform.write(mfn, i, new),
                Ok(_) => (),
                Err(e) => {
                    (0..i).for_each(|i| self.put_target(self.platform.read(mfn, i)));
                    return Err((0, e));
                }
            }
        }
        Ok(())
    }

    /// Takes what the entries from `start` on name. On error: how many leading entries are held now.
    fn validate_directory(
        &self,
        t: &mut PvTables,
        level: Level,
        mfn: Mfn,
        start: usize,
        budget: &mut Budget,
    ) -> core::result::Result<(), (usize, xen_abi::Errno)> {
        let mut next = start;
        while let Some(i) = self.platform.first_present(mfn, next) {
            next = i + 1;
            let old = self.platform.read(mfn, i);
            if old & P == 0 || reserved(level, i) {
                continue;
            }
            budget.check().map_err(|e| (i, e))?;
            check(self.platform, t.domain, level, old)
                .and_then(|()| self.get_table(t, level.below(), target(old), budget))
                .map_err(|e| (i, e))?;
            budget.spend();
            let new = adjust(level, old);
            if new != old {
                self.platform.write(mfn, i, new);
            }
        }
        if level == Level::L4 {
            self.platform.install_reserved(mfn, t.domain);
        }
        Ok(())
    }

    /// Gives one general and one type reference on a validated table back. ERESTART: they are given back, but the table
    /// is still being released; hand it to [`Paging::abandon`].
    pub(super) fn put_table(
        &self,
        t: &mut PvTables,
        level: Level,
        mfn: Mfn,
        budget: &mut Budget,
    ) -> Result<()> {
        let Some(f) = self.frames.get(mfn) else {
            return Ok(());
        };
        if word::count(f.word()) > 1 {
            f.drop_type(self.platform.tlb_clock());
            self.drop_page(PageRef::from_raw(mfn));
            return Ok(());
        }
        let ty = word::bits(level.into());
        if level == Level::L1 {
            let mut next = 0;
            while let Some(i) = self.platform.first_present(mfn, next) {
                self.put_target(self.platform.read(mfn, i));
                next = i + 1;
            }
            f.touch(self.platform.tlb_clock());
            f.set_word(ty);
            self.drop_page(PageRef::from_raw(mfn));
            return Ok(());
        }
        // From here on the references are the half-way table's own.
        f.set_word(ty | PARTIAL | ENTRIES as u32);
        self.release(t, mfn, budget)
    }

    /// Releases a PARTIAL table from the last held entry down, until it is no table any more. Anything else is left alone.
    pub(super) fn release(&self, t: &mut PvTables, mfn: Mfn, budget: &mut Budget) -> Result<()> {
        let Some(f) = self.frames.get(mfn).filter(|_| self.is_partial(t, mfn)) else {
            return Ok(());
        };
        let Some(level) = Level::of(word::type_of(f.word())) else {
            return Ok(());
        };
        let (ty, held) = (word::bits(level.into()), (f.word() & word::COUNT) as usize);
        // The entry at which we stopped may name a table that is half-way itself.
        let stopped = if held < ENTRIES {
            self.platform.read(mfn, held)
        } else {
            0
        };
        if stopped & P != 0
            && !reserved(level, held)
            && word::type_of(self.frames.word(target(stopped))) == level.below().into()
        {
            self.release(t, target(stopped), budget)?;
        }
        let mut end = held;
        while let Some(i) = self.platform.last_present(mfn, end) {
            end = i;
            let entry = self.platform.read(mfn, i);
            if entry & P == 0 || reserved(level, i) {
                continue;
            }
            if let Err(e) = budget.check() {
                f.set_word(ty | PARTIAL | (i + 1) as u32);
                return Err(e);
            }
            let result = self.put_table(t, level.below(), target(entry), budget);
            budget.spend();
            if let Err(e) = result {
                f.set_word(ty | PARTIAL | i as u32);
                return Err(e);
            }
        }
        f.touch(self.platform.tlb_clock());
        f.set_word(ty);
        self.drop_page(PageRef::from_raw(mfn));
        Ok(())
    }

    /// Is `mfn` a half-way table of this domain? Only then is its type word under our lock.
    pub(super) fn is_partial(&self, t: &PvTables, mfn: Mfn) -> bool {
        self.frames.owner(mfn) == Some(t.domain) && self.frames.word(mfn) & PARTIAL != 0
    }

    /// Releases what a failed or given-up `mfn` still holds, as far as the budget goes; the next operation continues.
    pub(super) fn abandon(&self, t: &mut PvTables, mfn: Mfn, budget: &mut Budget) {
        if self.is_partial(t, mfn) {
            t.unfinished = Some(mfn);
            let _ = self.drain(t, budget);
        }
    }

    /// Finishes a release that ran out of budget. ERESTART: not yet.
    #[inline]
    pub fn drain(&self, t: &mut PvTables, budget: &mut Budget) -> Result<()> {
        if let Some(mfn) = t.unfinished {
            self.release(t, mfn, budget)?;
            t.unfinished = None;
        }
        Ok(())
    }
}

impl Budget {
    /// Checked before a step and spent after it, so that any call with a budget makes progress.
    #[inline]
    fn check(&self) -> Result<()> {
        if self.0 == 0 { Err(ERESTART) } else { Ok(()) }
    }
    #[inline]
    fn spend(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }
}
