//! `hvm_op`: parameters of hardware-assisted guests. Who may read and set which is one table each.
use crate::{Cx, Ret};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use domain::{Domain, Host};
use xen_abi::Errno;
use xen_abi::hvm::*;

/// The first that interrupts may have.
const FIRST_VECTOR: u8 = 16;

/// What a guest itself may set; its toolstack may set all.
const GUEST_SETS: [u32; 8] = [
    PARAM_CALLBACK_IRQ,
    PARAM_VM86_TSS,
    PARAM_VM86_TSS_SIZED,
    PARAM_ACPI_IOPORTS_LOCATION,
    PARAM_VM_GENERATION_ID_ADDR,
    PARAM_STORE_EVTCHN,
    PARAM_CONSOLE_EVTCHN,
    PARAM_X87_FIP_WIDTH,
];
/// What a guest itself may read besides.
const GUEST_READS: [u32; 3] = [PARAM_STORE_PFN, PARAM_CONSOLE_PFN, PARAM_ALTP2M];
/// What can be set once only.
const ONCE: [u32; 4] = [
    PARAM_VIRIDIAN,
    PARAM_IOREQ_SERVER_PFN,
    PARAM_NR_IOREQ_SERVER_PAGES,
    PARAM_MCA_CAP,
];
/// What stands for something that is not offered: zero is accepted.
const ABSENT: [u32; 3] = [PARAM_NESTEDHVM, PARAM_ALTP2M, PARAM_VIRIDIAN];

/// `hvm_op(cmd, arg)`.
pub fn hvm_op<H: Host>(cx: &Cx<H>) -> Ret {
    let [cmd, arg, ..] = cx.args;
    match u32::try_from(cmd).unwrap_or(u32::MAX) {
        SET_PARAM => set_param(cx, arg),
        GET_PARAM => get_param(cx, arg),
        SET_EVTCHN_UPCALL_VECTOR => set_upcall_vector(cx, arg),
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// `HVMOP_set_evtchn_upcall_vector`, of the caller's own: events of the vcpu come through its local APIC.
/// `EINVAL`: a vector of exceptions, or not a hardware-assisted domain; `ENOENT`: no such vcpu.
fn set_upcall_vector<H: Host>(cx: &Cx<H>, arg: u64) -> Ret {
    let op: EvtchnUpcallVector = cx.read(arg)?;
    if !cx.dom.is_hvm() || op.vector < FIRST_VECTOR {
        return Err(Errno::EINVAL.into());
    }
    let v = cx.dom.vcpu(op.vcpu).ok_or(Errno::ENOENT)?;
    let hvm = v.hvm.as_ref().ok_or(Errno::EINVAL)?;
    hvm.upcall_vector.store(op.vector, Ordering::Release);
    // Events that are pending already are announced the new way.
    domain::announce_pending(cx.h, cx.dom, v);
    Ok(0)
}

/// The hardware-assisted domain a call names, and the parameter.
fn parameter<H: Host>(cx: &Cx<H>, op: &Param) -> Result<(Arc<Domain>, usize), Errno> {
    if u64::from(op.index) >= NR_PARAMS {
        return Err(Errno::EINVAL);
    }
    let dom = cx.target(op.domid)?;
    if !dom.is_hvm() {
        return Err(Errno::EINVAL);
    }
    Ok((dom, op.index as usize))
}

fn slot(dom: &Domain, index: usize) -> Result<&AtomicU64, Errno> {
    let hvm = dom.hvm.as_ref().ok_or(Errno::EINVAL)?;
    hvm.params.get(index).ok_or(Errno::EINVAL)
}

fn set_param<H: Host>(cx: &Cx<H>, arg: u64) -> Ret {
    let op: Param = cx.read(arg)?;
    let (dom, index) = parameter(cx, &op)?;
    if dom.id == cx.dom.id && !GUEST_SETS.contains(&op.index) {
        return Err(Errno::EPERM.into());
    }
    if ABSENT.contains(&op.index) && op.value != 0 {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let param = slot(&dom, index)?;
    if ONCE.contains(&op.index) {
        let fresh = param.compare_exchange(0, op.value, Ordering::AcqRel, Ordering::Acquire);
        return match fresh {
            Ok(_) => Ok(0),
            Err(before) if before == op.value => Ok(0),
            Err(_) => Err(Errno::EEXIST.into()),
        };
    }
    param.store(op.value, Ordering::Release);
    if op.index == PARAM_CALLBACK_IRQ {
        // Events that are pending already are announced the new way.
        for v in dom.vcpus.iter() {
            cx.h.kick(v);
        }
    }
    Ok(0)
}

fn get_param<H: Host>(cx: &Cx<H>, arg: u64) -> Ret {
    let mut op: Param = cx.read(arg)?;
    let (dom, index) = parameter(cx, &op)?;
    let own = dom.id == cx.dom.id;
    if own && !GUEST_SETS.contains(&op.index) && !GUEST_READS.contains(&op.index) {
        return Err(Errno::EPERM.into());
    }
    op.value = slot(&dom, index)?.load(Ordering::Acquire);
    cx.write(arg, &op)?;
    Ok(0)
}
