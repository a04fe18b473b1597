//! Returns to the guest that the CPU refuses: bad selectors or a non-canonical rip in a frame the guest made up.
//! The guest's failsafe callback gets the frame and may repair or kill the culprit.

use super::bounce::{Bounce, bounce};
use super::context::read_selectors;
use super::{crash, exit, guest, info};
use crate::arch::x86::entry::symbols::resume_guest_at;
use domain::Vcpu;
use xen_abi::xen::CpuUserRegs;

/// The IRETQ that leaves the hypervisor has faulted. `hyp` is the frame of that fault: its general registers are
/// the guest's, and its stack pointer is at the frame the IRETQ was to load, the rip slot of this CPU's guest frame.
pub fn iretq_faulted(hyp: &CpuUserRegs) -> ! {
    let saved = *hyp;
    let info = info();
    let tail = CpuUserRegs {
        rip: info.regs.rip,
        cs: info.regs.cs,
        rflags: info.regs.rflags,
        rsp: info.regs.rsp,
        ss: info.regs.ss,
        error_code: 0,
        entry_vector: 0,
        ..saved
    };
    info.regs = tail;
    let (_, v) = guest();
    hand_over(&mut info.regs, v);
    exit::to_guest();
    // SAFETY: this CPU's guest frame, made ready by `to_guest`.
    unsafe { resume_guest_at(&raw const super::info().regs) }
}

fn hand_over(regs: &mut CpuUserRegs, v: &Vcpu) {
    let callback = v.pv.lock().failsafe;
    if callback.address == 0 {
        crash(
            regs,
            "a return to it faulted and it has no failsafe callback",
        );
    } else {
        bounce(
            regs,
            v,
            Bounce {
                selectors: Some(read_selectors()),
                ..Bounce::to(callback)
            },
        );
    }
}
