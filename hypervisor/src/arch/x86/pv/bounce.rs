//! Handing control to a guest's own handler: the frame that the PV ABI puts on the guest kernel's stack
//! (public/arch-x86/xen.h: rcx, r11, \[error code\], rip, cs with the event mask above it, rflags, rsp, ss).

use super::{TRAP_SYSCALL, crash, info, toggle_mode};
use crate::arch::x86::entry::uaccess::copy_to_guest;
use core::sync::atomic::Ordering;
use domain::pv::{Callback, PvVcpu};
use domain::{Fault, Vcpu};
use xen_abi::xen::{CpuUserRegs, FLAT_KERNEL_CS, FLAT_KERNEL_SS, TI_DPL, TI_IF, TrapInfo};
use zerocopy::IntoBytes;

const FLAG_TF: u64 = 1 << 8;
const FLAG_IF: u64 = 1 << 9;
const FLAG_IOPL: u64 = 3 << 12;
const FLAG_NT: u64 = 1 << 14;
const FLAG_RF: u64 = 1 << 16;
const FLAG_VM: u64 = 1 << 17;
const FLAG_AC: u64 = 1 << 18;
const PAGE_FAULT: u8 = 14;
/// Byte 1 of `vcpu_info`: event delivery masked.
const UPCALL_MASK: u64 = 0xff00;

/// What to hand over, and where.
#[derive(Clone, Copy)]
pub struct Bounce {
    /// Handler.
    pub rip: u64,
    /// Its code segment.
    pub cs: u16,
    /// Error code to push.
    pub error: Option<u32>,
    /// Event delivery is masked when the handler starts.
    pub mask_events: bool,
    /// Push the data selectors too (failsafe callback).
    pub selectors: Option<[u16; 4]>,
}

impl Bounce {
    /// To a callback.
    pub fn to(callback: Callback) -> Bounce {
        Bounce {
            rip: callback.address,
            cs: FLAT_KERNEL_CS,
            error: None,
            mask_events: callback.mask_events,
            selectors: None,
        }
    }
}

/// Are events masked for the running vcpu?
pub fn events_masked() -> bool {
    // SAFETY: set at schedule-in to a word of the vcpu's info page (or a dummy) that outlives its stay on this CPU.
    unsafe { (*info().upcall).load(Ordering::Relaxed) & UPCALL_MASK != 0 }
}

/// Masks or unmasks events for the running vcpu.
pub fn set_events_masked(masked: bool) {
    // SAFETY: as in `events_masked`.
    let word = unsafe { &*info().upcall };
    if masked {
        word.fetch_or(0x0100, Ordering::SeqCst);
    } else {
        word.fetch_and(!UPCALL_MASK, Ordering::SeqCst);
    }
}

/// Changes `regs` so that the guest continues in its handler. A guest whose stack cannot take the frame is crashed.
pub fn bounce(regs: &mut CpuUserRegs, v: &Vcpu, b: Bounce) {
    if b.rip == 0 {
        crash(regs, "no handler registered for an event it must handle");
        return;
    }
    let masked = events_masked();
    let mut pushed_cs = u64::from(regs.cs);
    let stack = if v.kernel_mode.load(Ordering::Relaxed) {
        // RPL 0 in the pushed selector tells the guest that its kernel was interrupted.
        pushed_cs &= !3;
        regs.rsp
    } else {
        toggle_mode(v);
        v.kernel_sp.load(Ordering::Relaxed)
    };
    let rflags = (regs.rflags & !FLAG_IF & !FLAG_IOPL) | if masked { 0 } else { FLAG_IF };
    let interrupted = [
        regs.rip,
        pushed_cs | u64::from(masked) << 32,
        rflags,
        regs.rsp,
        u64::from(regs.ss),
    ];
    let [rip, cs, flags, rsp, ss] = interrupted;
    let (rcx, r11) = (regs.rcx, regs.r11);
    let pushed = match (b.selectors, b.error) {
        (None, None) => push(stack, [rcx, r11, rip, cs, flags, rsp, ss]),
        (None, Some(e)) => push(stack, [rcx, r11, e.into(), rip, cs, flags, rsp, ss]),
        (Some(selectors), _) => {
            let [ds, es, fs, gs] = selectors.map(u64::from);
            push(stack, [rcx, r11, ds, es, fs, gs, rip, cs, flags, rsp, ss])
        }
    };
    let Ok(rsp) = pushed else {
        crash(regs, "its kernel stack is not writable");
        return;
    };
    if b.mask_events {
        set_events_masked(true);
    }
    regs.rsp = rsp;
    regs.rip = b.rip;
    regs.cs = b.cs | 3;
    regs.ss = FLAT_KERNEL_SS;
    regs.rflags &= !(FLAG_TF | FLAG_IOPL | FLAG_NT | FLAG_RF | FLAG_VM | FLAG_AC);
    regs.entry_vector = TRAP_SYSCALL;
}

/// Puts words below a stack pointer; the new one.
#[inline(always)]
fn push<const N: usize>(stack: u64, words: [u64; N]) -> Result<u64, Fault> {
    let stack = (stack & !0xf).wrapping_sub(N as u64 * 8);
    copy_to_guest(stack, words.as_bytes()).map(|()| stack)
}

/// Injects an exception through the guest's trap table.
pub fn inject(regs: &mut CpuUserRegs, v: &Vcpu, vector: u8, error: Option<u32>) {
    let trap = trap(&v.pv.lock(), vector);
    inject_through(regs, v, trap, error);
}

/// What the guest's trap table says of a vector.
fn trap(pv: &PvVcpu, vector: u8) -> TrapInfo {
    pv.traps
        .get(usize::from(vector))
        .copied()
        .unwrap_or_default()
}

fn inject_through(regs: &mut CpuUserRegs, v: &Vcpu, trap: TrapInfo, error: Option<u32>) {
    if trap.address == 0 {
        crash(regs, "exception without a handler in its trap table");
        return;
    }
    bounce(
        regs,
        v,
        Bounce {
            rip: trap.address,
            cs: trap.cs,
            error,
            mask_events: trap.flags & TI_IF != 0,
            selectors: None,
        },
    );
}

/// Injects a software interrupt (`int n`) if the guest's gate allows it; otherwise the #GP that `int` raises.
pub fn inject_software(regs: &mut CpuUserRegs, v: &Vcpu, vector: u8, length: u64) {
    let trap = trap(&v.pv.lock(), vector);
    let kernel = v.kernel_mode.load(Ordering::Relaxed);
    let cpl = if kernel { 1 } else { 3 };
    if trap.address != 0 && trap.flags & TI_DPL >= cpl {
        regs.rip = regs.rip.wrapping_add(length);
        inject(regs, v, vector, None);
    } else {
        inject(regs, v, 13, Some(u32::from(vector) << 3 | 2));
    }
}

/// Injects a page fault at `address`.
pub fn inject_page_fault(regs: &mut CpuUserRegs, v: &Vcpu, address: u64, error: u32) {
    const USER: u32 = 1 << 2;
    let trap = {
        let mut pv = v.pv.lock();
        pv.cr2 = address;
        trap(&pv, PAGE_FAULT)
    };
    // SAFETY: `upcall` points at word 0 of the vcpu's info, whose cr2 is word 2 of the same 64-byte structure.
    unsafe { (*info().upcall.add(2)).store(address, Ordering::Relaxed) };
    // Both of the guest's modes run in ring 3; what it believes is decided here.
    let user = if v.kernel_mode.load(Ordering::Relaxed) {
        0
    } else {
        USER
    };
    inject_through(regs, v, trap, Some((error & !USER) | user));
}
