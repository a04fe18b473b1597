//! Instructions that a PV guest's kernel executes and ring 3 may not: port I/O, control and debug registers, MSRs,
//! forced CPUID; and writes to page tables that the guest has mapped read-only.

use super::{context, msr, ports};
use crate::arch::x86::cpu::features;
use crate::arch::x86::entry::symbols::read_msr_safe;
use crate::arch::x86::entry::uaccess::copy_from_guest;
use crate::host::HOST;
use ::mm::{Budget, Level, Paging, Update};
use core::sync::atomic::Ordering;
use domain::Vcpu;
use domain::{Host, SegmentBase};
use x86emu::{Cpu, Gpr, MAX_LEN, PrivOp, RegMem, Segment, Width, decode_mem_write, decode_priv};
use xen_abi::xen::CpuUserRegs;
use xen_abi::{Errno, Mfn};

const CR0_TS: u64 = 1 << 3;
const CR4_OSXSAVE: u64 = 1 << 18;
/// Bits of CR4 a guest may believe it has set.
const CR4_GUEST: u64 = 0x6f8 | CR4_OSXSAVE;
/// Longest forced-emulation sequence: prefix and CPUID.
const FETCH: usize = MAX_LEN + 5;

/// A guest's registers as the emulator wants them.
pub struct Regs<'a>(pub &'a mut CpuUserRegs);

impl Regs<'_> {
    fn slot(&mut self, reg: Gpr) -> &mut u64 {
        let r = &mut *self.0;
        match reg.0 & 15 {
            0 => &mut r.rax,
            1 => &mut r.rcx,
            2 => &mut r.rdx,
            3 => &mut r.rbx,
            4 => &mut r.rsp,
            5 => &mut r.rbp,
            6 => &mut r.rsi,
            7 => &mut r.rdi,
            8 => &mut r.r8,
            9 => &mut r.r9,
            10 => &mut r.r10,
            11 => &mut r.r11,
            12 => &mut r.r12,
            13 => &mut r.r13,
            14 => &mut r.r14,
            _ => &mut r.r15,
        }
    }
}

impl Cpu for Regs<'_> {
    fn gpr(&self, reg: Gpr) -> u64 {
        let r = &*self.0;
        match reg.0 & 15 {
            0 => r.rax,
            1 => r.rcx,
            2 => r.rdx,
            3 => r.rbx,
            4 => r.rsp,
            5 => r.rbp,
            6 => r.rsi,
            7 => r.rdi,
            8 => r.r8,
            9 => r.r9,
            10 => r.r10,
            11 => r.r11,
            12 => r.r12,
            13 => r.r13,
            14 => r.r14,
            _ => r.r15,
        }
    }
    fn set_gpr(&mut self, reg: Gpr, value: u64) {
        *self.slot(reg) = value;
    }
    fn rip(&self) -> u64 {
        self.0.rip
    }
    fn set_rip(&mut self, rip: u64) {
        self.0.rip = rip;
    }
    fn flags(&self) -> u64 {
        self.0.rflags
    }
    fn set_flags(&mut self, flags: u64) {
        self.0.rflags = flags;
    }
    fn segment_base(&self, segment: Segment) -> u64 {
        match segment {
            Segment::Fs => context::rdmsr(0xc000_0100),
            Segment::Gs => context::rdmsr(0xc000_0101),
            _ => 0,
        }
    }
}

/// Fetches code at rip; fewer bytes where the next page is not there.
fn fetch(rip: u64, buf: &mut [u8; FETCH]) -> usize {
    if copy_from_guest(buf, rip).is_ok() {
        return FETCH;
    }
    let here = (4096 - (rip & 0xfff) as usize).min(FETCH);
    let read = buf
        .get_mut(..here)
        .is_some_and(|part| copy_from_guest(part, rip).is_ok());
    if read { here } else { 0 }
}

/// #UD: carries out a forced-emulation CPUID. `false`: it was something else.
pub fn forced(regs: &mut CpuUserRegs, v: &Vcpu) -> bool {
    let mut code = [0; FETCH];
    let n = fetch(regs.rip, &mut code);
    match decode_priv(code.get(..n).unwrap_or(&[]), true) {
        Ok((PrivOp::Cpuid { forced: true }, len)) => {
            cpuid(regs, v);
            regs.rip = regs.rip.wrapping_add(len as u64);
            true
        }
        _ => false,
    }
}

fn cpuid(regs: &mut CpuUserRegs, v: &Vcpu) {
    let (leaf, sub) = (regs.rax as u32, regs.rcx as u32);
    let [a, b, c, d] = crate::guest_cpuid::answer(v, leaf, sub);
    (regs.rax, regs.rbx) = (u64::from(a), u64::from(b));
    (regs.rcx, regs.rdx) = (u64::from(c), u64::from(d));
}

