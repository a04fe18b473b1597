//! Interrupt vectors: fixed ones, and each CPU's own table for devices.

use crate::percpu;
use core::sync::atomic::Ordering;

/// First vector for devices.
pub const FIRST_DEVICE: u8 = 0x30;
/// Last vector for devices.
pub const LAST_DEVICE: u8 = 0xdf;
/// First vector between CPUs.
pub const FIRST_IPI: u8 = 0xe0;
/// "Look for something to do."
pub const KICK: u8 = 0xf0;
/// Cross-CPU call.
pub const CALL: u8 = 0xf1;
/// The local APIC's timer.
pub const TIMER: u8 = 0xf2;
/// The local APIC found an error.
pub const APIC_ERROR: u8 = 0xfe;
/// The local APIC changed its mind.
pub const SPURIOUS: u8 = 0xff;

/// INT 0x80 and INT 0x82 are system calls of guests; no device may have those vectors.
const KEEP_FREE: [u8; 2] = [0x80, 0x82];

/// Why there is no vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorError {
    /// All in use.
    Full,
    /// No such CPU.
    BadCpu,
}

/// Gives `irq` a vector on `cpu`.
pub fn alloc(cpu: u32, irq: u32) -> Result<u8, VectorError> {
    let table = &percpu::of(cpu).ok_or(VectorError::BadCpu)?.vectors;
    (FIRST_DEVICE..=LAST_DEVICE)
        .filter(|vector| !KEEP_FREE.contains(vector))
        .find(|vector| {
            table[usize::from(*vector)]
                .compare_exchange(super::NO_IRQ, irq, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        })
        .ok_or(VectorError::Full)
}

/// Takes `irq`'s vector back.
pub fn free(cpu: u32, vector: u8, irq: u32) {
    if let Some(cpu) = percpu::of(cpu) {
        // Somebody else's entry stays.
        let _ = cpu.vectors[usize::from(vector)].compare_exchange(
            irq,
            super::NO_IRQ,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }
}

/// The irq that has `vector` on this CPU.
pub fn lookup(vector: u8) -> u32 {
    percpu::current().vectors[usize::from(vector)].load(Ordering::Acquire)
}
