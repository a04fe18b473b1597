//! What of the machine's hardware a domain may use.
use crate::{Error, Result, Xenctrl};
use xen_abi::domctl::*;
use xen_abi::{DomId, Mfn, hypercall, physdev};

impl Xenctrl {
    /// Lets a domain use `count` I/O ports.
    pub fn permit_ports(&self, dom: DomId, first: u32, count: u32) -> Result<()> {
        let p = IoportPermission {
            first_port: first,
            nr_ports: count,
            allow_access: 1,
            ..Default::default()
        };
        self.simple(Domctl::with(IOPORT_PERMISSION, dom, p), || {
            format!("giving {dom} {count} I/O ports from {first:#x}")
        })
    }

    /// Lets a domain map `count` frames of I/O memory.
    pub fn permit_frames(&self, dom: DomId, first: Mfn, count: u64) -> Result<()> {
        let p = IomemPermission {
            first_mfn: first,
            nr_mfns: count,
            allow_access: 1,
            ..Default::default()
        };
        self.simple(Domctl::with(IOMEM_PERMISSION, dom, p), || {
            format!("giving {dom} {count} frames of I/O memory from {first}")
        })
    }

    /// Lets a domain have a line of the I/O APICs, under the same number.
    pub fn permit_irq(&self, dom: DomId, irq: u32) -> Result<()> {
        let what = || format!("giving {dom} interrupt {irq}");
        let p = IrqPermission {
            pirq: xen_abi::Pirq(irq),
            allow_access: 1,
            ..Default::default()
        };
        let mut line = physdev::MapPirq {
            domid: dom,
            r#type: physdev::MAP_PIRQ_TYPE_GSI as i32,
            index: irq as i32,
            pirq: irq as i32,
            ..Default::default()
        };
        self.call_struct(hypercall::PHYSDEV_OP, physdev::MAP_PIRQ, &mut line)
            .map_err(|e| Error::new(what(), e))?;
        self.simple(Domctl::with(IRQ_PERMISSION, dom, p), what)
    }
}
