//! The questions and settings of `memory_op`: limits, maps, claims, resources.
use crate::{Cx, Ret, Stop, grant_table};
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use domain::physmap::{Page, place};
use domain::{Domain, E820Entry as Region, Host};
use mm::Paging;
use xen_abi::memory::*;
use xen_abi::xen::{MACH2PHYS_NR_ENTRIES, MACH2PHYS_VIRT_END, MACH2PHYS_VIRT_START};
use xen_abi::{Errno, Mfn};

/// Most entries of a guest's memory map (`E820_X_MAX`).
const MAX_E820: u32 = 128;
/// Most frames per `acquire_resource`.
const MAX_RESOURCE: u32 = 64;

/// The sub-operations of `memory_op` that move no pages.
pub fn memory_info<H: Host>(cx: &Cx<H>, cmd: u32, arg: u64) -> Ret {
    match cmd {
        MAXIMUM_RAM_PAGE => Ok(cx.h.info().max_mfn.saturating_sub(1) as i64),
        CURRENT_RESERVATION => of_domain(cx, arg, |d| d.tot_pages.load(Ordering::Relaxed)),
        MAXIMUM_RESERVATION => of_domain(cx, arg, |d| d.memory.lock().max_pages),
        MAXIMUM_GPFN => of_domain(cx, arg, |d| {
            if let Some(hvm) = &d.hvm {
                return hvm.p2m.lock().max_gfn();
            }
            let at = core::mem::offset_of!(xen_abi::xen::SharedInfo, arch);
            let max_pfn =
                cx.h.shared_u64(d.shared_info, at)
                    .map_or(0, |w| w.load(Ordering::Relaxed));
            max_pfn.saturating_sub(1)
        }),
        MACHPHYS_MAPPING => {
            let map = MachphysMapping {
                v_start: MACH2PHYS_VIRT_START,
                v_end: MACH2PHYS_VIRT_END,
                max_mfn: MACH2PHYS_NR_ENTRIES - 1,
            };
            cx.write(arg, &map)?;
            Ok(0)
        }
        MACHPHYS_MFN_LIST => machphys_mfn_list(cx, arg),
        MEMORY_MAP => memory_map(cx, arg),
        MACHINE_MEMORY_MAP => machine_memory_map(cx, arg),
        SET_MEMORY_MAP => set_memory_map(cx, arg),
        CLAIM_PAGES => claim_pages(cx, arg),
        ACQUIRE_RESOURCE => acquire_resource(cx, arg),
        SET_POD_TARGET | GET_POD_TARGET => pod_target(cx, cmd, arg),
        GET_SHARING_FREED_PAGES | GET_SHARING_SHARED_PAGES => {
            cx.need_privilege()?;
            Ok(0)
        }
        RESERVED_DEVICE_MEMORY_MAP => reserved_device_memory(cx, arg),
        GET_VNUMAINFO => Err(Errno::EOPNOTSUPP.into()),
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// Where the machine-to-physical table lies, 2 MiB by 2 MiB, for a control domain that maps it. Holes have the frame before them.
fn machphys_mfn_list<H: Host>(cx: &Cx<H>, arg: u64) -> Ret {
    /// Entries in 2 MiB.
    const COVERS: u64 = (2 << 20) / 8;
    cx.need_privilege()?;
    let mut list: MachphysMfnList = cx.read(arg)?;
    let extents = cx.h.info().max_mfn.div_ceil(COVERS);
    let count = extents.min(list.max_extents.into());
    let mut last = Mfn(0);
    for i in 0..count {
        last = cx.h.m2p_extent(i).unwrap_or(last);
        cx.write_nth(list.extent_start, i, &last.0)?;
    }
    list.nr_extents = count as u32;
    cx.write(arg, &list)?;
    Ok(0)
}

fn of_domain<H: Host>(cx: &Cx<H>, arg: u64, f: impl FnOnce(&domain::Domain) -> u64) -> Ret {
    let d: MemoryDomain = cx.read(arg)?;
    Ok(f(&*cx.target(d.domid)?).min(i64::MAX as u64) as i64)
}

fn write_map<H: Host>(cx: &Cx<H>, arg: u64, entries: impl Iterator<Item = Region>) -> Ret {
    let mut map: MemoryMap = cx.read(arg)?;
    let room = map.nr_entries;
    let mut n = 0;
    for e in entries.take(room as usize) {
        let out = E820Entry {
            addr: e.addr,
            size: e.size,
            r#type: e.kind,
        };
        if !map.buffer.is_null() {
            cx.write_nth(map.buffer, u64::from(n), &out)?;
        }
        n += 1;
    }
    map.nr_entries = n;
    cx.write(arg, &map)?;
    Ok(0)
}

fn memory_map<H: Host>(cx: &Cx<H>, arg: u64) -> Ret {
    let entries = cx.dom.e820.lock().clone();
    if entries.is_empty() {
        return Err(Errno::ENOSYS.into());
    }
    write_map(cx, arg, entries.into_iter())
}

fn machine_memory_map<H: Host>(cx: &Cx<H>, arg: u64) -> Ret {
    cx.need_privilege()?;
    let all = (0..)
        .map_while(|i| cx.h.machine_e820(i))
        .map(|(addr, size, kind)| Region { addr, size, kind });
    write_map(cx, arg, all)
}

fn set_memory_map<H: Host>(cx: &Cx<H>, arg: u64) -> Ret {
    cx.need_privilege()?;
    let f: ForeignMemoryMap = cx.read(arg)?;
    if f.map.nr_entries > MAX_E820 {
        return Err(Errno::E2BIG.into());
    }
    let dom = cx.target(f.domid)?;
    let mut entries = Vec::new();
    for i in 0..f.map.nr_entries {
        let e = cx.read_nth(f.map.buffer, u64::from(i))?;
        entries.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        entries.push(Region {
            addr: e.addr,
            size: e.size,
            kind: e.r#type,
        });
    }
    *dom.e820.lock() = entries;
    Ok(0)
}

/// Promises pages to a domain that is being built, so that others cannot take them meanwhile.
fn claim_pages<H: Host>(cx: &Cx<H>, arg: u64) -> Ret {
    cx.need_privilege()?;
    let r: MemoryReservation = cx.read(arg)?;
    if r.extent_order != 0 || r.mem_flags != 0 || !r.extent_start.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let dom = cx.target(r.domid)?;
    domain::set_claim(cx.h, &dom, r.nr_extents)?;
    Ok(0)
}

fn acquire_resource<H: Host>(cx: &Cx<H>, arg: u64) -> Ret {
    const NR_FRAMES: u64 = core::mem::offset_of!(MemAcquireResource, nr_frames) as u64;
    let r: MemAcquireResource = cx.read(arg)?;
    if r.pad != 0 {
        return Err(Errno::EINVAL.into());
    }
    cx.need_privilege()?;
    let dom = cx.target(r.domid)?;
    if u32::from(r.r#type) != RESOURCE_GRANT_TABLE {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if r.id != RESOURCE_GRANT_TABLE_ID_SHARED {
        return Err(Errno::EINVAL.into());
    }
    if r.frame_list.is_null() {
        if r.nr_frames != 0 {
            return Err(Errno::EINVAL.into());
        }
        cx.write(arg + NR_FRAMES, &dom.max_grant_frames)?;
        return Ok(0);
    }
    if r.nr_frames > MAX_RESOURCE {
        return Err(Errno::E2BIG.into());
    }
    let end = r
        .frame
        .checked_add(u64::from(r.nr_frames))
        .ok_or(Errno::EINVAL)?;
    if end > u64::from(dom.max_grant_frames) {
        return Err(Errno::EINVAL.into());
    }
    grant_table::grow(cx.h, &dom, end as u32)?;
    if cx.dom.is_hvm() {
        return place_resource(cx, &dom, &r);
    }
    for i in 0..r.nr_frames {
        let frame = dom
            .grant_frames
            .read()
            .get(r.frame as usize + i as usize)
            .copied();
        cx.write_nth(r.frame_list, u64::from(i), &frame.ok_or(Errno::EINVAL)?.0)?;
    }
    Ok(0)
}

/// Puts grant frames of `dom` at the guest frames that the caller, a hardware guest, names.
fn place_resource<H: Host>(cx: &Cx<H>, dom: &Domain, r: &MemAcquireResource) -> Ret {
    let mut removed = Vec::new();
    let mut result: Result<(), Stop> = Ok(());
    for i in 0..r.nr_frames {
        let index = r.frame as usize + i as usize;
        result = (|| {
            let gfn: u64 = cx.read_nth(r.frame_list, u64::from(i))?;
            let frame = dom.grant_frames.read().get(index).copied();
            let frame = frame.ok_or(Errno::EINVAL)?;
            let page = Paging::new(cx.h.frames(), cx.h).get_writable(frame, dom.id)?;
            place(cx.h, cx.dom, gfn, Page::Foreign(page), &mut removed)?;
            Ok(())
        })();
        if result.is_err() {
            break;
        }
    }
    domain::hvm::release(cx.h, cx.dom, &removed);
    result.map(|()| 0)
}

/// There is no populate-on-demand: the target is accepted as long as it fits, the cache is empty.
fn pod_target<H: Host>(cx: &Cx<H>, cmd: u32, arg: u64) -> Ret {
    cx.need_privilege()?;
    let mut t: PodTarget = cx.read(arg)?;
    let dom = cx.target(t.domid)?;
    if cmd == SET_POD_TARGET && t.target_pages > dom.memory.lock().max_pages {
        return Err(Errno::EINVAL.into());
    }
    t.tot_pages = dom.tot_pages.load(Ordering::Relaxed);
    t.pod_cache_pages = 0;
    t.pod_entries = 0;
    cx.write(arg, &t)?;
    Ok(0)
}

fn reserved_device_memory<H: Host>(cx: &Cx<H>, arg: u64) -> Ret {
    let mut r: ReservedDeviceMemoryMap = cx.read(arg)?;
    r.nr_entries = 0;
    cx.write(arg, &r)?;
    Ok(0)
}
