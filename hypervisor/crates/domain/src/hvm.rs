//! What a hardware-assisted domain has beyond a PV one: [`Hvm`], and the rules by which its p2m holds pages.
//!
//! The map itself is `mm::p2m`. Here each of its entries is given the references its kind needs when it is made,
//! and they are given back only after the nested TLBs were flushed ([`release`]). "gfn" means a guest frame number,
//! which for a PV domain is the machine frame itself: [`get_page`] and its like take those of both.
use crate::{Domain, Host, Mutex};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use mm::p2m::{Entry, Kind, ORDER_1G, ORDER_2M, P2m, Tables, free_list};
use mm::{FrameTable, MmioAccess, PageRef, Paging, WritableRef};
use xen_abi::hvm::NR_PARAMS;
use xen_abi::{DomId, Errno, Mfn};

/// Number of parameters (`HVM_NR_PARAMS`).
pub const HVM_NR_PARAMS: usize = NR_PARAMS as usize;
/// Frames for nested page tables until the toolstack or the domain's size says more.
pub const DEFAULT_TABLES: u32 = 1024;

/// Most frames for them, 1 GiB.
const MAX_TABLES: u32 = 1 << 18;

/// State of a hardware-assisted domain.
pub struct Hvm {
    /// Its guest-physical memory. Taken after everything that reads or writes guest memory; two are never held at once.
    pub p2m: Mutex<P2m>,
    /// `HVM_PARAM_*` values by index.
    pub params: [AtomicU64; HVM_NR_PARAMS],
    /// Whether writes to its pages are noted.
    pub watch: crate::dirty::Watch,
    /// Emulated devices (`XEN_X86_EMU_*`).
    pub emulation: u32,
}

impl Hvm {
    /// With an empty p2m. `ENOMEM` without a frame for its root.
    pub fn new<H: Host>(h: &H, emulation: u32) -> Result<Hvm, Errno> {
        Ok(Hvm {
            p2m: Mutex::new(P2m::new(&HostTables(h), h.p2m_format(), DEFAULT_TABLES)?),
            params: [const { AtomicU64::new(0) }; HVM_NR_PARAMS],
            watch: Default::default(),
            emulation,
        })
    }

    /// As many frames for nested page tables as the toolstack wants, within reason.
    pub fn set_table_limit(&self, frames: u64) {
        let most = frames.min(u64::from(MAX_TABLES)) as u32;
        self.p2m.lock().set_limit(most.max(DEFAULT_TABLES));
    }

    /// At least as many as a domain of `pages` pages needs with small leaves only.
    pub fn allow_tables_for(&self, pages: u64) {
        let wanted = (pages >> 8).saturating_add(u64::from(DEFAULT_TABLES));
        let limit = u64::from(self.p2m.lock().limit());
        self.set_table_limit(limit.max(wanted));
    }

    /// Gives back the tables of an empty p2m for good.
    pub(crate) fn close<H: Host>(&self, h: &H) {
        self.watch.close();
        self.p2m.lock().close(&HostTables(h));
    }
}

/// A machine as the frames of nested page tables.
pub struct HostTables<'a, H: Host>(pub &'a H);

impl<H: Host> Tables for HostTables<'_, H> {
    fn frames(&self) -> FrameTable<'_> {
        self.0.frames()
    }
    fn read_entry(&self, table: Mfn, index: usize) -> u64 {
        self.0.read(table, index)
    }
    fn write_entry(&self, table: Mfn, index: usize, value: u64) {
        self.0.write(table, index, value);
    }
    fn alloc_table(&self) -> Option<Mfn> {
        let fresh = self.0.with_heap(|heap| heap.alloc(0, None))?;
        let mfn = fresh.ready(|stamp| self.0.tlb_sync(DomId::INVALID, stamp));
        self.0.zero_frame(mfn);
        Some(mfn)
    }
    fn free_table(&self, mfn: Mfn) {
        let freed = self.0.with_heap(|heap| heap.free(mfn, 0));
        debug_assert!(freed.is_ok());
    }
}

/// Pages taken out of a p2m whose references are still held. Goes to [`release`].
#[must_use = "the references of what was mapped must be released"]
#[derive(Clone, Copy, Debug)]
pub struct Removed {
    /// First machine frame.
    pub mfn: Mfn,
    /// What they were mapped as.
    pub kind: Kind,
    /// log2 of their number.
    pub order: u32,
}

impl From<Entry> for Removed {
    fn from(e: Entry) -> Removed {
        Removed {
            mfn: e.mfn,
            kind: e.kind,
            order: e.order,
        }
    }
}

