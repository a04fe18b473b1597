//! Leaving: reset and power-off.

use crate::acpi::{self, Register};
use crate::arch::x86::irq::pci;
use crate::arch::x86::{cpu::idt, mm};
use crate::time;
use x86_64::instructions::port::Port;
use x86_64::instructions::{hlt, interrupts};

const SLEEP_ENABLE: u16 = 1 << 13;
const SCI_ENABLE: u16 = 1;
/// How long a machine may take to switch itself off.
const POWER_OFF_NS: u64 = 3_000_000_000;

/// Resets the machine by whatever works: ACPI's register, the chipset's port, the keyboard controller, a triple fault.
pub fn machine_reset() -> ! {
    interrupts::disable();
    if let Some((register, value)) = acpi::info().reset {
        write_register(register, value);
        wait();
    }
    for value in [0x02, 0x06] {
        // SAFETY: the chipset's reset control register; reset is what is asked for.
        unsafe { Port::<u8>::new(0xcf9).write(value) };
        wait();
    }
    // SAFETY: pulse the reset line of the keyboard controller.
    unsafe { Port::<u8>::new(0x64).write(0xfe) };
    wait();
    // SAFETY: an empty IDT makes the next exception a triple fault, which resets.
    unsafe {
        idt::load_empty();
        core::arch::asm!("ud2", options(noreturn));
    }
}

/// Enters a sleep state with the PM1 control values Domain-0's ACPI code computed.
pub fn enter_sleep(pm1a: u16, pm1b: u16) {
    let (a, b) = acpi::info().pm1_control;
    // SAFETY: ACPI says these ports are the PM1 control registers.
    unsafe {
        if let Some(port) = a {
            Port::<u16>::new(port).write(pm1a | SLEEP_ENABLE);
        }
        if let Some(port) = b {
            Port::<u16>::new(port).write(pm1b | SLEEP_ENABLE);
        }
    }
}

/// Switches the machine off; halts where ACPI does not say how.
pub fn machine_poweroff() -> ! {
    interrupts::disable();
    enable_acpi();
    if let Some((a, b)) = acpi::info().s5 {
        enter_sleep(u16::from(a) << 10, u16::from(b) << 10);
        // Power supplies, and emulators under load, take their time.
        time::delay_ns(POWER_OFF_NS);
    }
    log::error!("Power-off did not work; halted.");
    loop {
        hlt();
    }
}

/// Turns ACPI mode on if firmware left it off: the PM1 registers only work then.
fn enable_acpi() {
    let (Some(control), Some((port, value @ 1..))) =
        (acpi::info().pm1_control.0, acpi::info().smi_enable)
    else {
        return;
    };
    // SAFETY: ports from the FADT.
    unsafe {
        if Port::<u16>::new(control).read() & SCI_ENABLE == 0 {
            Port::<u8>::new(port).write(value);
            wait();
        }
    }
}

fn write_register(register: Register, value: u8) {
    match register {
        // SAFETY: ACPI's reset register.
        Register::Port(port) => unsafe { Port::<u8>::new(port).write(value) },
        Register::Memory(address) => {
            if let Ok(register) = mm::ioremap(address, 1) {
                // SAFETY: mapped, and ACPI's reset register.
                unsafe { register.write_volatile(value) };
            }
        }
        Register::Pci(device, function, offset) => {
            pci::write8(pci::Sbdf::new(0, 0, device, function), offset, value);
        }
    }
}

/// A few milliseconds, without relying on any clock.
fn wait() {
    for _ in 0..10_000 {
        // SAFETY: the POST port; writing there takes about a microsecond and does nothing.
        unsafe { Port::<u8>::new(0x80).write(0) };
    }
}
