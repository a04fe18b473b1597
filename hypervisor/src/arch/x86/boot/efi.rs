//! What UEFI left behind for Domain-0: the system table and its configuration tables (UEFI 2.10 §4.3).
//!
//! Boot services have ended and nobody has called `SetVirtualAddressMap`, so all pointers are physical.

use crate::arch::x86::mm;
use alloc::vec::Vec;
use domain::{EfiInfo, EfiRegion};
use spin::Once;

const SIGNATURE: u64 = u64::from_le_bytes(*b"IBI SYST");
/// Bytes of the system table's 64-bit layout.
const TABLE_SIZE: u64 = 120;
/// More UTF-16 units than this in a vendor's name are ignored.
const VENDOR_MAX: usize = 100;
/// More configuration tables than this are nonsense.
const CONFIG_MAX: u64 = 1024;
/// Memory regions we keep.
const REGIONS_MAX: usize = 128;

/// What UEFI left behind, if it started us. Needs the heap and `mm`.
pub fn info() -> Option<&'static EfiInfo> {
    static INFO: Once<Option<EfiInfo>> = Once::new();
    INFO.call_once(|| super::info().efi_system_table.and_then(collect))
        .as_ref()
}

fn collect(table: u64) -> Option<EfiInfo> {
    if read::<u64>(table)? != SIGNATURE {
        log::warn!("EFI: no system table at {table:#x}");
        return None;
    }
    // Map it in one go, so that the fields below share the mapping.
    mm::map_firmware(table, TABLE_SIZE).ok()?;
    let runtime_services: u64 = read(table + 88)?;
    Some(EfiInfo {
        version: read(table + 8)?,
        firmware_revision: read(table + 32)?,
        vendor: vendor(read(table + 24)?),
        runtime_version: read(runtime_services.checked_add(8)?)?,
        config_count: read::<u64>(table + 104)?.min(CONFIG_MAX) as u32,
        config_tables: read(table + 112)?,
        regions: REGIONS.get().map_or(Vec::new(), |r| r.list().to_vec()),
    })
}

/// Regions of UEFI's memory map that are not free RAM, kept until there is a heap.
pub struct Regions {
    list: [EfiRegion; REGIONS_MAX],
    count: usize,
}

static REGIONS: Once<Regions> = Once::new();

impl Regions {
    /// None yet.
    pub const fn new() -> Self {
        let blank = EfiRegion {
            start: 0,
            end: 0,
            kind: 0,
            attributes: 0,
        };
        Self {
            list: [blank; REGIONS_MAX],
            count: 0,
        }
    }

    /// Adds one; more than [`REGIONS_MAX`] are ignored.
    pub fn push(&mut self, region: EfiRegion) {
        if let Some(slot) = self.list.get_mut(self.count) {
            *slot = region;
            self.count += 1;
        }
    }

    fn list(&self) -> &[EfiRegion] {
        &self.list[..self.count]
    }

    /// Makes these the machine's.
    pub fn keep(self) {
        REGIONS.call_once(|| self);
    }
}

/// Reads a value at a physical address.
fn read<T: Copy>(address: u64) -> Option<T> {
    let pointer = mm::map_firmware(address, size_of::<T>() as u64).ok()?;
    // SAFETY: mapped for at least the size of T, which is an integer.
    Some(unsafe { pointer.cast::<T>().read_unaligned() })
}

fn vendor(address: u64) -> Vec<u16> {
    let mut name = Vec::new();
    if address != 0 {
        let units = (0..VENDOR_MAX as u64).map_while(|i| read::<u16>(address + i * 2));
        name.extend(units.take_while(|unit| *unit != 0));
    }
    name.push(0);
    name
}
