//! The one match over what ends a hardware guest's run: [`GuestExit`], said by `arch::x86::svm` and its like, answered by
//! [`answer`] on the vcpu itself (registers, events), which then enters again.

use crate::arch::x86::cpu::features;
use crate::arch::x86::pv::{self, context, ports};
use crate::host::HOST;
use crate::hvm::{self, Event, Reg, VirtualCpu, cpuid, emulate, events, fetch, mmio, msr};
use crate::{schedule, time};
use domain::hvm_vcpu::Seg;
use domain::{Domain, HvmVcpu, Vcpu};
use hypercall::Stop;
use x86_64::instructions::interrupts;
use xen_abi::Errno;

/// An access that nested paging stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// Guest-physical address.
    pub gpa: u64,
    /// There is a mapping, which does not allow it.
    pub present: bool,
    /// A write.
    pub write: bool,
    /// An instruction fetch.
    pub fetch: bool,
    /// By the walk of the guest's own tables.
    pub table_walk: bool,
}

/// Port I/O.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortAccess {
    /// First port.
    pub port: u16,
    /// 1, 2, 4 bytes.
    pub size: u8,
    /// IN or INS.
    pub read: bool,
    /// INS or OUTS.
    pub string: bool,
    /// Length of the instruction.
    pub length: u64,
}

/// Why a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GuestExit {
    /// An interrupt of the machine is pending.
    Interrupt,
    /// An NMI (or its like) of the machine is pending.
    NonMaskable,
    /// An interrupt can be delivered now.
    InterruptWindow,
    /// An NMI can be delivered after this instruction.
    NmiWindow,
    /// CPUID.
    Cpuid,
    /// HLT.
    Hlt,
    /// PAUSE again and again: it waits for another vcpu, which may be one that is not running.
    Spin,
    /// VMCALL or VMMCALL.
    Hypercall,
    /// RDTSC, or what the CPU tells as that: RDTSCP.
    Rdtsc,
    /// RDTSCP.
    Rdtscp,
    /// RDMSR.
    ReadMsr,
    /// WRMSR.
    WriteMsr,
    /// XSETBV.
    Xsetbv,
    /// IN, OUT, INS, OUTS.
    Port(PortAccess),
    /// WBINVD, INVD.
    CacheFlush,
    /// An instruction that no guest has: #UD.
    Undefined,
    /// An instruction that no guest may: #GP.
    Refused,
    /// MOV to CR8.
    TaskPriority,
    /// An exception that is looked at: vector, error code.
    Exception(u8, u32),
    /// Nested paging.
    Memory(Access),
    /// The vcpu has shut down.
    TripleFault,
    /// Not an exit at all: the state was refused, with the vendor's code.
    Failed(u64),
}

/// PAUSEs that are more cycles apart are not of one loop.
pub const PAUSE_GAP: u16 = 128;
const CR4_OSXSAVE: u64 = 1 << 18;
const DB: u8 = 1;
const AC: u8 = 17;

/// Lets interrupts in that are pending.
fn take_interrupts() {
    interrupts::enable();
    interrupts::disable();
}

