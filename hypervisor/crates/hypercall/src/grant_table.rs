//! `grant_table_op`: mapping and unmapping other domains' pages. The entry protocol is in the `grant` crate, page
//! references and page tables in `mm`; here they meet. Copies are in `grant_copy`.
use crate::mmu::{WORK_UNITS, guest_address, walk_to_l1};
use crate::{Cx, Ret, Stop, grant_copy};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use domain::{Domain, Host};
use grant::{
    ENTRIES_PER_FRAME, GntStatus, Handle, MapFlags, Mapping, SharedEntry, SharedGrants, Unmapped,
};
use mm::p2m::Kind;
use mm::{Budget, Level, PageRef, Paging, Update, WritableRef};
use xen_abi::grant_table::*;
use xen_abi::{DomId, Errno, Gfn, GrantRef, Mfn};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Operations per call before other work gets its turn.
const BATCH: u64 = 64;
/// Unmaps that share one TLB flush.
const FLUSH_BATCH: usize = 32;

/// A domain's shared grant entries.
pub struct DomGrants<'a, H: Host> {
    /// The machine.
    pub h: &'a H,
    /// The granter.
    pub dom: &'a Domain,
}

impl<H: Host> SharedGrants for DomGrants<'_, H> {
    fn entry(&self, gref: GrantRef) -> Option<SharedEntry<'_>> {
        let frame = (gref.0 / ENTRIES_PER_FRAME) as usize;
        let mfn = *self.dom.grant_frames.read().get(frame)?;
        let offset = (gref.0 % ENTRIES_PER_FRAME) as usize * 8;
        let [flags_domid, frame] = self.h.shared_pair(mfn, offset)?;
        Some(SharedEntry { flags_domid, frame })
    }
}

