//! `vcpu_op` and `set_timer_op`: bringing vcpus up and down, their timers and their registered areas.
use crate::{Cx, Ret, Stop, hvm_context, vcpu_context};
use core::sync::atomic::Ordering;
use domain::{DomEvents, Host, PF_DOWN, Vcpu, deliver};
use xen_abi::vcpu::*;
use xen_abi::xen::{VcpuGuestContext, VcpuInfo};
use xen_abi::{Errno, VcpuId};

/// Shortest period of a periodic timer.
const MIN_PERIOD_NS: u64 = 1_000_000;

/// `vcpu_op(cmd, vcpuid, arg)`.
pub fn vcpu_op<H: Host>(cx: &Cx<H>) -> Ret {
    let [cmd, id, arg, ..] = cx.args;
    let id = u32::try_from(id).map_err(|_| Errno::ENOENT)?;
    let v = cx.dom.vcpu(VcpuId(id)).ok_or(Errno::ENOENT)?;
    match u32::try_from(cmd).unwrap_or(u32::MAX) {
        INITIALISE => initialise(cx, v, arg),
        UP => up(cx, v),
        DOWN => down(cx, v),
        IS_UP => Ok(i64::from(!v.is_down())),
        GET_RUNSTATE_INFO => {
            cx.write(arg, &runstate_info(cx, v))?;
            Ok(0)
        }
        REGISTER_RUNSTATE_MEMORY_AREA => {
            let op: RegisterRunstateMemoryArea = cx.read(arg)?;
            cx.h.copy_to_guest(
                op.addr,
                zerocopy::IntoBytes::as_bytes(&runstate_info(cx, v)),
            )?;
            v.runstate_gva.store(op.addr, Ordering::Relaxed);
            Ok(0)
        }
        REGISTER_VCPU_TIME_MEMORY_AREA => {
            let op: RegisterTimeMemoryArea = cx.read(arg)?;
            v.time_gva.store(op.addr, Ordering::Relaxed);
            cx.h.time_area_changed(cx.dom, v);
            Ok(0)
        }
        REGISTER_VCPU_INFO => register_vcpu_info(cx, v, arg),
        SET_PERIODIC_TIMER => {
            let op: SetPeriodicTimer = cx.read(arg)?;
            if op.period_ns < MIN_PERIOD_NS {
                return Err(Errno::EINVAL.into());
            }
            v.periodic_ns.store(op.period_ns, Ordering::Relaxed);
            cx.h.vcpu_timer_changed(v);
            Ok(0)
        }
        STOP_PERIODIC_TIMER => {
            v.periodic_ns.store(0, Ordering::Relaxed);
            cx.h.vcpu_timer_changed(v);
            Ok(0)
        }
        SET_SINGLESHOT_TIMER => set_singleshot(cx, v, arg),
        STOP_SINGLESHOT_TIMER => {
            if v.id != cx.v.id {
                return Err(Errno::EINVAL.into());
            }
            v.timer_ns.store(0, Ordering::Relaxed);
            cx.h.vcpu_timer_changed(v);
            Ok(0)
        }
        SEND_NMI => {
            v.nmi_pending.store(true, Ordering::Release);
            domain::wake_vcpu(cx.h, cx.dom, v);
            Ok(0)
        }
        _ => Err(Errno::ENOSYS.into()),
    }
}

fn initialise<H: Host>(cx: &Cx<H>, v: &Vcpu, arg: u64) -> Ret {
    if v.initialised.load(Ordering::Acquire) {
        return Err(Errno::EEXIST.into());
    }
    if v.info.get().is_none() {
        return Err(Errno::EINVAL.into());
    }
    if v.hvm.is_some() {
        hvm_context::initialise(v, &cx.read(arg)?)?;
        if let Some(boot) = cx.dom.vcpus.first() {
            v.tsc.follow(&boot.tsc);
        }
        return Ok(0);
    }
    let context: alloc::boxed::Box<VcpuGuestContext> = alloc::boxed::Box::new(cx.read(arg)?);
    match vcpu_context::install(cx.h, cx.dom, v, &context) {
        Ok(()) => Ok(0),
        Err(Errno::ERESTART) => Err(cx.again(&[])),
        Err(e) => Err(e.into()),
    }
}

fn up<H: Host>(cx: &Cx<H>, v: &Vcpu) -> Ret {
    if !v.initialised.load(Ordering::Acquire) {
        return Err(Errno::EINVAL.into());
    }
    if v.clear_flags(PF_DOWN) & PF_DOWN != 0 {
        share_cap(cx);
        cx.h.kick(v);
    }
    Ok(0)
}

