//! `BootInfo`: everything the boot loader told us, copied out before its memory is reused.

use bootcfg::{Config, MemoryMap};

/// Modules we keep track of.
pub const MAX_MODULES: usize = 16;

/// One file the boot loader loaded: kernel, initrd.
#[derive(Clone, Copy)]
pub struct Module {
    /// Physical address of the first byte; page-aligned with every loader that follows the specification.
    pub start: u64,
    /// Physical address after the last byte.
    pub end: u64,
    /// Its arguments, without path and `placeholder`.
    pub cmdline: &'static str,
}

/// A linear frame buffer.
#[derive(Clone, Copy, Debug)]
pub struct Framebuffer {
    /// Physical address.
    pub address: u64,
    /// Bytes per line.
    pub pitch: u32,
    /// Pixels per line.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Bits per pixel.
    pub bpp: u8,
    /// Text mode: `width` and `height` count characters.
    pub text: bool,
    /// Bit position and width of red, green and blue.
    pub rgb: [(u8, u8); 3],
}

/// What the boot loader told us.
pub struct BootInfo {
    /// The boot loader's name.
    pub loader: &'static str,
    /// The hypervisor's arguments, as given.
    pub cmdline: &'static str,
    /// The parsed arguments.
    pub config: Config,
    /// Modules in boot order; the first is Domain-0's kernel, the second its initrd.
    modules: [Module; MAX_MODULES],
    module_count: usize,
    /// The host's memory map: sorted, disjoint, with all reserved regions.
    pub memory: MemoryMap,
    /// Physical address of the ACPI root pointer.
    pub rsdp: Option<u64>,
    /// The screen.
    pub framebuffer: Option<Framebuffer>,
    /// Physical address of the EFI system table, when started by UEFI.
    pub efi_system_table: Option<u64>,
}

impl BootInfo {
    /// Nothing known yet.
    pub const fn new(config: Config) -> Self {
        Self {
            loader: "",
            cmdline: "",
            config,
            modules: [Module {
                start: 0,
                end: 0,
                cmdline: "",
            }; MAX_MODULES],
            module_count: 0,
            memory: MemoryMap::new(),
            rsdp: None,
            framebuffer: None,
            efi_system_table: None,
        }
    }

    /// Modules in boot order.
    pub fn modules(&self) -> &[Module] {
        &self.modules[..self.module_count]
    }

    /// Remembers a module; more than [`MAX_MODULES`] are ignored.
    pub fn push_module(&mut self, module: Module) {
        if module.start < module.end
            && let Some(slot) = self.modules.get_mut(self.module_count)
        {
            *slot = module;
            self.module_count += 1;
        }
    }
}

/// Room for all boot strings together; longer ones are cut.
const ARENA_SIZE: usize = 16 * 1024;

/// Keeps copies of the boot loader's strings for ever.
pub struct StringArena {
    free: &'static mut [u8],
}

impl StringArena {
    /// The arena; there is one, and boot code runs once.
    ///
    /// # Safety
    /// To be called once.
    pub unsafe fn take() -> Self {
        static mut ARENA: [u8; ARENA_SIZE] = [0; ARENA_SIZE];
        // SAFETY: the caller promises to call this once, so nobody else refers to ARENA.
        let free = unsafe { &mut *core::ptr::addr_of_mut!(ARENA) };
        Self { free }
    }

    /// A copy of `text` that lives for ever.
    pub fn keep(&mut self, text: &str) -> &'static str {
        let mut len = text.len().min(self.free.len());
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        let (copy, rest) = core::mem::take(&mut self.free).split_at_mut(len);
        self.free = rest;
        copy.copy_from_slice(&text.as_bytes()[..len]);
        core::str::from_utf8(copy).unwrap_or("")
    }
}
