//! What page tables and CPUID ask of the machine.
use super::FakeHost;
use domain::CpuidResult;
use mm::pv::RESERVED_SLOTS;
use mm::{LastRef, MmioAccess, Platform};
use std::sync::atomic::Ordering;
use xen_abi::{DomId, Mfn};

/// What stands in reserved root slots.
const RESERVED_ENTRY: u64 = 0xabc1;

impl Platform for FakeHost {
    fn read(&self, table: Mfn, index: usize) -> u64 {
        self.word(table, index)
            .map_or(0, |w| w.load(Ordering::SeqCst))
    }
    fn write(&self, table: Mfn, index: usize, value: u64) {
        if let Some(w) = self.word(table, index) {
            w.store(value, Ordering::SeqCst);
        }
    }
    fn cmpxchg(&self, table: Mfn, index: usize, old: u64, new: u64) -> Result<(), u64> {
        let word = self.word(table, index).ok_or(0u64)?;
        word.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
            .map(|_| ())
    }
    fn install_reserved(&self, l4: Mfn, _: DomId) {
        for slot in RESERVED_SLOTS {
            Platform::write(self, l4, slot, RESERVED_ENTRY);
        }
    }
    fn mmio_access(&self, domain: DomId, _: Mfn) -> MmioAccess {
        if domain == DomId::DOM0 {
            MmioAccess::Full
        } else {
            MmioAccess::Denied
        }
    }
    fn cache_attrs_allowed(&self, domain: DomId) -> bool {
        domain == DomId::DOM0
    }
    fn tlb_clock(&self) -> u32 {
        self.tlb_clock.load(Ordering::SeqCst)
    }
    fn tlb_sync(&self, _: DomId, stamp: u32) {
        if self.last_flush.load(Ordering::SeqCst) <= stamp {
            let now = self.tlb_clock.fetch_add(1, Ordering::SeqCst) + 1;
            self.last_flush.store(now, Ordering::SeqCst);
        }
    }
    fn max_mfn_bits(&self) -> u32 {
        40
    }
    fn has_nx(&self) -> bool {
        true
    }
    fn last_ref(&self, last: LastRef) {
        domain::release_last(self, last);
    }
}

/// A CPU with SSE, AVX, VMX and a hypervisor's favourites.
pub fn cpuid(leaf: u32, subleaf: u32) -> CpuidResult {
    let name = |s: &[u8; 12]| {
        let word = |i: usize| u32::from_le_bytes(s[i..i + 4].try_into().unwrap());
        [word(0), word(8), word(4)]
    };
    match (leaf, subleaf) {
        (0, _) => {
            let [b, c, d] = name(b"GenuineIntel");
            [0xd, b, c, d]
        }
        (1, _) => [0x506e3, 0x0010_0800, 0x7fff_ffff, 0xbfeb_fbff],
        (7, 0) => [0, 0x029c_67af, 0, 0x9c00_0000],
        (0xd, 0) => [7, 832, 832, 0],
        (0xd, 1) => [0xf, 832, 0, 0],
        (0xd, 2) => [256, 576, 0, 0],
        (0x8000_0000, _) => [0x8000_0008, 0, 0, 0],
        (0x8000_0001, _) => [0, 0, 0x121, 0x2c10_0800],
        (0x8000_0007, _) => [0, 0, 0, 0x100],
        (0x8000_0008, _) => [0x3027, 0, 0, 0],
        _ => [0; 4],
    }
}
