//! Doing something that may fault, and going on: all of the guest's handlers lead back to [`probe`].
//!
//! Handlers start on the kernel stack in kernel mode, so leaving the fault's frame where it is does no harm.

use core::arch::global_asm;
use core::sync::atomic::AtomicU64;
use xen_abi::arch_x86::TrapInfo;
use xen_abi::hypercall::{SET_CALLBACKS, SET_TRAP_TABLE, STACK_SWITCH};

/// The guest kernel's selectors, as the hypervisor provides them.
pub const KERNEL_CS: u16 = 0xe033;
/// See [`KERNEL_CS`].
pub const KERNEL_SS: u16 = 0xe02b;

global_asm!(
    ".globl probe_call, probe_caught, probe_trap, probe_spin",
    "probe_call:",
    "  push rbx",
    "  push rbp",
    "  push r12",
    "  push r13",
    "  push r14",
    "  push r15",
    "  mov [rip + {saved}], rsp",
    "  mov rax, rdi",
    "  mov rdi, rsi",
    "  sub rsp, 8",
    "  call rax",
    "  add rsp, 8",
    "  xor eax, eax",
    "  jmp 2f",
    "probe_caught:",
    "  cld",
    "  mov rsp, [rip + {saved}]",
    "  mov eax, 1",
    "2: pop r15",
    "  pop r14",
    "  pop r13",
    "  pop r12",
    "  pop rbp",
    "  pop rbx",
    "  ret",
    // Where frames made up by this guest send it: back through a handler, whatever mode it is in.
    "probe_trap:",
    "  ud2",
    "probe_spin:",
    "  pause",
    "  jmp probe_spin",
    saved = sym SAVED,
);

static SAVED: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" {
    fn probe_call(f: extern "C" fn(u64), arg: u64) -> u64;
    static probe_caught: u8;
    static probe_trap: u8;
    static probe_spin: u8;
}

/// Runs `f(arg)`: did it fault?
pub fn probe(f: extern "C" fn(u64), arg: u64) -> bool {
    // SAFETY: a fault abandons `f`, which holds nothing that needs to be dropped.
    unsafe { probe_call(f, arg) != 0 }
}

/// Where handlers lead.
pub fn caught_address() -> u64 {
    &raw const probe_caught as u64
}

/// An instruction that faults, for returns to made-up places.
pub fn trap_address() -> u64 {
    &raw const probe_trap as u64
}

/// A loop without end, for vcpus that are to do nothing wrong themselves.
pub fn spin_address() -> u64 {
    &raw const probe_spin as u64
}

/// Points all handlers at [`probe`], and the kernel stack for entries from user mode at `stack`.
pub fn install(stack: u64) {
    let caught = &raw const probe_caught as u64;
    let mut table = [TrapInfo::default(); 257];
    for (vector, entry) in table.iter_mut().take(256).enumerate() {
        *entry = TrapInfo {
            vector: vector as u8,
            flags: 0,
            cs: KERNEL_CS,
            _pad4: 0,
            address: caught,
        };
    }
    crate::hv::call(SET_TRAP_TABLE, [table.as_ptr() as u64, 0, 0, 0, 0]);
    crate::hv::call(SET_CALLBACKS, [caught, caught, caught, 0, 0]);
    crate::hv::call(STACK_SWITCH, [u64::from(KERNEL_SS), stack, 0, 0, 0]);
}
