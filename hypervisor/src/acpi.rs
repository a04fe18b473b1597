//! What the ACPI tables say about CPUs, interrupt controllers, timers and the power registers. No AML.
//!
//! Key type: [`AcpiInfo`], read once at boot through the `acpi` crate.

use crate::arch::x86::boot::BootInfo;
use crate::arch::x86::mm;
use ::acpi::sdt::fadt::Fadt;
use ::acpi::sdt::hpet::HpetInfo;
use ::acpi::sdt::madt::{Madt, MadtEntry, Polarity, TriggerMode, parse_mps_inti_flags};
use ::acpi::sdt::mcfg::Mcfg;
use ::acpi::{AcpiTables, Handler, PciAddress, PhysicalMapping, address};
use alloc::vec::Vec;
use core::ptr::NonNull;
use spin::Once;

/// One I/O APIC.
#[derive(Clone, Copy, Debug)]
pub struct IoApicInfo {
    /// Its id.
    pub id: u8,
    /// Physical address of its registers.
    pub address: u32,
    /// First global system interrupt.
    pub gsi_base: u32,
}

/// An ISA interrupt that is not wired to the GSI of its own number, or not edge-triggered active-high.
#[derive(Clone, Copy, Debug)]
pub struct Override {
    /// Its global system interrupt.
    pub gsi: u32,
    /// Level-triggered.
    pub level: bool,
    /// Active low.
    pub low: bool,
}

/// PCI configuration space in memory.
#[derive(Clone, Copy, Debug)]
pub struct Mmconfig {
    /// Physical address of bus 0's space, even if the range starts later.
    pub base: u64,
    /// PCI segment.
    pub segment: u16,
    /// First bus.
    pub first_bus: u8,
    /// Last bus.
    pub last_bus: u8,
}

/// A register that ACPI places in I/O ports, memory or PCI configuration space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// An I/O port.
    Port(u16),
    /// A physical address.
    Memory(u64),
    /// Bus 0: device, function, offset.
    Pci(u8, u8, u16),
}

/// A processor.
#[derive(Clone, Copy, Debug)]
pub struct Processor {
    /// Its local APIC's id.
    pub apic_id: u32,
    /// ACPI's processor id, or UID.
    pub acpi_id: u32,
}

/// What we keep from the tables.
#[derive(Clone, Debug, Default)]
pub struct AcpiInfo {
    /// Enabled processors in table order.
    pub processors: Vec<Processor>,
    /// Processors listed but disabled (hot-pluggable).
    pub disabled: u32,
    /// Local APIC registers.
    pub lapic_address: u64,
    /// I/O APICs.
    pub ioapics: Vec<IoApicInfo>,
    /// ISA overrides.
    pub overrides: Vec<Override>,
    /// Two 8259 interrupt controllers exist.
    pub has_8259: bool,
    /// PCI configuration space in memory.
    pub mmconfig: Vec<Mmconfig>,
    /// Physical address of the HPET.
    pub hpet: Option<u64>,
    /// Port of the ACPI PM timer, and whether it has 32 bits.
    pub pm_timer: Option<(u16, bool)>,
    /// PM1a and PM1b control ports.
    pub pm1_control: (Option<u16>, Option<u16>),
    /// Reset register and the value that resets.
    pub reset: Option<(Register, u8)>,
    /// Port and value that switch ACPI mode on, when firmware has not.
    pub smi_enable: Option<(u16, u8)>,
    /// SLP_TYPa and SLP_TYPb of S5.
    pub s5: Option<(u8, u8)>,
    /// The SCI's interrupt.
    pub sci: u16,
    /// Signature and address of each table but the DSDT.
    pub tables: Vec<([u8; 4], u64)>,
    /// The MADT as it is.
    pub madt: Vec<u8>,
    /// `century` byte of the CMOS clock.
    pub cmos_century: u8,
}

static INFO: Once<AcpiInfo> = Once::new();

/// The information; empty without ACPI.
pub fn info() -> &'static AcpiInfo {
    INFO.call_once(AcpiInfo::default)
}

