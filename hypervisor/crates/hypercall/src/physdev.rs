//! `physdev_op`: a PV guest's interrupts, I/O privilege and what dom0 tells of PCI devices.
use crate::{Cx, Ret, Stop};
use domain::{Host, MsiSource};
use xen_abi::physdev::*;
use xen_abi::{DomId, Errno};

/// Most pirqs a domain may have.
pub const MAX_PIRQS: usize = 1024;
/// Most messages of one multi-message MSI.
const MAX_MULTI_MSI: i32 = 32;

/// `physdev_op(cmd, arg)`.
pub fn physdev_op<H: Host>(cx: &Cx<H>) -> Ret {
    let [cmd, arg, ..] = cx.args;
    match u32::try_from(cmd).unwrap_or(u32::MAX) {
        EOI => {
            let op: Eoi = cx.read(arg)?;
            let irq = irq_of(cx, op.irq.0)?;
            cx.h.irqs().eoi(irq);
            Ok(0)
        }
        IRQ_STATUS_QUERY => {
            let mut op: IrqStatusQuery = cx.read(arg)?;
            // An unbound pirq has no descriptor yet: say that it needs an EOI, which is always right.
            let needs = irq_of(cx, op.irq.0).map_or(true, |irq| cx.h.irqs().needs_eoi(irq));
            op.flags = if needs { XENIRQSTAT_NEEDS_EOI } else { 0 };
            cx.write(arg, &op)?;
            Ok(0)
        }
        SET_IOPL => {
            let op: SetIopl = cx.read(arg)?;
            if op.iopl > 3 {
                return Err(Errno::EINVAL.into());
            }
            cx.v.pv.lock().iopl = op.iopl;
            Ok(0)
        }
        SET_IOBITMAP => {
            let op: SetIobitmap = cx.read(arg)?;
            if op.nr_ports > 65536 {
                return Err(Errno::EINVAL.into());
            }
            let mut pv = cx.v.pv.lock();
            pv.iobmp = op.bitmap.addr();
            pv.iobmp_ports = op.nr_ports;
            Ok(0)
        }
        other => hardware_op(cx, other, arg),
    }
}

fn irq_of<H: Host>(cx: &Cx<H>, pirq: u32) -> Result<u32, Errno> {
    cx.dom
        .irqs
        .lock()
        .irqs
        .get(pirq as usize)
        .copied()
        .flatten()
        .ok_or(Errno::EINVAL)
}