/// #GP without an error code: carries out a privileged instruction. `false`: the guest gets the fault.
pub fn privileged(regs: &mut CpuUserRegs, v: &Vcpu) -> bool {
    let mut code = [0; FETCH];
    let n = fetch(regs.rip, &mut code);
    let Ok((op, len)) = decode_priv(code.get(..n).unwrap_or(&[]), true) else {
        return false;
    };
    let kernel = v.kernel_mode.load(Ordering::Relaxed);
    let next = regs.rip.wrapping_add(len as u64);
    let done = match op {
        PrivOp::In { .. } | PrivOp::Out { .. } | PrivOp::Ins { .. } | PrivOp::Outs { .. } => {
            match ports::instruction(regs, v, op) {
                ports::Outcome::Done => true,
                // A repeated string instruction with more to do is executed again.
                ports::Outcome::Repeat => return true,
                ports::Outcome::Refused => false,
            }
        }
        // As its mode says, to user mode too.
        PrivOp::Rdtsc | PrivOp::Rdtscp if v.tsc.is_trapped() => {
            let value = v.tsc.at(crate::time::rdtsc());
            (regs.rax, regs.rdx) = (value & 0xffff_ffff, value >> 32);
            if op == PrivOp::Rdtscp {
                regs.rcx = 0;
            }
            true
        }
        _ if !kernel => false,
        _ => kernel_op(regs, v, op),
    };
    if done {
        regs.rip = next;
    }
    done
}

fn kernel_op(regs: &mut CpuUserRegs, v: &Vcpu, op: PrivOp) -> bool {
    match op {
        PrivOp::Cpuid { .. } => cpuid(regs, v),
        PrivOp::Rdmsr => {
            let Some(value) = msr::read(v, regs.rcx as u32) else {
                return false;
            };
            (regs.rax, regs.rdx) = (value & 0xffff_ffff, value >> 32);
        }
        PrivOp::Wrmsr => {
            let value = (regs.rax & 0xffff_ffff) | regs.rdx << 32;
            return msr::write(v, regs.rcx as u32, value);
        }
        // The guest masks its events by hand and never means these.
        PrivOp::Cli | PrivOp::Sti | PrivOp::Invd | PrivOp::Wbinvd => {}
        PrivOp::Clts => {
            v.pv.lock().cr0 &= !CR0_TS;
            context::set_ts(false);
        }
        PrivOp::Hlt => crate::schedule::request_yield(),
        PrivOp::Invlpg(ea) => {
            let address = ea.linear(&Regs(regs));
            if hypercall::mmu::guest_address(address) {
                crate::tlb::flush_page_local(address);
            }
        }
        PrivOp::Xsetbv => return xsetbv(regs, v),
        PrivOp::ReadCr { cr, to } => {
            let Some(value) = read_cr(v, cr) else {
                return false;
            };
            Regs(regs).set_gpr(to, value);
        }
        PrivOp::WriteCr { cr, from } => {
            let value = Regs(regs).gpr(from);
            return write_cr(v, cr, value);
        }
        PrivOp::ReadDr { dr, to } => {
            let value = v.pv.lock().debug.get(usize::from(dr)).copied().unwrap_or(0);
            Regs(regs).set_gpr(to, value);
        }
        PrivOp::WriteDr { dr, from } => {
            let value = Regs(regs).gpr(from);
            return write_dr(v, dr, value);
        }
        PrivOp::Smsw {
            to: RegMem::Reg(reg),
            width,
        } => {
            let cr0 = v.pv.lock().cr0;
            let mut cpu = Regs(regs);
            // A 16-bit destination keeps its upper bits.
            let kept = if width == Width::B2 {
                cpu.gpr(reg) & !0xffff
            } else {
                0
            };
            cpu.set_gpr(reg, kept | cr0 & width.mask());
        }
        PrivOp::Lmsw {
            from: RegMem::Reg(reg),
        } => {
            let value = Regs(regs).gpr(reg);
            let cr0 = v.pv.lock().cr0;
            return write_cr(v, 0, (cr0 & !0xe) | (value & 0xf));
        }
        _ => return false,
    }
    true
}

fn write_dr(v: &Vcpu, dr: u8, value: u64) -> bool {
    let Ok(value) = hypercall::misc::check_debug_register(u32::from(dr), value) else {
        return false;
    };
    if let Some(slot) = v.pv.lock().debug.get_mut(usize::from(dr)) {
        *slot = value;
    }
    context::load_debug_register(u32::from(dr), value);
    true
}

fn read_cr(v: &Vcpu, cr: u8) -> Option<u64> {
    match cr {
        0 => Some(v.pv.lock().cr0),
        2 => Some(v.pv.lock().cr2),
        3 => Some(v.kernel_l4.load(Ordering::Relaxed) << 12),
        4 => Some(v.pv.lock().cr4),
        8 => Some(0),
        _ => None,
    }
}

