//! Domains come and go: create, pause, resume, destroy, and the settings a builder makes once.
use super::vcpu::while_paused;
use super::{Outcome, Reply, cpu_policy, not_self};
use crate::{Cx, Stop, platform};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU16, Ordering};
use domain::{CreateParams, DEFAULT_GRANT_FRAMES, Domain, Host, MAX_VCPUS, Mutex};
use xen_abi::arch_x86::{X86_EMU_ALL, X86_EMU_LAPIC};
use xen_abi::domctl::*;
use xen_abi::xen::{NR_VIRQS, X86_MSR_RELAXED};
use xen_abi::{DomId, Errno};

/// Grant frames a domain may have at most.
const MAX_GRANT_FRAMES: u32 = 1024;
/// Maptrack frames when the creator does not say, and at most.
const DEFAULT_MAPTRACK_FRAMES: u32 = 1024;
const MAX_MAPTRACK_FRAMES: u32 = 4096;
/// Mappings that a maptrack frame stands for.
const MAPTRACK_PER_FRAME: u32 = 256;
/// Nested pauses by the toolstack.
const MAX_PAUSES: u32 = 255;

/// One creation at a time, so that an id is free until its domain is on the registry.
static CREATING: Mutex<()> = Mutex::new(());
/// The id given last: ids are not reused before all others were.
static LAST_ID: AtomicU16 = AtomicU16::new(0);

/// `createdomain`. Returns the id in the header. The domain starts paused by the toolstack.
pub(super) fn create<H: Host>(cx: &Cx<H>, op: &mut Domctl) -> Outcome {
    let wish = op.createdomain();
    let params = check(&wish, cx.h.info().hvm)?;
    let dom = domain::pool::admit(cx.h, wish.cpupool_id, || {
        let _one = CREATING.lock();
        let id = pick_id(cx.h, op.domain)?;
        let dom = Domain::new(cx.h, &CreateParams { id, ..params })?;
        dom.controller_pauses.store(1, Ordering::Release);
        *dom.cpuid.lock() = cpu_policy::most(cx.h, dom.is_hvm());
        if cx.h.domains().insert(dom.clone()) {
            Ok(dom)
        } else {
            Err(Errno::EEXIST)
        }
    })?;
    for v in dom.vcpus.iter() {
        if let Err(e) = cx.h.vcpu_created(&dom, v) {
            // It owns next to nothing yet: this ends soon.
            while domain::kill_step(cx.h, &dom) == Err(Errno::ERESTART) {}
            return Err(e.into());
        }
    }
    platform::update_wallclock(cx.h, &dom);
    op.domain = dom.id;
    Ok(Reply::Data)
}

/// Checks a creator's wishes. `EOPNOTSUPP`: a hardware-assisted guest on a machine without (`machine_has_hvm`), or one with
/// emulated devices that are not there.
fn check(c: &CreateDomain, machine_has_hvm: bool) -> Result<CreateParams, Errno> {
    let hvm = (c.flags & CDF_HVM != 0).then_some(c.arch.emulation_flags);
    let known = if hvm.is_some() { CDF_HVM | CDF_HAP } else { 0 };
    let odd = c.flags & !known != 0 || c.iommu_opts != 0 || c.vmtrace_size != 0;
    let arch = hvm.is_none() && c.arch.emulation_flags != 0
        || c.arch.emulation_flags & !X86_EMU_ALL != 0
        || c.arch.misc_flags & !X86_MSR_RELAXED != 0;
    if odd || arch || c.grant_opts & !GRANT_VERSION_MASK != 0 {
        return Err(Errno::EINVAL);
    }
    if let Some(emulation) = hvm {
        // There are nested page tables or nothing: no shadow ones.
        let paged = c.flags & CDF_HAP != 0 && machine_has_hvm;
        if !paged || emulation != X86_EMU_LAPIC {
            log::info!(
                "createdomain: flags {:#x}, emulation {emulation:#x} not offered",
                c.flags
            );
            return Err(Errno::EOPNOTSUPP);
        }
    }
    if c.max_vcpus == 0 || c.max_vcpus > MAX_VCPUS {
        return Err(Errno::EINVAL);
    }
    let limit = |wish: i32, default: u32, most: u32| match u32::try_from(wish) {
        Err(_) => Ok(default),
        Ok(n) if n > most => Err(Errno::EINVAL),
        Ok(n) => Ok(n),
    };
    let grant_frames = limit(c.max_grant_frames, DEFAULT_GRANT_FRAMES, MAX_GRANT_FRAMES)?;
    let maptrack = limit(
        c.max_maptrack_frames,
        DEFAULT_MAPTRACK_FRAMES,
        MAX_MAPTRACK_FRAMES,
    )?;
    let granted = match c.grant_opts & GRANT_VERSION_MASK {
        0 => 0,
        1 => grant_frames,
        _ => return Err(Errno::EINVAL),
    };
    Ok(CreateParams {
        id: DomId::INVALID,
        handle: c.handle,
        privileged: false,
        max_vcpus: c.max_vcpus,
        max_evtchn: c.max_evtchn_port.saturating_add(1),
        max_grant_frames: granted,
        max_maptrack: maptrack.saturating_mul(MAPTRACK_PER_FRAME),
        nr_pirqs: 0,
        max_pages: 0,
        ssidref: c.ssidref,
        hvm,
    })
}

/// The id asked for, or the next free one for 0 and the reserved ones.
fn pick_id<H: Host>(h: &H, wish: DomId) -> Result<DomId, Errno> {
    if wish != DomId::DOM0 && wish < DomId::FIRST_RESERVED {
        return if h.domains().get(wish).is_some() {
            Err(Errno::EEXIST)
        } else {
            Ok(wish)
        };
    }
    let id = h
        .domains()
        .free_id(DomId(LAST_ID.load(Ordering::Relaxed)))
        .ok_or(Errno::ENOMEM)?;
    LAST_ID.store(id.0, Ordering::Relaxed);
    Ok(id)
}

