//! What is known of domains: `getdomaininfo` and `getdomaininfolist`.
use super::{Outcome, Reply};
use crate::Cx;
use core::sync::atomic::Ordering;
use domain::{Domain, Host, PF_BLOCKED, PF_POLLING, ShutdownState};
use xen_abi::domctl::*;
use xen_abi::sysctl::Sysctl;
use xen_abi::{DomId, Errno};

/// The interface from which on `getdomaininfo` finds only the very domain; before, the first from that id on.
const EXACT_SINCE: u32 = 0x16;
/// Shown as the reason of a domain that has not shut down (`SHUTDOWN_CODE_INVALID`, cut to its field).
const NO_REASON: u32 = 0xffff;

/// `getdomaininfo`.
pub(super) fn get<H: Host>(cx: &Cx<H>, op: &mut Domctl) -> Outcome {
    if op.domain >= DomId::FIRST_RESERVED {
        return Err(Errno::ESRCH.into());
    }
    let dom = if op.interface_version >= EXACT_SINCE {
        cx.h.domains().get(op.domain)
    } else {
        cx.h.domains().at_or_after(op.domain)
    };
    let dom = dom.ok_or(Errno::ESRCH)?;
    op.domain = dom.id;
    op.set_getdomaininfo(describe(cx.h, &dom));
    Ok(Reply::Data)
}

/// `getdomaininfolist`.
pub(super) fn list<H: Host>(cx: &Cx<H>, op: &mut Sysctl) -> Outcome {
    let mut l = op.getdomaininfolist();
    let mut from = l.first_domain;
    l.num_domains = 0;
    while l.num_domains < l.max_domains {
        let Some(dom) = cx.h.domains().at_or_after(from) else {
            break;
        };
        cx.write_nth(l.buffer, u64::from(l.num_domains), &describe(cx.h, &dom))?;
        l.num_domains += 1;
        from = DomId(dom.id.0.saturating_add(1));
    }
    op.set_getdomaininfolist(l);
    Ok(Reply::Data)
}

/// The state of one domain.
fn describe<H: Host>(h: &H, dom: &Domain) -> GetDomainInfo {
    let mut info = GetDomainInfo {
        domain: dom.id,
        flags: flags(dom),
        tot_pages: dom.tot_pages.load(Ordering::Relaxed),
        shared_info_frame: dom.shared_info.0,
        cpu_time: dom.retired_ns.load(Ordering::Relaxed),
        nr_online_vcpus: dom.online_vcpus(),
        max_vcpu_id: dom.vcpus.last().map_or(INVALID_MAX_VCPU_ID, |v| v.id.0),
        ssidref: dom.ssidref,
        handle: *dom.handle.lock(),
        cpupool: dom.pool.load(Ordering::Relaxed),
        ..GetDomainInfo::default()
    };
    for v in dom.vcpus.iter() {
        info.cpu_time = info.cpu_time.saturating_add(h.vcpu_runtime_ns(v));
    }
    let mem = dom.memory.lock();
    info.max_pages = mem.max_pages;
    info.outstanding_pages = mem.claimed();
    info
}

fn flags(dom: &Domain) -> u32 {
    let online = || dom.vcpus.iter().filter(|v| !v.is_down());
    let set = |on: bool, bit: u32| if on { bit } else { 0 };
    let waits = PF_BLOCKED | PF_POLLING;
    let blocked =
        online().all(|v| v.flags.load(Ordering::Relaxed) & waits != 0) && online().next().is_some();
    let running = online().any(|v| v.running.load(Ordering::Relaxed));
    let (down, reason) = match dom.shutdown_state() {
        ShutdownState::Up => (false, NO_REASON),
        ShutdownState::Down(reason) => (true, reason & DOMINF_SHUTDOWNMASK),
    };
    // "Dying" is said only when nothing is left to do: toolstacks then forget the domain.
    set(dom.dead.load(Ordering::Acquire), DOMINF_DYING)
        | set(dom.is_hvm(), DOMINF_HVM_GUEST | DOMINF_HAP)
        | set(down, DOMINF_SHUTDOWN)
        | set(
            dom.controller_pauses.load(Ordering::Acquire) > 0,
            DOMINF_PAUSED,
        )
        | set(blocked, DOMINF_BLOCKED)
        | set(running, DOMINF_RUNNING)
        | reason << DOMINF_SHUTDOWNSHIFT
}
