//! What a CPU does.

/// Idles.
pub fn ap_idle(_cpu: u32) -> ! {
    loop {
        x86_64::instructions::interrupts::enable_and_hlt();
    }
}