/// Answers an exit.
pub fn answer<C: VirtualCpu>(cpu: &mut C, dom: &Domain, v: &Vcpu, hvm: &HvmVcpu, exit: GuestExit) {
    match exit {
        // It is taken as soon as interrupts are on, in the hypervisor.
        GuestExit::Interrupt => take_interrupts(),
        GuestExit::NonMaskable => {}
        GuestExit::InterruptWindow => cpu.want_window(false),
        GuestExit::NmiWindow => {}
        GuestExit::Cpuid => cpuid_instruction(cpu, dom, v),
        GuestExit::Hlt => hlt(cpu, v),
        // The loop goes on where it was. Bochs keeps interrupts back from a guest that has them off.
        GuestExit::Spin => {
            take_interrupts();
            schedule::request_yield();
        }
        GuestExit::Hypercall => hypercall(cpu, v),
        GuestExit::Rdtsc => read_tsc(cpu, v, false),
        GuestExit::Rdtscp => read_tsc(cpu, v, true),
        GuestExit::ReadMsr => read_msr(cpu, dom, v, hvm),
        GuestExit::WriteMsr => write_msr(cpu, dom, v, hvm),
        GuestExit::Xsetbv => xsetbv(cpu, hvm),
        GuestExit::Port(access) => port(cpu, dom, v, hvm, access),
        GuestExit::CacheFlush => {
            if cpu.cpl() != 0 {
                return cpu.inject(hvm::GP);
            }
            skip(cpu, &[0x09, 0x08]);
        }
        GuestExit::Undefined => cpu.inject(hvm::UD),
        GuestExit::Refused => cpu.inject(hvm::GP),
        GuestExit::TaskPriority => {
            if !emulate::run(cpu, dom, v, hvm) {
                cpu.inject(hvm::UD);
            }
        }
        GuestExit::Exception(DB, _) => {
            // As the CPU does when it delivers one itself.
            if cpu.reg(Reg::DebugCtl) != 0 {
                cpu.set_reg(Reg::DebugCtl, 0);
            }
            cpu.inject(Event::Exception(DB, None));
        }
        GuestExit::Exception(AC, _) => cpu.inject(Event::Exception(AC, Some(0))),
        GuestExit::Exception(..) => {}
        GuestExit::Memory(access) => mmio::access(cpu, dom, v, hvm, access),
        GuestExit::TripleFault => hvm::crash(cpu, "triple fault"),
        GuestExit::Failed(code) => {
            log::error!("{}{}: the CPU refuses to run it, {code:#x}", dom.id, v.id);
            hvm::crash(cpu, "impossible state");
        }
    }
}

/// Goes on after the two-byte instruction at rip, if it is still `0f` and one of `opcodes`. Else the guest has changed it
/// since, and executes what is there now.
fn skip<C: VirtualCpu>(cpu: &mut C, opcodes: &[u8]) -> bool {
    match fetch::length_of_two_byte(cpu, opcodes) {
        Some(length) => {
            cpu.retire(length);
            true
        }
        None => false,
    }
}

fn cpuid_instruction<C: VirtualCpu>(cpu: &mut C, dom: &Domain, v: &Vcpu) {
    if !skip(cpu, &[0xa2]) {
        return;
    }
    let regs = &mut pv::info().regs;
    let osxsave = cpu.reg(Reg::Cr4) & CR4_OSXSAVE != 0;
    let [a, b, c, d] = cpuid::answer(dom, v, osxsave, regs.rax as u32, regs.rcx as u32);
    (regs.rax, regs.rbx) = (a.into(), b.into());
    (regs.rcx, regs.rdx) = (c.into(), d.into());
}

fn hlt<C: VirtualCpu>(cpu: &mut C, v: &Vcpu) {
    let Some(length) = fetch::length_of_byte(cpu, 0xf4) else {
        return;
    };
    cpu.retire(length);
    events::halt(v, cpu.interrupts_on());
}

fn hypercall<C: VirtualCpu>(cpu: &mut C, v: &Vcpu) {
    // 0f 01 c1 is VMCALL, 0f 01 d9 VMMCALL.
    let Some(length) = fetch::length_of_call(cpu) else {
        return;
    };
    let (dom, _) = pv::guest();
    let regs = &mut pv::info().regs;
    let long = cpu.long_mode();
    let low = |value: u64| value & 0xffff_ffff;
    let (number, args) = match long {
        true => (
            regs.rax,
            [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9],
        ),
        false => (
            low(regs.rax),
            [
                low(regs.rbx),
                low(regs.rcx),
                low(regs.rdx),
                low(regs.rsi),
                low(regs.rdi),
                low(regs.rbp),
            ],
        ),
    };
    if cpu.cpl() != 0 {
        regs.rax = Errno::EPERM.as_ret() as u64;
        return cpu.retire(length);
    }
    match hypercall::call(&HOST, dom, v, number, args) {
        Ok(value) => regs.rax = value as u64,
        Err(Stop::Error(e)) => regs.rax = e.as_ret() as u64,
        // The guest executes the same instruction again, with arguments that say how far we got.
        Err(Stop::Again([a, b, c, d, e, f])) => {
            if long {
                (regs.rdi, regs.rsi, regs.rdx) = (a, b, c);
                (regs.r10, regs.r8, regs.r9) = (d, e, f);
            } else {
                (regs.rbx, regs.rcx, regs.rdx) = (a, b, c);
                (regs.rsi, regs.rdi, regs.rbp) = (d, e, f);
            }
            return;
        }
        Err(Stop::Crash(why)) => return hvm::crash(cpu, why),
    }
    if !long {
        regs.rax = low(regs.rax);
    }
    cpu.retire(length);
}

