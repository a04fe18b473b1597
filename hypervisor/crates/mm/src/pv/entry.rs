//! Page-table entries: bits, which of them a guest may set, and how its entries are adjusted.
//!
//! Guest kernel and guest user both run in ring 3, so every present entry gets US; L1 entries of the guest kernel are
//! marked with a software bit. Global pages are not used. Bits as in the AMD64 Architecture Programmer's Manual, vol. 2.
use super::{Level, Platform};
use crate::Result;
use xen_abi::Errno::EINVAL;
use xen_abi::{DomId, Mfn};

/// Entries per table.
pub const ENTRIES: usize = 512;
/// L4 slots that belong to the hypervisor (0xffff800000000000..0xffff880000000000).
pub const RESERVED_SLOTS: core::ops::RangeInclusive<usize> = 256..=271;

/// Present.
pub const P: u64 = 1 << 0;
/// Writable.
pub const RW: u64 = 1 << 1;
/// Usable in ring 3.
pub const US: u64 = 1 << 2;
/// Write-through.
pub const PWT: u64 = 1 << 3;
/// Cache disable.
pub const PCD: u64 = 1 << 4;
/// Accessed.
pub const A: u64 = 1 << 5;
/// Dirty.
pub const D: u64 = 1 << 6;
/// L1: page attribute table bit. L2 and above: this entry maps a large page.
pub const PAT: u64 = 1 << 7;
/// Global.
pub const G: u64 = 1 << 8;
/// The frame's address.
pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Software bit: the guest asked for a kernel mapping (US clear).
pub const GUEST_KERNEL: u64 = 1 << 52;
/// No execute.
pub const NX: u64 = 1 << 63;

/// The frame an entry names.
#[inline]
pub fn target(entry: u64) -> Mfn {
    Mfn::from_addr(entry & ADDRESS)
}

/// Is slot `index` of a table of `level` the hypervisor's?
#[inline]
pub(crate) fn reserved(level: Level, index: usize) -> bool {
    level == Level::L4 && RESERVED_SLOTS.contains(&index)
}

/// The entry as it is installed for a 64-bit PV guest. Entries that are not present stay as they are.
#[inline]
pub fn adjust(level: Level, entry: u64) -> u64 {
    match (entry & P != 0, level) {
        (false, _) => entry,
        (true, Level::L1) if entry & US == 0 => entry & !G | US | GUEST_KERNEL,
        (true, Level::L1) => entry & !G,
        (true, _) => entry | US,
    }
}

/// May `domain` have these bits in a present entry? The target is checked elsewhere.
#[inline]
pub(crate) fn check<P: Platform>(
    platform: &P,
    domain: DomId,
    level: Level,
    entry: u64,
) -> Result<()> {
    let too_wide = target(entry)
        .0
        .checked_shr(platform.max_mfn_bits())
        .unwrap_or(0)
        != 0;
    let nx = entry & NX != 0 && !platform.has_nx();
    let bits = match level {
        Level::L1 => entry & (PWT | PCD | PAT) != 0 && !platform.cache_attrs_allowed(domain),
        _ => entry & (PWT | PCD | PAT | G) != 0,
    };
    if too_wide || nx || bits {
        Err(EINVAL)
    } else {
        Ok(())
    }
}
