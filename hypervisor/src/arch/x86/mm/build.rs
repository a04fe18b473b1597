//! Building it all, once, on CPU 0.

use super::paging::{self, NoMemory};
use super::{
    DIRECT_MAP_BASE, DIRECT_MAP_END, EARLY, EARLY_TAKEN, FIRST_SLOT, FRAME_TABLE_BASE,
    GDT_WINDOW_BASE, HEAP, IMAGE_BASE, IOREMAP_BASE, M2P_BASE, M2P_RW_BASE, PAGE_1G, PAGE_2M,
    PAGE_SIZE, SLOT_COUNT, STATE, State, alloc_table, early_alloc, object_heap, slot, tables, zero,
};
use crate::arch::x86::boot::{BootInfo, RegionKind};
use crate::arch::x86::cpu::features;
use crate::sync::{Level, SpinLock};
use ::mm::Heap;
use core::sync::atomic::{AtomicU64, Ordering};
use xen_abi::{DomId, Mfn};

/// End of the memory that real mode and old devices use.
const LOW_END: u64 = 1 << 20;
/// What the boot page tables map.
const BOOT_MAP_END: u64 = 4 << 30;
/// Less RAM than this and there is no point.
const MIN_RAM: u64 = 64 << 20;

unsafe extern "C" {
    static image_start: u8;
    static image_rodata: u8;
    static image_data: u8;
    static image_end: u8;
    static boot_l4: [AtomicU64; 512];
}

static LOW_PAGE: AtomicU64 = AtomicU64::new(0);

/// Physical address of the page below 1 MiB that CPUs start in.
pub fn low_page() -> Option<u64> {
    Some(LOW_PAGE.load(Ordering::Relaxed)).filter(|page| *page != 0)
}

/// Builds the address space and the heaps. The boot page tables are not used afterwards, except by starting CPUs.
pub fn init(boot: &BootInfo) {
    let ram = boot.memory.ram_bytes();
    if ram < MIN_RAM {
        crate::panic::fatal_fmt(format_args!(
            "the boot loader reports {} KiB of RAM; at least {} MiB are needed",
            ram >> 10,
            MIN_RAM >> 20
        ));
    }
    if boot.memory.dropped != 0 {
        log::warn!(
            "memory map: {} regions ignored, too many",
            boot.memory.dropped
        );
    }
    find_free(boot);
    if build(boot).is_err() {
        crate::panic::fatal("not enough RAM for the hypervisor's own tables");
    }
}

fn image_bounds() -> (u64, u64) {
    let (start, end) = (&raw const image_start as u64, &raw const image_end as u64);
    (start - IMAGE_BASE, end - IMAGE_BASE)
}

/// All RAM above 1 MiB except the image and the modules is free; one page below 1 MiB is kept.
fn find_free(boot: &BootInfo) {
    let mut free = EARLY.lock();
    let limit = DIRECT_MAP_END - DIRECT_MAP_BASE;
    for (start, end) in boot.memory.ram() {
        free.add(start.max(PAGE_SIZE), end.min(limit));
    }
    for module in boot.modules() {
        free.remove(module.start, module.end);
    }
    let (start, end) = image_bounds();
    free.remove(start, end);
    // Stay clear of the extended BIOS data area, whatever the map says.
    // Newer dom0 kernels search what lies from 512 KiB on for an iSCSI boot table, and take a page they cannot map for granted.
    let page = free.take(PAGE_SIZE, PAGE_SIZE, 0x8_0000);
    if let Some(page) = page.or_else(|| free.take(PAGE_SIZE, PAGE_SIZE, 0x9_0000)) {
        LOW_PAGE.store(page, Ordering::Relaxed);
    }
    free.remove(0, LOW_END);
}

fn build(boot: &BootInfo) -> Result<(), NoMemory> {
    let l4 = alloc_table().ok_or(NoMemory)?;
    map_ram(l4, boot)?;
    map_image(l4)?;
    for va in [
        M2P_BASE,
        FRAME_TABLE_BASE,
        GDT_WINDOW_BASE,
        IOREMAP_BASE,
        M2P_RW_BASE,
    ] {
        // An L3 table in each slot, so that later mappings show in every copy of the L4.
        paging::entry(l4, va, 3, if va == M2P_BASE { paging::U } else { 0 })?;
    }
    switch_to(l4);
    let frames = tables::build(l4, &boot.memory)?;
    STATE.call_once(|| State {
        idle_l4: l4,
        frames,
    });
    object_heap::init()?;
    let used = boot_report(boot);
    hand_over(boot);
    log::info!("Hypervisor memory: {} KiB besides the image", used >> 10);
    Ok(())
}

/// Everything that is RAM or ACPI's, at physical address + DIRECT_MAP_BASE. Neighbouring regions share pages of any size.
fn map_ram(l4: u64, boot: &BootInfo) -> Result<(), NoMemory> {
    let largest = if features().pages_1g {
        PAGE_1G
    } else {
        PAGE_2M
    };
    let limit = DIRECT_MAP_END - DIRECT_MAP_BASE;
    let map = |(start, end): (u64, u64)| {
        paging::map(
            l4,
            DIRECT_MAP_BASE + start,
            start,
            end - start,
            paging::RW,
            largest,
        )
    };
    // Low memory as a whole: BIOS data areas and ROMs; the MTRRs know what must not be cached.
    let mut run = (0, LOW_END);
    for region in boot.memory.regions() {
        if !matches!(
            region.kind,
            RegionKind::Ram | RegionKind::AcpiReclaim | RegionKind::AcpiNvs
        ) {
            continue;
        }
        if region.start >= limit {
            break;
        }
        let start = region.start & !(PAGE_SIZE - 1);
        let end = region.end.next_multiple_of(PAGE_SIZE).min(limit);
        if start > run.1 {
            map(run)?;
            run = (start, end);
        } else {
            run.1 = run.1.max(end);
        }
    }
    map(run)
}