/// RDTSC or RDTSCP, whose privileges the CPU has checked.
fn read_tsc<C: VirtualCpu>(cpu: &mut C, v: &Vcpu, aux: bool) {
    let plain = match aux {
        true => None,
        false => fetch::length_of_two_byte(cpu, &[0x31]),
    };
    let Some(length) = plain.or_else(|| fetch::length_of_rdtscp(cpu)) else {
        return;
    };
    let regs = &mut pv::info().regs;
    let value = v.tsc.at(time::rdtsc());
    (regs.rax, regs.rdx) = (value & 0xffff_ffff, value >> 32);
    if plain.is_none() {
        regs.rcx = msr::tsc_aux() & 0xffff_ffff;
    }
    cpu.retire(length);
}

fn read_msr<C: VirtualCpu>(cpu: &mut C, dom: &Domain, v: &Vcpu, hvm: &HvmVcpu) {
    let regs = &mut pv::info().regs;
    match msr::read(cpu, dom, v, hvm, regs.rcx as u32) {
        Some(value) => {
            if skip(cpu, &[0x32]) {
                (regs.rax, regs.rdx) = (value & 0xffff_ffff, value >> 32);
            }
        }
        None => cpu.inject(hvm::GP),
    }
}

fn write_msr<C: VirtualCpu>(cpu: &mut C, dom: &Domain, v: &Vcpu, hvm: &HvmVcpu) {
    let regs = &pv::info().regs;
    let value = regs.rax & 0xffff_ffff | regs.rdx << 32;
    match msr::write(cpu, dom, v, hvm, regs.rcx as u32, value) {
        Some(()) => {
            skip(cpu, &[0x30]);
        }
        None => cpu.inject(hvm::GP),
    }
}

fn xsetbv<C: VirtualCpu>(cpu: &mut C, hvm: &HvmVcpu) {
    const X87: u64 = 1;
    const SSE: u64 = 2;
    const AVX: u64 = 4;
    const AVX512: u64 = 0xe0;
    let regs = &pv::info().regs;
    let value = regs.rax & 0xffff_ffff | regs.rdx << 32;
    let whole = match value & AVX512 {
        0 => value & AVX == 0 || value & SSE != 0,
        AVX512 => value & (SSE | AVX) == SSE | AVX,
        _ => false,
    };
    let known = value & !(features().xcr0 | X87 | SSE) == 0;
    if cpu.cpl() != 0 || regs.rcx as u32 != 0 || value & X87 == 0 || !known || !whole {
        return cpu.inject(hvm::GP);
    }
    if let Some(length) = fetch::length_of_xsetbv(cpu) {
        cpu.retire(length);
        hvm.state.lock().xcr0 = value;
        context::change_xcr0(value);
    }
}

/// dom0 reaches the machine's ports. For others there is nothing behind any: reads give ones, writes go nowhere.
fn port<C: VirtualCpu>(cpu: &mut C, dom: &Domain, v: &Vcpu, hvm: &HvmVcpu, access: PortAccess) {
    let longest = x86emu::MAX_LEN as u64;
    if access.string || access.length == 0 || access.length > longest {
        if !emulate::run(cpu, dom, v, hvm) {
            cpu.inject(hvm::GP);
        }
        return;
    }
    let regs = &mut pv::info().regs;
    let mask = match access.size {
        1 => 0xff,
        2 => 0xffff,
        _ => u64::MAX,
    };
    if access.read {
        let value = u64::from(ports::read(access.port, access.size));
        regs.rax = regs.rax & !mask | value & mask;
    } else {
        ports::write(access.port, access.size, (regs.rax & mask) as u32);
    }
    cpu.retire(access.length);
}

/// The linear address of an offset in the code segment.
pub fn code_address<C: VirtualCpu>(cpu: &C, rip: u64) -> u64 {
    if cpu.long_mode() {
        rip
    } else {
        cpu.segment(Seg::Cs).base.wrapping_add(rip) & 0xffff_ffff
    }
}
