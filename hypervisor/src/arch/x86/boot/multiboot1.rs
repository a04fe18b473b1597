//! Multiboot 1's information block (specification 0.6.96, §3.3).

use super::info::{BootInfo, Framebuffer, Module, StringArena};
use crate::arch::x86::mm::phys_to_virt;
use bootcfg::RegionKind;

/// EAX at entry.
pub const MAGIC: u32 = 0x2bad_b002;

const HAS_MEM: u32 = 1 << 0;
const HAS_CMDLINE: u32 = 1 << 2;
const HAS_MODULES: u32 = 1 << 3;
const HAS_MMAP: u32 = 1 << 6;
const HAS_LOADER: u32 = 1 << 9;
const HAS_FRAMEBUFFER: u32 = 1 << 12;

/// Reads little-endian fields of the block at a physical address below 4 GiB.
#[derive(Clone, Copy)]
struct Block(u64);

impl Block {
    fn bytes<const N: usize>(self, offset: u64) -> [u8; N] {
        // SAFETY: the boot page tables map all of the first 4 GiB; the boot loader says the block is here.
        unsafe {
            phys_to_virt(self.0 + offset)
                .cast::<[u8; N]>()
                .read_unaligned()
        }
    }
    fn u8(self, offset: u64) -> u8 {
        self.bytes::<1>(offset)[0]
    }
    fn u32(self, offset: u64) -> u32 {
        u32::from_le_bytes(self.bytes(offset))
    }
    fn u64(self, offset: u64) -> u64 {
        u64::from_le_bytes(self.bytes(offset))
    }
    /// The zero-terminated string whose address is at `offset`; what is not UTF-8 ends it.
    fn string(self, offset: u64) -> &'static str {
        let start = u64::from(self.u32(offset));
        if start == 0 {
            return "";
        }
        // SAFETY: as for `bytes`; the specification promises a terminating zero.
        let text = unsafe { core::ffi::CStr::from_ptr(phys_to_virt(start).cast()) };
        match text.to_str() {
            Ok(text) => text,
            Err(error) => {
                core::str::from_utf8(&text.to_bytes()[..error.valid_up_to()]).unwrap_or("")
            }
        }
    }
}

/// Copies what the block at `info` says into `boot`.
pub fn read(info: u32, boot: &mut BootInfo, arena: &mut StringArena) {
    let block = Block(u64::from(info));
    let flags = block.u32(0);
    if flags & HAS_LOADER != 0 {
        boot.loader = arena.keep(block.string(64));
    }
    if flags & HAS_CMDLINE != 0 {
        boot.cmdline = arena.keep(bootcfg::arguments(boot.loader, block.string(16)));
    }
    if flags & HAS_MODULES != 0 {
        for i in 0..u64::from(block.u32(20)) {
            let module = Block(u64::from(block.u32(24)) + i * 16);
            boot.push_module(Module {
                start: u64::from(module.u32(0)),
                end: u64::from(module.u32(4)),
                cmdline: arena.keep(bootcfg::arguments(boot.loader, module.string(8))),
            });
        }
    }
    if flags & HAS_MMAP != 0 {
        let (mut at, end) = (
            u64::from(block.u32(48)),
            u64::from(block.u32(48)) + u64::from(block.u32(44)),
        );
        while at < end {
            let entry = Block(at);
            boot.memory.push(
                entry.u64(4),
                entry.u64(12),
                RegionKind::from_e820(entry.u32(20)),
            );
            at += u64::from(entry.u32(0)) + 4;
        }
    } else if flags & HAS_MEM != 0 {
        boot.memory
            .push(0, u64::from(block.u32(4)) << 10, RegionKind::Ram);
        boot.memory
            .push(1 << 20, u64::from(block.u32(8)) << 10, RegionKind::Ram);
    }
    if flags & HAS_FRAMEBUFFER != 0 {
        boot.framebuffer = Some(Framebuffer {
            address: block.u64(88),
            pitch: block.u32(96),
            width: block.u32(100),
            height: block.u32(104),
            bpp: block.u8(108),
            text: block.u8(109) == 2,
            rgb: [
                (block.u8(110), block.u8(111)),
                (block.u8(112), block.u8(113)),
                (block.u8(114), block.u8(115)),
            ],
        });
    }
}
