//! The MSR bitmap: which MSRs a guest reads and writes without an exit (Intel SDM vol. 3, 25.6.9).

/// MSRs that entries and exits, or `state`, switch: SYSENTER's, SYSCALL's, bases of FS and GS.
const FREE: [u32; 10] = [
    0x174,
    0x175,
    0x176,
    0xc000_0081,
    0xc000_0082,
    0xc000_0083,
    0xc000_0084,
    0xc000_0100,
    0xc000_0101,
    0xc000_0102,
];
/// Offset of the bits of the high MSRs, and of the bits for writing.
const HIGH: usize = 1024;
const WRITE: usize = 2048;

/// Clears the bits of those that may pass. `map`: a page of ones.
pub fn pass_through(map: *mut u8) {
    for msr in FREE {
        let half = if msr >= 0xc000_0000 { HIGH } else { 0 };
        let bit = (msr & 0x1fff) as usize;
        for offset in [half, half + WRITE] {
            // SAFETY: below 4096, in the map, which nobody else knows yet.
            unsafe { *map.add(offset + bit / 8) &= !(1 << (bit % 8)) };
        }
    }
}
