//! Accesses to guest-physical addresses that nested paging does not map: the local APIC's page, or nothing.

use super::{VirtualCpu, apic, emulate, fetch, ioapic, p2m};
use crate::arch::x86::pv;
use crate::arch::x86::pv::emulate::Regs;
use crate::exit::Access;
use crate::host::HOST;
use crate::hvm::{self, Reg};
use domain::{Domain, HvmVcpu, Vcpu};
use vdev::vlapic;
use x86emu::{Cpu, MAX_LEN, decode_mem_read, decode_mem_write};

/// Answers a nested fault.
pub fn access<C: VirtualCpu>(cpu: &mut C, dom: &Domain, v: &Vcpu, hvm: &HvmVcpu, access: Access) {
    if p2m::allows(dom, &access) {
        // Somebody has mapped it meanwhile.
        return;
    }
    if dom.privileged && domain::hvm::add_device_page(&HOST, dom, access.gpa >> 12).is_ok() {
        return;
    }
    if access.fetch || access.table_walk {
        log_address(dom, v, &access);
        return hvm::crash(cpu, "no memory there");
    }
    apic::take_priority(cpu, hvm);
    let done =
        cpu.long_mode() && simple(cpu, dom, v, hvm, &access) || emulate::run(cpu, dom, v, hvm);
    apic::give_priority(cpu, hvm);
    if !done {
        log_address(dom, v, &access);
        cpu.inject(hvm::GP);
    }
}

/// What nearly every access is: a move, in 64-bit code. `false`: it is something else, and nothing has happened.
fn simple<C: VirtualCpu>(
    cpu: &mut C,
    dom: &Domain,
    v: &Vcpu,
    hvm: &HvmVcpu,
    access: &Access,
) -> bool {
    let mut code = [0; MAX_LEN];
    let n = fetch::at_rip(cpu, &mut code);
    let code = code.get(..n).unwrap_or(&[]);
    let regs = &mut pv::info().regs;
    regs.rip = cpu.reg(Reg::Rip);
    regs.rsp = cpu.reg(Reg::Rsp);
    regs.rflags = cpu.reg(Reg::Rflags);
    let done = match access.write {
        true => write(dom, v, hvm, access.gpa, code),
        false => read(dom, v, hvm, access.gpa, code),
    };
    if !done {
        return false;
    }
    let regs = &pv::info().regs;
    let length = regs.rip.wrapping_sub(cpu.reg(Reg::Rip));
    cpu.set_reg(Reg::Rsp, regs.rsp);
    cpu.set_reg(Reg::Rflags, regs.rflags);
    cpu.retire(length);
    true
}

/// Reads a device's registers: a word at a time, ones where there is nothing.
pub fn device_read(dom: &Domain, v: &Vcpu, hvm: &HvmVcpu, gpa: u64, bytes: &mut [u8]) {
    for (at, part) in (gpa..).step_by(4).zip(bytes.chunks_mut(4)) {
        let size = part.len() as u8;
        let value = match register(at) {
            Some(offset) => apic::read(v, hvm, offset, size),
            None => ioapic::read(dom, at, size).unwrap_or(!0),
        };
        for (byte, value) in part.iter_mut().zip(value.to_le_bytes()) {
            *byte = value;
        }
    }
}

/// Writes a device's registers: a word at a time, into the void where there is nothing.
pub fn device_write(dom: &Domain, v: &Vcpu, hvm: &HvmVcpu, gpa: u64, bytes: &[u8]) {
    for (at, part) in (gpa..).step_by(4).zip(bytes.chunks(4)) {
        let size = part.len() as u8;
        let mut word = [0; 4];
        for (byte, value) in word.iter_mut().zip(part) {
            *byte = *value;
        }
        let value = u32::from_le_bytes(word);
        match register(at) {
            Some(offset) => apic::write(dom, v, hvm, offset, size, value),
            None => drop(ioapic::write(dom, at, size, value)),
        }
    }
}

fn log_address(dom: &Domain, v: &Vcpu, access: &Access) {
    if crate::console::may_log_guest(bootcfg::LogLevel::Warning) {
        log::warn!("{}{}: {access:x?}", dom.id, v.id);
    }
}

/// The APIC's register at `gpa`, if that is where it is.
fn register(gpa: u64) -> Option<u16> {
    (gpa & !0xfff == vlapic::BASE).then_some(gpa as u16 & 0xfff)
}

fn read(dom: &Domain, v: &Vcpu, hvm: &HvmVcpu, gpa: u64, code: &[u8]) -> bool {
    let mut regs = Regs(&mut pv::info().regs);
    let Ok(op) = decode_mem_read(code) else {
        return false;
    };
    let value = match register(gpa) {
        Some(offset) if op.width().bytes() <= 4 => {
            apic::read(v, hvm, offset, op.width().bytes() as u8).into()
        }
        _ => ioapic::read(dom, gpa, op.width().bytes() as u8).map_or(u64::MAX, u64::from),
    };
    op.retire(value, &mut regs);
    true
}

fn write(dom: &Domain, v: &Vcpu, hvm: &HvmVcpu, gpa: u64, code: &[u8]) -> bool {
    let mut regs = Regs(&mut pv::info().regs);
    let Ok(op) = decode_mem_write(code, &regs) else {
        return false;
    };
    let size = op.width().bytes() as u8;
    let at = register(gpa).filter(|_| size <= 4);
    let old = at.map_or(u64::MAX, |offset| apic::read(v, hvm, offset, size).into());
    if let (Some(offset), Some(value)) = (at, op.value(old, &regs)) {
        apic::write(dom, v, hvm, offset, size, value as u32);
    } else if at.is_none()
        && let Some(value) = op.value(u64::MAX, &regs)
    {
        let _ = ioapic::write(dom, gpa, size, value as u32);
    }
    let rip = regs.rip();
    op.retire(old, &mut regs);
    // A repeated store that goes on at the same address is a loop over nothing: let the guest have its turns.
    regs.rip() != rip || !op.is_empty()
}
