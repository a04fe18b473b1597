//! Domain-0 as a PVH domain (`dom0=pvh`): in a virtual machine of the processor's, with frame numbers that are the machine's.
//!
//! Devices know nothing of nested paging, and no IOMMU is set up: they find Domain-0's memory because each of its frames lies at the
//! guest-physical address that it has in the machine. So its memory is taken from real places, lowest first, with holes where the
//! hypervisor is; what devices have elsewhere is mapped when it is touched (`hvm::mmio`). As a PV Domain-0 it can make devices
//! write anywhere. Neighbours: `dom0` (the PV one, and what both share), `loader::PvhLayout::in_place`.

use crate::acpi;
use crate::arch::x86::boot::{self, Module, RegionKind};
use crate::arch::x86::{irq, mm};
use crate::dom0::{self, Unpacked};
use crate::guest_cpuid;
use crate::host::{self, HOST};
use crate::hvm::vendor;
use crate::panic::fatal_fmt;
use alloc::vec::Vec;
use core::ops::Range;
use domain::hvm_vcpu::{HvmState, Seg, Segment};
use domain::{CpuidPolicy, Domain, Host};
use loader::pvh::{PvhLayout, PvhRequest};
use loader::{Kernel, LoadError};
use xen_abi::hvm::{MEMMAP_TYPE_UNUSABLE, MemmapTableEntry};
use xen_abi::start_info::{SIF_INITDOMAIN, SIF_PRIVILEGED};
use xen_abi::{Errno, Mfn};

/// Emulated devices: local APICs alone.
const EMULATION: u32 = xen_abi::arch_x86::X86_EMU_LAPIC;
/// Largest block of memory to take at once (log2 of pages).
const MAX_ORDER: u32 = 18;
/// Frames below 1 MiB.
const LOW_END: u64 = 0x100;
/// Pages that the hypervisor keeps at least.
const KEPT: u64 = 2048;
/// One page of nested tables for so many pages, at worst.
const PAGES_PER_TABLE: u64 = 256;

/// Builds Domain-0 and lets it run. The modules' memory is free afterwards.
pub fn build(kernel: &Module, initrd: Option<&Module>) -> Result<(), LoadError> {
    if !vendor::available() {
        fatal_fmt(format_args!(
            "dom0=pvh needs AMD-V or VT-x with nested paging, which this machine does not have or its firmware has switched off. \
             Remove dom0=pvh from the hypervisor's command line, or switch virtualization on in the firmware's setup."
        ));
    }
    let unpacked = Unpacked::new(dom0::bytes(kernel))?;
    let image = Kernel::from_elf(unpacked.bytes())?;
    // The modules may lie where the kernel has to.
    let initrd_len = initrd.map_or(0, |m| (m.end - m.start) as usize);
    let mut initrd_copy = Unpacked::with_room(initrd_len)?;
    if let Some(module) = initrd
        && let Some(to) = initrd_copy.bytes_mut().get_mut(..initrd_len)
    {
        to.copy_from_slice(dom0::bytes(module));
    }
    dom0::free_modules();
    let config = &boot::info().config;
    let free = HOST.with_heap(|h| h.free_pages());
    let pages = config.dom0_mem.resolve(free);
    let most = free.saturating_sub(KEPT + free / PAGES_PER_TABLE);
    let dom = dom0::create(pages.max, Some(EMULATION))?;
    *dom.cpuid.lock() = CpuidPolicy::hvm_default(guest_cpuid::offered);
    HOST.domains().insert(dom.clone());
    let ram = populate(&dom, pages.initial.min(most))
        .map_err(|_| LoadError::Corrupt("no memory for Domain-0's nested page tables"))?;
    for r in &ram {
        log::debug!("Domain-0: frames {:#x}-{:#x}", r.start, r.end);
    }
    let request = PvhRequest {
        nr_pages: ram.iter().map(|r| r.end - r.start).sum(),
        initrd_len: initrd_len as u64,
        cmdline: kernel.cmdline.as_bytes(),
        acpi_len: acpi_tables(0, &dom).len() as u64,
        flags: SIF_PRIVILEGED | SIF_INITDOMAIN,
    };
    HOST.with_heap(|h| h.keep_low(false));
    let others = others(&ram);
    let layout = PvhLayout::in_place(&image, &request, ram, &others)?;
    log::info!(
        "Domain-0 kernel: {} {}, PVH, entry {:#x}, at {:#x}-{:#x}, start info {:#x}",
        image.notes.guest_os.as_deref().unwrap_or("unknown"),
        image.notes.guest_version.as_deref().unwrap_or(""),
        layout.entry,
        layout.kernel.start,
        layout.kernel.end,
        layout.start_info
    );
    let written = fill(&image, &layout, initrd_copy.bytes());
    written
        .and_then(|()| write(layout.acpi, &acpi_tables(layout.acpi, &dom)))
        .map_err(|_| LoadError::Corrupt("it does not fit into its own memory"))?;
    start_vcpu(&dom, &layout);
    set_interrupt_modes();
    dom0::run(&dom);
    Ok(())
}

