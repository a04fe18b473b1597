//! What happens when the hypervisor cannot go on: one clear message, then halt or reboot as `noreboot` says.

use crate::arch::x86::boot;
use crate::{console, power, smp, time};
use core::fmt;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};
use x86_64::instructions::{hlt, interrupts};

/// Seconds between the message and the reboot.
const REBOOT_DELAY_S: u64 = 5;

static DYING: AtomicBool = AtomicBool::new(false);

/// Makes the console usable for last words: stops the other CPUs, and frees its lock.
pub fn emergency_console() {
    interrupts::disable();
    if !DYING.swap(true, Ordering::Relaxed) {
        smp::stop_others();
    }
    console::break_lock();
}

/// Whether a CPU is saying its last words; an NMI then means "stop".
pub fn dying() -> bool {
    DYING.load(Ordering::Relaxed)
}

/// An NMI has arrived: from a CPU that is dying, or from nowhere. Locks nothing: what it interrupted may hold the lock.
pub fn nmi_arrived() {
    if dying() {
        smp::stop_forever();
    }
}

/// Prints `message` and reboots, or halts with `noreboot`.
pub fn fatal(message: &str) -> ! {
    fatal_fmt(format_args!("{message}"))
}

/// [`fatal`] with a formatted message.
pub fn fatal_fmt(message: fmt::Arguments) -> ! {
    emergency_console();
    log::error!("FATAL: {message}");
    finish()
}

fn finish() -> ! {
    if boot::info().config.noreboot {
        log::error!("Halted, as \"noreboot\" says. Reset the machine by hand.");
        loop {
            interrupts::disable();
            hlt();
        }
    }
    log::error!("Rebooting in {REBOOT_DELAY_S} seconds.");
    time::delay_ns(REBOOT_DELAY_S * 1_000_000_000);
    power::machine_reset()
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    // A panic while dying must not go round in circles.
    static PANICKED: AtomicBool = AtomicBool::new(false);
    if PANICKED.swap(true, Ordering::Relaxed) {
        power::machine_reset();
    }
    emergency_console();
    log::error!("Panic on CPU {}: {info}", crate::percpu::cpu_id());
    finish()
}
