//! I/O APICs: routing global system interrupts (82093AA data sheet; one redirection entry per pin).

use crate::acpi;
use crate::arch::x86::mm;
use crate::sync::{Level, SpinLock};
use alloc::vec::Vec;

const REG_VERSION: u32 = 1;
const REG_REDIRECTION: u32 = 0x10;
const MASKED: u32 = 1 << 16;
const LEVEL: u32 = 1 << 15;
const ACTIVE_LOW: u32 = 1 << 13;

struct IoApic {
    registers: *mut u8,
    gsi_base: u32,
    pins: u32,
}

// SAFETY: the registers are used under the lock around the list only.
unsafe impl Send for IoApic {}

/// Where a pin's interrupt goes.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Target local APIC.
    pub apic_id: u32,
    /// Vector.
    pub vector: u8,
    /// Level-triggered.
    pub level: bool,
    /// Active low.
    pub low: bool,
    /// Masked.
    pub masked: bool,
}

static IOAPICS: SpinLock<Vec<IoApic>> = SpinLock::new(Level::IoApic, Vec::new());

impl IoApic {
    fn read(&self, register: u32) -> u32 {
        // SAFETY: mapped; index register at 0, data at 0x10; the lock keeps the pair together.
        unsafe {
            self.registers.cast::<u32>().write_volatile(register);
            self.registers.add(0x10).cast::<u32>().read_volatile()
        }
    }

    fn write(&self, register: u32, value: u32) {
        // SAFETY: as for `read`.
        unsafe {
            self.registers.cast::<u32>().write_volatile(register);
            self.registers.add(0x10).cast::<u32>().write_volatile(value);
        }
    }
}

/// Maps all I/O APICs and masks all pins.
pub fn init() {
    let mut list = Vec::new();
    for info in &acpi::info().ioapics {
        let Ok(registers) = mm::ioremap(u64::from(info.address), 4096) else {
            log::error!("I/O APIC {}: cannot map its registers", info.id);
            continue;
        };
        let mut ioapic = IoApic {
            registers,
            gsi_base: info.gsi_base,
            pins: 0,
        };
        let version = ioapic.read(REG_VERSION);
        if version == u32::MAX {
            log::error!(
                "I/O APIC {} at {:#x} does not answer",
                info.id,
                info.address
            );
            continue;
        }
        ioapic.pins = (version >> 16 & 0xff) + 1;
        for pin in 0..ioapic.pins {
            ioapic.write(REG_REDIRECTION + pin * 2, MASKED);
            ioapic.write(REG_REDIRECTION + pin * 2 + 1, 0);
        }
        log::info!(
            "I/O APIC {}: version {:#x}, GSI {}..{}",
            info.id,
            version & 0xff,
            ioapic.gsi_base,
            ioapic.gsi_base + ioapic.pins
        );
        list.push(ioapic);
    }
    *IOAPICS.lock() = list;
}

/// One more than the highest GSI.
pub fn gsi_count() -> u32 {
    IOAPICS
        .lock()
        .iter()
        .map(|ioapic| ioapic.gsi_base + ioapic.pins)
        .max()
        .unwrap_or(0)
}

/// (level, active low) of a GSI before anybody says otherwise: ISA's ways with MADT's overrides, PCI's above.
pub fn default_mode(gsi: u32) -> (bool, bool) {
    match acpi::info().overrides.iter().find(|over| over.gsi == gsi) {
        Some(over) => (over.level, over.low),
        None => (gsi >= 16, gsi >= 16),
    }
}

fn on_pin(gsi: u32, f: impl FnOnce(&IoApic, u32)) {
    let list = IOAPICS.lock();
    let found = list
        .iter()
        .find(|ioapic| (ioapic.gsi_base..ioapic.gsi_base + ioapic.pins).contains(&gsi));
    if let Some(ioapic) = found {
        f(ioapic, REG_REDIRECTION + (gsi - ioapic.gsi_base) * 2);
    }
}

/// Programs a pin.
pub fn route(gsi: u32, route: Route) {
    let mut low = u32::from(route.vector);
    for (set, bit) in [
        (route.level, LEVEL),
        (route.low, ACTIVE_LOW),
        (route.masked, MASKED),
    ] {
        if set {
            low |= bit;
        }
    }
    on_pin(gsi, |ioapic, register| {
        // Masked while half of the entry is old.
        ioapic.write(register, low | MASKED);
        ioapic.write(register + 1, route.apic_id << 24);
        ioapic.write(register, low);
    });
}

/// Masks or unmasks a pin.
pub fn set_mask(gsi: u32, masked: bool) {
    on_pin(gsi, |ioapic, register| {
        let low = ioapic.read(register);
        let new = if masked { low | MASKED } else { low & !MASKED };
        if new != low {
            ioapic.write(register, new);
        }
    });
}

/// Does an I/O APIC have its registers in the page of this physical address?
pub fn is_ioapic(pa: u64) -> bool {
    acpi::info()
        .ioapics
        .iter()
        .any(|io| u64::from(io.address) & !0xfff == pa & !0xfff)
}

/// Register `register` of the I/O APIC at `base`, for guests that look at its version; `None` if there is none there.
pub fn read_for_guest(base: u64, register: u32) -> Option<u32> {
    let at = acpi::info()
        .ioapics
        .iter()
        .position(|io| u64::from(io.address) == base)?;
    let list = IOAPICS.lock();
    (register <= 0xff).then(|| list.get(at).map(|io| io.read(register)))?
}
