//! The I/O APICs as a PVH Domain-0 sees them: it finds and programs them, and nothing comes of it. Its device interrupts are event
//! channels (`PHYSDEVOP_map_pirq`), the machine's I/O APICs are the hypervisor's.

use crate::acpi;
use alloc::vec::Vec;
use domain::{Domain, Mutex};
use vdev::vioapic::IoApic;

const PAGE: u64 = 0xfff;

/// Page and state of each, made when first used.
static IOAPICS: Mutex<Vec<(u64, IoApic)>> = Mutex::new(Vec::new());

/// Calls `f` with the one at `gpa`; `None`: none there, or not for this domain.
fn at<R>(dom: &Domain, gpa: u64, f: impl FnOnce(&mut IoApic) -> R) -> Option<R> {
    if !dom.privileged {
        return None;
    }
    let mut list = IOAPICS.lock();
    if list.is_empty() {
        list.extend(acpi::info().ioapics.iter().map(|io| {
            let pins = crate::arch::x86::irq::gsi_count().saturating_sub(io.gsi_base);
            let page = u64::from(io.address) & !PAGE;
            (page, IoApic::new(pins as usize, io.id))
        }));
    }
    let (_, io) = list.iter_mut().find(|(page, _)| *page == gpa & !PAGE)?;
    Some(f(io))
}

/// Reads a register.
pub fn read(dom: &Domain, gpa: u64, size: u8) -> Option<u32> {
    at(dom, gpa, |io| io.read((gpa & PAGE) as u16, size))
}

/// Writes one, which is remembered.
pub fn write(dom: &Domain, gpa: u64, size: u8, value: u32) -> Option<()> {
    at(dom, gpa, |io| {
        io.write((gpa & PAGE) as u16, size, value, |_| {});
    })
}
