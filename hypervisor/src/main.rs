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
mod debug_keys;
#[cfg(target_os = "none")]
mod dom0;
#[cfg(target_os = "none")]
mod dom0_pvh;
#[cfg(target_os = "none")]
mod dom0_screen;
#[cfg(target_os = "none")]
mod exit;
#[cfg(target_os = "none")]
mod guest_console;
#[cfg(target_os = "none")]
mod guest_cpuid;
#[cfg(target_os = "none")]
mod guest_irq;
#[cfg(target_os = "none")]
mod guest_time;
#[cfg(target_os = "none")]
mod host;
#[cfg(target_os = "none")]
mod hvm;
#[cfg(target_os = "none")]
mod ldt;
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
mod timers;
#[cfg(target_os = "none")]
mod tlb;

#[cfg(target_os = "none")]
use arch::x86::{boot::BootInfo, cpu, entry, irq, mm};

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
    console::open_screen(boot);
    acpi::init(boot);
    smp::init_boot_cpu();
    domain::set_relax_hook(smp::service_calls);
    time::init();
    irq::lapic::calibrate_timer();
    irq::init();
    console::allocate_ring(boot.config.conring_size);
    cpu::features::report();
    entry::install();
    mm::set_tlb_sync(|stamp| tlb::sync(!0, stamp));
    smp::start_all();
    dom0::start(boot)
}

/// How often the serial line is looked at for typed characters.
#[cfg(target_os = "none")]
const CONSOLE_POLL_NS: u64 = 10_000_000;

/// An interrupt of a device has arrived (see `irq`).
#[cfg(target_os = "none")]
fn irq_hook(irq: u32) {
    guest_irq::arrived(irq);
}

/// Another CPU wants this one's attention: the exit path looks for what it is. The slice may have become shorter.
#[cfg(target_os = "none")]
fn ipi_hook(_vector: u8) {
    timers::rearm();
}

/// This CPU's timer has fired.
#[cfg(target_os = "none")]
fn timer_hook() {
    timers::fired();
}

/// When this CPU next looks for typed characters; CPU 0 does.
#[cfg(target_os = "none")]
fn console_poll_deadline() -> u64 {
    if percpu::cpu_id() == 0 {
        NEXT_POLL.load(core::sync::atomic::Ordering::Relaxed)
    } else {
        u64::MAX
    }
}

#[cfg(target_os = "none")]
static NEXT_POLL: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);

/// Takes typed characters from the serial line, when it is time to.
#[cfg(target_os = "none")]
fn console_poll(now: u64) {
    if console_poll_deadline() > now {
        return;
    }
    NEXT_POLL.store(now + CONSOLE_POLL_NS, core::sync::atomic::Ordering::Relaxed);
    let input = core::iter::from_fn(console::poll).filter_map(|input| match input {
        console::Input::Domain0(byte) => Some(byte),
        console::Input::Hypervisor(key) => {
            debug_keys::handle(key);
            None
        }
    });
    host::typed(input);
}

#[cfg(not(target_os = "none"))]
fn main() {}