/// `grant_table_op(cmd, list, count)`.
pub fn grant_table_op<H: Host>(cx: &Cx<H>) -> Ret {
    let [cmd, list, count, ..] = cx.args;
    if count > u64::from(i32::MAX as u32) {
        return Err(Errno::EINVAL.into());
    }
    match u32::try_from(cmd).unwrap_or(u32::MAX) {
        MAP_GRANT_REF => {
            let mut peer = Peer(None);
            each(cx, list, count, |op: &mut MapGrantRef| {
                let result = map(cx, op, &mut peer);
                op.status = GntStatus::of(&result);
                if let Ok((handle, mfn)) = result {
                    op.handle = handle.0;
                    op.dev_bus_addr = mfn.addr();
                }
            })
        }
        UNMAP_GRANT_REF => unmap_list(cx, list, count),
        COPY => grant_copy::copy_list(cx, list, count),
        SETUP_TABLE => single(cx, list, count, setup_table),
        QUERY_SIZE => single(cx, list, count, query_size),
        GET_VERSION => single(cx, list, count, |cx, op: &mut GetVersion| {
            let dom = cx.target(op.dom)?;
            op.version = dom.grants.read().version();
            Ok(())
        }),
        SET_VERSION => single(cx, list, count, |cx, op: &mut SetVersion| {
            let result = cx.dom.grants.read().set_version(op.version);
            op.version = 1;
            Ok(result?)
        }),
        SWAP_GRANT_REF => each(cx, list, count, |op: &mut SwapGrantRef| {
            let shared = DomGrants {
                h: cx.h,
                dom: cx.dom,
            };
            op.status = GntStatus::of(&cx.dom.grants.read().swap(&shared, op.ref_a, op.ref_b));
        }),
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// The domain that the last operation of a call was about: most of a call are about one.
struct Peer(Option<Arc<Domain>>);

impl Peer {
    /// The domain `id`; `find` looks it up. One that is dying may have been forgotten, and its id be another's by now.
    fn get(
        &mut self,
        id: DomId,
        find: impl FnOnce() -> Option<Arc<Domain>>,
    ) -> Option<&Arc<Domain>> {
        let known = |d: &Arc<Domain>| d.id == id && !d.is_dying();
        if !self.0.as_ref().is_some_and(known) {
            self.0 = find();
        }
        self.0.as_ref()
    }
}

/// Runs `f` over a list of operations, each copied in and back, with continuations.
pub fn each<H: Host, T>(cx: &Cx<H>, list: u64, count: u64, mut f: impl FnMut(&mut T)) -> Ret
where
    T: FromBytes + IntoBytes + Immutable,
{
    for i in 0..count {
        let at = element::<T>(list, i)?;
        if i >= BATCH {
            return Err(cx.again(&[(1, at), (2, count - i)]));
        }
        let mut op: T = cx.read(at)?;
        f(&mut op);
        cx.write(at, &op)?;
    }
    Ok(0)
}

fn element<T>(list: u64, i: u64) -> Result<u64, Errno> {
    i.checked_mul(size_of::<T>() as u64)
        .and_then(|o| list.checked_add(o))
        .ok_or(Errno::EFAULT)
}

fn single<H: Host, T>(
    cx: &Cx<H>,
    arg: u64,
    count: u64,
    f: fn(&Cx<H>, &mut T) -> Result<(), Stop>,
) -> Ret
where
    T: FromBytes + IntoBytes + Immutable,
{
    if count != 1 {
        return Err(Errno::EINVAL.into());
    }
    let mut op: T = cx.read(arg)?;
    let result = f(cx, &mut op);
    cx.write(arg, &op)?;
    result.map(|()| 0)
}

/// Makes sure `dom` has at least `frames` grant frames. `ENOMEM`, `EINVAL` above its limit.
pub fn grow<H: Host>(h: &H, dom: &Domain, frames: u32) -> Result<(), Errno> {
    let mut table = dom.grants.write();
    let new = table.plan_growth(frames)?;
    if dom.is_dying() {
        return Err(Errno::EINVAL);
    }
    for _ in new {
        let mfn = domain::alloc_shared_page(h, dom.id, false)?;
        dom.memory.lock().shared_pages += 1;
        let mut pages = dom.grant_frames.write();
        if pages.try_reserve(1).is_err() {
            drop(pages);
            if let Some(page) = h.frames().free_domain_ref(mfn, dom.id) {
                domain::put_page(h, page);
            }
            return Err(Errno::ENOMEM);
        }
        pages.push(mfn);
        let have = pages.len() as u32;
        drop(pages);
        table.grow(have)?;
    }
    Ok(())
}

fn setup_table<H: Host>(cx: &Cx<H>, op: &mut SetupTable) -> Result<(), Stop> {
    let Ok(dom) = cx.target(op.dom) else {
        op.status = GNTST_BAD_DOMAIN;
        return Ok(());
    };
    if op.nr_frames > dom.max_grant_frames || grow(cx.h, &dom, op.nr_frames).is_err() {
        op.status = GNTST_GENERAL_ERROR;
        return Ok(());
    }
    op.status = GNTST_OKAY;
    for i in 0..op.nr_frames {
        let frame = dom
            .grant_frames
            .read()
            .get(i as usize)
            .copied()
            .ok_or(Errno::EINVAL)?;
        // A guest with frame numbers of its own is told where it has put the page, if anywhere.
        let shown = if dom.is_hvm() {
            cx.h.m2p_get(frame)
        } else {
            frame.0
        };
        if cx.write_nth(op.frame_list, u64::from(i), &shown).is_err() {
            op.status = GNTST_BAD_VIRT_ADDR;
        }
    }
    Ok(())
}

fn query_size<H: Host>(cx: &Cx<H>, op: &mut QuerySize) -> Result<(), Stop> {
    match cx.target(op.dom) {
        Ok(dom) => {
            op.nr_frames = dom.grants.read().nr_frames();
            op.max_nr_frames = dom.max_grant_frames;
            op.status = GNTST_OKAY;
        }
        Err(_) => op.status = GNTST_BAD_DOMAIN,
    }
    Ok(())
}

/// The page reference that a use of a grant holds: writable type too if it may write.
fn take_page<H: Host>(cx: &Cx<H>, mfn: Mfn, owner: DomId, write: bool) -> Result<(), GntStatus> {
    let paging = Paging::new(cx.h.frames(), cx.h);
    if write {
        paging
            .get_writable(mfn, owner)
            .map(|p| p.into_raw())
            .map_err(|_| GntStatus::BadPage)?;
    } else {
        paging
            .frames
            .get_page(mfn, owner)
            .map(|p| p.into_raw())
            .map_err(|_| GntStatus::BadPage)?;
    }
    Ok(())
}

/// Gives back what [`take_page`] took.
fn drop_page<H: Host>(h: &H, mfn: Mfn, write: bool) {
    if write {
        domain::put_writable(h, WritableRef::from_raw(mfn));
    } else {
        domain::put_page(h, PageRef::from_raw(mfn));
    }
}

fn map<H: Host>(cx: &Cx<H>, op: &MapGrantRef, peer: &mut Peer) -> Result<(Handle, Mfn), GntStatus> {
    let flags = MapFlags(op.flags);
    let access = flags.access()?;
    if access.dev && !cx.dom.privileged {
        return Err(GntStatus::PermissionDenied);
    }
    let granter = peer
        .get(cx.resolve(op.dom), || cx.peer(op.dom).ok())
        .filter(|d| !d.is_dying())
        .ok_or(GntStatus::BadDomain)?;
    let shared = DomGrants {
        h: cx.h,
        dom: granter,
    };
    let resolve = |gfn: Gfn| resolve(cx.h, granter, gfn);
    let info = granter
        .grants
        .read()
        .begin_map(&shared, op.r#ref, cx.dom.id, access, resolve)?;
    let undo = |status| {
        let _ = granter.grants.read().end(&shared, op.r#ref, access);
        status
    };
    take_page(cx, info.mfn, granter.id, access.write).map_err(undo)?;
    let mapping = Mapping {
        granter: granter.id,
        gref: op.r#ref,
        flags,
        mfn: info.mfn,
        host_addr: op.host_addr,
    };
    let handle = cx.dom.maptrack.lock().reserve(mapping).map_err(|e| {
        drop_page(cx.h, info.mfn, access.write);
        undo(e)
    })?;
    if access.host
        && let Err(e) = install(cx, &mapping, granter.id)
    {
        let _ = cx.dom.maptrack.lock().finish_unmap(handle, true, true);
        drop_page(cx.h, info.mfn, access.write);
        return Err(undo(e));
    }
    cx.dom.maptrack.lock().publish(handle);
    Ok((handle, info.mfn))
}

/// The machine frame of what a granter offers. Who uses it takes a reference that checks the owner.
pub fn resolve<H: Host>(h: &H, granter: &Domain, gfn: Gfn) -> Result<Mfn, GntStatus> {
    domain::hvm::frame_of(h, granter, gfn.0).map_err(|_| GntStatus::BadPage)
}

/// Maps a grant where a hardware-assisted guest has nothing.
fn install_hvm<H: Host>(cx: &Cx<H>, m: &Mapping) -> Result<(), GntStatus> {
    if m.flags.has(MapFlags::CONTAINS_PTE) || !m.host_addr.is_multiple_of(4096) {
        return Err(GntStatus::BadVirtAddr);
    }
    let kind = if m.flags.has(MapFlags::READONLY) {
        Kind::GrantRo
    } else {
        Kind::GrantRw
    };
    let page = domain::physmap::Page::Grant(m.mfn, kind);
    let mut none = Vec::new();
    domain::physmap::place(cx.h, cx.dom, m.host_addr >> 12, page, &mut none)
        .map_err(|_| GntStatus::GeneralError)
}

/// Where a mapping's page-table entry is: (L1 table, index).
fn locate<H: Host>(cx: &Cx<H>, m: &Mapping) -> Result<(Mfn, usize), GntStatus> {
    if m.flags.has(MapFlags::CONTAINS_PTE) {
        if !m.host_addr.is_multiple_of(8) {
            return Err(GntStatus::GeneralError);
        }
        return Ok((
            Mfn::from_addr(m.host_addr),
            (m.host_addr & 0xfff) as usize / 8,
        ));
    }
    if !guest_address(m.host_addr) {
        return Err(GntStatus::BadVirtAddr);
    }
    let root = Mfn(cx.v.kernel_l4.load(Ordering::Relaxed));
    walk_to_l1(cx.h, root, m.host_addr).ok_or(GntStatus::BadVirtAddr)
}

/// The page-table entry a mapping asks for.
fn entry_for(m: &Mapping) -> u64 {
    const PRESENT_ACCESSED_DIRTY: u64 = 0x61;
    let mut entry = m.mfn.addr() | PRESENT_ACCESSED_DIRTY;
    if !m.flags.has(MapFlags::READONLY) {
        entry |= 1 << 1;
    }
    if m.flags.has(MapFlags::APPLICATION_MAP) {
        entry |= 1 << 2;
    }
    entry | (u64::from(m.flags.guest_avail()) & 7) << 9
}

fn install<H: Host>(cx: &Cx<H>, m: &Mapping, granter: DomId) -> Result<(), GntStatus> {
    if cx.dom.is_hvm() {
        return install_hvm(cx, m);
    }
    let paging = Paging::new(cx.h.frames(), cx.h);
    let mut tables = cx.dom.paging.lock();
    let (l1, index) = locate(cx, m)?;
    let how = Update {
        pg_owner: granter,
        preserve_ad: false,
        expected: None,
    };
    let mut budget = Budget(WORK_UNITS);
    paging
        .update_entry(
            &mut tables,
            Level::L1,
            l1,
            index,
            entry_for(m),
            how,
            &mut budget,
        )
        .map(|_| ())
        .map_err(|e| {
            if e == Errno::ERESTART {
                GntStatus::Eagain
            } else {
                GntStatus::GeneralError
            }
        })
}

/// Clears the entry if it still maps the grant; a guest that has changed it meanwhile gets an error.
fn remove<H: Host>(cx: &Cx<H>, m: &Mapping) -> Result<(), GntStatus> {
    const ADDR: u64 = 0x000f_ffff_ffff_f000;
    if cx.dom.is_hvm() {
        let ours = |e: &mm::p2m::Entry| e.kind.is_grant() && e.mfn == m.mfn;
        // The references are the maptrack's, given up after the flush.
        return domain::physmap::remove(cx.h, cx.dom, m.host_addr >> 12, ours)
            .map(|_| ())
            .map_err(|_| GntStatus::GeneralError);
    }
    let paging = Paging::new(cx.h.frames(), cx.h);
    let mut tables = cx.dom.paging.lock();
    let (l1, index) = locate(cx, m)?;
    let old = paging
        .l1_entry(&tables, l1, index)
        .map_err(|_| GntStatus::GeneralError)?;
    if old & 1 == 0 || old & ADDR != m.mfn.addr() {
        return Err(GntStatus::GeneralError);
    }
    let how = Update {
        pg_owner: cx.dom.id,
        preserve_ad: false,
        expected: None,
    };
    let mut budget = Budget(WORK_UNITS);
    paging
        .update_entry(&mut tables, Level::L1, l1, index, 0, how, &mut budget)
        .map(|_| ())
        .map_err(|e| {
            if e == Errno::ERESTART {
                GntStatus::Eagain
            } else {
                GntStatus::GeneralError
            }
        })
}

/// An unmap whose page-table entry is gone but whose TLB entries may linger.
#[derive(Clone, Copy)]
struct Pending {
    handle: Handle,
    host: bool,
    dev: bool,
}

fn unmap_list<H: Host>(cx: &Cx<H>, list: u64, count: u64) -> Ret {
    let mut i = 0;
    while i < count {
        let at = element::<UnmapGrantRef>(list, i)?;
        if i >= BATCH {
            return Err(cx.again(&[(1, at), (2, count - i)]));
        }
        let mut pending = [None; FLUSH_BATCH];
        let n = (count - i).min(FLUSH_BATCH as u64);
        let mut result = Ok(());
        for (k, slot) in pending.iter_mut().enumerate().take(n as usize) {
            result = unmap_one(cx, element::<UnmapGrantRef>(at, k as u64)?, slot);
            if result.is_err() {
                break;
            }
        }
        let mapped = pending.iter().flatten().any(|p| p.host);
        if mapped && cx.dom.is_hvm() {
            cx.h.flush_p2m(cx.dom);
        } else if mapped {
            cx.h.flush_tlb_mask(cx.dom.dirty_cpus.load(Ordering::Acquire), None);
        }
        let mut peer = Peer(None);
        for p in pending.iter().flatten() {
            complete(cx.h, cx.dom, *p, &mut peer);
        }
        result?;
        i += n;
    }
    Ok(0)
}

fn unmap_one<H: Host>(cx: &Cx<H>, at: u64, slot: &mut Option<Pending>) -> Result<(), Stop> {
    let mut op: UnmapGrantRef = cx.read(at)?;
    let handle = Handle(op.handle);
    let begun = cx.dom.maptrack.lock().begin_unmap(handle);
    let result = begun.and_then(|mut m| {
        let dev = op.dev_bus_addr != 0;
        let host = op.host_addr != 0 && m.access().host;
        let checked = if dev && op.dev_bus_addr != m.mfn.addr() {
            Err(GntStatus::GeneralError)
        } else if host {
            m.host_addr = op.host_addr;
            remove(cx, &m)
        } else {
            Ok(())
        };
        match checked {
            Ok(()) => *slot = Some(Pending { handle, host, dev }),
            Err(_) => cx.dom.maptrack.lock().cancel_unmap(handle),
        }
        checked
    });
    op.status = GntStatus::of(&result);
    cx.write(at, &op)
}

/// Second half of an unmap, after the flush: the references go, then the granter may have its page back.
fn complete<H: Host>(h: &H, dom: &Arc<Domain>, p: Pending, peer: &mut Peer) {
    let unmapped = dom.maptrack.lock().finish_unmap(p.handle, p.host, p.dev);
    if let Ok(unmapped) = unmapped {
        end_use(h, dom, &unmapped, peer);
    }
}

fn end_use<H: Host>(h: &H, dom: &Arc<Domain>, unmapped: &Unmapped, peer: &mut Peer) {
    let m = &unmapped.mapping;
    // The granter first: while we hold its page it cannot be forgotten and its id not be given to another.
    let granter = peer.get(m.granter, || {
        if m.granter == dom.id {
            Some(dom.clone())
        } else {
            h.domains().get(m.granter)
        }
    });
    if unmapped.gone {
        drop_page(h, m.mfn, unmapped.access.write);
    }
    if let Some(granter) = granter {
        let shared = DomGrants { h, dom: granter };
        let _ = granter.grants.read().end(&shared, m.gref, unmapped.access);
    }
}

/// Gives back one mapping of a dying domain; its page tables go separately. `false` when none is left.
pub fn release_one<H: Host>(h: &H, dom: &Arc<Domain>) -> bool {
    let mut track = dom.maptrack.lock();
    let Some((handle, _)) = track.next_to_drop() else {
        return false;
    };
    if track.begin_unmap(handle).is_err() {
        track.cancel_unmap(handle);
        let _ = track.begin_unmap(handle);
    }
    let Ok(unmapped) = track.finish_unmap(handle, true, true) else {
        return false;
    };
    drop(track);
    end_use(h, dom, &unmapped, &mut Peer(None));
    true
}
