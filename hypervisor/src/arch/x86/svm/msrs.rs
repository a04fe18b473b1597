//! The MSR permission map: which MSRs a guest reads and writes without an exit (AMD APM vol. 2, 15.11).

/// First MSR of each 2 KiB of the map, two bits per MSR: read, write.
const RANGES: [u32; 3] = [0, 0xc000_0000, 0xc001_0000];
/// MSRs per range.
const COUNT: u32 = 0x2000;
/// MSRs that VMLOAD and VMSAVE, or VMRUN and #VMEXIT, switch: SYSENTER's, SYSCALL's, bases of FS and GS.
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

/// Clears the bits of those that may pass. `map`: 8 KiB, all ones.
pub fn pass_through(map: *mut u8) {
    for msr in FREE {
        for (range, first) in RANGES.iter().enumerate() {
            if !(*first..*first + COUNT).contains(&msr) {
                continue;
            }
            let bit = (msr - first) * 2;
            let at = range * 2048 + (bit / 8) as usize;
            // SAFETY: below 6 KiB, in the map, which nobody else knows yet.
            unsafe { *map.add(at) &= !(3 << (bit % 8)) };
        }
    }
}
