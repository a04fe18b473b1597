//! CPU pools, sysctl `cpupool_op`.
use super::bitmap;
use super::{Outcome, Reply};
use crate::Cx;
use domain::{Host, pool};
use xen_abi::domctl::SCHEDULER_CREDIT2;
use xen_abi::sysctl::*;
use xen_abi::{DomId, Errno};

/// `cpupool_op`.
pub(super) fn cpupool_op<H: Host>(cx: &Cx<H>, op: &mut Sysctl) -> Outcome {
    let mut p = op.cpupool_op();
    let any = |n: u32| (n != CPUPOOL_PAR_ANY).then_some(n);
    match p.op {
        CPUPOOL_OP_INFO => {
            let (id, cpus) = {
                let pools = cx.h.domains().pools.lock();
                let found = pools.at_or_after(p.cpupool_id).ok_or(Errno::ENOENT)?;
                (found.id, pool::cpus(cx.h, &pools, found.id))
            };
            p.cpupool_id = id;
            p.sched_id = SCHEDULER_CREDIT2;
            p.n_dom = pool::members(cx.h, id).count() as u32;
            bitmap::write(cx, &p.cpumap, cpus.0)?;
        }
        CPUPOOL_OP_CREATE => {
            if p.sched_id != SCHEDULER_CREDIT2 {
                return Err(Errno::ENOENT.into());
            }
            p.cpupool_id = cx.h.domains().pools.lock().create(any(p.cpupool_id))?;
        }
        CPUPOOL_OP_FREEINFO => {
            bitmap::write(cx, &p.cpumap, pool::free_cpus(cx.h).0)?;
            return Ok(Reply::Done);
        }
        CPUPOOL_OP_MOVEDOMAIN => {
            let id = u16::try_from(p.domid).map_err(|_| Errno::ESRCH)?;
            let dom = cx.h.domains().get(DomId(id)).ok_or(Errno::ESRCH)?;
            pool::move_domain(cx.h, &dom, p.cpupool_id)?;
            return Ok(Reply::Done);
        }
        CPUPOOL_OP_DESTROY => {
            pool::destroy(cx.h, p.cpupool_id)?;
            return Ok(Reply::Done);
        }
        CPUPOOL_OP_ADDCPU => {
            pool::add_cpu(cx.h, p.cpupool_id, any(p.cpu))?;
            return Ok(Reply::Done);
        }
        CPUPOOL_OP_RMCPU => {
            pool::remove_cpu(cx.h, p.cpupool_id, any(p.cpu))?;
            return Ok(Reply::Done);
        }
        _ => return Err(Errno::ENOSYS.into()),
    }
    op.set_cpupool_op(p);
    Ok(Reply::Data)
}
