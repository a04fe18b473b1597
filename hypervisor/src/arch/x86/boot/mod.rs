//! From the boot loader's jump to [`crate::start`]: the 32-bit entry, and what the boot loader told us.

pub mod efi;
mod entry;
mod info;
mod mb2;
mod multiboot1;
pub mod trampoline;
pub mod traps;

pub use bootcfg::RegionKind;
pub use info::{BootInfo, Framebuffer, Module};

use crate::arch::x86::cpu::STACK_SIZE;
use crate::{console, panic};
use bootcfg::Problem;
use info::StringArena;
use spin::{LazyLock, Once};

/// CS while the boot GDT is loaded.
const BOOT_CS: u16 = 0x08;

static INFO: Once<BootInfo> = Once::new();

/// What the boot loader told us; defaults before it is read.
pub fn info() -> &'static BootInfo {
    static NONE: LazyLock<BootInfo> = LazyLock::new(|| BootInfo::new(bootcfg::Config::default()));
    INFO.get().unwrap_or_else(|| &NONE)
}

/// Where CPU 0's stack starts.
pub fn boot_stack_base() -> u64 {
    crate::percpu::cpu_info() as u64 & !(STACK_SIZE as u64 - 1)
}

/// First Rust code, on CPU 0's stack, with the boot page tables and interrupts off.
#[unsafe(no_mangle)]
extern "C" fn boot_rust(magic: u32, block: u32) -> ! {
    console::early_init();
    traps::install(BOOT_CS);
    // SAFETY: this function runs once.
    let mut arena = unsafe { StringArena::take() };
    let mut boot = BootInfo::new(bootcfg::Config::default());
    let read = match magic {
        multiboot1::MAGIC => {
            multiboot1::read(block, &mut boot, &mut arena);
            true
        }
        mb2::MAGIC => mb2::read(block, &mut boot, &mut arena),
        _ => false,
    };
    boot.memory.normalise();
    let mut problems = [None; 16];
    let mut free = problems.iter_mut();
    boot.config = bootcfg::parse(boot.cmdline, &mut |problem| {
        if let Some(slot) = free.next() {
            *slot = Some(problem);
        }
    });
    let boot = INFO.call_once(|| boot);
    console::configure(&boot.config);
    crate::banner(boot);
    if !read {
        panic::fatal_fmt(format_args!(
            "not started by a Multiboot 1 or 2 boot loader, or its information is damaged (magic {magic:#x})"
        ));
    }
    for problem in problems.into_iter().flatten() {
        match problem {
            Problem::Unknown(option) => {
                log::warn!("Command line: unknown option \"{option}\" ignored")
            }
            Problem::BadValue(name, value) => {
                log::warn!("Command line: \"{value}\" is no value for \"{name}\", ignored")
            }
        }
    }
    crate::start(boot)
}
