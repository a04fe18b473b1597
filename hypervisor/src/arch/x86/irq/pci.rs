//! PCI configuration space: ports 0xcf8/0xcfc, and memory where MCFG says so.

use crate::acpi;
use crate::arch::x86::mm;
use crate::sync::{Level, SpinLock};
use x86_64::instructions::port::Port;

/// Segment, bus, device, function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sbdf(pub u32);

impl Sbdf {
    /// From the parts.
    pub const fn new(segment: u16, bus: u8, device: u8, function: u8) -> Self {
        Self(
            (segment as u32) << 16
                | (bus as u32) << 8
                | (device as u32 & 31) << 3
                | (function as u32 & 7),
        )
    }
    /// Segment.
    pub const fn segment(self) -> u16 {
        (self.0 >> 16) as u16
    }
    /// Bus.
    pub const fn bus(self) -> u8 {
        (self.0 >> 8) as u8
    }
    /// Device and function.
    pub const fn devfn(self) -> u8 {
        self.0 as u8
    }
}

impl core::fmt::Display for Sbdf {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        let devfn = self.devfn();
        write!(
            f,
            "{:04x}:{:02x}:{:02x}.{}",
            self.segment(),
            self.bus(),
            devfn >> 3,
            devfn & 7
        )
    }
}

/// The pair of ports 0xcf8 (address) and 0xcfc (data). Whoever uses them, on Domain-0's behalf too, holds this lock; the
/// value is what Domain-0 last wrote to 0xcf8.
pub static CONFIG_PORTS: SpinLock<u32> = SpinLock::new(Level::PciConfig, 0);

/// Where MCFG has the register, mapped; `None` without MCFG.
fn in_memory(sbdf: Sbdf, offset: u16) -> Option<*mut u8> {
    let info = acpi::info().mmconfig.iter().find(|m| {
        m.segment == sbdf.segment() && (m.first_bus..=m.last_bus).contains(&sbdf.bus())
    })?;
    let base = info.base + (u64::from(sbdf.bus()) << 20);
    let bus = mm::ioremap(base, 1 << 20).ok()?;
    Some(bus.wrapping_add(usize::from(sbdf.devfn()) << 12 | usize::from(offset & 0xfff)))
}

fn address(sbdf: Sbdf, offset: u16) -> u32 {
    0x8000_0000 | (sbdf.0 & 0xffff) << 8 | u32::from(offset & 0xfc)
}

fn by_ports(sbdf: Sbdf, offset: u16) -> bool {
    sbdf.segment() == 0 && offset < 256
}

macro_rules! access {
    ($read:ident, $write:ident, $type:ty, $doc:literal) => {
        #[doc = concat!("Reads ", $doc, " of configuration space; all ones where there is nothing.")]
        pub fn $read(sbdf: Sbdf, offset: u16) -> $type {
            let offset = offset & !(size_of::<$type>() as u16 - 1);
            if by_ports(sbdf, offset) {
                let _ports = CONFIG_PORTS.lock();
                // SAFETY: the PC's configuration ports, under their lock; reading configuration space is harmless.
                unsafe {
                    Port::<u32>::new(0xcf8).write(address(sbdf, offset));
                    return Port::<$type>::new(0xcfc + (offset & 3)).read();
                }
            }
            match in_memory(sbdf, offset) {
                // SAFETY: mapped configuration space, aligned.
                Some(register) => unsafe { register.cast::<$type>().read_volatile() },
                None => <$type>::MAX,
            }
        }

        #[doc = concat!("Writes ", $doc, " of configuration space.")]
        pub fn $write(sbdf: Sbdf, offset: u16, value: $type) {
            let offset = offset & !(size_of::<$type>() as u16 - 1);
            if by_ports(sbdf, offset) {
                let _ports = CONFIG_PORTS.lock();
                // SAFETY: the PC's configuration ports, under their lock; callers own the register they change.
                unsafe {
                    Port::<u32>::new(0xcf8).write(address(sbdf, offset));
                    Port::<$type>::new(0xcfc + (offset & 3)).write(value);
                }
            } else if let Some(register) = in_memory(sbdf, offset) {
                // SAFETY: mapped configuration space, aligned.
                unsafe { register.cast::<$type>().write_volatile(value) };
            }
        }
    };
}

access!(read8, write8, u8, "a byte");
access!(read16, write16, u16, "two bytes");
access!(read32, write32, u32, "four bytes");

/// Whether a device answers.
pub fn present(sbdf: Sbdf) -> bool {
    read16(sbdf, 0) != 0xffff
}

/// Offset of the capability with this id.
pub fn find_capability(sbdf: Sbdf, id: u8) -> Option<u16> {
    const STATUS_CAPABILITIES: u16 = 1 << 4;
    if !present(sbdf) || read16(sbdf, 6) & STATUS_CAPABILITIES == 0 {
        return None;
    }
    let mut at = u16::from(read8(sbdf, 0x34) & 0xfc);
    // 48 capabilities fill the space: a longer list is a loop.
    for _ in 0..48 {
        if at < 0x40 {
            return None;
        }
        let header = read16(sbdf, at);
        if header & 0xff == u16::from(id) {
            return Some(at);
        }
        at = header >> 8 & 0xfc;
    }
    None
}

/// Physical address of memory BAR `index`; `None` for I/O, for unset and for absent ones.
pub fn memory_bar(sbdf: Sbdf, index: u8) -> Option<u64> {
    // Bridges (header type 1) have two BARs, devices six.
    let count = if read8(sbdf, 0x0e) & 0x7f == 0 { 6 } else { 2 };
    if index >= count {
        return None;
    }
    let offset = 0x10 + u16::from(index) * 4;
    let low = read32(sbdf, offset);
    if low & 1 != 0 {
        return None;
    }
    let wide = low >> 1 & 3 == 2;
    let high = if wide && index + 1 < count {
        read32(sbdf, offset + 4)
    } else {
        0
    };
    Some(u64::from(low & !0xf) | u64::from(high) << 32).filter(|address| *address != 0)
}
