//! `memory_op`: pages given, taken, exchanged. Questions about memory are in `memory_info`.
use crate::mmu::WORK_UNITS;
use crate::{Cx, Ret, Stop, memory_info, physmap};
use alloc::sync::Arc;
use alloc::vec::Vec;
use domain::hvm::Removed;
use domain::{Domain, Host};
use mm::{Budget, Paging};
use xen_abi::memory::*;
use xen_abi::{DomId, Errno, Mfn};

/// Sub-operation in the low bits of the command, extents already done above them.
const CMD_BITS: u32 = 6;
/// Extents per call before other work gets its turn.
const BATCH: u64 = 128;
/// Largest extent for a guest and for dom0 (log2 of pages).
const MAX_ORDER_GUEST: u32 = 9;
const MAX_ORDER_DOM0: u32 = 12;

/// `memory_op(cmd, arg)`.
pub fn memory_op<H: Host>(cx: &Cx<H>) -> Ret {
    let [cmd, arg, ..] = cx.args;
    let start = cmd >> CMD_BITS;
    match (cmd & ((1 << CMD_BITS) - 1)) as u32 {
        POPULATE_PHYSMAP => reservation(cx, arg, start, populate),
        INCREASE_RESERVATION => reservation(cx, arg, start, increase),
        DECREASE_RESERVATION => reservation(cx, arg, start, decrease),
        EXCHANGE => exchange(cx, arg),
        ADD_TO_PHYSMAP => physmap::add(cx, arg),
        ADD_TO_PHYSMAP_BATCH => physmap::add_batch(cx, arg, start),
        REMOVE_FROM_PHYSMAP => physmap::remove(cx, arg),
        other => memory_info::memory_info(cx, other, arg),
    }
}

/// What is done with one extent, by index. What a p2m held before goes to the list.
type OneExtent<H> =
    fn(&Cx<H>, &Arc<Domain>, &MemoryReservation, u64, &mut Vec<Removed>) -> Result<(), Stop>;

/// Runs `one` over the extents of a reservation. Returns how many succeeded; the first failure ends it.
fn reservation<H: Host>(cx: &Cx<H>, arg: u64, start: u64, one: OneExtent<H>) -> Ret {
    let r: MemoryReservation = cx.read(arg)?;
    if start > r.nr_extents || r.nr_extents > u64::from(u32::MAX) {
        return Err(Errno::EINVAL.into());
    }
    let Ok(dom) = cx.target(r.domid) else {
        return Ok(start as i64);
    };
    let max_order = if cx.dom.privileged {
        MAX_ORDER_DOM0
    } else {
        MAX_ORDER_GUEST
    };
    if r.extent_order > max_order {
        return Ok(start as i64);
    }
    let mut removed = Vec::new();
    let result = extents(cx, &dom, &r, start, one, &mut removed);
    domain::hvm::release(cx.h, &dom, &removed);
    result
}

fn extents<H: Host>(
    cx: &Cx<H>,
    dom: &Arc<Domain>,
    r: &MemoryReservation,
    start: u64,
    one: OneExtent<H>,
    removed: &mut Vec<Removed>,
) -> Ret {
    for i in start..r.nr_extents {
        if i - start >= (BATCH >> r.extent_order.min(7)).max(1) {
            let cmd = (cx.args[0] & ((1 << CMD_BITS) - 1)) | (i << CMD_BITS);
            return Err(cx.again(&[(0, cmd)]));
        }
        match one(cx, dom, r, i, removed) {
            Ok(()) => {}
            Err(Stop::Error(Errno::ERESTART)) => {
                let cmd = (cx.args[0] & ((1 << CMD_BITS) - 1)) | (i << CMD_BITS);
                return Err(cx.again(&[(0, cmd)]));
            }
            Err(_) => return Ok(i as i64),
        }
    }
    Ok(r.nr_extents as i64)
}

/// The address width limit of a request, for devices that cannot reach all memory.
fn address_bits(flags: u32) -> Option<u32> {
    match memf_address_bits(flags) {
        0 => None,
        bits => Some(bits),
    }
}

fn populate<H: Host>(
    cx: &Cx<H>,
    dom: &Arc<Domain>,
    r: &MemoryReservation,
    i: u64,
    _: &mut Vec<Removed>,
) -> Result<(), Stop> {
    let pfn: u64 = cx.read_nth(r.extent_start, i)?;
    give(cx, dom, r, i, Some(pfn))
}

