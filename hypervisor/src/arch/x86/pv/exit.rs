//! The way back: what must be done before a guest runs again.

use super::bounce::{Bounce, bounce};
use super::{TRAP_SYSCALL, guest, info};
use crate::arch::x86::entry::cpuinfo::CpuInfo;
use crate::schedule;
use core::sync::atomic::Ordering;
use xen_abi::xen::{CpuUserRegs, FLAT_RING3_CS64, FLAT_RING3_SS64};

const FLAG_TF: u64 = 1 << 8;
const FLAG_NT: u64 = 1 << 14;
const FLAG_RF: u64 = 1 << 16;
/// Bytes 0 and 1 of `vcpu_info`: an upcall is pending, and masked.
const PENDING: u64 = 0x00ff;
const MASK: u64 = 0xff00;

/// Runs deferred work, schedules, delivers events; returns when the guest in this CPU's frame may run. Scheduling
/// replaces the frame's contents by those of the vcpu chosen, so no caller may hold a reference to it.
#[inline]
pub fn to_guest() {
    if !nothing_to_do(info()) {
        settle();
    }
    let regs = &mut info().regs;
    if regs.entry_vector & TRAP_SYSCALL != 0 && !sysret_ok(regs) {
        regs.entry_vector &= !TRAP_SYSCALL;
    }
}

/// Nearly always: a PV guest goes on where it was.
#[inline(always)]
fn nothing_to_do(info: &CpuInfo) -> bool {
    // SAFETY: `vcpu` and `upcall` are valid or null, and a dummy, see `CpuInfo`; the reference ends here.
    let (v, word) = unsafe { (info.vcpu.as_ref(), (*info.upcall).load(Ordering::Acquire)) };
    !schedule::wanted_on(info.cpu)
        && v.is_some_and(|v| v.hvm.is_none() && !v.nmi_pending.load(Ordering::Relaxed))
        && !deliverable(word)
}

/// An upcall is pending and may be made.
fn deliverable(word: u64) -> bool {
    word & PENDING != 0 && word & MASK == 0
}

/// Until there is nothing to do.
#[cold]
#[inline(never)]
fn settle() {
    loop {
        if schedule::wanted() {
            schedule::run();
        }
        let (dom, v) = guest();
        if v.hvm.is_some() {
            // Hardware guests have a loop of their own, which ends when somebody else may run.
            crate::hvm::vendor::run(dom, v);
            continue;
        }
        let regs = &mut info().regs;
        // SAFETY: `upcall` is valid while a vcpu is loaded, see `bounce::events_masked`.
        let word = unsafe { (*info().upcall).load(Ordering::Acquire) };
        if v.nmi_pending.load(Ordering::Relaxed) {
            deliver_nmi(regs);
        } else if deliverable(word) {
            let event = v.pv.lock().event;
            bounce(
                regs,
                v,
                Bounce {
                    mask_events: true,
                    ..Bounce::to(event)
                },
            );
        }
        if !schedule::wanted() {
            return;
        }
    }
}

/// SYSRET loads fixed selectors and faults in ring 0 on a non-canonical rip (Intel), so only exact cases use it.
fn sysret_ok(regs: &CpuUserRegs) -> bool {
    let canonical = ((regs.rip as i64) << 16 >> 16) as u64 == regs.rip;
    canonical
        && regs.cs == FLAT_RING3_CS64
        && regs.ss == FLAT_RING3_SS64
        && regs.rflags & (FLAG_TF | FLAG_RF | FLAG_NT) == 0
}

fn deliver_nmi(regs: &mut CpuUserRegs) {
    let (_, v) = guest();
    v.nmi_pending.store(false, Ordering::Relaxed);
    let callback = v.pv.lock().nmi;
    if callback.address != 0 {
        bounce(
            regs,
            v,
            Bounce {
                mask_events: true,
                ..Bounce::to(callback)
            },
        );
    }
}
