//! Where vcpus run: hard and soft affinity over up to 64 CPUs, and the one NUMA node.
use super::bitmap::{self, all_cpus};
use super::{Outcome, Reply, vcpu_of};
use crate::Cx;
use core::sync::atomic::Ordering;
use domain::{Domain, Host, pool};
use sched::CpuMask;
use xen_abi::Errno;
use xen_abi::domctl::{Domctl, VCPUAFFINITY_FORCE, VCPUAFFINITY_HARD, VCPUAFFINITY_SOFT};

/// `setvcpuaffinity`: both maps are read before either is set; writes back what is in force.
pub(super) fn set<H: Host>(cx: &Cx<H>, dom: &Domain, op: &Domctl) -> Outcome {
    let a = op.vcpuaffinity();
    let (hard, soft) = (
        a.flags & VCPUAFFINITY_HARD != 0,
        a.flags & VCPUAFFINITY_SOFT != 0,
    );
    if a.flags & !(VCPUAFFINITY_HARD | VCPUAFFINITY_SOFT | VCPUAFFINITY_FORCE) != 0
        || !(hard || soft)
    {
        return Err(Errno::EINVAL.into());
    }
    let v = vcpu_of(dom, a.vcpu)?;
    let read = |wanted, map| {
        if wanted {
            bitmap::read(cx, map).map(|m| Some(CpuMask(m)))
        } else {
            Ok(None)
        }
    };
    let new_hard = read(hard, &a.cpumap_hard)?;
    let new_soft = read(soft, &a.cpumap_soft)?;
    let in_force = pool::set_affinity(cx.h, dom, v, new_hard, new_soft)?.0;
    if hard {
        bitmap::write(cx, &a.cpumap_hard, in_force)?;
    }
    if soft {
        let wish = v.soft_affinity.load(Ordering::Acquire);
        bitmap::write(cx, &a.cpumap_soft, wish & in_force)?;
    }
    Ok(Reply::Done)
}

/// `getvcpuaffinity`.
pub(super) fn get<H: Host>(cx: &Cx<H>, dom: &Domain, op: &Domctl) -> Outcome {
    let a = op.vcpuaffinity();
    if a.flags & (VCPUAFFINITY_HARD | VCPUAFFINITY_SOFT) == 0 || a.flags & VCPUAFFINITY_FORCE != 0 {
        return Err(Errno::EINVAL.into());
    }
    let v = vcpu_of(dom, a.vcpu)?;
    let online = all_cpus(cx);
    if a.flags & VCPUAFFINITY_HARD != 0 {
        bitmap::write(
            cx,
            &a.cpumap_hard,
            v.affinity.load(Ordering::Acquire) & online,
        )?;
    }
    if a.flags & VCPUAFFINITY_SOFT != 0 {
        bitmap::write(
            cx,
            &a.cpumap_soft,
            v.soft_affinity.load(Ordering::Acquire) & online,
        )?;
    }
    Ok(Reply::Done)
}

/// `setnodeaffinity`: any set that has the only node in it.
pub(super) fn set_node<H: Host>(cx: &Cx<H>, op: &Domctl) -> Outcome {
    if bitmap::read(cx, &op.nodeaffinity().nodemap)? & 1 == 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok(Reply::Done)
}

/// `getnodeaffinity`.
pub(super) fn get_node<H: Host>(cx: &Cx<H>, op: &Domctl) -> Outcome {
    bitmap::write(cx, &op.nodeaffinity().nodemap, 1)?;
    Ok(Reply::Done)
}
