//! Small calls that touch one register or one setting.
use crate::mmu::guest_address;
use crate::{Cx, Ret};
use core::sync::atomic::Ordering;
use domain::pv::Callback;
use domain::{Host, SegmentBase};
use xen_abi::Errno;
use xen_abi::nmi;
use xen_abi::xen::*;

/// CR0.TS.
const CR0_TS: u64 = 1 << 3;

/// `fpu_taskswitch(set)`.
pub fn fpu_taskswitch<H: Host>(cx: &Cx<H>) -> Ret {
    let on = cx.args[0] != 0;
    {
        let mut pv = cx.v.pv.lock();
        pv.cr0 = if on {
            pv.cr0 | CR0_TS
        } else {
            pv.cr0 & !CR0_TS
        };
    }
    cx.h.set_task_switched(on);
    Ok(0)
}

/// Checks a debug register value; returns what may be loaded. Breakpoints may not lie in the hypervisor.
pub fn check_debug_register(reg: u32, value: u64) -> Result<u64, Errno> {
    match reg {
        0..=3 if guest_address(value) => Ok(value),
        0..=3 => Err(Errno::EPERM),
        // Reserved bits as the hardware fixes them (SDM vol. 3, 18.2).
        6 => Ok((value & 0xe00f) | 0xffff_0ff0),
        7 => {
            let general_detect = 1 << 13;
            // I/O breakpoints (type 2) would need CR4.DE, which guests do not get.
            let io = (0..4).any(|i| (value >> (16 + i * 4)) & 3 == 2);
            if value >> 32 != 0 || value & general_detect != 0 || io {
                return Err(Errno::EPERM);
            }
            Ok((value & !0xdc00) | 0x400)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// `set_debugreg(reg, value)`.
pub fn set_debugreg<H: Host>(cx: &Cx<H>) -> Ret {
    let [reg, value, ..] = cx.args;
    let reg = u32::try_from(reg).map_err(|_| Errno::EINVAL)?;
    let value = check_debug_register(reg, value)?;
    if let Some(slot) = cx.v.pv.lock().debug.get_mut(reg as usize) {
        *slot = value;
    }
    cx.h.load_debug_register(reg, value);
    Ok(0)
}

/// `get_debugreg(reg)`.
pub fn get_debugreg<H: Host>(cx: &Cx<H>) -> Ret {
    match cx.args[0] {
        reg @ (0..=3 | 6 | 7) => {
            let value = cx.v.pv.lock().debug.get(reg as usize).copied();
            Ok(value.ok_or(Errno::EINVAL)? as i64)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `set_segment_base(which, base)`.
pub fn set_segment_base<H: Host>(cx: &Cx<H>) -> Ret {
    let [which, base, ..] = cx.args;
    let which = match u32::try_from(which).unwrap_or(u32::MAX) {
        SEGBASE_FS => SegmentBase::Fs,
        SEGBASE_GS_USER => SegmentBase::GsUser,
        SEGBASE_GS_KERNEL => SegmentBase::GsKernel,
        SEGBASE_GS_USER_SEL => SegmentBase::GsUserSelector,
        _ => return Err(Errno::EINVAL.into()),
    };
    let canonical = ((base as i64) << 16 >> 16) as u64 == base;
    if which != SegmentBase::GsUserSelector && !canonical {
        return Err(Errno::EINVAL.into());
    }
    cx.h.set_segment_base(which, base)?;
    Ok(0)
}

/// `vm_assist(cmd, type)`.
pub fn vm_assist<H: Host>(cx: &Cx<H>) -> Ret {
    let [cmd, kind, ..] = cx.args;
    let known = [
        VMASST_TYPE_WRITABLE_PAGETABLES,
        VMASST_TYPE_ARCHITECTURAL_IOPL,
        VMASST_TYPE_RUNSTATE_UPDATE_FLAG,
        VMASST_TYPE_M2P_STRICT,
    ];
    let bit = known
        .iter()
        .find(|k| u64::from(**k) == kind)
        .ok_or(Errno::EINVAL)?;
    match u32::try_from(cmd).unwrap_or(u32::MAX) {
        VMASST_CMD_ENABLE => cx.dom.assists.fetch_or(1 << bit, Ordering::Relaxed),
        VMASST_CMD_DISABLE => cx.dom.assists.fetch_and(!(1 << bit), Ordering::Relaxed),
        _ => return Err(Errno::ENOSYS.into()),
    };
    Ok(0)
}

/// `nmi_op(cmd, arg)`.
pub fn nmi_op<H: Host>(cx: &Cx<H>) -> Ret {
    let [cmd, arg, ..] = cx.args;
    match u32::try_from(cmd).unwrap_or(u32::MAX) {
        nmi::REGISTER_CALLBACK => {
            let op: nmi::Callback = cx.read(arg)?;
            if cx.v.id.0 != 0 || !guest_address(op.handler_address) {
                return Err(Errno::EINVAL.into());
            }
            cx.v.pv.lock().nmi = Callback {
                address: op.handler_address,
                mask_events: false,
            };
            Ok(0)
        }
        nmi::UNREGISTER_CALLBACK => {
            cx.v.pv.lock().nmi = Callback::default();
            Ok(0)
        }
        _ => Err(Errno::ENOSYS.into()),
    }
}