/// Trigger and polarity of each line, which a PVH Domain-0 does not say: ISA's, PCI's above, and what the tables say differently.
fn set_interrupt_modes() {
    const ISA: u32 = 16;
    for gsi in 0..irq::gsi_count() {
        let other = acpi::info().overrides.iter().find(|o| o.gsi == gsi);
        let (level, low) = other.map_or((gsi >= ISA, gsi >= ISA), |o| (o.level, o.low));
        // Lines that are the hypervisor's own are refused.
        let _ = irq::set_mode(gsi, level, low);
    }
}

/// Gives the domain `pages` of the machine's free memory, lowest first, each at its own address. Returns the ranges of frames.
fn populate(dom: &Domain, pages: u64) -> Result<Vec<Range<u64>>, Errno> {
    if let Some(hvm) = &dom.hvm {
        hvm.allow_tables_for(pages);
    }
    let mut ram = low_memory(dom)?;
    let low: u64 = ram.iter().map(|r| r.end - r.start).sum();
    let (mut left, mut at, end) = (pages.saturating_sub(low), LOW_END, mm::max_mfn().0);
    while left > 0 && at < end {
        let most = left.ilog2().min(MAX_ORDER);
        let order = match domain::alloc_at(&HOST, dom, Mfn(at), most) {
            Ok(order) => order,
            Err(Errno::EBUSY) => {
                at += 1;
                continue;
            }
            Err(e) => return Err(e),
        };
        domain::hvm::add_ram(&HOST, dom, at, order, Mfn(at))?;
        let next = at + (1 << order);
        match ram.last_mut() {
            Some(last) if last.end == at => last.end = next,
            _ => ram.push(at..next),
        }
        left -= 1 << order;
        at = next;
    }
    Ok(ram)
}

/// Tables that say what is not so for Domain-0: interrupts and nodes of the machine's processors, what the hypervisor keeps, and PCI
/// configuration space past the ports.
const WITHHELD: [&[u8; 4]; 7] = [
    b"APIC", b"MCFG", b"HPET", b"SRAT", b"SLIT", b"DMAR", b"IVRS",
];

/// Its ACPI tables, as they lie at `base`; none without the machine's.
fn acpi_tables(base: u64, dom: &Domain) -> Vec<u8> {
    let machine = acpi::info();
    if machine.tables.is_empty() {
        return Vec::new();
    }
    let given = |(signature, _): &&([u8; 4], u64)| !WITHHELD.contains(&signature);
    let kept: Vec<u64> = machine.tables.iter().filter(given).map(|t| t.1).collect();
    loader::acpi::tables(base, &kept, &machine.madt, dom.vcpus.len() as u32)
}

/// Reads PCI configuration space for a PVH Domain-0. Messages as interrupts are not offered to it: their capabilities read as null.
pub fn config_read(address: u32, byte: u16, size: u8) -> u32 {
    const CAPABILITIES: u32 = 0x40;
    let value = host::config_read(address, byte, size);
    let offset = address & 0xfc;
    if byte == 0 && offset >= CAPABILITIES && is_message_capability(address) {
        return value & !0xff;
    }
    value
}

/// Does MSI or MSI-X begin at this place? PCI Local Bus 3.0, 6.7 and 6.8.
fn is_message_capability(address: u32) -> bool {
    const STATUS_LIST: u32 = 1 << 4;
    /// Most capabilities that fit.
    const MOST: usize = 48;
    let at = |offset: u32, byte: u16| host::config_read(address & !0xff | offset & 0xfc, byte, 1);
    if at(4, 2) & STATUS_LIST == 0 {
        return false;
    }
    let mut here = at(0x34, 0) & 0xfc;
    for _ in 0..MOST {
        if here == 0 {
            return false;
        }
        if here == address & 0xfc {
            return matches!(at(here, 0), 0x05 | 0x11);
        }
        here = at(here, 1) & 0xfc;
    }
    false
}

