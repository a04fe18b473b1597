//! The host's memory: the direct map, the frame heap, the frame table, the machine-to-physical table.
//!
//! Order at boot: [`init`] builds the idle page table, maps all RAM, makes the tables, and hands what is left to the
//! frame heap. Neighbours: `layout` (addresses), `paging` (tables), `tables` (frame table and M2P), `object_heap`
//! (`#[global_allocator]`), `ioremap`, and the `mm` crate, which owns the rules about frames.

mod build;
mod ioremap;
pub mod layout;
mod object_heap;
pub mod paging;
mod tables;

pub use build::{drop_identity_map, init, low_page};
pub use ioremap::{ioremap, is_device_memory, map_firmware};
pub use layout::*;
pub use object_heap::with_scratch;
pub use paging::NoMemory;
pub use tables::{m2p_extent, m2p_get, m2p_set};

use crate::sync::{Level, SpinLock};
use ::mm::{FrameTable, Heap};
use bootcfg::FreeRanges;
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Once;
use xen_abi::Mfn;

/// What is fixed once [`init`] is through.
struct State {
    idle_l4: u64,
    frames: FrameTable<'static>,
}

static STATE: Once<State> = Once::new();
/// Free memory before there is a frame heap.
static EARLY: SpinLock<FreeRanges> = SpinLock::new(Level::FrameHeap, FreeRanges::new());
static HEAP: Once<SpinLock<Heap<'static>>> = Once::new();
static TLB_SYNC: Once<fn(u32)> = Once::new();
/// Bytes taken from [`EARLY`], for the boot report.
static EARLY_TAKEN: AtomicU64 = AtomicU64::new(0);

/// Where the direct map has physical address `pa`. Valid for RAM and ACPI memory only.
#[inline(always)]
pub fn phys_to_virt(pa: u64) -> *mut u8 {
    (DIRECT_MAP_BASE + pa) as *mut u8
}

/// The physical address behind a pointer into the direct map or the image; `None` elsewhere.
#[inline]
pub fn virt_to_phys<T>(va: *const T) -> Option<u64> {
    match va as u64 {
        va @ DIRECT_MAP_BASE..DIRECT_MAP_END => Some(va - DIRECT_MAP_BASE),
        va @ IMAGE_BASE..DIRECT_MAP_BASE => Some(va - IMAGE_BASE),
        va => paging::lookup(idle_l4(), va)
            .map(|(entry, size)| (entry & paging::ADDR) + (va & (size - 1))),
    }
}

/// Physical address of the idle page table.
pub fn idle_l4() -> u64 {
    STATE.get().map_or(0, |state| state.idle_l4)
}

/// The L4 entries 256..=271 that every guest L4 gets.
pub fn reserved_slots() -> [u64; SLOT_COUNT] {
    let l4 = paging::table(idle_l4());
    core::array::from_fn(|i| l4[FIRST_SLOT + i].load(Ordering::Relaxed))
}

/// The frame table.
pub fn frame_table() -> FrameTable<'static> {
    match STATE.get() {
        Some(state) => state.frames,
        None => panic!("the frame table is used before it exists"),
    }
}

/// First frame number after all RAM.
pub fn max_mfn() -> Mfn {
    frame_table().end()
}

/// The frame heap's lock.
pub fn heap() -> &'static SpinLock<Heap<'static>> {
    match HEAP.get() {
        Some(heap) => heap,
        None => panic!("the frame heap is used before it exists"),
    }
}

/// Installs what makes sure that no TLB holds a translation older than the given TLB clock. Called once.
pub fn set_tlb_sync(hook: fn(u32)) {
    TLB_SYNC.call_once(|| hook);
}

/// 2^`order` frames for the hypervisor's own use, contents undefined; physical address.
pub fn alloc_frames(order: u32, max_bits: Option<u32>) -> Option<u64> {
    let Some(heap) = HEAP.get() else {
        let limit = max_bits.map_or(u64::MAX, |bits| 1 << bits);
        return early_alloc(PAGE_SIZE << order, PAGE_SIZE << order, limit);
    };
    let fresh = heap.lock().alloc(order, max_bits)?;
    let mfn = fresh.ready(|stamp| {
        if let Some(sync) = TLB_SYNC.get() {
            sync(stamp);
        }
    });
    Some(mfn.0 * PAGE_SIZE)
}

/// The same at the top of memory, for what does not stay. Once there is a frame heap.
pub fn alloc_top(order: u32) -> Option<u64> {
    let fresh = heap().lock().alloc_top(order)?;
    let mfn = fresh.ready(|stamp| {
        if let Some(sync) = TLB_SYNC.get() {
            sync(stamp);
        }
    });
    Some(mfn.0 * PAGE_SIZE)
}

/// Gives back what [`alloc_frames`] gave.
pub fn free_frames(pa: u64, order: u32) {
    if let Some(heap) = HEAP.get()
        && heap.lock().free(Mfn(pa / PAGE_SIZE), order).is_err()
    {
        log::error!("frames at {pa:#x} freed that were not allocated");
    }
}

/// Adds RAM that boot kept back, such as a module that is no longer needed. Whole pages only.
pub fn add_ram(start: u64, end: u64) {
    let (start, end) = (start.div_ceil(PAGE_SIZE), end / PAGE_SIZE);
    if start < end {
        heap().lock().add_range(Mfn(start), Mfn(end));
    }
}

/// A zeroed page table; physical address.
fn alloc_table() -> Option<u64> {
    // Before the direct map is complete only the first 4 GiB are mapped.
    let max_bits = HEAP.get().is_none().then_some(32);
    let pa = alloc_frames(0, max_bits)?;
    zero(pa, PAGE_SIZE);
    Some(pa)
}

/// Zeroes physical memory that nobody else uses.
fn zero(pa: u64, len: u64) {
    // SAFETY: only fresh allocations come here; the direct map covers them.
    unsafe { core::ptr::write_bytes(phys_to_virt(pa), 0, len as usize) };
}

fn early_alloc(size: u64, align: u64, limit: u64) -> Option<u64> {
    let pa = EARLY.lock().take(size, align, limit)?;
    EARLY_TAKEN.fetch_add(size, Ordering::Relaxed);
    Some(pa)
}

/// Serialises changes to the hypervisor's own page tables.
static MAPPING: SpinLock<()> = SpinLock::new(Level::Mapping, ());

/// Maps memory into the hypervisor's own slots.
fn map(va: u64, pa: u64, len: u64, flags: u64, largest: u64) -> Result<(), NoMemory> {
    let _lock = MAPPING.lock();
    paging::map(idle_l4(), va, pa, len, flags, largest)
}

/// Maps `pa` as page `page` of CPU `cpu`'s GDT window. Makes the window's page tables.
pub fn map_gdt_page(cpu: u32, page: usize, pa: u64) -> Result<(), NoMemory> {
    let va = crate::arch::x86::cpu::gdt::window(cpu) + page as u64 * PAGE_SIZE;
    map(va, pa, PAGE_SIZE, paging::RW, PAGE_SIZE)
}

/// The page-table entries of CPU `cpu`'s GDT window: 32 pages, of which page 14 is ours.
pub fn gdt_window_ptes(cpu: u32) -> &'static [AtomicU64; GDT_WINDOW_PAGES] {
    let va = crate::arch::x86::cpu::gdt::window(cpu);
    match paging::entry(idle_l4(), va, 1, paging::RW) {
        // SAFETY: 32 entries from a window's first stay in one table: windows are aligned to their size.
        Ok(first) => unsafe { &*core::ptr::from_ref(first).cast() },
        Err(_) => panic!("CPU {cpu} has no GDT window"),
    }
}