/// Reads the tables.
pub fn init(boot: &BootInfo) {
    let Some(rsdp) = boot.rsdp.or_else(find_rsdp) else {
        log::warn!("ACPI: no tables found");
        INFO.call_once(fallback);
        return;
    };
    // SAFETY: the address comes from the boot loader, or carries a signature and checksum.
    let tables = match unsafe { AcpiTables::from_rsdp(Firmware, rsdp as usize) } {
        Ok(tables) => tables,
        Err(error) => {
            log::warn!("ACPI: root table unusable: {error:?}");
            INFO.call_once(fallback);
            return;
        }
    };
    let mut found = AcpiInfo {
        lapic_address: 0xfee0_0000,
        has_8259: true,
        ..AcpiInfo::default()
    };
    match tables.find_table::<Madt>() {
        Some(madt) => read_madt(&madt, &mut found),
        None => log::warn!("ACPI: no MADT"),
    }
    match tables.find_table::<Fadt>() {
        Some(fadt) => read_fadt(&fadt, &mut found),
        None => log::warn!("ACPI: no FADT"),
    }
    if let Some(mcfg) = tables.find_table::<Mcfg>() {
        found
            .mmconfig
            .extend(mcfg.entries().iter().map(|entry| Mmconfig {
                base: entry.base_address,
                segment: entry.pci_segment_group,
                first_bus: entry.bus_number_start,
                last_bus: entry.bus_number_end,
            }));
    }
    for (at, header) in tables.table_headers() {
        let signature = header.signature.as_str().as_bytes();
        let signature = signature.try_into().unwrap_or([0; 4]);
        found.tables.push((signature, at as u64));
        if signature == *b"APIC" {
            found.madt = bytes(at as u64, header.length as usize);
        }
    }
    found.hpet = HpetInfo::new(&tables)
        .ok()
        .map(|hpet| hpet.base_address as u64);
    found.s5 = tables
        .dsdt()
        .ok()
        .and_then(|dsdt| find_s5(dsdt.phys_address as u64, u64::from(dsdt.length)));
    INFO.call_once(|| found);
}

/// A copy of a table; empty if it cannot be mapped.
fn bytes(at: u64, len: usize) -> Vec<u8> {
    match mm::map_firmware(at, len as u64) {
        // SAFETY: mapped, and nobody changes it.
        Ok(va) => unsafe { core::slice::from_raw_parts(va.cast::<u8>(), len) }.to_vec(),
        Err(_) => Vec::new(),
    }
}

/// One CPU and the legacy interrupt controllers' addresses.
fn fallback() -> AcpiInfo {
    AcpiInfo {
        lapic_address: 0xfee0_0000,
        has_8259: true,
        ..AcpiInfo::default()
    }
}

fn read_madt(madt: &PhysicalMapping<Firmware, Madt>, found: &mut AcpiInfo) {
    found.lapic_address = u64::from(madt.get().local_apic_address);
    found.has_8259 = madt.get().supports_8259();
    let mut add = |apic_id: u32, acpi_id: u32, flags: u32| {
        if flags & 1 == 0 {
            found.disabled += 1;
        } else if !found.processors.iter().any(|p| p.apic_id == apic_id) {
            found.processors.push(Processor { apic_id, acpi_id });
        }
    };
    for entry in madt.get().entries() {
        match entry {
            MadtEntry::LocalApic(e) if e.apic_id != 0xff => {
                add(e.apic_id.into(), e.processor_id.into(), e.flags)
            }
            MadtEntry::LocalX2Apic(e) => add(e.x2apic_id, e.processor_uid, e.flags),
            _ => {}
        }
    }
    for entry in madt.get().entries() {
        match entry {
            MadtEntry::IoApic(e) => found.ioapics.push(IoApicInfo {
                id: e.io_apic_id,
                address: e.io_apic_address,
                gsi_base: e.global_system_interrupt_base,
            }),
            MadtEntry::InterruptSourceOverride(e) => {
                let flags = e.flags;
                // ISA's own way is edge-triggered, active high.
                let (polarity, trigger) = parse_mps_inti_flags(flags)
                    .unwrap_or((Polarity::SameAsBus, TriggerMode::SameAsBus));
                found.overrides.push(Override {
                    gsi: e.global_system_interrupt,
                    level: trigger == TriggerMode::Level,
                    low: polarity == Polarity::ActiveLow,
                });
            }
            MadtEntry::LocalApicAddressOverride(e) => found.lapic_address = e.local_apic_address,
            _ => {}
        }
    }
}

fn register(address: address::GenericAddress) -> Option<Register> {
    let at = address.address;
    match address.address_space {
        address::AddressSpace::SystemIo => u16::try_from(at).ok().map(Register::Port),
        address::AddressSpace::SystemMemory => Some(Register::Memory(at)),
        address::AddressSpace::PciConfigSpace => {
            Some(Register::Pci((at >> 32) as u8, (at >> 16) as u8, at as u16))
        }
        _ => None,
    }
}

fn port(address: address::GenericAddress) -> Option<u16> {
    match register(address)? {
        Register::Port(port) if port != 0 => Some(port),
        _ => None,
    }
}

fn read_fadt(fadt: &Fadt, found: &mut AcpiInfo) {
    let flags = fadt.flags;
    found.sci = fadt.sci_interrupt;
    found.pm_timer = fadt
        .pm_timer_block()
        .ok()
        .flatten()
        .and_then(port)
        .map(|port| (port, flags.pm_timer_is_32_bit()));
    found.pm1_control = (
        fadt.pm1a_control_block().ok().and_then(port),
        fadt.pm1b_control_block().ok().flatten().and_then(port),
    );
    if flags.supports_system_reset_via_fadt() {
        found.reset = fadt
            .reset_register()
            .ok()
            .and_then(register)
            .map(|register| (register, fadt.reset_value));
    }
    let smi_port = fadt.smi_cmd_port;
    if let Ok(port @ 1..) = u16::try_from(smi_port) {
        found.smi_enable = Some((port, fadt.acpi_enable));
    }
    found.cmos_century = fadt.century;
}

