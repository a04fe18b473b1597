//! Message-signalled interrupts: MSI and MSI-X (PCI Local Bus 3.0 §6.8).

use super::pci::{self, Sbdf};
use super::{IrqError, Kind, alloc_irq, find_irq, free_irq, unbind};
use crate::arch::x86::mm;

const CAP_MSI: u8 = 0x05;
const CAP_MSIX: u8 = 0x11;

const MSI_ENABLE: u16 = 1 << 0;
const MSI_64BIT: u16 = 1 << 7;
const MSI_MASKABLE: u16 = 1 << 8;
const MSI_VECTORS: u16 = 7 << 4;
const MSIX_ENABLE: u16 = 1 << 15;
const MSIX_MASK_ALL: u16 = 1 << 14;
const MSIX_SIZE: u16 = 0x7ff;
const MSIX_ENTRY: u64 = 16;
const ENTRY_MASKED: u32 = 1;
const COMMAND_MEMORY: u16 = 1 << 1;
const COMMAND_INTX_OFF: u16 = 1 << 10;

/// A device's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The device.
    pub sbdf: Sbdf,
    /// Offset of its capability.
    capability: u16,
    /// MSI-X: entry number and mapped address of the entry.
    entry: Option<(u16, u64)>,
}

impl Source {
    /// The MSI-X entry's number; `None` for plain MSI.
    pub fn msix_entry(&self) -> Option<u16> {
        self.entry.map(|(number, _)| number)
    }

    fn control(&self) -> u16 {
        pci::read16(self.sbdf, self.capability + 2)
    }

    fn set_control(&self, value: u16) {
        pci::write16(self.sbdf, self.capability + 2, value);
    }

    fn word(&self, index: usize) -> Option<*mut u32> {
        self.entry
            .map(|(_, va)| (va as *mut u32).wrapping_add(index))
    }
}

/// Gives a device's message an irq number. For MSI-X, `entry` selects the table entry and `table_base`, unless 0, must be the
/// physical address of the BAR the table is in. The message is masked, and not written before `irq::bind`.
pub fn setup(sbdf: Sbdf, entry: u16, is_msix: bool, table_base: u64) -> Result<u32, IrqError> {
    let source = if is_msix {
        msix_source(sbdf, entry, table_base)?
    } else {
        msi_source(sbdf)?
    };
    let same = |kind: &Kind| match kind {
        Kind::Msi(old) => old.sbdf == source.sbdf && old.msix_entry() == source.msix_entry(),
        _ => false,
    };
    if find_irq(same).is_some() {
        return Err(IrqError::BadDevice);
    }
    let irq = alloc_irq(Kind::Msi(source))?;
    set_mask(source, true);
    // While messages are in use the pin is not.
    let command = pci::read16(sbdf, 4);
    pci::write16(sbdf, 4, command | COMMAND_INTX_OFF);
    Ok(irq)
}

/// Takes back what [`setup`] gave; the device's last message switches its capability off.
pub fn teardown(irq: u32) -> Result<(), IrqError> {
    let Some(Kind::Msi(source)) = super::desc(irq).map(|desc| desc.kind) else {
        return Err(IrqError::BadIrq);
    };
    unbind(irq)?;
    free_irq(irq);
    let same_device = |kind: &Kind| matches!(kind, Kind::Msi(old) if old.sbdf == source.sbdf);
    if find_irq(same_device).is_none() {
        let enable = if source.entry.is_some() {
            MSIX_ENABLE
        } else {
            MSI_ENABLE
        };
        source.set_control(source.control() & !enable);
        let command = pci::read16(source.sbdf, 4);
        pci::write16(source.sbdf, 4, command & !COMMAND_INTX_OFF);
    }
    Ok(())
}

fn msi_source(sbdf: Sbdf) -> Result<Source, IrqError> {
    let capability = pci::find_capability(sbdf, CAP_MSI).ok_or(IrqError::BadDevice)?;
    let source = Source {
        sbdf,
        capability,
        entry: None,
    };
    source.set_control(source.control() & !(MSI_ENABLE | MSI_VECTORS));
    Ok(source)
}

