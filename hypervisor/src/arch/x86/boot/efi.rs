//! What UEFI left behind for Domain-0: the system table and its configuration tables (UEFI 2.10 §4.3).
//!
//! Boot services have ended and nobody has called `SetVirtualAddressMap`, so all pointers are physical.

use crate::arch::x86::mm;

const SIGNATURE: u64 = u64::from_le_bytes(*b"IBI SYST");
/// Bytes of the system table's 64-bit layout.
const TABLE_SIZE: u64 = 120;
/// More UTF-16 units than this in a vendor's name are ignored.
const VENDOR_MAX: usize = 100;
/// More configuration tables than this are nonsense.
const CONFIG_MAX: u64 = 1024;

/// The system table's contents.
#[derive(Clone, Debug)]
pub struct EfiInfo {
    /// Revision of the UEFI specification: major in the upper half.
    pub version: u32,
    /// The firmware's own revision.
    pub firmware_revision: u32,
    /// Physical address of the configuration tables: a GUID and an address each.
    pub config_tables: u64,
    /// Number of configuration tables.
    pub config_count: u64,
    /// Physical address of the runtime services table.
    pub runtime_services: u64,
    /// Revision of the runtime services.
    pub runtime_version: u32,
    /// Vendor's name in UTF-16, with a terminating zero.
    pub vendor: alloc::vec::Vec<u16>,
}

/// The information, if UEFI started us. Needs the heap and `mm`.
pub fn info() -> Option<EfiInfo> {
    let table = super::info().efi_system_table?;
    if read::<u64>(table)? != SIGNATURE {
        log::warn!("EFI: no system table at {table:#x}");
        return None;
    }
    // Map it in one go, so that the fields below share the mapping.
    mm::map_firmware(table, TABLE_SIZE).ok()?;
    let runtime_services = read(table + 88)?;
    Some(EfiInfo {
        version: read(table + 8)?,
        firmware_revision: read(table + 32)?,
        vendor: vendor(read(table + 24)?),
        runtime_services,
        runtime_version: read(runtime_services + 8)?,
        config_count: read::<u64>(table + 104)?.min(CONFIG_MAX),
        config_tables: read(table + 112)?,
    })
}

/// Reads a value at a physical address.
fn read<T: Copy>(address: u64) -> Option<T> {
    let pointer = mm::map_firmware(address, size_of::<T>() as u64).ok()?;
    // SAFETY: mapped for at least the size of T, which is an integer.
    Some(unsafe { pointer.cast::<T>().read_unaligned() })
}

fn vendor(address: u64) -> alloc::vec::Vec<u16> {
    let mut name = alloc::vec::Vec::new();
    if address != 0 {
        let units = (0..VENDOR_MAX as u64).map_while(|i| read::<u16>(address + i * 2));
        name.extend(units.take_while(|unit| *unit != 0));
    }
    name.push(0);
    name
}
