//! Vcpus from outside: whole contexts, run state, NMIs.
use super::{Outcome, Reply, not_self, vcpu_of};
use crate::{Cx, Stop, vcpu_context};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use domain::{Domain, Host, PF_BLOCKED, PF_DOWN, PF_POLLING};
use xen_abi::Errno;
use xen_abi::domctl::*;
use xen_abi::xen::{VGCF_ONLINE, VcpuGuestContext};

/// `setvcpucontext`; a null context resets the vcpu.
pub(super) fn set_context<H: Host>(cx: &Cx<H>, dom: &Arc<Domain>, op: &Domctl) -> Outcome {
    not_self(cx, dom.id)?;
    let c = op.vcpucontext();
    let v = vcpu_of(dom, c.vcpu)?;
    if v.hvm.is_some() {
        // The state of such vcpus goes by `sethvmcontext`.
        return Err(Errno::EOPNOTSUPP.into());
    }
    let context = if c.ctxt.is_null() {
        None
    } else {
        Some(Box::new(cx.read_nth(c.ctxt, 0)?))
    };
    let done = while_paused(cx, dom, || match &context {
        None => vcpu_context::reset(cx.h, dom, v),
        Some(context) => {
            vcpu_context::install(cx.h, dom, v, context)?;
            if context.flags & VGCF_ONLINE != 0 {
                v.clear_flags(PF_DOWN);
            } else {
                v.set_flags(PF_DOWN);
            }
            Ok(())
        }
    });
    match done {
        Ok(()) => Ok(Reply::Done),
        Err(Errno::ERESTART) => Err(cx.again(&[])),
        Err(e) => Err(e.into()),
    }
}

/// Runs `f` while no vcpu of `dom`, which is not the caller's, runs.
pub(super) fn while_paused<H: Host, T>(cx: &Cx<H>, dom: &Domain, f: impl FnOnce() -> T) -> T {
    domain::pause(cx.h, dom);
    domain::wait_paused(cx.h, dom);
    let out = f();
    domain::unpause(cx.h, dom);
    out
}

/// `getvcpucontext`.
pub(super) fn get_context<H: Host>(cx: &Cx<H>, dom: &Domain, op: &Domctl) -> Outcome {
    not_self(cx, dom.id)?;
    let c = op.vcpucontext();
    let v = vcpu_of(dom, c.vcpu)?;
    let mut context = Box::new(VcpuGuestContext::default());
    while_paused(cx, dom, || match &v.hvm {
        None => vcpu_context::capture(dom, v, &mut context),
        Some(hvm) => {
            let state = hvm.state.lock();
            context.user_regs = state.regs;
            context.ctrlreg[0] = state.cr0;
            context.ctrlreg[2] = state.cr2;
            context.ctrlreg[3] = state.cr3;
            context.ctrlreg[4] = state.cr4;
            Ok(())
        }
    })?;
    cx.write_nth(c.ctxt, 0, &*context)?;
    Ok(Reply::Done)
}

/// `getvcpuinfo`.
pub(super) fn get_info<H: Host>(cx: &Cx<H>, dom: &Domain, op: &mut Domctl) -> Outcome {
    let mut info = op.getvcpuinfo();
    let v = vcpu_of(dom, info.vcpu)?;
    let flags = v.flags.load(Ordering::Acquire);
    info.online = u8::from(flags & PF_DOWN == 0);
    info.blocked = u8::from(flags & (PF_BLOCKED | PF_POLLING) != 0);
    info.running = u8::from(v.running.load(Ordering::Acquire));
    info.cpu_time = cx.h.vcpu_runtime_ns(v);
    info.cpu = v.cpu.load(Ordering::Relaxed);
    op.set_getvcpuinfo(info);
    Ok(Reply::Data)
}

/// `sendtrigger`: NMIs; the other triggers are for machines with a power button.
pub(super) fn send_trigger<H: Host>(cx: &Cx<H>, dom: &Domain, op: &Domctl) -> Outcome {
    let t = op.sendtrigger();
    let v = vcpu_of(dom, t.vcpu)?;
    match t.trigger {
        SENDTRIGGER_NMI => {
            v.nmi_pending.store(true, Ordering::Release);
            domain::wake_vcpu(cx.h, dom, v);
            Ok(Reply::Done)
        }
        SENDTRIGGER_RESET | SENDTRIGGER_INIT | SENDTRIGGER_POWER | SENDTRIGGER_SLEEP => {
            Err(Stop::Error(Errno::EOPNOTSUPP))
        }
        _ => Err(Stop::Error(Errno::EINVAL)),
    }
}