/// SLP_TYP values of S5, found by the bytes that every compiler makes of `Name (_S5_, Package () { a, b, … })`
/// (ACPI 6.5 §20.2: NameOp, name, PackageOp, PkgLength, NumElements, data objects).
fn find_s5(address: u64, len: u64) -> Option<(u8, u8)> {
    let bytes = mm::map_firmware(address, len).ok()?;
    // SAFETY: mapped for `len` bytes; firmware does not change its tables.
    let aml = unsafe { core::slice::from_raw_parts(bytes, len as usize) };
    aml.windows(4)
        .enumerate()
        .filter(|(_, window)| *window == b"_S5_")
        .find_map(|(at, _)| sleep_types(aml.get(at + 4..)?))
}

/// The first two small integers of the AML package at the start of `code`.
fn sleep_types(code: &[u8]) -> Option<(u8, u8)> {
    let rest = code.strip_prefix(&[0x12])?;
    // PkgLength: the two top bits of the first byte count the bytes that follow.
    let skip = 1 + usize::from(rest.first()? >> 6);
    let mut rest = rest.get(skip + 1..)?;
    let mut integer = || {
        let (value, used) = match *rest.first()? {
            0x0a => (*rest.get(1)?, 2),
            value @ 0..=1 => (value, 1),
            _ => return None,
        };
        rest = rest.get(used..)?;
        // SLP_TYP has three bits.
        (value < 8).then_some(value)
    };
    Some((integer()?, integer()?))
}

/// Looks for the root pointer where BIOSes put it (ACPI 6.5 §5.2.5.1).
fn find_rsdp() -> Option<u64> {
    // SAFETY: the first MiB is in the direct map; 0x40e holds the extended BIOS data area's segment.
    let ebda = u64::from(unsafe { mm::phys_to_virt(0x40e).cast::<u16>().read_unaligned() }) << 4;
    let areas = [(ebda, ebda + 1024), (0xe_0000, 0x10_0000)];
    areas
        .into_iter()
        .filter(|(start, end)| *start >= 0x1000 && *end <= 0x10_0000)
        .find_map(|(start, end)| {
            (start..end - 20).step_by(16).find(|at| {
                // SAFETY: as above.
                let bytes: [u8; 20] =
                    unsafe { mm::phys_to_virt(*at).cast::<[u8; 20]>().read_unaligned() };
                bytes.starts_with(b"RSD PTR ")
                    && bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) == 0
            })
        })
}

/// Maps tables for the `acpi` crate; everything else its handler could do is for AML, which we do not run.
#[derive(Clone, Copy)]
struct Firmware;

impl Handler for Firmware {
    unsafe fn map_physical_region<T>(
        &self,
        physical_address: usize,
        size: usize,
    ) -> PhysicalMapping<Self, T> {
        let Some(virtual_start) = mm::map_firmware(physical_address as u64, size as u64)
            .ok()
            .and_then(|va| NonNull::new(va.cast::<T>()))
        else {
            crate::panic::fatal_fmt(format_args!(
                "cannot map the ACPI table at {physical_address:#x}"
            ));
        };
        PhysicalMapping {
            physical_start: physical_address,
            virtual_start,
            region_length: size,
            mapped_length: size,
            handler: *self,
        }
    }
    fn unmap_physical_region<T>(_: &PhysicalMapping<Self, T>) {}

    fn read_u8(&self, _: usize) -> u8 {
        0
    }
    fn read_u16(&self, _: usize) -> u16 {
        0
    }
    fn read_u32(&self, _: usize) -> u32 {
        0
    }
    fn read_u64(&self, _: usize) -> u64 {
        0
    }
    fn write_u8(&self, _: usize, _: u8) {}
    fn write_u16(&self, _: usize, _: u16) {}
    fn write_u32(&self, _: usize, _: u32) {}
    fn write_u64(&self, _: usize, _: u64) {}
    fn read_io_u8(&self, _: u16) -> u8 {
        0
    }
    fn read_io_u16(&self, _: u16) -> u16 {
        0
    }
    fn read_io_u32(&self, _: u16) -> u32 {
        0
    }
    fn write_io_u8(&self, _: u16, _: u8) {}
    fn write_io_u16(&self, _: u16, _: u16) {}
    fn write_io_u32(&self, _: u16, _: u32) {}
    fn read_pci_u8(&self, _: PciAddress, _: u16) -> u8 {
        0
    }
    fn read_pci_u16(&self, _: PciAddress, _: u16) -> u16 {
        0
    }
    fn read_pci_u32(&self, _: PciAddress, _: u16) -> u32 {
        0
    }
    fn write_pci_u8(&self, _: PciAddress, _: u16, _: u8) {}
    fn write_pci_u16(&self, _: PciAddress, _: u16, _: u16) {}
    fn write_pci_u32(&self, _: PciAddress, _: u16, _: u32) {}
    fn nanos_since_boot(&self) -> u64 {
        0
    }
    fn stall(&self, _: u64) {}
    fn sleep(&self, _: u64) {}
}
