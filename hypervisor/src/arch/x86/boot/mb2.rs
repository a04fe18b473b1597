//! Multiboot 2's information block, through the `multiboot2` crate.

use super::efi::Regions;
use super::info::{BootInfo, Framebuffer, Module, StringArena};
use crate::arch::x86::mm::{phys_to_virt, virt_to_phys};
use bootcfg::RegionKind;
use core::cell::UnsafeCell;
use domain::EfiRegion;
use multiboot2::{BootInformation, BootInformationHeader, FramebufferType};

/// EAX at entry.
pub const MAGIC: u32 = multiboot2::MAGIC;

/// Copies what the block at `info` says into `boot`; false when it is damaged.
pub fn read(info: u32, boot: &mut BootInfo, arena: &mut StringArena) -> bool {
    let block = phys_to_virt(u64::from(info)).cast::<BootInformationHeader>();
    // SAFETY: the boot loader says the block is here, and the boot page tables map it; nothing writes to it.
    let Ok(block) = (unsafe { BootInformation::load(block) }) else {
        return false;
    };
    if let Some(name) = block.boot_loader_name_tag() {
        boot.loader = arena.keep(name.name().unwrap_or(""));
    }
    if let Some(line) = block.command_line_tag() {
        boot.cmdline = arena.keep(bootcfg::arguments(
            boot.loader,
            line.cmdline().unwrap_or(""),
        ));
    }
    for module in block.module_tags() {
        let line = module.cmdline().unwrap_or("");
        boot.push_module(Module {
            start: u64::from(module.start_address()),
            end: u64::from(module.end_address()),
            cmdline: arena.keep(bootcfg::arguments(boot.loader, line)),
        });
    }
    read_memory(&block, boot);
    read_screen(&block, boot);
    boot.rsdp = match (block.rsdp_v2_tag(), block.rsdp_v1_tag()) {
        (Some(tag), _) => keep_rsdp(core::ptr::from_ref(tag).cast(), 36),
        (None, Some(tag)) => keep_rsdp(core::ptr::from_ref(tag).cast(), 20),
        (None, None) => None,
    };
    boot.efi_system_table = block.efi_sdt64_tag().map(|tag| tag.sdt_address() as u64);
    true
}

/// Copies the root pointer that follows a tag's eight header bytes into the image; its physical address there.
fn keep_rsdp(tag: *const u8, len: usize) -> Option<u64> {
    static COPY: RsdpCopy = RsdpCopy(UnsafeCell::new([0; 36]));
    // SAFETY: the tag types guarantee `len` bytes after the header; boot code runs once, on one CPU.
    unsafe { core::ptr::copy_nonoverlapping(tag.add(8), COPY.0.get().cast::<u8>(), len) };
    virt_to_phys(COPY.0.get())
}

/// ACPI's root pointer, 36 bytes since revision 2.
#[repr(align(16))]
struct RsdpCopy(UnsafeCell<[u8; 36]>);
// SAFETY: written once by boot code, before any other CPU runs.
unsafe impl Sync for RsdpCopy {}

fn read_memory(block: &BootInformation, boot: &mut BootInfo) {
    // GRUB derives the E820-like map from UEFI's when there is one; ours keeps ACPI memory apart from RAM.
    if let Some(map) = block.efi_memory_map_tag() {
        let mut kept = Regions::new();
        for area in map.memory_areas() {
            let (start, size) = (area.phys_start, area.page_count << 12);
            let kind = RegionKind::from_efi(area.ty.0);
            if let Some(kind) = kind {
                boot.memory.push(start, size, kind);
            }
            if kind != Some(RegionKind::Ram) {
                kept.push(EfiRegion {
                    start,
                    end: start.saturating_add(size),
                    kind: area.ty.0,
                    attributes: area.att.bits(),
                });
            }
        }
        kept.keep();
    } else if let Some(map) = block.memory_map_tag() {
        for area in map.memory_areas() {
            let kind = RegionKind::from_e820(area.typ().into());
            boot.memory.push(area.start_address(), area.size(), kind);
        }
    } else if let Some(basic) = block.basic_memory_info_tag() {
        boot.memory
            .push(0, u64::from(basic.memory_lower()) << 10, RegionKind::Ram);
        boot.memory.push(
            1 << 20,
            u64::from(basic.memory_upper()) << 10,
            RegionKind::Ram,
        );
    }
}

fn read_screen(block: &BootInformation, boot: &mut BootInfo) {
    let Some(Ok(tag)) = block.framebuffer_tag() else {
        return;
    };
    let (text, rgb) = match tag.buffer_type() {
        Ok(FramebufferType::RGB { red, green, blue }) => (
            false,
            [red, green, blue].map(|field| (field.position, field.size)),
        ),
        Ok(FramebufferType::Text) => (true, [(0, 0); 3]),
        _ => return,
    };
    boot.framebuffer = Some(Framebuffer {
        address: tag.address(),
        pitch: tag.pitch(),
        width: tag.width(),
        height: tag.height(),
        bpp: tag.bpp(),
        text,
        rgb,
    });
}