fn increase<H: Host>(
    cx: &Cx<H>,
    dom: &Arc<Domain>,
    r: &MemoryReservation,
    i: u64,
    _: &mut Vec<Removed>,
) -> Result<(), Stop> {
    give(cx, dom, r, i, None)
}

fn give<H: Host>(
    cx: &Cx<H>,
    dom: &Arc<Domain>,
    r: &MemoryReservation,
    i: u64,
    pfn: Option<u64>,
) -> Result<(), Stop> {
    if dom.is_hvm() {
        return give_hvm(cx, dom, r, pfn);
    }
    let mfn = domain::alloc_pages(cx.h, dom, r.extent_order, address_bits(r.mem_flags))?;
    if let Some(pfn) = pfn {
        for n in 0..1u64 << r.extent_order {
            cx.h.m2p_set(Mfn(mfn.0 + n), pfn.wrapping_add(n));
        }
    }
    if r.extent_start.is_null() {
        return Ok(());
    }
    cx.write_nth(r.extent_start, i, &mfn.0)
}

/// Pages for a hardware-assisted guest, which names them by its own frame numbers only.
fn give_hvm<H: Host>(
    cx: &Cx<H>,
    dom: &Arc<Domain>,
    r: &MemoryReservation,
    gfn: Option<u64>,
) -> Result<(), Stop> {
    let gfn = gfn.ok_or(Errno::EINVAL)?;
    let mfn = domain::alloc_pages(cx.h, dom, r.extent_order, address_bits(r.mem_flags))?;
    let added = domain::hvm::add_ram(cx.h, dom, gfn, r.extent_order, mfn);
    if added.is_err() {
        for n in 0..1u64 << r.extent_order {
            if let Some(page) = cx.h.frames().free_domain_ref(Mfn(mfn.0 + n), dom.id) {
                domain::put_page(cx.h, page);
            }
        }
    }
    Ok(added?)
}

/// One extent of a hardware-assisted guest's; what its p2m held is released after one flush for many.
fn decrease_hvm<H: Host>(
    cx: &Cx<H>,
    dom: &Arc<Domain>,
    first: u64,
    order: u32,
    removed: &mut Vec<Removed>,
) -> Result<(), Stop> {
    let count = 1usize << order;
    removed.try_reserve(count).map_err(|_| Errno::ENOMEM)?;
    if order > 0
        && let Some(leaf) = domain::physmap::surrender_leaf(cx.h, dom, first, order)
    {
        removed.push(leaf);
        return Ok(());
    }
    for n in 0..count as u64 {
        removed.push(domain::physmap::surrender(
            cx.h,
            dom,
            first.wrapping_add(n),
        )?);
    }
    Ok(())
}

fn decrease<H: Host>(
    cx: &Cx<H>,
    dom: &Arc<Domain>,
    r: &MemoryReservation,
    i: u64,
    removed: &mut Vec<Removed>,
) -> Result<(), Stop> {
    let first: u64 = cx.read_nth(r.extent_start, i)?;
    if dom.is_hvm() {
        return decrease_hvm(cx, dom, first, r.extent_order, removed);
    }
    for n in 0..1u64 << r.extent_order {
        take(cx, dom, Mfn(first.wrapping_add(n)))?;
    }
    Ok(())
}

/// Takes one page away from a domain; it is freed once nothing refers to it.
fn take<H: Host>(cx: &Cx<H>, dom: &Arc<Domain>, mfn: Mfn) -> Result<(), Stop> {
    let paging = Paging::new(cx.h.frames(), cx.h);
    // Must be the domain's own ordinary page: its grant frames and shared info are not for it to give up.
    let page = paging.frames.get_page(mfn, dom.id)?;
    let shared = mfn == dom.shared_info || dom.grant_frames.read().contains(&mfn);
    domain::put_page(cx.h, page);
    if shared {
        return Err(Errno::EINVAL.into());
    }
    let mut tables = dom.paging.lock();
    paging.relinquish(&mut tables, mfn, &mut Budget(WORK_UNITS))?;
    Ok(())
}

