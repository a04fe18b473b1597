//! SYSCALL and SYSENTER: hypercalls from a guest's kernel, system calls from its user mode, and the `iret` call.
//!
//! A handler borrows this CPU's guest frame only until it returns: `exit::to_guest` may replace the frame's contents.

use super::bounce::{Bounce, bounce, events_masked, inject, set_events_masked};
use super::{TRAP_SYSCALL, crash, exit, guest, info, toggle_mode};
use crate::arch::x86::entry::uaccess::copy_from_guest;
use crate::host::HOST;
use core::sync::atomic::Ordering;
use domain::Vcpu;
use hypercall::Stop;
use xen_abi::hypercall as nr;
use xen_abi::xen::{CpuUserRegs, IretContext, VGCF_IN_SYSCALL};
use zerocopy::{FromZeros, IntoBytes};

const FLAG_IF: u64 = 1 << 9;
const FLAG_IOPL: u64 = 3 << 12;
const FLAG_VM: u64 = 1 << 17;
/// Bytes of the SYSCALL instruction, to step back over for a continuation.
const SYSCALL_LENGTH: u64 = 2;

#[unsafe(no_mangle)]
extern "C" fn syscall_from_guest() {
    syscall(&mut info().regs);
    exit::to_guest();
}

fn syscall(regs: &mut CpuUserRegs) {
    let (_, v) = guest();
    if v.kernel_mode.load(Ordering::Relaxed) {
        hypercall(regs, v);
    } else {
        let target = v.pv.lock().syscall;
        bounce(regs, v, Bounce::to(target));
    }
}

#[unsafe(no_mangle)]
extern "C" fn syscall32_from_guest() {
    syscall32(&mut info().regs);
    exit::to_guest();
}

fn syscall32(regs: &mut CpuUserRegs) {
    let (_, v) = guest();
    let target = v.pv.lock().syscall32;
    if target.address == 0 || v.kernel_mode.load(Ordering::Relaxed) {
        regs.rip = regs.rip.wrapping_sub(SYSCALL_LENGTH);
        inject(regs, v, 6, None);
    } else {
        bounce(regs, v, Bounce::to(target));
    }
}

#[unsafe(no_mangle)]
extern "C" fn sysenter_from_guest() {
    sysenter(&mut info().regs);
    exit::to_guest();
}

fn sysenter(regs: &mut CpuUserRegs) {
    let (_, v) = guest();
    let target = v.pv.lock().sysenter;
    // SYSENTER cleared IF; the guest must come back with interrupts on.
    regs.rflags |= FLAG_IF;
    if target.address == 0 || v.kernel_mode.load(Ordering::Relaxed) {
        inject(regs, v, 13, Some(0));
    } else {
        bounce(regs, v, Bounce::to(target));
    }
}

fn hypercall(regs: &mut CpuUserRegs, v: &Vcpu) {
    let number = regs.rax;
    if number == u64::from(nr::IRET) {
        return iret(regs, v);
    }
    let (dom, _) = guest();
    let args = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9];
    match hypercall::call(&HOST, dom, v, number, args) {
        Ok(value) => regs.rax = value as u64,
        Err(Stop::Error(e)) => regs.rax = e.as_ret() as u64,
        Err(Stop::Again([a, b, c, d, e, f])) => {
            // The guest executes the same instruction again, with arguments that say how far we got.
            (regs.rdi, regs.rsi, regs.rdx) = (a, b, c);
            (regs.r10, regs.r8, regs.r9) = (d, e, f);
            regs.rip = regs.rip.wrapping_sub(SYSCALL_LENGTH);
        }
        Err(Stop::Crash(why)) => crash(regs, why),
    }
}

/// The `iret` call: returns to what the guest's kernel put on its stack.
fn iret(regs: &mut CpuUserRegs, v: &Vcpu) {
    let mut context = IretContext::new_zeroed();
    if copy_from_guest(context.as_mut_bytes(), regs.rsp).is_err() {
        crash(regs, "iret with an unreadable stack");
        return;
    }
    if context.cs & 3 == 3 {
        if v.user_l4.load(Ordering::Relaxed) == 0 {
            crash(regs, "iret to user mode without a user address space");
            return;
        }
        toggle_mode(v);
    }
    regs.rip = context.rip;
    regs.cs = context.cs as u16 | 3;
    regs.rflags = (context.rflags & !(FLAG_IOPL | FLAG_VM)) | FLAG_IF | 2;
    regs.rsp = context.rsp;
    regs.ss = context.ss as u16 | 3;
    if context.flags & VGCF_IN_SYSCALL == 0 {
        regs.entry_vector &= !TRAP_SYSCALL;
        regs.r11 = context.r11;
        regs.rcx = context.rcx;
    }
    regs.rax = context.rax;
    let mask = context.rflags & FLAG_IF == 0;
    if mask != events_masked() {
        set_events_masked(mask);
    }
}
