//! Time as guests see it: the pvclock in `vcpu_info` and the runstate area.

use crate::host::HOST;
use crate::time;
use core::sync::atomic::Ordering;
use domain::{Domain, Host, Vcpu};
use xen_abi::Mfn;
use xen_abi::vcpu::{RUNSTATE_UPDATE, RunstateInfo};
use xen_abi::xen::{
    PVCLOCK_TSC_STABLE_BIT, VMASST_TYPE_RUNSTATE_UPDATE_FLAG, VcpuInfo, VcpuTimeInfo,
};
use zerocopy::IntoBytes;

const TIME: usize = core::mem::offset_of!(VcpuInfo, time);

/// The line from the vcpu's TSC to system time. It starts where system time does, and is the same until the TSC is set: the
/// TSC's rate is constant.
fn line(v: &Vcpu) -> VcpuTimeInfo {
    let scale = time::scale();
    let tsc = v.tsc.line();
    let (tsc_to_system_mul, tsc_shift) = tsc.clock_scale(scale.mul, scale.shift);
    VcpuTimeInfo {
        version: 2,
        tsc_timestamp: tsc.at(time::boot_tsc()),
        system_time: 0,
        tsc_to_system_mul,
        tsc_shift,
        flags: PVCLOCK_TSC_STABLE_BIT,
        ..VcpuTimeInfo::default()
    }
}

/// Writes the clock into a vcpu's info.
pub fn write_clock(v: &Vcpu) {
    let Some((mfn, offset)) = v.info.get() else {
        return;
    };
    write_at(mfn, offset + TIME, &line(v));
}

fn write_at(mfn: Mfn, offset: usize, line: &VcpuTimeInfo) {
    let Some(version) = HOST.shared_u32(mfn, offset) else {
        return;
    };
    // Readers retry while the version is odd.
    let now = version.load(Ordering::Relaxed);
    version.store(now | 1, Ordering::SeqCst);
    let body = line.as_bytes().get(4..).unwrap_or(&[]);
    let _ = HOST.write_frame(mfn, offset + 4, body);
    version.store((now | 1).wrapping_add(1), Ordering::SeqCst);
}

/// Writes the clock into the secondary area that user mode reads, of the running vcpu.
pub fn write_secondary(v: &Vcpu) {
    let gva = v.time_gva.load(Ordering::Relaxed);
    if gva != 0 {
        // A guest that gave a bad address gets no clock there.
        let _ = HOST.copy_to_guest(gva, line(v).as_bytes());
    }
}

/// A vcpu has been loaded on this CPU: its clock and runstate are brought up to date.
pub fn arrive(dom: &Domain, v: &Vcpu) {
    write_clock(v);
    if v.kernel_mode.load(Ordering::Relaxed) {
        write_areas(dom, v);
    } else {
        // Their addresses are the kernel's.
        v.areas_stale.store(true, Ordering::Relaxed);
    }
}

/// The running vcpu has entered its kernel, whose areas are out of date.
#[cold]
pub fn catch_up(dom: &Domain, v: &Vcpu) {
    v.areas_stale.store(false, Ordering::Relaxed);
    write_areas(dom, v);
}

fn write_areas(dom: &Domain, v: &Vcpu) {
    write_secondary(v);
    write_runstate(dom, v);
}

fn write_runstate(dom: &Domain, v: &Vcpu) {
    let gva = v.runstate_gva.load(Ordering::Relaxed);
    if gva == 0 {
        return;
    }
    let state = *v.runstate.lock();
    let mut area = RunstateInfo {
        state: state.state as i32,
        _pad4: 0,
        state_entry_time: state.entered_ns,
        time: state.time_ns,
    };
    const ENTRY_TIME: u64 = core::mem::offset_of!(RunstateInfo, state_entry_time) as u64;
    if dom.assist(VMASST_TYPE_RUNSTATE_UPDATE_FLAG) {
        area.state_entry_time |= RUNSTATE_UPDATE;
        let _ = HOST.copy_to_guest(gva + ENTRY_TIME, &area.state_entry_time.to_le_bytes());
        let _ = HOST.copy_to_guest(gva, area.as_bytes());
        area.state_entry_time &= !RUNSTATE_UPDATE;
        let _ = HOST.copy_to_guest(gva + ENTRY_TIME, &area.state_entry_time.to_le_bytes());
    } else {
        let _ = HOST.copy_to_guest(gva, area.as_bytes());
    }
}