/// What only the domain with the hardware may do.
fn hardware_op<H: Host>(cx: &Cx<H>, cmd: u32, arg: u64) -> Ret {
    if !cx.dom.privileged {
        return Err(Errno::EPERM.into());
    }
    match cmd {
        MAP_PIRQ => map_pirq(cx, arg),
        UNMAP_PIRQ => unmap_pirq(cx, arg),
        GET_FREE_PIRQ => {
            let mut op: GetFreePirq = cx.read(arg)?;
            op.pirq.0 = free_pirq(cx, 1).ok_or(Errno::ENOSPC)? as u32;
            cx.write(arg, &op)?;
            Ok(0)
        }
        ALLOC_IRQ_VECTOR => {
            let mut op: Irq = cx.read(arg)?;
            let irq = cx.h.irqs().gsi_irq(op.irq)?;
            set_pirq(cx, op.irq as usize, irq)?;
            op.vector = op.irq;
            cx.write(arg, &op)?;
            Ok(0)
        }
        FREE_IRQ_VECTOR => Ok(0),
        SETUP_GSI => {
            let op: SetupGsi = cx.read(arg)?;
            let gsi = u32::try_from(op.gsi).map_err(|_| Errno::EINVAL)?;
            cx.h.irqs()
                .setup_gsi(gsi, op.triggering != 0, op.polarity != 0)?;
            Ok(0)
        }
        APIC_READ => {
            let mut op: Apic = cx.read(arg)?;
            op.value = cx.h.irqs().apic_read(op.apic_physbase, op.reg)?;
            cx.write(arg, &op)?;
            Ok(0)
        }
        // dom0 must not program the IO-APIC itself; its interrupts are set up through map_pirq.
        APIC_WRITE => Ok(0),
        PCI_DEVICE_ADD | MANAGE_PCI_ADD | MANAGE_PCI_ADD_EXT | PCI_DEVICE_REMOVE
        | MANAGE_PCI_REMOVE => Ok(0),
        PREPARE_MSIX | RELEASE_MSIX | PCI_MMCFG_RESERVED => Ok(0),
        RESTORE_MSI_EXT => {
            let op: PciDevice = cx.read(arg)?;
            cx.h.irqs().restore_msi(op.seg, op.bus, op.devfn)?;
            Ok(0)
        }
        RESTORE_MSI => {
            let op: RestoreMsi = cx.read(arg)?;
            cx.h.irqs().restore_msi(0, op.bus, op.devfn)?;
            Ok(0)
        }
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// The first of `count` consecutive free pirqs beyond the GSIs.
fn free_pirq<H: Host>(cx: &Cx<H>, count: usize) -> Option<usize> {
    let map = cx.dom.irqs.lock();
    let start = cx.h.irqs().nr_gsis() as usize;
    (start..MAX_PIRQS - count)
        .rev()
        .find(|p| (*p..p + count).all(|i| map.irqs.get(i).is_none_or(|slot| slot.is_none())))
}

fn set_pirq<H: Host>(cx: &Cx<H>, pirq: usize, irq: u32) -> Result<(), Errno> {
    if pirq >= MAX_PIRQS {
        return Err(Errno::EINVAL);
    }
    let mut map = cx.dom.irqs.lock();
    if map.irqs.len() <= pirq {
        let more = pirq + 1 - map.irqs.len();
        map.irqs.try_reserve(more).map_err(|_| Errno::ENOMEM)?;
        map.irqs.resize(pirq + 1, None);
    }
    match map.irqs.get_mut(pirq) {
        Some(slot) => match *slot {
            Some(old) if old != irq => Err(Errno::EEXIST),
            _ => {
                *slot = Some(irq);
                Ok(())
            }
        },
        None => Err(Errno::EINVAL),
    }
}

fn map_pirq<H: Host>(cx: &Cx<H>, arg: u64) -> Ret {
    let mut op: MapPirq = cx.read(arg)?;
    if cx.resolve(op.domid) != cx.dom.id && op.domid != DomId::DOM0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    match op.r#type as u32 {
        MAP_PIRQ_TYPE_GSI => map_gsi(cx, &mut op)?,
        MAP_PIRQ_TYPE_MSI | MAP_PIRQ_TYPE_MSI_SEG | MAP_PIRQ_TYPE_MULTI_MSI => {
            map_msi(cx, &mut op)?
        }
        _ => return Err(Errno::EINVAL.into()),
    }
    cx.write(arg, &op)?;
    Ok(0)
}

fn map_gsi<H: Host>(cx: &Cx<H>, op: &mut MapPirq) -> Result<(), Stop> {
    let gsi = u32::try_from(op.index).map_err(|_| Errno::EINVAL)?;
    let irq = cx.h.irqs().gsi_irq(gsi)?;
    let pirq = if op.pirq < 0 {
        gsi as usize
    } else {
        op.pirq as usize
    };
    set_pirq(cx, pirq, irq)?;
    op.pirq = pirq as i32;
    Ok(())
}

fn map_msi<H: Host>(cx: &Cx<H>, op: &mut MapPirq) -> Result<(), Stop> {
    let kind = op.r#type as u32;
    let count = if kind == MAP_PIRQ_TYPE_MULTI_MSI {
        op.entry_nr.clamp(1, MAX_MULTI_MSI)
    } else {
        1
    };
    let source = MsiSource {
        segment: if kind == MAP_PIRQ_TYPE_MSI {
            0
        } else {
            (op.bus >> 16) as u16
        },
        bus: op.bus as u8,
        devfn: op.devfn as u8,
        entry: if kind == MAP_PIRQ_TYPE_MULTI_MSI {
            0
        } else {
            op.entry_nr as u16
        },
        table_base: op.table_base,
        count: count as u32,
    };
    let first = cx.h.irqs().msi_irq(&source)?;
    let pirq = match usize::try_from(op.pirq) {
        Ok(p) => p,
        Err(_) => free_pirq(cx, count as usize).ok_or(Errno::ENOSPC)?,
    };
    for i in 0..count as u32 {
        if let Err(e) = set_pirq(cx, pirq + i as usize, first + i) {
            cx.h.irqs().release_msi(first);
            return Err(e.into());
        }
    }
    op.entry_nr = count;
    op.pirq = pirq as i32;
    Ok(())
}

fn unmap_pirq<H: Host>(cx: &Cx<H>, arg: u64) -> Ret {
    let op: UnmapPirq = cx.read(arg)?;
    let pirq = usize::try_from(op.pirq).map_err(|_| Errno::EINVAL)?;
    let irq = {
        let mut map = cx.dom.irqs.lock();
        map.irqs
            .get_mut(pirq)
            .and_then(Option::take)
            .ok_or(Errno::EINVAL)?
    };
    cx.h.irqs().unbind(irq, cx.dom.id);
    if irq >= cx.h.irqs().nr_gsis() {
        cx.h.irqs().release_msi(irq);
    }
    Ok(0)
}
