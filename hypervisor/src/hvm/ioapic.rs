//! The I/O APICs as a PVH Domain-0 sees them. The machine's own are the hypervisor's.
//!
//! Its device interrupts are event channels (`PHYSDEVOP_map_pirq`). Only for ISA's edge-triggered ones, which kernels take as they
//! are, the pins it programs count: an edge at the machine's pin ([`arrived`]) becomes a message to its local APICs.

use super::apic;
use crate::acpi;
use crate::arch::x86::irq;
use crate::host::HOST;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use domain::{Domain, Host, Mutex};
use vdev::vioapic::{Delivery, IoApic};
use vdev::vlapic::{Action, Dest, Ipi};
use xen_abi::DomId;

const PAGE: u64 = 0xfff;
/// ISA's interrupts are the first.
const ISA: u32 = 16;
/// No local APIC has this id.
const NOBODY: u32 = u32::MAX - 1;

/// One of them.
struct Seen {
    page: u64,
    gsi_base: u32,
    state: IoApic,
}

/// Each, made when first used.
static IOAPICS: Mutex<Vec<Seen>> = Mutex::new(Vec::new());
/// GSIs below [`ISA`] whose edges are passed on.
static PASSED_ON: AtomicU32 = AtomicU32::new(0);

/// Calls `f` with the one at `gpa`; `None`: none there, or not for this domain.
fn at<R>(dom: &Domain, gpa: u64, f: impl FnOnce(&mut Seen) -> R) -> Option<R> {
    if !dom.privileged {
        return None;
    }
    let mut list = IOAPICS.lock();
    if list.is_empty() {
        list.extend(acpi::info().ioapics.iter().map(|io| Seen {
            page: u64::from(io.address) & !PAGE,
            gsi_base: io.gsi_base,
            state: IoApic::new(irq::gsi_count().saturating_sub(io.gsi_base) as usize, io.id),
        }));
    }
    list.iter_mut().find(|io| io.page == gpa & !PAGE).map(f)
}

/// Reads a register.
pub fn read(dom: &Domain, gpa: u64, size: u8) -> Option<u32> {
    at(dom, gpa, |io| io.state.read((gpa & PAGE) as u16, size))
}

/// Writes one.
pub fn write(dom: &Domain, gpa: u64, size: u8, value: u32) -> Option<()> {
    let open = at(dom, gpa, |io| {
        io.state.write((gpa & PAGE) as u16, size, value, |_| {});
        let takes = |gsi: &u32| {
            let pin = gsi.checked_sub(io.gsi_base);
            pin.is_some_and(|pin| io.state.takes_edges(pin as usize))
        };
        (0..ISA).filter(takes).fold(0, |set, gsi| set | 1 << gsi)
    })?;
    let new = open & !PASSED_ON.fetch_or(open, Ordering::AcqRel);
    for gsi in (0..ISA).filter(|gsi| new & 1 << gsi != 0) {
        // A line that the machine holds until its device is served would come again and again.
        let edge = irq::desc(gsi).is_some_and(|d| !d.level);
        if edge && crate::guest_irq::is_free(gsi) && irq::bind(gsi, 0).is_ok() {
            let _ = irq::unmask(gsi);
        }
    }
    Some(())
}

/// An interrupt has arrived that is no event channel; `true`: it was an edge for a pin.
pub fn arrived(gsi: u32) -> bool {
    if gsi >= ISA || PASSED_ON.load(Ordering::Acquire) & 1 << gsi == 0 {
        return false;
    }
    let message = IOAPICS.lock().iter_mut().find_map(|io| {
        let pin = gsi.checked_sub(io.gsi_base)? as usize;
        let message = io.state.set_line(pin, true);
        io.state.set_line(pin, false);
        message
    });
    if let Some(message) = message
        && let Some(dom) = HOST.domains().get(DomId::DOM0)
    {
        let id = u32::from(message.dest);
        let dest = match message.logical {
            true => Dest::Logical(id),
            false => Dest::Physical(id),
        };
        let action = match message.delivery {
            Delivery::Fixed => Action::Fixed(message.vector),
            Delivery::Lowest => Action::Lowest(message.vector),
            Delivery::Nmi | Delivery::ExtInt => return true,
        };
        let wide = false;
        apic::send(&dom, NOBODY, &Ipi { dest, action, wide });
    }
    true
}
