//! The two 8259 interrupt controllers: moved out of the way and masked.

use x86_64::instructions::port::Port;

/// Where a spurious interrupt of a masked controller would arrive.
const VECTOR_BASE: u8 = 0x20;

/// Initialises both controllers (a masked one may still raise a spurious interrupt) and masks all lines.
pub fn disable() {
    let write = |port: u16, value: u8| {
        // SAFETY: the PC's interrupt controller ports; they do nothing where there is no controller.
        unsafe { Port::<u8>::new(port).write(value) };
    };
    // ICW1..ICW4 (8259A data sheet): cascade, vector base, wiring, 8086 mode.
    for (command, data, base, wiring) in [
        (0x20, 0x21, VECTOR_BASE, 4),
        (0xa0, 0xa1, VECTOR_BASE + 8, 2),
    ] {
        write(command, 0x11);
        write(data, base);
        write(data, wiring);
        write(data, 0x01);
        write(data, 0xff);
    }
}