/// Flushes the domain's nested TLB entries, then gives back the references that `list` held and cut-off tables.
/// The caller holds no lock.
pub fn release<H: Host>(h: &H, dom: &Domain, list: &[Removed]) {
    let Some(hvm) = &dom.hvm else { return };
    let mut tables = hvm.p2m.lock().take_retired();
    if list.is_empty() && tables.is_empty() {
        return;
    }
    h.flush_p2m(dom);
    free_list(&HostTables(h), &mut tables);
    list.iter().for_each(|r| put_references(h, r));
}

/// Gives back what a mapping held.
fn put_references<H: Host>(h: &H, r: &Removed) {
    for n in 0..1u64 << r.order {
        let mfn = Mfn(r.mfn.0 + n);
        match r.kind {
            Kind::Ram | Kind::LogDirty | Kind::RamRo => {
                crate::put_page(h, PageRef::from_raw(mfn));
            }
            Kind::Foreign => crate::put_writable(h, WritableRef::from_raw(mfn)),
            // The maptrack's, or none.
            Kind::GrantRw | Kind::GrantRo | Kind::Device => {}
        }
    }
}

/// What is mapped at `gfn` of a hardware-assisted domain.
pub fn lookup<H: Host>(h: &H, dom: &Domain, gfn: u64) -> Option<Entry> {
    let hvm = dom.hvm.as_ref()?;
    hvm.p2m.lock().lookup(&HostTables(h), gfn)
}

/// Runs `f` with the machine frame of the domain's own page at `gfn`, which cannot go away meanwhile.
fn with_ram<H: Host, R>(
    h: &H,
    dom: &Domain,
    gfn: u64,
    f: impl FnOnce(Mfn) -> Result<R, Errno>,
) -> Result<R, Errno> {
    let Some(hvm) = &dom.hvm else {
        return f(Mfn(gfn));
    };
    let p2m = hvm.p2m.lock();
    match p2m.lookup(&HostTables(h), gfn) {
        Some(e) if e.kind.is_ram() => f(e.mfn),
        _ => Err(Errno::EINVAL),
    }
}

/// The machine frame behind a gfn of the domain's own. Whoever uses it takes a reference that checks the owner.
pub fn frame_of<H: Host>(h: &H, dom: &Domain, gfn: u64) -> Result<Mfn, Errno> {
    with_ram(h, dom, gfn, Ok)
}

/// A reference to the domain's own page at `gfn`. `EINVAL`: there is none.
pub fn get_page<H: Host>(h: &H, dom: &Domain, gfn: u64) -> Result<PageRef, Errno> {
    with_ram(h, dom, gfn, |mfn| h.frames().get_page(mfn, dom.id))
}

/// A writable reference to the domain's own page at `gfn`. `EINVAL`: there is none, or it may not be written.
pub fn get_writable<H: Host>(h: &H, dom: &Domain, gfn: u64) -> Result<WritableRef, Errno> {
    with_ram(h, dom, gfn, |mfn| {
        Paging::new(h.frames(), h).get_writable(mfn, dom.id)
    })
}

/// Runs `f` with the machine frame at `gfn`, of whatever kind, for the hypervisor to read or (if `write`) to write on
/// the guest's behalf. What is mapped cannot go away meanwhile: `f` is short and takes no lock. `EFAULT`: not mapped, or
/// not writable.
pub fn access<H: Host, R>(
    h: &H,
    dom: &Domain,
    gfn: u64,
    write: bool,
    f: impl FnOnce(Mfn) -> R,
) -> Result<R, Errno> {
    let hvm = dom.hvm.as_ref().ok_or(Errno::EFAULT)?;
    let mut p2m = hvm.p2m.lock();
    let t = HostTables(h);
    if write && p2m.dirtied(&t, gfn)? {
        hvm.watch.faults.fetch_add(1, Ordering::Relaxed);
    }
    match p2m.lookup(&t, gfn) {
        Some(e) if !write || e.kind.writable() => Ok(f(e.mfn)),
        _ => Err(Errno::EFAULT),
    }
}