/// Memory below 1 MiB, where kernels start their other processors. Little of the machine's is free there: other frames are put in its
/// place. No device must be told of it, and Linux keeps all of it for itself.
fn low_memory(dom: &Domain) -> Result<Vec<Range<u64>>, Errno> {
    let mut ram: Vec<Range<u64>> = Vec::new();
    for gfn in 0..LOW_END {
        let all_ram = |r: &bootcfg::Region| {
            r.kind == RegionKind::Ram && r.start <= gfn << 12 && (gfn + 1) << 12 <= r.end
        };
        if !boot::info().memory.regions().iter().any(all_ram) {
            continue;
        }
        let mfn = domain::alloc_pages(&HOST, dom, 0, None)?;
        domain::hvm::add_ram(&HOST, dom, gfn, 0, mfn)?;
        match ram.last_mut() {
            Some(last) if last.end == gfn => last.end += 1,
            _ => ram.push(gfn..gfn + 1),
        }
    }
    Ok(ram)
}

/// The rest of the memory map: the machine's, with RAM that is not this domain's as unusable.
fn others(ram: &[Range<u64>]) -> Vec<MemmapTableEntry> {
    let mut map = Vec::new();
    let mut add = |start: u64, end: u64, r#type: u32| {
        if start < end {
            map.push(MemmapTableEntry {
                addr: start,
                size: end - start,
                r#type,
                reserved: 0,
            });
        }
    };
    for region in boot::info().memory.regions() {
        if region.kind != RegionKind::Ram {
            let kind = region.kind as u32;
            add(region.start, region.end, kind);
            continue;
        }
        let mut at = region.start;
        for r in ram {
            let (start, end) = (r.start << 12, r.end << 12);
            if start < region.end && end > at {
                add(at, start, MEMMAP_TYPE_UNUSABLE);
                at = end;
            }
        }
        add(at, region.end, MEMMAP_TYPE_UNUSABLE);
    }
    map
}

fn fill(image: &Kernel<'_>, layout: &PvhLayout, initrd: &[u8]) -> Result<(), Errno> {
    for (i, segment) in image.elf.segments.iter().enumerate() {
        let data = image.segment_data(i).ok_or(Errno::EINVAL)?;
        write(segment.paddr, data)?;
    }
    if let Some(place) = &layout.initrd {
        let len = (place.end - place.start) as usize;
        write(place.start, initrd.get(..len).ok_or(Errno::EINVAL)?)?;
    }
    write(layout.start_info, &layout.block)
}

/// Copies bytes to an address.
fn write(mut at: u64, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        let within = (at & 4095) as usize;
        let (now, rest) = bytes.split_at(bytes.len().min(4096 - within));
        HOST.write_frame(Mfn(at >> 12), within, now)?;
        at += now.len() as u64;
        bytes = rest;
    }
    Ok(())
}

/// 32-bit flat protected mode without paging, the start info in `ebx` (public/arch-x86/hvm/start_info.h).
fn start_vcpu(dom: &Domain, layout: &PvhLayout) {
    const CR0: u64 = 1 | 1 << 4;
    const CODE: u16 = 0xc9b;
    const DATA: u16 = 0xc93;
    const TASK: u16 = 0x8b;
    /// All memory is write-back unless a range says otherwise; ranges count.
    const MTRR_WRITE_BACK: u64 = 6 | 1 << 11;
    let flat = |attributes| Segment {
        attributes,
        limit: u32::MAX,
        ..Segment::default()
    };
    for hvm in dom.vcpus.iter().filter_map(|v| v.hvm.as_ref()) {
        hvm.state.lock().mtrr.default = MTRR_WRITE_BACK;
    }
    let Some(hvm) = dom.vcpus.first().and_then(|v| v.hvm.as_ref()) else {
        return;
    };
    let mut state = hvm.state.lock();
    let mut start = HvmState::reset();
    start.mtrr = state.mtrr;
    start.cr0 = CR0;
    start.regs.rip = layout.entry.into();
    start.regs.rbx = layout.start_info;
    for seg in [Seg::Es, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs] {
        start.segments[seg as usize] = flat(DATA);
    }
    start.segments[Seg::Cs as usize] = flat(CODE);
    start.segments[Seg::Tr as usize] = Segment {
        limit: 0x67,
        ..flat(TASK)
    };
    *state = start;
}
