//! CPU pools: there is one, number 0, with every CPU and every domain.
use super::bitmap::{self, all_cpus};
use super::{Outcome, Reply};
use crate::Cx;
use domain::Host;
use xen_abi::domctl::SCHEDULER_CREDIT2;
use xen_abi::sysctl::*;
use xen_abi::{DomId, Errno};

/// `cpupool_op`.
pub(super) fn cpupool_op<H: Host>(cx: &Cx<H>, op: &mut Sysctl) -> Outcome {
    let mut p = op.cpupool_op();
    match p.op {
        CPUPOOL_OP_INFO => {
            // The first pool from that id on.
            if p.cpupool_id != 0 {
                return Err(Errno::ENOENT.into());
            }
            p.sched_id = SCHEDULER_CREDIT2;
            p.n_dom = cx.h.domains().all().len() as u32;
            bitmap::write(cx, &p.cpumap, all_cpus(cx))?;
            op.set_cpupool_op(p);
            Ok(Reply::Data)
        }
        CPUPOOL_OP_FREEINFO => {
            bitmap::write(cx, &p.cpumap, 0)?;
            Ok(Reply::Done)
        }
        CPUPOOL_OP_MOVEDOMAIN if p.cpupool_id == 0 => {
            let id = u16::try_from(p.domid).map_err(|_| Errno::ESRCH)?;
            cx.h.domains().get(DomId(id)).ok_or(Errno::ESRCH)?;
            Ok(Reply::Done)
        }
        CPUPOOL_OP_MOVEDOMAIN => Err(Errno::ENOENT.into()),
        CPUPOOL_OP_CREATE => Err(Errno::ENOSPC.into()),
        CPUPOOL_OP_DESTROY | CPUPOOL_OP_ADDCPU | CPUPOOL_OP_RMCPU => Err(Errno::EOPNOTSUPP.into()),
        _ => Err(Errno::ENOSYS.into()),
    }
}
