//! Page tables on their way: their entries name frames of one machine, and the guest's own numbers in between.
//!
//! Pure; [`super::save`] and [`super::restore`] call it a page at a time.
use std::ops::Range;

/// Entries of a page table.
pub const ENTRIES: usize = 512;
const PRESENT: u64 = 1;
const FRAME: u64 = 0x000f_ffff_ffff_f000;
const PAGE_SHIFT: u32 = 12;
/// The slots of a root table that are the hypervisor's.
const HYPERVISOR_SLOTS: Range<usize> = 256..272;
const ROOT: u8 = 4;

/// An entry names a frame that is not the guest's.
#[derive(Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Which entry.
    pub slot: usize,
    /// The frame it names.
    pub frame: u64,
}

/// Replaces the frame in each entry of a table by what `other` says of it.
pub fn translate(
    table: &mut [u64],
    level: u8,
    mut other: impl FnMut(u64) -> Option<u64>,
) -> Result<(), Foreign> {
    for (slot, entry) in table.iter_mut().enumerate() {
        if level == ROOT && HYPERVISOR_SLOTS.contains(&slot) {
            // Each hypervisor puts in its own.
            *entry = 0;
        } else if *entry & PRESENT != 0 {
            let frame = (*entry & FRAME) >> PAGE_SHIFT;
            let theirs = other(frame).ok_or(Foreign { slot, frame })?;
            *entry = (*entry & !FRAME) | (theirs << PAGE_SHIFT & FRAME);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_replaced_and_nothing_else() {
        let mut table = [0u64; ENTRIES];
        table[0] = 0x8000_0000_0123_4067;
        table[1] = 0x0123_4066;
        translate(&mut table, 1, |f| (f == 0x1234).then_some(7)).unwrap();
        assert_eq!(table[0], 0x8000_0000_0000_7067);
        // One that is not present is the guest's own business.
        assert_eq!(table[1], 0x0123_4066);
        assert_eq!(
            translate(&mut table, 1, |_| None),
            Err(Foreign { slot: 0, frame: 7 })
        );
    }

    #[test]
    fn what_is_the_hypervisors_in_a_root_stays_behind() {
        let mut table = [0x9001u64; ENTRIES];
        translate(&mut table, 4, |_| Some(1)).unwrap();
        assert_eq!(
            (table[255], table[256], table[271], table[272]),
            (0x1001, 0, 0, 0x1001)
        );
        let mut table = [0x9001u64; ENTRIES];
        translate(&mut table, 3, |_| Some(1)).unwrap();
        assert_eq!(table[256], 0x1001);
    }
}
