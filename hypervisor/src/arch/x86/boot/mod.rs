//! From the boot loader's jump to `main`: the 32-bit entry and what the boot loader told us.

mod entry;

/// Virtual address of physical address 0 in the image's slot.
pub const VIRT_BASE: u64 = 0xffff_8280_0000_0000;

/// First Rust code, on CPU 0's stack, with the boot page tables and interrupts off.
#[unsafe(no_mangle)]
extern "C" fn boot_rust(magic: u32, info: u32) -> ! {
    crate::console::early_init();
    log::info!(
        "Corten {} (magic {magic:#x} info {info:#x})",
        env!("CARGO_PKG_VERSION")
    );
    loop {
        x86_64::instructions::hlt();
    }
}
