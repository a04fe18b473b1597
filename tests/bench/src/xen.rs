//! What only a dom0 does: hypercalls, events and grants through the kernel's devices.

use crate::{Result, each, report};
use std::fs::File;
use std::io::IsTerminal;
use xen_abi::{DomId, GrantRef, hypercall};
use xendev::{EvtChn, GntTab, Hypercall, Privcmd, Prot, UnmapNotify};

const ROUNDS: u32 = 20_000;
/// The grants that the toolstack makes for every guest: console and xenstore rings.
const CONSOLE: GrantRef = GrantRef(0);

/// The way into the kernel and out again: an ioctl that the device does not know.
fn bad_ioctl(path: &str) -> Result<f64> {
    let device = File::open(path)?;
    each(ROUNDS, || {
        std::hint::black_box(device.is_terminal());
        Ok(())
    })
}

/// A hypercall that does nothing (the version), and an event for a masked port.
pub fn calls(_: &[String]) -> Result<()> {
    let ioctl = bad_ioctl("/dev/xen/privcmd")?;
    let privcmd = Privcmd::open()?;
    let call = each(ROUNDS, || {
        privcmd
            .hypercall(hypercall::XEN_VERSION, [0; 5])
            .map_err(|e| format!("xen_version: {e:?}"))?;
        Ok(())
    })?;
    report("null hypercall", call - ioctl);
    let events = EvtChn::open()?;
    let there = events.bind_unbound(DomId::DOM0)?;
    let here = events.bind_interdomain(DomId::DOM0, there)?;
    // The first one masks the port until somebody takes it.
    events.notify(here)?;
    let notify = each(ROUNDS, || Ok(events.notify(here)?))?;
    report("event to a masked port", notify - ioctl);
    Ok(())
}

/// Mapping and unmapping pages that a guest granted, and copying one; only the named ones, if any are named.
pub fn grants(args: &[String]) -> Result<()> {
    let (dom, names) = args.split_first().ok_or("a domain id is needed")?;
    let dom = DomId(dom.parse()?);
    let table = GntTab::open()?;
    let wanted = |name: &str| names.is_empty() || names.iter().any(|n| n == name);
    let map = |refs: &[GrantRef]| -> Result<()> {
        drop(table.map(dom, refs, Prot::ReadWrite, UnmapNotify::default())?);
        Ok(())
    };
    if wanted("map") {
        report("grant map + unmap", each(1_000, || map(&[CONSOLE]))?);
    }
    // What a back end does with the pages of a request.
    if wanted("maps") {
        let taken = each(200, || map(&[CONSOLE; 32]))?;
        report("grant map + unmap, 32 at once", taken);
    }
    if wanted("copy") {
        let mut page = vec![0u8; 2 * 4096];
        let skip = page.as_ptr().align_offset(4096);
        let page = page.get_mut(skip..skip + 4096).ok_or("no room")?;
        let taken = each(5_000, || Ok(table.copy(dom, CONSOLE, page)?))?;
        report("grant copy, 4 KiB", taken);
    }
    Ok(())
}