/// `XENMEM_exchange`: hands pages back and gets others of another size or address range for them.
fn exchange<H: Host>(cx: &Cx<H>, arg: u64) -> Ret {
    if cx.dom.is_hvm() {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let mut x: MemoryExchange = cx.read(arg)?;
    let own = |id: DomId| id == DomId::SELF || id == cx.dom.id;
    let max_order = if cx.dom.privileged {
        MAX_ORDER_DOM0
    } else {
        MAX_ORDER_GUEST
    };
    let (in_order, out_order) = (x.r#in.extent_order, x.out.extent_order);
    if !own(x.r#in.domid) || !own(x.out.domid) || in_order > max_order || out_order > max_order {
        return Err(Errno::EPERM.into());
    }
    let pages = |n: u64, order: u32| n.checked_mul(1 << order);
    let (Some(total_in), Some(total_out)) = (
        pages(x.r#in.nr_extents, in_order),
        pages(x.out.nr_extents, out_order),
    ) else {
        return Err(Errno::EINVAL.into());
    };
    if total_in != total_out || x.nr_exchanged > x.r#in.nr_extents {
        return Err(Errno::EINVAL.into());
    }
    let chunk_order = in_order.max(out_order);
    let in_per_chunk = 1u64 << (chunk_order - in_order);
    let out_per_chunk = 1u64 << (chunk_order - out_order);
    if !x.r#in.nr_extents.is_multiple_of(in_per_chunk)
        || !x.nr_exchanged.is_multiple_of(in_per_chunk)
    {
        return Err(Errno::EINVAL.into());
    }
    let chunks = x.r#in.nr_extents / in_per_chunk;
    let begun = x.nr_exchanged / in_per_chunk;
    for chunk in begun..chunks {
        if chunk > begun && ((chunk - begun) << chunk_order) > 4096 {
            return Err(cx.again(&[]));
        }
        exchange_chunk(cx, &x, chunk, in_per_chunk, out_per_chunk)?;
        x.nr_exchanged = (chunk + 1) * in_per_chunk;
        cx.write(arg, &x)?;
    }
    Ok(0)
}

fn exchange_chunk<H: Host>(
    cx: &Cx<H>,
    x: &MemoryExchange,
    chunk: u64,
    in_per_chunk: u64,
    out_per_chunk: u64,
) -> Result<(), Stop> {
    let h = cx.h;
    let paging = Paging::new(h.frames(), h);
    let mut old: Vec<Mfn> = Vec::new();
    for i in 0..in_per_chunk {
        let first: u64 = cx.read_nth(x.r#in.extent_start, chunk * in_per_chunk + i)?;
        for n in 0..1u64 << x.r#in.extent_order {
            old.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            old.push(Mfn(first.wrapping_add(n)));
        }
    }
    // A page counts once: handing it in twice would make two of it.
    let mut sorted = old.clone();
    sorted.sort_unstable();
    if sorted
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if a == b))
    {
        return Err(Errno::EINVAL.into());
    }
    // Nobody but the owner may refer to a page that is handed back: no mapping, no grant.
    for mfn in &old {
        let page = paging.frames.get_page(*mfn, cx.dom.id)?;
        let in_use = paging.frames.refs(*mfn) > 2 || paging.page_type(*mfn).0 != mm::PageType::None;
        let shared = *mfn == cx.dom.shared_info || cx.dom.grant_frames.read().contains(mfn);
        domain::put_page(h, page);
        if in_use || shared {
            return Err(Errno::EBUSY.into());
        }
    }
    let mut pfns: Vec<u64> = Vec::new();
    let mut new: Vec<Mfn> = Vec::new();
    for o in 0..out_per_chunk {
        pfns.push(cx.read_nth(x.out.extent_start, chunk * out_per_chunk + o)?);
        let bits = address_bits(x.out.mem_flags);
        match domain::alloc_for_exchange(h, cx.dom, x.out.extent_order, bits) {
            Ok(mfn) => new.push(mfn),
            Err(e) => {
                for mfn in new {
                    give_back(cx, mfn, x.out.extent_order);
                }
                return Err(e.into());
            }
        }
    }
    for mfn in old {
        let mut tables = cx.dom.paging.lock();
        while paging.relinquish(&mut tables, mfn, &mut Budget(WORK_UNITS)) == Err(Errno::ERESTART) {
        }
    }
    for (o, (mfn, pfn)) in new.iter().zip(pfns).enumerate() {
        for n in 0..1u64 << x.out.extent_order {
            h.m2p_set(Mfn(mfn.0 + n), pfn.wrapping_add(n));
        }
        cx.write_nth(x.out.extent_start, chunk * out_per_chunk + o as u64, &mfn.0)?;
    }
    Ok(())
}

fn give_back<H: Host>(cx: &Cx<H>, first: Mfn, order: u32) {
    let paging = Paging::new(cx.h.frames(), cx.h);
    for n in 0..1u64 << order {
        let mut tables = cx.dom.paging.lock();
        let _ = paging.relinquish(&mut tables, Mfn(first.0 + n), &mut Budget(WORK_UNITS));
    }
}