/// Maps `2^order` frames from `mfn`, which the domain owns, at `gfn`, in leaves as large as alignment allows. Takes the
/// references. `EEXIST`: something is there; `ENOMEM`, `EINVAL`: as `P2m::map`, or while it is dying. All or nothing.
pub fn add_ram<H: Host>(h: &H, dom: &Domain, gfn: u64, order: u32, mfn: Mfn) -> Result<(), Errno> {
    let hvm = dom.hvm.as_ref().ok_or(Errno::EINVAL)?;
    let count = 1u64.checked_shl(order).ok_or(Errno::EINVAL)?;
    let t = HostTables(h);
    let mut undo: Vec<Removed> = Vec::new();
    let result = {
        let mut p2m = hvm.p2m.lock();
        let mut done = 0;
        let result = loop {
            if done == count {
                break Ok(());
            }
            let (at, from) = (gfn.wrapping_add(done), Mfn(mfn.0 + done));
            let fits = |o: &u32| (at | from.0) & ((1 << o) - 1) == 0 && count - done >= 1 << o;
            let o = [ORDER_1G, ORDER_2M].into_iter().find(fits).unwrap_or(0);
            match map_leaf(h, dom, &mut p2m, at, o, from) {
                Ok(()) => done += 1 << o,
                Err(e) => break Err(e),
            }
        };
        if result.is_err() {
            let mut at = gfn;
            // Without memory for the list, pages stay mapped until the domain unmaps them or dies.
            while at < gfn.wrapping_add(done) && undo.try_reserve(1).is_ok() {
                let Some((first, e, _)) = p2m.unmap_leaf(&t, at) else {
                    break;
                };
                at = first + (1 << e.order);
                undo.push(e.into());
            }
        }
        result
    };
    release(h, dom, &undo);
    result
}

fn map_leaf<H: Host>(
    h: &H,
    dom: &Domain,
    p2m: &mut P2m,
    gfn: u64,
    order: u32,
    mfn: Mfn,
) -> Result<(), Errno> {
    // Under the lock: what is mapped later nobody would unmap.
    if dom.is_dying() {
        return Err(Errno::EINVAL);
    }
    let mut held = 0;
    let mut result = Ok(());
    while result.is_ok() && held < 1 << order {
        result = h.frames().get_page(Mfn(mfn.0 + held), dom.id).map(|page| {
            let _ = page.into_raw();
            held += 1;
        });
    }
    let result = result.and_then(|()| p2m.map(&HostTables(h), gfn, order, mfn, Kind::Ram));
    if result.is_err() {
        // The caller holds the pages too: none of these is the last reference.
        for n in 0..held {
            let _ = Paging::new(h.frames(), h).put_page(PageRef::from_raw(Mfn(mfn.0 + n)));
        }
        return result;
    }
    for n in 0..1u64 << order {
        h.m2p_set(Mfn(mfn.0 + n), gfn + n);
    }
    Ok(())
}

/// Maps the page of a device that the domain may use at the address where the machine has it. `EPERM`: there is memory, or
/// something that is not for it; `EEXIST`, `ENOMEM`: as `P2m::map`.
pub fn add_device_page<H: Host>(h: &H, dom: &Domain, gfn: u64) -> Result<(), Errno> {
    let hvm = dom.hvm.as_ref().ok_or(Errno::EPERM)?;
    let device = h.frames().kind(Mfn(gfn)) == mm::Kind::NotRam;
    if !device || h.mmio_access(dom.id, Mfn(gfn)) != MmioAccess::Full {
        return Err(Errno::EPERM);
    }
    let mut p2m = hvm.p2m.lock();
    p2m.map(&HostTables(h), gfn, 0, Mfn(gfn), Kind::Device)
}

/// One step of a dying domain's p2m: all it maps is let go, then its tables. `ERESTART`: repeat.
pub(crate) fn release_step<H: Host>(h: &H, dom: &Domain, units: u32) -> Result<(), Errno> {
    let Some(hvm) = &dom.hvm else { return Ok(()) };
    let t = HostTables(h);
    let mut spent = 0u64;
    let mut list: Vec<Removed> = Vec::new();
    let room = units.min(256) as usize;
    list.try_reserve(room).map_err(|_| Errno::ERESTART)?;
    let more = {
        let mut p2m = hvm.p2m.lock();
        let mut at = 0;
        loop {
            if spent >= u64::from(units) || list.len() >= room {
                break true;
            }
            let Some((gfn, _)) = p2m.next(&t, at) else {
                break false;
            };
            let Some((first, e, _)) = p2m.unmap_leaf(&t, gfn) else {
                break false;
            };
            at = first + (1 << e.order);
            spent += 1 << e.order;
            list.push(e.into());
        }
    };
    release(h, dom, &list);
    if more {
        return Err(Errno::ERESTART);
    }
    let mut p2m = hvm.p2m.lock();
    if !p2m.free_tables(&t, units)? {
        return Err(Errno::ERESTART);
    }
    p2m.close(&t);
    Ok(())
}
