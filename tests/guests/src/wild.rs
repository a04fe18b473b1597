//! Everything that ring 3 may not do, one after the other: privileged instructions, model-specific registers, ports,
//! selectors, frames for `iret`, addresses of the hypervisor, absurd pointers and counts in every call.

use crate::hammer::Random;
use crate::probe::{self, KERNEL_CS, KERNEL_SS, probe};
use crate::{hv, mmu, say};
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use xen_abi::arch_x86::{IretContext, VGCF_IN_SYSCALL};
use xen_abi::hypercall::*;
use xen_abi::mmu::{MMUEXT_NEW_USER_BASEPTR, MMUEXT_SET_LDT, MmuextOp};
use xen_abi::start_info::StartInfo;

const DOMID_SELF: u64 = 0x7ff0;
/// Stacks for handlers that interrupt user mode, and for frames made up here.
#[repr(C, align(4096))]
struct Stack(#[allow(dead_code)] [u8; 16384]);
static mut ENTRY_STACK: Stack = Stack([0; 16384]);
static mut OTHER_STACK: Stack = Stack([0; 16384]);

/// Addresses that are nobody's business.
const ABSURD: [u64; 14] = [
    0,
    1,
    0x1_2345_6000,
    0x7fff_ffff_f000,
    0x7fff_ffff_ffff,
    0x8000_0000_0000,
    0xdead_0000_0000_0000,
    0xffff_7fff_ffff_ffff,
    0xffff_8000_0000_0000,
    0xffff_82d0_4000_0000,
    0xffff_8300_0000_0000,
    0xffff_87ff_ffff_fff8,
    u64::MAX - 7,
    u64::MAX,
];

fn entry_stack() -> u64 {
    &raw const ENTRY_STACK as u64 + 16384
}

fn other_stack() -> u64 {
    &raw const OTHER_STACK as u64 + 8192
}

/// All handlers lead to [`probe`].
pub fn ready() {
    probe::install(entry_stack());
}

/// Machine code of what only ring 0 may execute, or nobody, each followed by `ret` in the window.
const FORBIDDEN: &[&[u8]] = &[
    &[0xfa],                               // cli
    &[0xfb],                               // sti
    &[0xf4],                               // hlt
    &[0x0f, 0x06],                         // clts
    &[0x0f, 0x08],                         // invd
    &[0x0f, 0x09],                         // wbinvd
    &[0x0f, 0x01, 0x17],                   // lgdt [rdi]
    &[0x0f, 0x01, 0x1f],                   // lidt [rdi]
    &[0x0f, 0x01, 0x07],                   // sgdt [rdi]
    &[0x0f, 0x01, 0x3f],                   // invlpg [rdi]
    &[0x0f, 0x00, 0xd0],                   // lldt ax
    &[0x0f, 0x00, 0xd8],                   // ltr ax
    &[0x0f, 0x00, 0xc0],                   // sldt eax
    &[0x0f, 0x01, 0xf0],                   // lmsw ax
    &[0x0f, 0x01, 0xe0],                   // smsw eax
    &[0x0f, 0x01, 0xf8],                   // swapgs
    &[0x0f, 0x01, 0xd0],                   // xgetbv
    &[0x0f, 0x01, 0xd1],                   // xsetbv
    &[0x0f, 0x01, 0xd9],                   // vmmcall
    &[0x0f, 0x01, 0xc1],                   // vmcall
    &[0x0f, 0x01, 0xd8],                   // vmrun
    &[0x0f, 0x01, 0xdc],                   // stgi
    &[0x0f, 0x01, 0xc8],                   // monitor
    &[0x0f, 0x01, 0xc9],                   // mwait
    &[0x0f, 0x01, 0xca],                   // clac
    &[0x0f, 0x01, 0xcb],                   // stac
    &[0x0f, 0x33],                         // rdpmc
    &[0x0f, 0x31],                         // rdtsc
    &[0x0f, 0xaa],                         // rsm
    &[0x0f, 0x34],                         // sysenter
    &[0x0f, 0x35],                         // sysexit
    &[0x0f, 0x07],                         // sysret
    &[0x48, 0x0f, 0x07],                   // sysretq
    &[0x48, 0xcf],                         // iretq
    &[0xf1],                               // int1
    &[0xcc],                               // int3
    &[0x0f, 0xb9, 0xc0],                   // ud1
    &[0x0f, 0x0b],                         // ud2
    &[0x0f, 0x0b, 0x78, 0x65, 0x6e],       // ud2; "xen", then not cpuid
    &[0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f], // half of a cpuid
    &[0x0f, 0xa2],                         // cpuid
    &[0x0f, 0x20, 0xc0],                   // mov rax, cr0
    &[0x0f, 0x22, 0xc0],                   // mov cr0, rax
    &[0x0f, 0x20, 0xd8],                   // mov rax, cr3
    &[0x0f, 0x22, 0xd8],                   // mov cr3, rax
    &[0x0f, 0x22, 0xd0],                   // mov cr2, rax
    &[0x0f, 0x22, 0xe0],                   // mov cr4, rax
    &[0x0f, 0x20, 0xe0],                   // mov rax, cr4
    &[0x44, 0x0f, 0x22, 0xc0],             // mov cr8, rax
    &[0x0f, 0x22, 0xf8],                   // mov cr7, rax
    &[0x0f, 0x23, 0xc0],                   // mov dr0, rax
    &[0x0f, 0x23, 0xf0],                   // mov dr6, rax
    &[0x0f, 0x21, 0xf8],                   // mov rax, dr7
    &[0x0f, 0x23, 0xe0],                   // mov dr4, rax
    &[0xec],                               // in al, dx
    &[0xef],                               // out dx, eax
    &[0xf3, 0x6c],                         // rep insb
    &[0xf3, 0x6f],                         // rep outsd
    &[0x67, 0xf3, 0x6d],                   // rep insd, 32-bit address
    &[0xff, 0x2f],                         // jmp far [rdi]
    &[0xff, 0x1f],                         // call far [rdi]
    &[0xc8, 0xff, 0xff, 0x1f],             // enter 65535, 31
    &[0xf0, 0x0f, 0xc7, 0xc8],             // lock cmpxchg8b eax
    &[0x0f, 0xae, 0x2f],                   // xrstor [rdi]
    &[0x0f, 0xae, 0x0f],                   // fxrstor [rdi]
    &[0xf3, 0x0f, 0xae, 0xd8],             // wrgsbase eax
];

/// Registers for the next run of the window: rax, rcx, rdx.
static RAX: AtomicU64 = AtomicU64::new(0);
static RCX: AtomicU64 = AtomicU64::new(0);
static RDX: AtomicU64 = AtomicU64::new(0);

/// Calls the code in the window with rdi = rsi = `arg`.
extern "C" fn run_window(arg: u64) {
    // SAFETY: may fault, loop through handlers or do nothing; none of it returns with our registers changed beyond
    // those listed, or the probe abandons us.
    unsafe {
        asm!("push rbx", "call {code}", "pop rbx", "cld",
            code = in(reg) mmu::window(),
            inlateout("rdi") arg => _, inlateout("rsi") arg => _,
            inlateout("rax") RAX.load(Relaxed) => _, inlateout("rcx") RCX.load(Relaxed) => _,
            inlateout("rdx") RDX.load(Relaxed) => _,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _)
    }
}

fn put_code(code: &[u8]) {
    for (i, byte) in code.iter().chain(&[0xc3]).enumerate() {
        // SAFETY: our own page, which no reference exists to.
        unsafe { (mmu::window() as *mut u8).add(i).write_volatile(*byte) }
    }
}

/// Each privileged instruction, with several arguments; all interrupts by number.
pub fn instructions() {
    ready();
    let (mut faults, mut runs) = (0u32, 0u32);
    let mut one = |arg: u64| {
        runs += 1;
        faults += u32::from(probe(run_window, arg));
    };
    for code in FORBIDDEN {
        put_code(code);
        for arg in ABSURD.into_iter().chain([mmu::window() + 64]) {
            RAX.store(arg, Relaxed);
            RCX.store(arg & 0xff, Relaxed);
            RDX.store(arg, Relaxed);
            one(arg);
        }
    }
    for vector in 0..=255 {
        put_code(&[0xcd, vector]);
        one(0);
    }
    hv::call(FPU_TASKSWITCH, [0; 5]);
    say!("wild: {runs} forbidden instructions, {faults} faults");
}

/// Reads and writes every model-specific register and port that has a name, and many that have none.
pub fn registers() {
    ready();
    let mut faults = 0u32;
    let ranges = [
        0..0x1900u64,
        0x4000_0000..0x4000_0120,
        0xc000_0000..0xc000_0200,
        0xc001_0000..0xc001_0300,
        0xc001_1000..0xc001_1100,
    ];
    for code in [[0x0f, 0x32], [0x0f, 0x30]] {
        put_code(&code);
        for (n, msr) in ranges.iter().cloned().flatten().enumerate() {
            let value = ABSURD[n % ABSURD.len()];
            RCX.store(msr, Relaxed);
            RAX.store(value & 0xffff_ffff, Relaxed);
            RDX.store(value >> 32, Relaxed);
            faults += u32::from(probe(run_window, 0));
        }
    }
    for code in [0xec, 0xed, 0xee, 0xef] {
        put_code(&[code]);
        for port in 0..0x1_0000 {
            RDX.store(port, Relaxed);
            RAX.store(port * 0x101, Relaxed);
            faults += u32::from(probe(run_window, 0));
        }
    }
    say!("wild: registers and ports, {faults} faults");
}

extern "C" fn jump(to: u64) {
    // SAFETY: faults, or ends this guest.
    unsafe { asm!("call {0}", in(reg) to, clobber_abi("C")) }
}

extern "C" fn peek(at: u64) {
    // SAFETY: faults, or reads.
    unsafe { asm!("mov {0}, [{1}]", out(reg) _, in(reg) at) }
}

extern "C" fn scribble(at: u64) {
    // SAFETY: faults; if not, the hypervisor is at fault.
    unsafe { asm!("mov qword ptr [{0}], 0x41", in(reg) at) }
}

extern "C" fn load_selector(selector: u64) {
    // SAFETY: faults or loads a segment register that 64-bit code does not use.
    unsafe {
        asm!("mov ds, {0:e}", "mov es, {0:e}", "mov fs, {0:e}", "mov gs, {0:e}", in(reg) selector);
    }
}

extern "C" fn far_return(selector: u64) {
    // SAFETY: faults, or goes on at an instruction that does.
    unsafe {
        asm!("push {0}", "push {1}", "retfq", in(reg) selector, in(reg) probe::trap_address())
    }
}

/// Jumps into, reads and writes the hypervisor's range and what is not canonical; every selector.
pub fn addresses() {
    ready();
    let (mut faults, mut breaches, mut readable) = (0u32, 0u32, 0u32);
    let slots = (256..272u64).flat_map(|slot| {
        let base = 0xffff_0000_0000_0000 | slot << 39;
        [
            0,
            0x1000,
            0x20_0000,
            0x4000_0000,
            0x10_4000_0000,
            0x7f_ffff_f000,
        ]
        .map(|o| base + o)
    });
    for at in slots.chain(ABSURD) {
        let ours = at > 0xffff_8800_0000_0000;
        faults += u32::from(probe(jump, at));
        if !probe(peek, at) && !ours && at > 0xffff_8080_0000_0000 {
            readable += 1;
        }
        if !ours && !probe(scribble, at) {
            breaches += 1;
            say!("wild: BREACH: wrote to {at:#x}");
        }
    }
    for selector in (0..0x1_0000u64).step_by(8).flat_map(|s| [s, s | 3, s | 7]) {
        faults += u32::from(probe(load_selector, selector));
        if selector % 5 == 0 {
            faults += u32::from(probe(far_return, selector));
        }
    }
    say!(
        "wild: addresses and selectors, {faults} faults, {readable} readable, {breaches} BREACHES"
    );
}

static FRAME: [AtomicU64; 9] = [const { AtomicU64::new(0) }; 9];

extern "C" fn iret_with(frame: u64) {
    // SAFETY: leaves through the frame; wherever that leads, a handler gives us back, or this guest ends.
    unsafe {
        asm!("mov rsp, {0}", "mov eax, 23", "syscall", "ud2", in(reg) frame, options(noreturn))
    }
}

/// Random frames for the `iret` call.
pub fn irets(info: &StartInfo, seed: u64) {
    ready();
    let root = mmu::virt_to_mfn(info.pt_base);
    let user = ext(MMUEXT_NEW_USER_BASEPTR, root, 0);
    let mut random = Random::new(seed);
    let mut back = 0;
    for _ in 0..3000 {
        let selector = |random: &mut Random| match random.below(6) {
            0 => u64::from(KERNEL_CS),
            1 => u64::from(KERNEL_SS),
            2 => 0xe000 + random.below(0x80),
            3 => random.below(0x20),
            4 => random.below(0x1_0000) | 4,
            _ => random.below(0x1_0000),
        };
        let frame = IretContext {
            rax: random.next(),
            r11: random.next(),
            rcx: random.next(),
            flags: random.next() & (VGCF_IN_SYSCALL | 1),
            rip: match random.below(3) {
                0 => ABSURD[random.below(ABSURD.len() as u64) as usize],
                _ => probe::trap_address(),
            },
            // In kernel mode only where the stack stays whole: a fault needs it.
            cs: match random.below(4) {
                0 => u64::from(KERNEL_CS & !3),
                _ => selector(&mut random) | 3,
            },
            // Events stay masked: there is no handler for them that could go on.
            rflags: random.next() & !(1 << 9),
            rsp: other_stack(),
            ss: selector(&mut random),
        };
        let words = [
            frame.rax,
            frame.r11,
            frame.rcx,
            frame.flags,
            frame.rip,
            frame.cs,
            frame.rflags,
            frame.rsp,
            frame.ss,
        ];
        for (slot, word) in FRAME.iter().zip(words) {
            slot.store(word, Relaxed);
        }
        back += u32::from(probe(iret_with, FRAME.as_ptr() as u64));
    }
    say!("wild: user root {user}, {back} irets came back");
}

fn ext(cmd: u32, arg1: u64, arg2: u64) -> i64 {
    let mut op = MmuextOp {
        cmd,
        _pad4: 0,
        arg1,
        arg2,
    };
    hv::call(MMUEXT_OP, [&raw mut op as u64, 1, 0, DOMID_SELF, 0])
}

/// The call that [`make_call`] makes.
static CALL: [AtomicU64; 6] = [const { AtomicU64::new(0) }; 6];

extern "C" fn make_call(number: u64) {
    let args = core::array::from_fn(|i| CALL[i].load(Relaxed));
    let result = hv::call(number as u32, args);
    CALL[5].store(result as u64, Relaxed);
}

/// A call whose fault, should it have one, is survived: then `None`.
pub fn guarded_call(number: u32, args: [u64; 5]) -> Option<i64> {
    for (slot, value) in CALL.iter().zip(args) {
        slot.store(value, Relaxed);
    }
    let faulted = probe(make_call, number.into());
    (!faulted).then(|| CALL[5].load(Relaxed) as i64)
}

/// Calls that would end or suspend this guest by right.
fn suicidal(number: u32, command: u64) -> bool {
    const VCPUOP_DOWN: u64 = 2;
    match number {
        IRET | SCHED_OP_COMPAT => true,
        // A watchdog that bites ends the guest as a shutdown does.
        SCHED_OP => (1..=3).contains(&command) || command == 6,
        VCPU_OP => command == VCPUOP_DOWN,
        _ => false,
    }
}

/// Every call and sub-command with every absurd pointer and count; a pointer across pages, and one that is read-only.
pub fn pointers() {
    ready();
    let (mut calls, mut faults, mut good) = (0u32, 0u32, 0u32);
    let window = mmu::window();
    let own = [window + 4090, window, 0xffff_8000_0000_0000];
    let counts = [1, 0x7fff_ffff, u64::MAX];
    for number in 0..56u32 {
        for command in 0..44u64 {
            if suicidal(number, command) {
                continue;
            }
            for (n, pointer) in ABSURD.into_iter().chain(own).enumerate() {
                let count = counts[n % counts.len()];
                let args = if n % 2 == 0 || number == SCHED_OP || number == VCPU_OP {
                    [command, pointer, count, DOMID_SELF, 0]
                } else {
                    [pointer, count, pointer, DOMID_SELF, 0]
                };
                calls += 1;
                match guarded_call(number, args) {
                    Some(result) => good += u32::from(result >= 0),
                    None => faults += 1,
                }
                if n == 0 {
                    // What succeeded may have cleared the handlers or unmapped the window.
                    ready();
                    hv::call(SET_DEBUGREG, [7, 0, 0, 0, 0]);
                    mmu::map_window((mmu::window_mfn() << 12) | mmu::RW);
                }
            }
        }
    }
    say!("wild: {calls} calls with absurd pointers, {good} succeeded, {faults} faults");
}

/// Descriptor tables full of nonsense, then used; breakpoints where they may not be, and on what the hypervisor reads.
pub fn tables(seed: u64) {
    ready();
    let mut random = Random::new(seed);
    let (mut taken, mut faults) = (0, 0u32);
    for round in 0..40u64 {
        mmu::map_window((mmu::window_mfn() << 12) | mmu::RW);
        for i in 0..512 {
            // Present code and data of any kind in even rounds, anything at all in odd ones.
            let word = match round % 2 {
                0 => (random.next() & !(1 << 53)) | 0x0090_0000_0000_0000 >> 8,
                _ => random.next(),
            };
            // SAFETY: our own page, which no reference exists to.
            unsafe { (mmu::window() as *mut u64).add(i).write_volatile(word) }
        }
        mmu::map_window((mmu::window_mfn() << 12) | mmu::RO);
        let frames = [mmu::window_mfn(); 14];
        let entries = [512, 7168, 1, 8192][round as usize % 4];
        let gdt = hv::call(SET_GDT, [frames.as_ptr() as u64, entries, 0, 0, 0]);
        let ldt = ext(MMUEXT_SET_LDT, mmu::window(), 8192);
        taken += u32::from(gdt == 0) + u32::from(ldt == 0);
        for _ in 0..200 {
            let selector = random.below(0x1_0000);
            faults += u32::from(probe(load_selector, selector));
            faults += u32::from(probe(far_return, selector | 3));
        }
        hv::call(SET_GDT, [0; 5]);
        ext(MMUEXT_SET_LDT, 0, 0);
    }
    mmu::map_window((mmu::window_mfn() << 12) | mmu::RW);
    let word = 0u32;
    let mut breaches = 0;
    for at in [
        0xffff_82d0_4000_0000u64,
        0xffff_8300_0000_0000,
        0x8000_0000_0000,
    ] {
        breaches += u32::from(hv::call(SET_DEBUGREG, [0, at, 0, 0, 0]) == 0);
    }
    breaches += u32::from(hv::call(SET_DEBUGREG, [7, 0x2000, 0, 0, 0]) == 0);
    hv::call(SET_DEBUGREG, [0, &raw const word as u64, 0, 0, 0]);
    // Break on reads and writes of the word, which the hypervisor then reads for us.
    hv::call(SET_DEBUGREG, [7, 0xf_0003, 0, 0, 0]);
    CALL[0].store(3, Relaxed);
    CALL[1].store(&raw const word as u64, Relaxed);
    probe(make_call, u64::from(EVENT_CHANNEL_OP));
    put_code(&[0x8e, 0x17, 0x0f, 0x05]); // mov ss, [rdi]; syscall
    RAX.store(u64::from(XEN_VERSION), Relaxed);
    probe(run_window, &raw const word as u64);
    hv::call(SET_DEBUGREG, [7, 0, 0, 0, 0]);
    say!("wild: {taken} tables taken, {faults} faults, {breaches} BREACHES");
}