fn msix_source(sbdf: Sbdf, number: u16, table_base: u64) -> Result<Source, IrqError> {
    let capability = pci::find_capability(sbdf, CAP_MSIX).ok_or(IrqError::BadDevice)?;
    let control = pci::read16(sbdf, capability + 2);
    if number > control & MSIX_SIZE {
        return Err(IrqError::BadDevice);
    }
    let table = pci::read32(sbdf, capability + 4);
    let bar = pci::memory_bar(sbdf, (table & 7) as u8).ok_or(IrqError::BadDevice)?;
    let offset = u64::from(table & !7);
    if table_base != 0 && table_base != bar && table_base != bar + offset {
        return Err(IrqError::BadDevice);
    }
    // The table must be device memory: a BAR that claims RAM would let Domain-0 write anywhere.
    let address = bar
        .checked_add(offset + u64::from(number) * MSIX_ENTRY)
        .ok_or(IrqError::BadDevice)?;
    if !mm::is_device_memory(address, MSIX_ENTRY) {
        return Err(IrqError::BadDevice);
    }
    let va = mm::ioremap(address, MSIX_ENTRY).map_err(|_| IrqError::BadDevice)?;
    let command = pci::read16(sbdf, 4);
    if command & COMMAND_MEMORY == 0 {
        pci::write16(sbdf, 4, command | COMMAND_MEMORY);
    }
    let source = Source {
        sbdf,
        capability,
        entry: Some((number, va as u64)),
    };
    if control & MSIX_ENABLE == 0 {
        mask_all_entries(source, bar + offset, control & MSIX_SIZE);
        source.set_control((control | MSIX_ENABLE) & !MSIX_MASK_ALL);
    }
    Ok(source)
}

/// Entries nobody has set up yet stay silent when the capability is switched on.
fn mask_all_entries(source: Source, table: u64, last: u16) {
    source.set_control(source.control() | MSIX_ENABLE | MSIX_MASK_ALL);
    let len = (u64::from(last) + 1) * MSIX_ENTRY;
    if !mm::is_device_memory(table, len) {
        return;
    }
    if let Ok(va) = mm::ioremap(table, len) {
        for entry in 0..=usize::from(last) {
            let control = va.cast::<u32>().wrapping_add(entry * 4 + 3);
            // SAFETY: mapped device memory: the vector control word of an entry of the table.
            unsafe { control.write_volatile(control.read_volatile() | ENTRY_MASKED) };
        }
    }
}

/// Writes the message: `vector` at the local APIC `apic_id`, edge-triggered, fixed delivery (SDM vol. 3 §11.11). Keeps the mask.
pub fn write_message(source: Source, apic_id: u32, vector: u8) {
    let address = 0xfee0_0000 | (apic_id & 0xff) << 12;
    let data = u32::from(vector);
    if let (Some(low), Some(high), Some(word), Some(control)) = (
        source.word(0),
        source.word(1),
        source.word(2),
        source.word(3),
    ) {
        // SAFETY: mapped device memory, one table entry; masked while it is half written.
        unsafe {
            let old = control.read_volatile();
            control.write_volatile(old | ENTRY_MASKED);
            low.write_volatile(address);
            high.write_volatile(0);
            word.write_volatile(data);
            control.write_volatile(old);
        }
        return;
    }
    let (sbdf, cap) = (source.sbdf, source.capability);
    let control = source.control();
    pci::write32(sbdf, cap + 4, address);
    if control & MSI_64BIT != 0 {
        pci::write32(sbdf, cap + 8, 0);
        pci::write16(sbdf, cap + 12, data as u16);
    } else {
        pci::write16(sbdf, cap + 8, data as u16);
    }
}

/// Masks or unmasks the message. Plain MSI without mask bits is switched off and on as a whole.
pub fn set_mask(source: Source, masked: bool) {
    if let Some(control) = source.word(3) {
        // SAFETY: mapped device memory: the entry's vector control word.
        unsafe {
            let old = control.read_volatile();
            control.write_volatile(if masked {
                old | ENTRY_MASKED
            } else {
                old & !ENTRY_MASKED
            });
        }
        return;
    }
    let control = source.control();
    if control & MSI_MASKABLE != 0 {
        let offset = source.capability + if control & MSI_64BIT != 0 { 16 } else { 12 };
        let old = pci::read32(source.sbdf, offset);
        pci::write32(source.sbdf, offset, if masked { old | 1 } else { old & !1 });
    }
    let enable = !masked || control & MSI_MASKABLE != 0;
    source.set_control(if enable {
        control | MSI_ENABLE
    } else {
        control & !MSI_ENABLE
    });
}
