//! Device interrupts on their way to the domain that has the device: dom0.
//!
//! Each irq delivers to one (domain, pirq). Level-triggered lines stay masked until the guest says it is done.

use crate::arch::x86::irq::{self, IrqError, msi, pci};
use crate::host::HOST;
use core::sync::atomic::{AtomicU64, Ordering};
use domain::{Host, IrqControl, MsiSource};
use x86_64::instructions::port::Port;
use xen_abi::{DomId, Errno, Pirq};

/// Per irq: bit 63 bound, domain in bits 32..48, pirq below.
static BOUND: [AtomicU64; irq::MAX_IRQS] = [const { AtomicU64::new(0) }; irq::MAX_IRQS];
const IS_BOUND: u64 = 1 << 63;

/// The interrupts guests may bind.
pub struct GuestIrqs;
/// The one there is.
pub static GUEST_IRQS: GuestIrqs = GuestIrqs;

fn errno(e: IrqError) -> Errno {
    match e {
        IrqError::BadIrq => Errno::EINVAL,
        IrqError::NoIrq | IrqError::NoVector => Errno::ENOSPC,
        IrqError::BadCpu => Errno::ENODEV,
        IrqError::BadDevice => Errno::ENODEV,
    }
}

/// Is no domain told of this interrupt?
pub fn is_free(irq: u32) -> bool {
    let word = BOUND.get(irq as usize).map(|b| b.load(Ordering::Acquire));
    word == Some(0)
}

/// An interrupt has arrived.
pub fn arrived(irq: u32) {
    let word = BOUND
        .get(irq as usize)
        .map_or(0, |b| b.load(Ordering::Acquire));
    let delivered = word & IS_BOUND != 0
        && HOST
            .domains()
            .get(DomId((word >> 32) as u16))
            .is_some_and(|dom| domain::send_pirq(&HOST, &dom, Pirq(word as u32)));
    if !delivered && word & IS_BOUND == 0 && crate::hvm::ioapic::arrived(irq) {
        let _ = irq::eoi(irq);
        return;
    }
    if !delivered {
        // Nobody to tell us when it is done: do not leave the line blocked for ever, but do not let it storm either.
        let _ = irq::mask(irq);
        let _ = irq::eoi(irq);
    }
}

impl IrqControl for GuestIrqs {
    fn nr_gsis(&self) -> u32 {
        irq::gsi_count()
    }
    fn gsi_irq(&self, gsi: u32) -> Result<u32, Errno> {
        if gsi < irq::gsi_count() {
            Ok(gsi)
        } else {
            Err(Errno::EINVAL)
        }
    }
    fn msi_irq(&self, s: &MsiSource) -> Result<u32, Errno> {
        if s.count != 1 {
            return Err(Errno::ENOSPC);
        }
        let sbdf = pci::Sbdf::new(s.segment, s.bus, s.devfn >> 3, s.devfn & 7);
        msi::setup(sbdf, s.entry, s.table_base != 0, s.table_base).map_err(errno)
    }
    fn release_msi(&self, irq: u32) {
        let _ = msi::teardown(irq);
    }
    fn setup_gsi(&self, gsi: u32, level: bool, low: bool) -> Result<(), Errno> {
        irq::set_mode(gsi, level, low).map_err(errno)
    }
    fn bind(&self, irq: u32, dom: DomId, pirq: u32, _shareable: bool) -> Result<(), Errno> {
        let slot = BOUND.get(irq as usize).ok_or(Errno::EINVAL)?;
        let word = IS_BOUND | u64::from(dom.0) << 32 | u64::from(pirq);
        match slot.compare_exchange(0, word, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => {}
            Err(now) if now == word => {}
            Err(_) => return Err(Errno::EBUSY),
        }
        let routed = irq::bind(irq, 0).and_then(|_| irq::unmask(irq));
        routed.map_err(|e| {
            slot.store(0, Ordering::Release);
            errno(e)
        })
    }
    fn unbind(&self, irq: u32, dom: DomId) {
        let Some(slot) = BOUND.get(irq as usize) else {
            return;
        };
        let word = slot.load(Ordering::Acquire);
        if word & IS_BOUND != 0 && (word >> 32) as u16 == dom.0 {
            slot.store(0, Ordering::Release);
            let _ = irq::mask(irq);
            let _ = irq::eoi(irq);
            let _ = irq::unbind(irq);
        }
    }
    fn eoi(&self, irq: u32) {
        let _ = irq::eoi(irq);
    }
    fn needs_eoi(&self, irq: u32) -> bool {
        irq::desc(irq).is_some_and(|d| d.level)
    }
    fn apic_read(&self, base: u64, reg: u32) -> Result<u32, Errno> {
        irq::ioapic::read_for_guest(base, reg).ok_or(Errno::EINVAL)
    }
    fn restore_msi(&self, _segment: u16, _bus: u8, _devfn: u8) -> Result<(), Errno> {
        Ok(())
    }
    fn port_read(&self, port: u16, size: u8) -> u32 {
        // SAFETY: dom0 drives the machine's devices; ports that the hypervisor relies on have been filtered out.
        unsafe {
            match size {
                1 => u32::from(Port::<u8>::new(port).read()),
                2 => u32::from(Port::<u16>::new(port).read()),
                _ => Port::<u32>::new(port).read(),
            }
        }
    }
    fn port_write(&self, port: u16, size: u8, value: u32) {
        // SAFETY: as above.
        unsafe {
            match size {
                1 => Port::<u8>::new(port).write(value as u8),
                2 => Port::<u16>::new(port).write(value as u16),
                _ => Port::<u32>::new(port).write(value),
            }
        }
    }
}