fn map_image(l4: u64) -> Result<(), NoMemory> {
    let (start, end) = image_bounds();
    let (rodata, data) = (
        &raw const image_rodata as u64 - IMAGE_BASE,
        &raw const image_data as u64 - IMAGE_BASE,
    );
    for (from, to, flags) in [
        (start, rodata, paging::RX),
        (rodata, data, paging::RO),
        (data, end, paging::RW),
    ] {
        paging::map(l4, IMAGE_BASE + from, from, to - from, flags, PAGE_SIZE)?;
    }
    Ok(())
}

/// Makes `l4` the page table of this CPU, and gives the boot page table (which keeps its identity map for starting
/// CPUs) the same slots.
fn switch_to(l4: u64) {
    // SAFETY: the new table maps the running code, the stack and all data where they are now.
    unsafe { core::arch::asm!("mov cr3, {}", in(reg) l4, options(nostack, preserves_flags)) };
    sync_boot_slots(l4);
}

fn sync_boot_slots(l4: u64) {
    let slots = FIRST_SLOT..FIRST_SLOT + SLOT_COUNT;
    // SAFETY: the boot page table is static, and atomic; `l4` is the table that was built.
    let (boot, built) = unsafe { (&boot_l4[slots.clone()], &paging::table(l4)[slots]) };
    for (to, from) in boot.iter().zip(built) {
        to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// Takes the identity map out of the boot page table, when all CPUs are up.
pub fn drop_identity_map() {
    // SAFETY: as above.
    unsafe { boot_l4[0].store(0, Ordering::Relaxed) };
}

fn boot_report(boot: &BootInfo) -> u64 {
    for region in boot.memory.regions() {
        log::debug!(
            " {:016x}-{:016x} {:?}",
            region.start,
            region.end - 1,
            region.kind
        );
    }
    log::info!(
        "RAM: {} MiB, up to {:#x}; {} bytes of image",
        boot.memory.ram_bytes() >> 20,
        boot.memory.ram_end(),
        image_bounds().1 - image_bounds().0
    );
    EARLY_TAKEN.load(Ordering::Relaxed)
}

/// Marks what the hypervisor itself uses and gives the rest to the frame heap.
fn hand_over(boot: &BootInfo) {
    let frames = super::frame_table();
    let free = core::mem::take(&mut *EARLY.lock());
    // Ours is RAM above 1 MiB that is neither free nor a module, and one page below.
    let mut ours = bootcfg::FreeRanges::new();
    for (start, end) in boot.memory.ram() {
        ours.add(start.max(LOW_END), end);
    }
    for &(start, end) in free.ranges() {
        ours.remove(start, end);
    }
    for module in boot.modules() {
        ours.remove(module.start, module.end);
    }
    let (start, end) = image_bounds();
    ours.add(start, end);
    if let Some(page) = low_page() {
        ours.add(page, page + PAGE_SIZE);
    }
    // The control domain may look at the machine-to-physical table.
    for (first, count) in tables::m2p_extents() {
        ours.remove(first.0 * PAGE_SIZE, (first.0 + count) * PAGE_SIZE);
        frames.keep_private(first, Mfn(first.0 + count));
        let refused = (first.0..first.0 + count)
            .filter(|mfn| frames.share(Mfn(*mfn), DomId::XEN, true).is_err())
            .count();
        if refused != 0 {
            log::warn!(
                "{refused} of {count} frames of the machine-to-physical table from {first} on cannot be shown to Domain-0: {:?}",
                frames.kind(first)
            );
        }
    }
    for &(start, end) in ours.ranges() {
        frames.reserve(Mfn(start / PAGE_SIZE), Mfn(end / PAGE_SIZE));
    }
    let mut heap = Heap::new(frames);
    for &(start, end) in free.ranges() {
        heap.add_range(Mfn(start / PAGE_SIZE), Mfn(end / PAGE_SIZE));
    }
    // A PVH Domain-0 gets the lowest memory.
    heap.keep_low(crate::arch::x86::boot::info().config.dom0.pvh);
    HEAP.call_once(|| SpinLock::new(Level::FrameHeap, heap));
}

/// Backs `len` bytes at `va` with zeroed memory from anywhere; whole pages, large ones where they fit.
pub fn map_new(l4: u64, va: u64, len: u64, flags: u64) -> Result<(), NoMemory> {
    let mut done = 0;
    while done < len {
        let at = va + done;
        let large = at & (PAGE_2M - 1) == 0 && len - done >= PAGE_2M;
        let taken = if large {
            early_alloc(PAGE_2M, PAGE_2M, u64::MAX)
        } else {
            None
        };
        let (pa, size) = match taken {
            Some(pa) => (pa, PAGE_2M),
            None => (
                early_alloc(PAGE_SIZE, PAGE_SIZE, u64::MAX).ok_or(NoMemory)?,
                PAGE_SIZE,
            ),
        };
        zero(pa, size);
        paging::map(l4, at, pa, size, flags, PAGE_2M)?;
        done += size;
    }
    Ok(())
}

const _: () = assert!(slot(IMAGE_BASE) == 261 && BOOT_MAP_END == 1 << 32);
