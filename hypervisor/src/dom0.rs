//! Domain-0.

use crate::arch::x86::boot::BootInfo;

/// Builds Domain-0 and runs it.
pub fn start(boot: &'static BootInfo) -> ! {
    if boot.modules().is_empty() {
        crate::panic::fatal("no module: the boot loader loaded no Domain-0 kernel");
    }
    crate::schedule::ap_idle(0)
}