/// A domain's cap is shared out over the vcpus that are up.
fn share_cap<H: Host>(cx: &Cx<H>) {
    if cx.dom.cap.load(Ordering::Relaxed) != 0 {
        cx.h.sched_params_changed(cx.dom);
    }
}

fn down<H: Host>(cx: &Cx<H>, v: &Vcpu) -> Ret {
    let others = cx.dom.vcpus.iter().any(|o| o.id != v.id && !o.is_down());
    if !others {
        // The last one goes down with the domain.
        domain::shutdown(cx.h, cx.dom, xen_abi::sched::SHUTDOWN_POWEROFF);
        return Ok(0);
    }
    if v.set_flags(PF_DOWN) & PF_DOWN == 0 {
        share_cap(cx);
        if v.id == cx.v.id {
            cx.h.reschedule();
        } else {
            cx.h.preempt(v);
        }
    }
    Ok(0)
}

fn runstate_info<H: Host>(cx: &Cx<H>, v: &Vcpu) -> RunstateInfo {
    let mut state = *v.runstate.lock();
    let now = cx.h.now_ns();
    let entered = state.entered_ns;
    let current = state.state;
    state.enter(current, now);
    RunstateInfo {
        state: current as i32,
        _pad4: 0,
        state_entry_time: entered,
        time: state.time_ns,
    }
}

/// Copies a vcpu's info to its new place, whose page is held from then on.
fn take_info_page<H: Host>(cx: &Cx<H>, v: &Vcpu, gfn: u64, offset: usize) -> Result<(), Stop> {
    // Two vcpus may register the info of a third one: only one page can be held.
    let _one_at_a_time = cx.dom.paging.lock();
    let moved = v
        .info
        .get()
        .is_some_and(|(old, _)| old != cx.dom.shared_info);
    // What lies in the shared page counts as not moved and is not given back.
    if moved {
        return Err(Errno::EINVAL.into());
    }
    let page = domain::hvm::get_writable(cx.h, cx.dom, gfn)?;
    let mfn = page.mfn();
    if mfn == cx.dom.shared_info {
        domain::put_writable(cx.h, page);
        return Err(Errno::EINVAL.into());
    }
    let mut info = [0u8; size_of::<VcpuInfo>()];
    match v.info.get() {
        Some((old, at)) => cx.h.read_frame(old, at, &mut info)?,
        // A vcpu beyond the shared page starts masked, with an event pending so that nothing is lost.
        None => info[1] = 1,
    }
    cx.h.write_frame(mfn, offset, &info)?;
    v.info.set(page.into_raw(), offset);
    Ok(())
}

/// Moves a vcpu's info to a page of the guest's choice, with what it holds now.
fn register_vcpu_info<H: Host>(cx: &Cx<H>, v: &Vcpu, arg: u64) -> Ret {
    let op: RegisterVcpuInfo = cx.read(arg)?;
    let offset = op.offset as usize;
    if offset > 4096 - size_of::<VcpuInfo>() || !offset.is_multiple_of(8) {
        return Err(Errno::EINVAL.into());
    }
    if v.id != cx.v.id && !v.is_down() {
        return Err(Errno::EINVAL.into());
    }
    take_info_page(cx, v, op.mfn.0, offset)?;
    cx.h.vcpu_info_moved(cx.dom, v);
    // Every port must be looked at again: an event may have been noted in the old place meanwhile.
    let shared = DomEvents {
        h: cx.h,
        dom: cx.dom,
    };
    let wake = cx.dom.events.read().vcpu_info_moved(&shared, v.id);
    deliver(cx.h, cx.dom, wake);
    Ok(0)
}

fn set_singleshot<H: Host>(cx: &Cx<H>, v: &Vcpu, arg: u64) -> Ret {
    let op: SetSingleshotTimer = cx.read(arg)?;
    if v.id != cx.v.id {
        return Err(Errno::EINVAL.into());
    }
    if op.flags & SSHOTTMR_FUTURE != 0 && op.timeout_abs_ns < cx.h.now_ns() {
        return Err(Errno::ETIME.into());
    }
    arm(cx, op.timeout_abs_ns);
    Ok(0)
}

fn arm<H: Host>(cx: &Cx<H>, deadline_ns: u64) {
    cx.v.timer_ns.store(deadline_ns, Ordering::Relaxed);
    cx.h.vcpu_timer_changed(cx.v);
}

/// `set_timer_op(timeout)`: a one-shot timer for the calling vcpu; 0 stops it.
pub fn set_timer_op<H: Host>(cx: &Cx<H>) -> Ret {
    let timeout = cx.args[0];
    // A deadline beyond any uptime (Linux's "never" is negative) means none at all.
    arm(cx, if timeout as i64 <= 0 { 0 } else { timeout });
    Ok(0)
}
