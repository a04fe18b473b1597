//! [`PvhLayout`]: where everything lies in the guest-physical memory of a PVH domain, and what its start info says
//! (public/arch-x86/hvm/start_info.h). Pure arithmetic: the caller populates, writes, and starts the first vcpu.
//!
//! ```text
//! 0 | free | kernel at its p_paddr | start info block | initrd | free … low_end |   hole   | ACPI | special pages | 4 GiB | rest of memory
//! ```
use crate::kernel::Kernel;
use crate::{LoadError, PAGE_SHIFT, PAGE_SIZE, pages};
use alloc::vec::Vec;
use core::ops::Range;
use xen_abi::hvm::{
    BELOW_4G_RAM_END, MEMMAP_TYPE_ACPI, MEMMAP_TYPE_RAM, MEMMAP_TYPE_RESERVED, MemmapTableEntry,
    ModlistEntry, START_MAGIC_VALUE, StartInfo,
};
use zerocopy::IntoBytes;

/// Where the ACPI tables lie; room up to [`SPECIAL_START`].
pub const ACPI_START: u64 = 0xfc00_0000;
/// First of the pages that are shared with the hypervisor and the toolstack.
pub const SPECIAL_START: u64 = 0xfeff_8000;
/// Behind the last of them.
pub const SPECIAL_END: u64 = 0xff00_0000;

const FOUR_GIB: u64 = 1 << 32;
/// The first MiB is left alone: kernels keep their real-mode trampolines there.
const LOW_MIB: u64 = 1 << 20;
/// 16 TiB of pages: keeps every sum below far from overflow.
const MAX_PAGES: u64 = 1 << 32;
/// Longest command line, with its NUL.
const MAX_CMDLINE: usize = 4096;

/// What the layout depends on besides the kernel.
#[derive(Clone, Copy, Debug)]
pub struct PvhRequest<'a> {
    /// Pages of memory.
    pub nr_pages: u64,
    /// Bytes of initrd, 0 for none.
    pub initrd_len: u64,
    /// Command line without a NUL.
    pub cmdline: &'a [u8],
    /// Bytes of ACPI tables at [`ACPI_START`], 0 for none.
    pub acpi_len: u64,
    /// `SIF_*` of the start info.
    pub flags: u32,
}

/// The layout. All addresses are guest-physical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PvhLayout {
    /// Where the first vcpu starts, in 32-bit mode without paging.
    pub entry: u32,
    /// The kernel's first to last byte.
    pub kernel: Range<u64>,
    /// The initrd, if any.
    pub initrd: Option<Range<u64>>,
    /// Where [`PvhLayout::block`] goes; the start info is its first part.
    pub start_info: u64,
    /// Start info, module list, memory map and command line, as they are to lie in memory.
    pub block: Vec<u8>,
    /// Frames of RAM: below the hole, and from 4 GiB on.
    pub ram: Vec<Range<u64>>,
    /// What the guest is told of its memory.
    pub memmap: Vec<MemmapTableEntry>,
    /// Where the ACPI tables go, which the RSDP begins; 0 without them.
    pub acpi: u64,
}

impl PvhLayout {
    /// Lays out `kernel` as `request` says.
    pub fn new(kernel: &Kernel<'_>, request: &PvhRequest<'_>) -> Result<PvhLayout, LoadError> {
        let entry = check(kernel, request)?;
        let ram = ram(request.nr_pages);
        let low_end = ram.first().map_or(0, |r| r.end << PAGE_SHIFT);
        let image = kernel.elf.pstart..kernel.elf.pend;
        let after = image.end.next_multiple_of(PAGE_SIZE);
        let memmap = memory_map(&ram, request.acpi_len);
        let shape = Shape::new(memmap.len(), request);
        let start_info = after;
        let behind = start_info + pages(shape.len as u64) * PAGE_SIZE;
        let initrd = (request.initrd_len != 0).then(|| behind..behind + request.initrd_len);
        let end = initrd.as_ref().map_or(behind, |i| i.end);
        if end > low_end {
            return Err(LoadError::TooFewPages {
                need: pages(end),
                have: low_end >> PAGE_SHIFT,
            });
        }
        let acpi = if request.acpi_len == 0 { 0 } else { ACPI_START };
        let block = shape.fill(start_info, &memmap, initrd.as_ref(), acpi, request);
        Ok(PvhLayout {
            entry,
            kernel: image,
            initrd,
            start_info,
            block,
            ram,
            memmap,
            acpi,
        })
    }
}

