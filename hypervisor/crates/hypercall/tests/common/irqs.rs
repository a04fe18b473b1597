//! Interrupts that never arrive.
use domain::{IrqControl, MsiSource};
use std::collections::BTreeMap;
use std::sync::Mutex;
use xen_abi::{DomId, Errno};

/// GSIs of the machine.
const GSIS: u32 = 24;

/// Remembers who bound what.
#[derive(Default)]
pub struct FakeIrqs {
    /// irq to domain and pirq.
    pub bound: Mutex<BTreeMap<u32, (DomId, u32)>>,
    msis: Mutex<u32>,
}

impl IrqControl for FakeIrqs {
    fn nr_gsis(&self) -> u32 {
        GSIS
    }
    fn gsi_irq(&self, gsi: u32) -> Result<u32, Errno> {
        if gsi < GSIS {
            Ok(gsi)
        } else {
            Err(Errno::EINVAL)
        }
    }
    fn msi_irq(&self, _: &MsiSource) -> Result<u32, Errno> {
        let mut n = self.msis.lock().unwrap();
        *n += 1;
        Ok(GSIS + *n)
    }
    fn release_msi(&self, _: u32) {}
    fn setup_gsi(&self, gsi: u32, _: bool, _: bool) -> Result<(), Errno> {
        self.gsi_irq(gsi).map(|_| ())
    }
    fn bind(&self, irq: u32, dom: DomId, pirq: u32, _: bool) -> Result<(), Errno> {
        self.bound.lock().unwrap().insert(irq, (dom, pirq));
        Ok(())
    }
    fn unbind(&self, irq: u32, _: DomId) {
        self.bound.lock().unwrap().remove(&irq);
    }
    fn eoi(&self, _: u32) {}
    fn needs_eoi(&self, irq: u32) -> bool {
        irq < GSIS
    }
    fn apic_read(&self, _: u64, _: u32) -> Result<u32, Errno> {
        Err(Errno::ENODEV)
    }
    fn restore_msi(&self, _: u16, _: u8, _: u8) -> Result<(), Errno> {
        Ok(())
    }
    fn port_read(&self, _: u16, size: u8) -> u32 {
        u32::MAX >> (32 - 8 * u32::from(size.clamp(1, 4)))
    }
    fn port_write(&self, _: u16, _: u8, _: u32) {}
}
