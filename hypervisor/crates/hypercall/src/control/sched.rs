//! Scheduling parameters. The scheduler answers to the name credit2: weights and caps per domain.
use super::{Outcome, Reply};
use crate::Cx;
use core::sync::atomic::Ordering;
use domain::{Domain, Host};
use xen_abi::Errno;
use xen_abi::domctl::{self as dc, Domctl, SCHEDULER_CREDIT2, SchedCredit2};
use xen_abi::sysctl::{self as sc, Credit2Schedule, SchedId, Sysctl};

/// domctl `scheduler_op`.
pub(super) fn of_domain<H: Host>(cx: &Cx<H>, dom: &Domain, op: &mut Domctl) -> Outcome {
    let mut s = op.scheduler_op();
    if s.sched_id != SCHEDULER_CREDIT2 {
        return Err(Errno::EINVAL.into());
    }
    match s.cmd {
        dc::SCHEDOP_GETINFO => {
            let narrow = |n: u32| n.min(u32::from(u16::MAX)) as u16;
            s.u.set(SchedCredit2 {
                weight: narrow(dom.weight.load(Ordering::Relaxed)),
                cap: narrow(dom.cap.load(Ordering::Relaxed)),
            });
            op.set_scheduler_op(s);
            Ok(Reply::Data)
        }
        dc::SCHEDOP_PUTINFO => {
            let new: SchedCredit2 = s.u.get();
            // Weight 0 means "as it was"; cap 0 means none.
            if new.weight != 0 {
                dom.weight.store(u32::from(new.weight), Ordering::Relaxed);
            }
            dom.cap.store(u32::from(new.cap), Ordering::Relaxed);
            cx.h.sched_params_changed(dom);
            Ok(Reply::Done)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// sysctl `sched_id`.
pub(super) fn id(op: &mut Sysctl) -> Outcome {
    op.set_sched_id(SchedId {
        sched_id: SCHEDULER_CREDIT2,
    });
    Ok(Reply::Data)
}

/// sysctl `scheduler_op`.
pub(super) fn of_pool<H: Host>(cx: &Cx<H>, op: &mut Sysctl) -> Outcome {
    let mut s = op.scheduler_op();
    let ratelimit_us = {
        let pools = cx.h.domains().pools.lock();
        pools.get(s.cpupool_id).ok_or(Errno::ESRCH)?.ratelimit_us
    };
    if s.sched_id != SCHEDULER_CREDIT2 {
        return Err(Errno::EINVAL.into());
    }
    match s.cmd {
        sc::SCHEDOP_GETINFO => {
            s.u.set(Credit2Schedule { ratelimit_us });
            op.set_scheduler_op(s);
            Ok(Reply::Data)
        }
        sc::SCHEDOP_PUTINFO => {
            let us = s.u.get::<Credit2Schedule>().ratelimit_us;
            if us != 0 && !(sc::SCHED_RATELIMIT_MIN..=sc::SCHED_RATELIMIT_MAX).contains(&us) {
                return Err(Errno::EINVAL.into());
            }
            domain::pool::set_ratelimit(cx.h, s.cpupool_id, us)?;
            Ok(Reply::Done)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}
