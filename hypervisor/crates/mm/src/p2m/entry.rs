//! One 64-bit entry of a nested page table, in either vendor's format ([`Format`]).
//!
//! AMD64 APM volume 2, 15.25 (nested paging: ordinary long-mode entries, user accessible) and Intel SDM volume 3,
//! "EPT translation mechanism". Both leave bits 52..56 to software: there the [`Kind`] lives.
use xen_abi::Mfn;

/// Which hardware walks the tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// AMD-V nested page tables, root in nCR3.
    Npt,
    /// VT-x extended page tables, root in the EPTP.
    Ept,
}

/// What a mapping stands for, and with it what the guest may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// The domain's own page (or a hypervisor page shown to it). Holds a page reference.
    Ram = 1,
    /// The same, but writes fault so that they are noticed.
    LogDirty = 2,
    /// The domain's own page, never writable by it: ROM.
    RamRo = 3,
    /// A mapped grant, writable. The references are the maptrack's.
    GrantRw = 4,
    /// A mapped grant, read-only. The references are the maptrack's.
    GrantRo = 5,
    /// Another domain's page. Holds a writable reference.
    Foreign = 6,
    /// A device's registers or memory, at its own address. Holds nothing.
    Device = 7,
}

impl Kind {
    fn of(bits: u64) -> Option<Kind> {
        Some(match bits {
            1 => Kind::Ram,
            2 => Kind::LogDirty,
            3 => Kind::RamRo,
            4 => Kind::GrantRw,
            5 => Kind::GrantRo,
            6 => Kind::Foreign,
            7 => Kind::Device,
            _ => return None,
        })
    }

    /// May the guest write without a fault?
    pub fn writable(self) -> bool {
        matches!(
            self,
            Kind::Ram | Kind::GrantRw | Kind::Foreign | Kind::Device
        )
    }

    /// May the guest execute it? Grants, foreign pages and devices are data.
    pub fn executable(self) -> bool {
        !self.is_grant() && !matches!(self, Kind::Foreign | Kind::Device)
    }

    /// The domain's own memory?
    pub fn is_ram(self) -> bool {
        matches!(self, Kind::Ram | Kind::LogDirty | Kind::RamRo)
    }

    /// A mapped grant?
    pub fn is_grant(self) -> bool {
        matches!(self, Kind::GrantRw | Kind::GrantRo)
    }
}

/// Bits of the frame number.
const ADDR: u64 = 0x000f_ffff_ffff_f000;
const KIND_SHIFT: u32 = 52;
const KIND_MASK: u64 = 0xf << KIND_SHIFT;
/// "This is a leaf" above the lowest level, in both formats.
const LARGE: u64 = 1 << 7;

// Nested page tables.
const NPT_P: u64 = 1;
const NPT_RW: u64 = 1 << 1;
const NPT_US: u64 = 1 << 2;
/// Accessed and dirty, set beforehand: the CPU need not.
const NPT_AD: u64 = 1 << 5 | 1 << 6;
const NPT_NX: u64 = 1 << 63;

// Extended page tables.
const EPT_R: u64 = 1;
const EPT_W: u64 = 1 << 1;
const EPT_X: u64 = 1 << 2;
/// Write-back whatever the guest's PAT says: there is no device behind RAM.
const EPT_WB: u64 = 6 << 3 | 1 << 6;

/// A present entry, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Decoded {
    Table(Mfn),
    Leaf(Mfn, Kind),
}

impl Format {
    /// The entry that names a lower table.
    pub(super) fn table(self, mfn: Mfn) -> u64 {
        mfn.addr()
            | match self {
                Format::Npt => NPT_P | NPT_RW | NPT_US | 1 << 5,
                Format::Ept => EPT_R | EPT_W | EPT_X,
            }
    }

    /// The entry at `level` (1 = 4K, 2 = 2M, 3 = 1G) that maps `mfn` and what follows.
    pub(super) fn leaf(self, level: u32, mfn: Mfn, kind: Kind) -> u64 {
        let large = if level > 1 { LARGE } else { 0 };
        let may = |yes: bool, bit: u64| if yes { bit } else { 0 };
        let rights = match self {
            Format::Npt => {
                NPT_P
                    | NPT_US
                    | NPT_AD
                    | may(kind.writable(), NPT_RW)
                    | may(!kind.executable(), NPT_NX)
            }
            // Uncached unless the guest's PAT says write-combining, which goes first.
            Format::Ept => {
                may(kind != Kind::Device, EPT_WB)
                    | EPT_R
                    | may(kind.writable(), EPT_W)
                    | may(kind.executable(), EPT_X)
            }
        };
        mfn.addr() & ADDR | large | rights | (kind as u64) << KIND_SHIFT
    }

    /// What an entry at `level` says; `None` if nothing.
    pub(super) fn decode(self, level: u32, entry: u64) -> Option<Decoded> {
        // Bit 0 is "present" in one format and "readable" in the other; we never make unreadable mappings.
        if entry & 1 == 0 {
            return None;
        }
        let mfn = Mfn::from_addr(entry & ADDR);
        if level == 1 || entry & LARGE != 0 {
            Kind::of((entry & KIND_MASK) >> KIND_SHIFT).map(|k| Decoded::Leaf(mfn, k))
        } else {
            Some(Decoded::Table(mfn))
        }
    }

    /// What the hardware's register wants to find the root: nCR3, or an EPTP (write-back, four levels).
    pub fn root_pointer(self, root: Mfn) -> u64 {
        match self {
            Format::Npt => root.addr(),
            Format::Ept => root.addr() | 3 << 3 | 6,
        }
    }
}

/// The hardware's view of an entry, for tests that check it against the manuals' bits.
#[cfg(test)]
pub(super) fn rights(format: Format, entry: u64) -> (bool, bool, bool) {
    match format {
        Format::Npt => (
            entry & (NPT_P | NPT_US) == NPT_P | NPT_US,
            entry & NPT_RW != 0,
            entry & NPT_NX == 0,
        ),
        Format::Ept => (entry & EPT_R != 0, entry & EPT_W != 0, entry & EPT_X != 0),
    }
}
