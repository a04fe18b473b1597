//! `sched_op`: giving up the CPU, shutting down, and watchdogs.
use crate::{Cx, Ret, Stop};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use domain::{DomEvents, Host, PF_BLOCKED, PF_POLLING};
use evtchn::SharedEvents;
use xen_abi::sched::*;
use xen_abi::{Errno, GuestHandle, Port};

/// Most ports one poll may name.
const MAX_POLL_PORTS: u32 = 128;

/// `sched_op(cmd, arg)`.
pub fn sched_op<H: Host>(cx: &Cx<H>) -> Ret {
    let [cmd, arg, ..] = cx.args;
    match u32::try_from(cmd).unwrap_or(u32::MAX) {
        YIELD => {
            cx.h.reschedule();
            Ok(0)
        }
        BLOCK => {
            block(cx);
            Ok(0)
        }
        SHUTDOWN => {
            let op: Shutdown = cx.read(arg)?;
            if op.reason > SHUTDOWN_MAX {
                return Err(Errno::EINVAL.into());
            }
            if op.reason == SHUTDOWN_CRASH {
                return Err(Stop::Crash("its own kernel says so"));
            }
            domain::shutdown(cx.h, cx.dom, op.reason);
            Ok(0)
        }
        SHUTDOWN_CODE => {
            let op: Shutdown = cx.read(arg)?;
            if op.reason > SHUTDOWN_MAX {
                return Err(Errno::EINVAL.into());
            }
            cx.dom.shutdown_code.store(op.reason + 1, Ordering::Release);
            Ok(0)
        }
        POLL => poll(cx, arg),
        REMOTE_SHUTDOWN => {
            let op: RemoteShutdown = cx.read(arg)?;
            cx.need_privilege()?;
            if op.reason > SHUTDOWN_MAX {
                return Err(Errno::EINVAL.into());
            }
            let dom = cx.target(op.domain_id)?;
            domain::shutdown(cx.h, &dom, op.reason);
            Ok(0)
        }
        WATCHDOG => watchdog(cx, cx.read(arg)?),
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// `SCHEDOP_watchdog`: id 0 asks for a new one and gets its number; timeout 0 stops one, any other pets it.
fn watchdog<H: Host>(cx: &Cx<H>, op: Watchdog) -> Ret {
    let keeper = cx.dom.vcpus.first().ok_or(Errno::EINVAL)?;
    let at = match op.timeout {
        0 => 0,
        seconds => {
            let span = u64::from(seconds) * 1_000_000_000;
            cx.h.now_ns().saturating_add(span)
        }
    };
    let given = if op.id == 0 {
        if at == 0 {
            return Err(Errno::EINVAL.into());
        }
        let take = |w: &AtomicU64| {
            w.compare_exchange(0, at, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        };
        let free = keeper.watchdog_ns.iter().position(take);
        free.ok_or(Errno::ENOSPC)? as i64 + 1
    } else {
        let slot = keeper.watchdog_ns.get(op.id as usize - 1);
        let set = |old| (old != 0).then_some(at);
        slot.ok_or(Errno::EINVAL)?
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, set)
            .map_err(|_| Errno::EINVAL)?;
        0
    };
    cx.h.vcpu_timer_changed(keeper);
    Ok(given)
}

/// `SCHEDOP_block`: enables events and sleeps until one comes.
pub fn block<H: Host>(cx: &Cx<H>) {
    let shared = DomEvents {
        h: cx.h,
        dom: cx.dom,
    };
    let Some(events) = shared.vcpu_events(cx.v.id) else {
        return;
    };
    events.upcall_mask.store(0, Ordering::SeqCst);
    // Flag first, then look: an event that arrives in between clears the flag again.
    cx.v.set_flags(PF_BLOCKED);
    if domain::is_interrupted(cx.h, cx.dom, cx.v) {
        cx.v.clear_flags(PF_BLOCKED);
    } else {
        cx.h.reschedule();
    }
}

fn poll<H: Host>(cx: &Cx<H>, arg: u64) -> Ret {
    let op: Poll = cx.read(arg)?;
    if op.nr_ports > MAX_POLL_PORTS {
        return Err(Errno::EINVAL.into());
    }
    let ports = poll_ports(cx, op.ports, op.nr_ports)?;
    let shared = DomEvents {
        h: cx.h,
        dom: cx.dom,
    };
    cx.v.set_flags(PF_POLLING);
    let wait = cx.dom.events.read().poll_begin(&shared, cx.v.id, ports);
    match wait {
        Ok(true) => {}
        Ok(false) => {
            cx.v.clear_flags(PF_POLLING);
            return Ok(0);
        }
        Err(e) => {
            cx.v.clear_flags(PF_POLLING);
            return Err(e.into());
        }
    }
    // A poller also wakes for any event that would interrupt it.
    if domain::is_interrupted(cx.h, cx.dom, cx.v) {
        cx.dom.events.read().poll_end(cx.v.id);
        cx.v.clear_flags(PF_POLLING);
        return Ok(0);
    }
    cx.v.poll_deadline_ns.store(op.timeout, Ordering::Release);
    if op.timeout != 0 {
        cx.h.vcpu_timer_changed(cx.v);
    }
    cx.h.reschedule();
    Ok(0)
}

fn poll_ports<H: Host>(cx: &Cx<H>, list: GuestHandle<Port>, count: u32) -> Result<Vec<Port>, Stop> {
    let mut ports = Vec::new();
    ports
        .try_reserve_exact(count as usize)
        .map_err(|_| Errno::ENOMEM)?;
    for i in 0..count {
        ports.push(cx.read_nth(list, u64::from(i))?);
    }
    Ok(ports)
}