/// `max_vcpus`: they exist since creation; the number must agree.
pub(super) fn max_vcpus<H: Host>(cx: &Cx<H>, dom: &Domain, op: &Domctl) -> Outcome {
    not_self(cx, dom.id)?;
    if op.max_vcpus().max as usize != dom.vcpus.len() {
        return Err(Errno::EINVAL.into());
    }
    Ok(Reply::Done)
}

/// `destroydomain`.
pub(super) fn destroy<H: Host>(cx: &Cx<H>, dom: &Arc<Domain>) -> Outcome {
    not_self(cx, dom.id)?;
    match domain::kill_step(cx.h, dom) {
        Ok(()) => Ok(Reply::Done),
        Err(Errno::ERESTART) => Err(cx.again(&[])),
        Err(e) => Err(e.into()),
    }
}

/// `pausedomain`: counted; returns once no vcpu runs.
pub(super) fn pause<H: Host>(cx: &Cx<H>, dom: &Domain) -> Outcome {
    not_self(cx, dom.id)?;
    let more = |n: u32| (n < MAX_PAUSES).then(|| n + 1);
    dom.controller_pauses
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
        .map_err(|_| Errno::EOVERFLOW)?;
    domain::pause(cx.h, dom);
    domain::wait_paused(cx.h, dom);
    Ok(Reply::Done)
}

/// `unpausedomain`: the first one also ends the building.
pub(super) fn unpause<H: Host>(cx: &Cx<H>, dom: &Domain) -> Outcome {
    not_self(cx, dom.id)?;
    dom.controller_pauses
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1))
        .map_err(|_| Errno::EINVAL)?;
    dom.creating.store(false, Ordering::Release);
    domain::unpause(cx.h, dom);
    Ok(Reply::Done)
}

/// `resumedomain`: a domain that had shut down runs again.
pub(super) fn resume<H: Host>(cx: &Cx<H>, dom: &Domain) -> Outcome {
    not_self(cx, dom.id)?;
    if dom.is_dying() {
        return Err(Errno::EINVAL.into());
    }
    // Wait until the vcpu that is shutting the domain down has come to rest.
    domain::pause(cx.h, dom);
    domain::wait_paused(cx.h, dom);
    dom.shutdown_code.store(0, Ordering::Release);
    if dom.shutdown.swap(0, Ordering::AcqRel) != 0 {
        domain::unpause(cx.h, dom);
    }
    domain::unpause(cx.h, dom);
    Ok(Reply::Done)
}

/// `setdomainhandle`.
pub(super) fn set_handle(dom: &Domain, op: &Domctl) -> Outcome {
    *dom.handle.lock() = op.setdomainhandle().handle;
    Ok(Reply::Done)
}

/// `settimeoffset`.
pub(super) fn set_time_offset<H: Host>(cx: &Cx<H>, dom: &Domain, op: &Domctl) -> Outcome {
    dom.time_offset_s
        .store(op.settimeoffset().time_offset_seconds, Ordering::Release);
    platform::update_wallclock(cx.h, dom);
    Ok(Reply::Done)
}

/// `set_target`: `dom` may manage the target as its device model.
pub(super) fn set_target<H: Host>(cx: &Cx<H>, dom: &Domain, op: &Domctl) -> Outcome {
    let target = op.set_target().target;
    if target == dom.id {
        return Err(Errno::EINVAL.into());
    }
    cx.h.domains().get(target).ok_or(Errno::ESRCH)?;
    dom.target.store(u32::from(target.0), Ordering::Release);
    Ok(Reply::Done)
}

/// `set_virq_handler`: the control domain gets all of them anyway, nobody else any.
pub(super) fn set_virq_handler(dom: &Domain, op: &Domctl) -> Outcome {
    if op.set_virq_handler().virq >= NR_VIRQS {
        return Err(Errno::EINVAL.into());
    }
    privileged_only(dom)
}

fn privileged_only(dom: &Domain) -> Outcome {
    if dom.privileged {
        Ok(Reply::Done)
    } else {
        Err(Errno::EOPNOTSUPP.into())
    }
}

/// `gettscinfo`.
pub(super) fn get_tsc_info<H: Host>(cx: &Cx<H>, dom: &Domain, op: &mut Domctl) -> Outcome {
    op.set_tsc_info(domain::tsc::get(cx.h, dom));
    Ok(Reply::Data)
}

/// `settscinfo`.
pub(super) fn set_tsc_info<H: Host>(cx: &Cx<H>, dom: &Domain, op: &Domctl) -> Outcome {
    not_self(cx, dom.id)?;
    while_paused(cx, dom, || domain::tsc::set(cx.h, dom, &op.tsc_info()))?;
    // Deadlines are by that counter.
    for v in dom.vcpus.iter().filter(|v| v.hvm.is_some()) {
        cx.h.vcpu_timer_changed(v);
    }
    Ok(Reply::Done)
}

/// `set_address_size`: PV guests are 64 bits wide.
pub(super) fn set_address_size(op: &Domctl) -> Outcome {
    match op.address_size().size {
        64 => Ok(Reply::Done),
        32 => Err(Stop::Error(Errno::EOPNOTSUPP)),
        _ => Err(Stop::Error(Errno::EINVAL)),
    }
}

/// `get_address_size`.
pub(super) fn get_address_size(op: &mut Domctl) -> Outcome {
    op.set_address_size(AddressSize { size: 64 });
    Ok(Reply::Data)
}
