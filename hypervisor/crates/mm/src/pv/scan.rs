//! Finding the present entries of a table that has few: eight entries at a time. New and dying tables are nearly empty,
//! and every process makes and drops dozens of them.
//!
//! Neighbours: `table` walks with these through [`super::Platform`], whose machine has the table itself at hand.
use super::entry::{ENTRIES, P};
use core::sync::atomic::{AtomicU64, Ordering};

/// Entries looked at together.
const GROUP: usize = 8;

fn any(group: &[AtomicU64]) -> bool {
    group
        .iter()
        .fold(0, |or, entry| or | entry.load(Ordering::Relaxed))
        & P
        != 0
}

fn present(entry: &AtomicU64) -> bool {
    entry.load(Ordering::Relaxed) & P != 0
}

/// The first present entry from index `from` on.
#[inline]
pub fn first_present(table: &[AtomicU64; ENTRIES], from: usize) -> Option<usize> {
    let mut at = from;
    while at < ENTRIES {
        let group = table.get(at..(at / GROUP + 1) * GROUP)?;
        if any(group) {
            return group.iter().position(present).map(|i| at + i);
        }
        at = (at / GROUP + 1) * GROUP;
    }
    None
}

/// The last present entry below index `end`.
#[inline]
pub fn last_present(table: &[AtomicU64; ENTRIES], end: usize) -> Option<usize> {
    let mut end = end.min(ENTRIES);
    while end > 0 {
        let start = (end - 1) / GROUP * GROUP;
        let group = table.get(start..end)?;
        if any(group) {
            return group.iter().rposition(present).map(|i| start + i);
        }
        end = start;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn agrees_with_looking_at_each(present in proptest::collection::btree_set(0..ENTRIES, 0..12), at in 0..=ENTRIES + 1) {
            let table: [AtomicU64; ENTRIES] =
                core::array::from_fn(|i| AtomicU64::new((i as u64) << 12 | u64::from(present.contains(&i))));
            prop_assert_eq!(first_present(&table, at), (at..ENTRIES).find(|i| present.contains(i)));
            prop_assert_eq!(last_present(&table, at), (0..at.min(ENTRIES)).rev().find(|i| present.contains(i)));
        }
    }
}