fn write_cr(v: &Vcpu, cr: u8, value: u64) -> bool {
    match cr {
        0 => {
            // Only TS can change: everything else is the hypervisor's.
            let mut pv = v.pv.lock();
            pv.cr0 = (pv.cr0 & !CR0_TS) | (value & CR0_TS);
            drop(pv);
            context::set_ts(value & CR0_TS != 0);
            true
        }
        2 => {
            v.pv.lock().cr2 = value;
            true
        }
        4 => {
            let offered = if features().xsave {
                CR4_GUEST
            } else {
                CR4_GUEST & !CR4_OSXSAVE
            };
            let mut pv = v.pv.lock();
            pv.cr4 = (value & offered) | 0x20;
            true
        }
        _ => false,
    }
}

fn xsetbv(regs: &CpuUserRegs, v: &Vcpu) -> bool {
    let value = (regs.rax & 0xffff_ffff) | regs.rdx << 32;
    let offered = features().xcr0 | 3;
    let (sse, avx, zmm) = (value & 2 != 0, value & 4 != 0, value & 0xe0);
    let consistent = (!avx || sse) && (zmm == 0 || (zmm == 0xe0 && avx));
    let mut pv = v.pv.lock();
    if !features().xsave || pv.cr4 & CR4_OSXSAVE == 0 || regs.rcx as u32 != 0 {
        return false;
    }
    if value & 1 == 0 || value & !offered != 0 || !consistent {
        return false;
    }
    pv.xcr0 = value;
    context::change_xcr0(value);
    true
}

/// How often an emulated atomic instruction tries again when the CPU has set a bit in the entry meanwhile.
const TRIES: u32 = 8;

/// A write fault in the guest's kernel: if it hit one of its own L1 page tables through a read-only mapping, makes
/// the change with the usual checks. `false`: the guest gets the fault.
pub fn page_table_write(regs: &mut CpuUserRegs, v: &Vcpu, address: u64) -> bool {
    let mut code = [0; FETCH];
    let n = fetch(regs.rip, &mut code);
    let Ok(op) = decode_mem_write(code.get(..n.min(MAX_LEN)).unwrap_or(&[]), &Regs(regs)) else {
        return false;
    };
    // Inside one entry; narrower writes change part of it.
    let (first, bytes) = (op.addr() & 7, op.width().bytes());
    if op.addr() & !7 != address & !7 || first + bytes > 8 {
        return false;
    }
    let (dom, _) = super::guest();
    let paging = Paging::new(HOST.frames(), &HOST);
    let mut tables = dom.paging.lock();
    let root = Mfn(v.kernel_l4.load(Ordering::Relaxed));
    let Some((l1, slot)) = hypercall::mmu::walk_to_l1(&HOST, root, address) else {
        return false;
    };
    let Ok(mapping) = paging.read_entry(dom.id, l1, slot) else {
        return false;
    };
    let target = Mfn::from_addr(mapping & 0x000f_ffff_ffff_f000);
    if paging.table_level(target, dom.id) != Some(Level::L1) {
        return false;
    }
    let index = (address & 0xfff) as usize / 8;
    let (shift, mask) = (first * 8, op.width().mask());
    for _ in 0..TRIES {
        let Ok(entry) = paging.read_entry(dom.id, target, index) else {
            return false;
        };
        let old = entry >> shift & mask;
        if let Some(part) = op.value(old, &Regs(regs)) {
            let new = entry & !(mask << shift) | (part & mask) << shift;
            let how = Update {
                pg_owner: dom.id,
                preserve_ad: false,
                expected: Some(entry),
            };
            let mut budget = Budget(hypercall::mmu::WORK_UNITS);
            match paging.update_entry(&mut tables, Level::L1, target, index, new, how, &mut budget)
            {
                Ok(_) => {}
                Err(Errno::EAGAIN) => continue,
                // Unfinished business of an earlier release: the guest executes the instruction again.
                Err(Errno::ERESTART) => return true,
                Err(_) => return false,
            }
        }
        op.retire(old, &mut Regs(regs));
        return true;
    }
    // The entry keeps changing: let the guest execute the instruction again.
    true
}

/// The host's CPUID.
pub fn native_cpuid(leaf: u32, sub: u32) -> [u32; 4] {
    let r = core::arch::x86_64::__cpuid_count(leaf, sub);
    [r.eax, r.ebx, r.ecx, r.edx]
}

/// Reads an MSR that may not exist.
pub fn read_msr(index: u32) -> Option<u64> {
    let mut value = 0;
    // SAFETY: a fault is fixed up and reported; reading has no effect.
    let failed = unsafe { read_msr_safe(index, &mut value) };
    (failed == 0).then_some(value)
}

/// Loads a segment base through an MSR write.
pub fn segment_base(which: SegmentBase, value: u64) -> bool {
    let canonical = ((value as i64) << 16 >> 16) as u64 == value;
    canonical && context::set_segment_base(which, value).is_ok()
}