/// What can be refused without knowing where things go. Returns the entry point.
pub(crate) fn check(kernel: &Kernel<'_>, request: &PvhRequest<'_>) -> Result<u32, LoadError> {
    let entry = kernel.notes.phys32_entry.ok_or(LoadError::NoPvhEntry)?;
    if request.nr_pages == 0 || request.nr_pages > MAX_PAGES {
        return Err(LoadError::Unsupported("no memory, or more than 16 TiB"));
    }
    if request.initrd_len >= FOUR_GIB || request.acpi_len > SPECIAL_START - ACPI_START {
        return Err(LoadError::Unsupported(
            "an initrd or ACPI tables that do not fit below 4 GiB",
        ));
    }
    if request.cmdline.len() >= MAX_CMDLINE {
        return Err(LoadError::TooLarge {
            what: "the command line",
            size: request.cmdline.len() as u64,
            limit: MAX_CMDLINE as u64 - 1,
        });
    }
    if kernel.elf.pstart < LOW_MIB || kernel.elf.pend > BELOW_4G_RAM_END {
        return Err(LoadError::Unsupported(
            "a kernel that wants to lie below 1 MiB or above 3.75 GiB",
        ));
    }
    if entry < kernel.elf.pstart || entry >= kernel.elf.pend {
        return Err(LoadError::Corrupt("the PVH entry lies outside the kernel"));
    }
    u32::try_from(entry).map_err(|_| LoadError::Corrupt("the PVH entry lies above 4 GiB"))
}

fn ram(nr_pages: u64) -> Vec<Range<u64>> {
    let low = nr_pages.min(BELOW_4G_RAM_END >> PAGE_SHIFT);
    let high = FOUR_GIB >> PAGE_SHIFT;
    let regions = [0..low, high..high + (nr_pages - low)];
    regions.into_iter().filter(|r| !r.is_empty()).collect()
}

fn memory_map(ram: &[Range<u64>], acpi_len: u64) -> Vec<MemmapTableEntry> {
    let entry = |range: Range<u64>, r#type: u32| MemmapTableEntry {
        addr: range.start,
        size: range.end - range.start,
        r#type,
        reserved: 0,
    };
    let bytes = |r: &Range<u64>| r.start << PAGE_SHIFT..r.end << PAGE_SHIFT;
    let mut map: Vec<MemmapTableEntry> = ram
        .iter()
        .map(|r| entry(bytes(r), MEMMAP_TYPE_RAM))
        .collect();
    if acpi_len != 0 {
        let range = ACPI_START..ACPI_START + pages(acpi_len) * PAGE_SIZE;
        map.push(entry(range, MEMMAP_TYPE_ACPI));
    }
    map.push(entry(SPECIAL_START..SPECIAL_END, MEMMAP_TYPE_RESERVED));
    map.sort_by_key(|e| e.addr);
    map
}

/// Offsets of the parts of the start info block.
pub(crate) struct Shape {
    modules: usize,
    memmap: usize,
    cmdline: usize,
    /// Bytes of it.
    pub(crate) len: usize,
}

impl Shape {
    pub(crate) fn new(memmap_entries: usize, request: &PvhRequest<'_>) -> Shape {
        let modules = size_of::<StartInfo>();
        let memmap = modules + size_of::<ModlistEntry>();
        let cmdline = memmap + memmap_entries * size_of::<MemmapTableEntry>();
        Shape {
            modules,
            memmap,
            cmdline,
            len: cmdline + request.cmdline.len() + 1,
        }
    }

    pub(crate) fn fill(
        &self,
        at: u64,
        memmap: &[MemmapTableEntry],
        initrd: Option<&Range<u64>>,
        rsdp: u64,
        request: &PvhRequest<'_>,
    ) -> Vec<u8> {
        let module = initrd.map(|i| ModlistEntry {
            paddr: i.start,
            size: i.end - i.start,
            ..Default::default()
        });
        let info = StartInfo {
            magic: START_MAGIC_VALUE,
            version: 1,
            flags: request.flags,
            nr_modules: u32::from(module.is_some()),
            modlist_paddr: if module.is_some() {
                at + self.modules as u64
            } else {
                0
            },
            cmdline_paddr: at + self.cmdline as u64,
            rsdp_paddr: rsdp,
            memmap_paddr: at + self.memmap as u64,
            memmap_entries: memmap.len() as u32,
            reserved: 0,
        };
        let mut block = Vec::with_capacity(self.len);
        block.extend_from_slice(info.as_bytes());
        block.extend_from_slice(module.unwrap_or_default().as_bytes());
        block.extend_from_slice(memmap.as_bytes());
        block.extend_from_slice(request.cmdline);
        block.push(0);
        block
    }
}
