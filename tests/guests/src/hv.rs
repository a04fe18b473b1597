//! Hypercalls, by `syscall` from PV and by `vmcall` or `vmmcall` from PVH, raw: this guest's business is to pass wrong things.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use xen_abi::hypercall::SCHED_OP;
use xen_abi::sched::{POLL, Poll, SHUTDOWN, YIELD};

/// 0: syscall; 1: vmmcall; 2: vmcall.
static WAY: AtomicU32 = AtomicU32::new(0);

/// Makes calls as hardware-virtualised guests do, by the processor's kind.
pub fn use_vmcall() {
    let vendor = core::arch::x86_64::__cpuid(0);
    let intel = vendor.ebx == u32::from_le_bytes(*b"Genu");
    WAY.store(if intel { 2 } else { 1 }, Relaxed);
}

/// Any call with any arguments.
pub fn call(number: u32, args: [u64; 5]) -> i64 {
    let result: i64;
    // SAFETY: harmful only to this guest, whose memory is laid out so that its own code and stack are not handed out
    // by well-formed callers; misuse is the purpose of the others.
    unsafe {
        asm!(
            "cmp {way:l}, 1",
            "je 2f",
            "ja 3f",
            "syscall",
            "jmp 4f",
            "2: vmmcall",
            "jmp 4f",
            "3: vmcall",
            "4:",
            way = in(reg_abcd) WAY.load(Relaxed),
            inlateout("rax") u64::from(number) => result,
            inlateout("rdi") args[0] => _,
            inlateout("rsi") args[1] => _,
            inlateout("rdx") args[2] => _,
            inlateout("r10") args[3] => _,
            inlateout("r8") args[4] => _,
            lateout("rcx") _,
            lateout("r11") _,
            lateout("r9") _,
        );
    }
    result
}

/// A call whose first argument is a command and whose second points to its structure.
pub fn op<T>(number: u32, command: u32, arg: &mut T) -> i64 {
    call(
        number,
        [u64::from(command), core::ptr::from_mut(arg) as u64, 0, 0, 0],
    )
}

/// Ends this domain.
pub fn shutdown(reason: u32) -> ! {
    loop {
        op(SCHED_OP, SHUTDOWN, &mut { reason });
    }
}

/// Lets another vcpu run.
pub fn pause() {
    call(SCHED_OP, [u64::from(YIELD), 0, 0, 0, 0]);
}

/// Sleeps for good. (Blocking would open the gates to events, for which there is no handler.)
pub fn sleep() {
    op(SCHED_OP, POLL, &mut Poll::default());
}
