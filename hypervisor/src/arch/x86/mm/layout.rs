//! The hypervisor's address space: L4 slots 256..=271; everything else belongs to PV guests.

/// Bytes per page.
pub const PAGE_SIZE: u64 = 4096;
/// Bytes per L2 page.
pub const PAGE_2M: u64 = 2 << 20;
/// Bytes per L3 page.
pub const PAGE_1G: u64 = 1 << 30;

/// First of our L4 slots.
pub const FIRST_SLOT: usize = 256;
/// Our L4 slots.
pub const SLOT_COUNT: usize = 16;

/// Machine-to-physical table, read-only, also for guests: one `u64` per frame.
pub const M2P_BASE: u64 = 0xffff_8000_0000_0000;
/// Frame table: one `mm::FrameInfo` per frame.
pub const FRAME_TABLE_BASE: u64 = 0xffff_8080_0000_0000;
/// GDT and LDT windows: 32 pages per CPU.
pub const GDT_WINDOW_BASE: u64 = 0xffff_8100_0000_0000;
/// Pages per window; guest GDT in pages 0..14, ours in 14, 15 unused, LDT in 16..32.
pub const GDT_WINDOW_PAGES: usize = 32;
/// Device memory mapped by [`super::ioremap`].
pub const IOREMAP_BASE: u64 = 0xffff_8180_0000_0000;
/// The writable view of the machine-to-physical table.
pub const M2P_RW_BASE: u64 = 0xffff_8200_0000_0000;
/// The small-object heap.
pub const OBJECT_HEAP_BASE: u64 = 0xffff_8240_0000_0000;
/// The image; physical address 0 would be here.
pub const IMAGE_BASE: u64 = 0xffff_8280_0000_0000;
/// All RAM.
pub const DIRECT_MAP_BASE: u64 = 0xffff_8300_0000_0000;
/// End of the direct map, and of our slots.
pub const DIRECT_MAP_END: u64 = 0xffff_8800_0000_0000;

/// The L4 slot of an address.
pub const fn slot(va: u64) -> usize {
    (va >> 39) as usize & 511
}

const _: () = {
    assert!(slot(M2P_BASE) == 256 && slot(FRAME_TABLE_BASE) == 257 && slot(GDT_WINDOW_BASE) == 258);
    assert!(slot(IOREMAP_BASE) == 259 && slot(M2P_RW_BASE) == 260 && slot(OBJECT_HEAP_BASE) == 260);
    assert!(
        slot(IMAGE_BASE) == 261 && slot(DIRECT_MAP_BASE) == 262 && slot(DIRECT_MAP_END - 1) == 271
    );
};
