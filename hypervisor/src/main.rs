//! Corten's bare-metal binary: the boot order on one screen. On the host this is an empty program, so that
//! `cargo clippy --workspace` sees one workspace.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod acpi;
#[cfg(target_os = "none")]
mod arch;
#[cfg(target_os = "none")]
mod console;
#[cfg(target_os = "none")]
mod dom0;
#[cfg(target_os = "none")]
mod panic;
#[cfg(target_os = "none")]
mod percpu;
#[cfg(target_os = "none")]
mod power;
#[cfg(target_os = "none")]
mod schedule;
#[cfg(target_os = "none")]
mod smp;
#[cfg(target_os = "none")]
mod sync;
#[cfg(target_os = "none")]
mod time;

#[cfg(target_os = "none")]
use arch::x86::{boot::BootInfo, cpu, irq, mm};

/// First line, when the console works.
#[cfg(target_os = "none")]
fn banner(boot: &BootInfo) {
    log::info!(
        "Corten {}, started by {}",
        env!("CARGO_PKG_VERSION"),
        boot.loader
    );
    log::info!("Command line: {}", boot.cmdline);
}

/// The boot order. CPU 0, interrupts off.
#[cfg(target_os = "none")]
fn start(boot: &'static BootInfo) -> ! {
    mm::init(boot);
    acpi::init(boot);
    smp::init_boot_cpu();
    domain::set_relax_hook(smp::service_calls);
    time::init();
    irq::lapic::calibrate_timer();
    irq::init();
    console::allocate_ring(boot.config.conring_size);
    cpu::features::report();
    smp::start_all();
    dom0::start(boot)
}

/// An interrupt of a device has arrived (see `irq`).
#[cfg(target_os = "none")]
fn irq_hook(irq: u32) {
    log::debug!("irq {irq}");
}

/// Another CPU wants this one's attention.
#[cfg(target_os = "none")]
fn ipi_hook(_vector: u8) {}

/// This CPU's timer has fired.
#[cfg(target_os = "none")]
fn timer_hook() {}

#[cfg(not(target_os = "none"))]
fn main() {}
