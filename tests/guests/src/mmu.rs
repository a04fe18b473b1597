//! Looking at our own page tables, frame numbers both ways, and one page of address space to map things at.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use xen_abi::hypercall::{MMU_UPDATE, UPDATE_VA_MAPPING};
use xen_abi::mmu::{MmuUpdate, UVMF_INVLPG};
use xen_abi::start_info::StartInfo;

/// Where the kernel's pseudo-physical zero is mapped.
const VIRT_BASE: u64 = 0xffff_ffff_8000_0000;
/// The read-only table from machine frame to pseudo-physical frame.
const M2P: u64 = 0xffff_8000_0000_0000;
const DOMID_SELF: u64 = 0x7ff0;

static NR_PAGES: AtomicU64 = AtomicU64::new(0);
static P2M: AtomicU64 = AtomicU64::new(0);
static PT_BASE: AtomicU64 = AtomicU64::new(0);

#[repr(C, align(4096))]
struct Page(#[allow(dead_code)] [u8; 4096]);
/// The page whose mapping we play with, and one that nothing else is in: what is written across its end goes there.
static mut WINDOW: [Page; 2] = [const { Page([0; 4096]) }; 2];

/// Remembers what start info says.
pub fn init(info: &StartInfo) {
    NR_PAGES.store(info.nr_pages, Relaxed);
    P2M.store(info.mfn_list, Relaxed);
    PT_BASE.store(info.pt_base, Relaxed);
}

/// Reads a word that is known to be mapped.
fn read(addr: u64) -> u64 {
    // SAFETY: callers pass addresses in the initial mapping or the m2p, both readable for this guest's lifetime; no
    // Rust reference to such memory exists.
    unsafe { core::ptr::read_volatile(addr as *const u64) }
}

/// Address in the initial mapping of a pseudo-physical frame.
fn virt(pfn: u64) -> u64 {
    VIRT_BASE + (pfn << 12)
}

/// Address in the initial mapping of one of our machine frames.
pub fn mfn_to_virt(mfn: u64) -> u64 {
    virt(read(M2P + mfn * 8))
}

/// Machine frame of a page of the initial mapping.
pub fn virt_to_mfn(addr: u64) -> u64 {
    read(P2M.load(Relaxed) + ((addr - VIRT_BASE) >> 12) * 8)
}

/// Whether a machine frame is in our p2m.
pub fn is_ours(mfn: u64) -> bool {
    let p2m = P2M.load(Relaxed);
    (0..NR_PAGES.load(Relaxed)).any(|pfn| read(p2m + pfn * 8) == mfn)
}

/// Machine address of the entry of the given level (1 to 4) that translates `addr`.
pub fn entry_of(addr: u64, level: u32) -> u64 {
    let mut table = PT_BASE.load(Relaxed);
    for l in (level..=4).rev() {
        let offset = ((addr >> (12 + 9 * (l - 1))) & 511) * 8;
        if l == level {
            return (virt_to_mfn(table) << 12) + offset;
        }
        table = mfn_to_virt((read(table + offset) & 0x000f_ffff_ffff_f000) >> 12);
    }
    0
}

/// Present, writable, user, accessed, dirty: what a guest's kernel mappings have.
pub const RW: u64 = 0x67;
/// The same without writable.
pub const RO: u64 = 0x65;

/// Address of the window page.
pub fn window() -> u64 {
    &raw const WINDOW as u64
}

/// The window's own frame, whatever is mapped there now.
pub fn window_mfn() -> u64 {
    virt_to_mfn(window())
}

/// Maps a page-table entry at the window.
pub fn map_window(entry: u64) -> i64 {
    crate::hv::call(UPDATE_VA_MAPPING, [window(), entry, UVMF_INVLPG, 0, 0])
}

/// One page-table (or m2p) update; the low bits of `ptr` are the command.
pub fn update(ptr: u64, val: u64) -> i64 {
    let mut request = MmuUpdate { ptr, val };
    crate::hv::call(MMU_UPDATE, [&raw mut request as u64, 1, 0, DOMID_SELF, 0])
}
