//! Port I/O by PV guests, and what is behind the ports for all. Every access traps; dom0 reaches the machine's ports, others read ones and write nothing.

use super::emulate::Regs;
use crate::arch::x86::entry::uaccess::{copy_from_guest, copy_to_guest};
use crate::host::HOST;
use core::sync::atomic::{AtomicU32, Ordering};
use domain::{Host, Vcpu};
use x86emu::{Cpu, Gpr, Port, PrivOp, Segment};
use xen_abi::xen::{CpuUserRegs, VMASST_TYPE_ARCHITECTURAL_IOPL};

/// What became of an instruction.
pub enum Outcome {
    /// Carried out; go on after it.
    Done,
    /// One repetition done, more to come.
    Repeat,
    /// The guest may not: it gets the fault.
    Refused,
}

/// dom0's last write to the PCI configuration address port. The hypervisor uses that port too, so what the guest
/// wrote is kept here and put in place with each data access.
static CONFIG_ADDRESS: AtomicU32 = AtomicU32::new(0);

/// May the guest, in its present mode, touch these ports?
fn allowed(v: &Vcpu, port: u16, size: u8) -> bool {
    let (dom, _) = super::guest();
    let kernel = v.kernel_mode.load(Ordering::Relaxed);
    let (iopl, bitmap, ports) = {
        let pv = v.pv.lock();
        (pv.iopl, pv.iobmp, pv.iobmp_ports)
    };
    let cpl = match (kernel, dom.assist(VMASST_TYPE_ARCHITECTURAL_IOPL)) {
        (true, true) => 0,
        (true, false) => 1,
        (false, _) => 3,
    };
    if cpl <= iopl || kernel {
        return true;
    }
    // The guest kernel's own I/O bitmap for its user mode: a clear bit allows.
    (u32::from(port)..u32::from(port) + u32::from(size)).all(|p| {
        let mut byte = [0xff];
        p < ports
            && copy_from_guest(&mut byte, bitmap.wrapping_add(u64::from(p / 8))).is_ok()
            && byte[0] & (1 << (p % 8)) == 0
    })
}

/// Does an access touch a port that is the hypervisor's own?
fn ours(port: u16, size: u8) -> bool {
    (0..u16::from(size)).any(|i| crate::host::port_is_ours(port.wrapping_add(i)))
}

/// Reads a port for the running guest.
pub fn read(port: u16, size: u8) -> u32 {
    let (dom, _) = super::guest();
    if !dom.privileged {
        return !0;
    }
    match port {
        0xcf8 if size == 4 => CONFIG_ADDRESS.load(Ordering::Relaxed),
        0xcfc..=0xcff if dom.is_hvm() => {
            crate::dom0_pvh::config_read(CONFIG_ADDRESS.load(Ordering::Relaxed), port & 3, size)
        }
        0xcfc..=0xcff => {
            crate::host::config_read(CONFIG_ADDRESS.load(Ordering::Relaxed), port & 3, size)
        }
        _ if ours(port, size) => !0,
        _ => HOST.irqs().port_read(port, size),
    }
}

/// Writes a port for the running guest.
pub fn write(port: u16, size: u8, value: u32) {
    let (dom, _) = super::guest();
    if !dom.privileged {
        return;
    }
    match port {
        0xcf8 if size == 4 => CONFIG_ADDRESS.store(value, Ordering::Relaxed),
        0xcfc..=0xcff => crate::host::config_write(
            CONFIG_ADDRESS.load(Ordering::Relaxed),
            port & 3,
            size,
            value,
        ),
        _ if ours(port, size) => {}
        _ => HOST.irqs().port_write(port, size, value),
    }
}

/// Carries out one of the port I/O instructions.
pub fn instruction(regs: &mut CpuUserRegs, v: &Vcpu, op: PrivOp) -> Outcome {
    let number = |port: Port, regs: &CpuUserRegs| match port {
        Port::Imm(n) => u16::from(n),
        Port::Dx => regs.rdx as u16,
    };
    match op {
        PrivOp::In { port, width } => {
            let port = number(port, regs);
            if !allowed(v, port, width.bytes() as u8) {
                return Outcome::Refused;
            }
            let value = u64::from(read(port, width.bytes() as u8)) & width.mask();
            // 32-bit results clear the upper half, narrower ones leave the rest of rax alone.
            regs.rax = if width.bytes() == 4 {
                value
            } else {
                (regs.rax & !width.mask()) | value
            };
            Outcome::Done
        }
        PrivOp::Out { port, width } => {
            let port = number(port, regs);
            if !allowed(v, port, width.bytes() as u8) {
                return Outcome::Refused;
            }
            write(port, width.bytes() as u8, (regs.rax & width.mask()) as u32);
            Outcome::Done
        }
        PrivOp::Ins { width, rep, addr32 } => string(regs, v, width.bytes(), rep, addr32, None),
        PrivOp::Outs {
            width,
            rep,
            addr32,
            segment,
        } => string(regs, v, width.bytes(), rep, addr32, Some(segment)),
        _ => Outcome::Refused,
    }
}

/// One step of INS (`segment` none) or OUTS.
fn string(
    regs: &mut CpuUserRegs,
    v: &Vcpu,
    bytes: u64,
    rep: bool,
    addr32: bool,
    segment: Option<Segment>,
) -> Outcome {
    let port = regs.rdx as u16;
    if !allowed(v, port, bytes as u8) {
        return Outcome::Refused;
    }
    if rep && regs.rcx == 0 {
        return Outcome::Done;
    }
    let index = if segment.is_some() {
        Gpr::RSI
    } else {
        Gpr::RDI
    };
    let mut cpu = Regs(regs);
    let mut address = cpu.gpr(index);
    if addr32 {
        address &= 0xffff_ffff;
    }
    let mut data = [0u8; 4];
    let Some(part) = data.get_mut(..bytes.min(4) as usize) else {
        return Outcome::Refused;
    };
    if let Some(segment) = segment {
        let from = address.wrapping_add(cpu.segment_base(segment));
        if copy_from_guest(part, from).is_err() {
            return Outcome::Refused;
        }
        write(port, bytes as u8, u32::from_le_bytes(data));
    } else {
        let value = read(port, bytes as u8).to_le_bytes();
        if copy_to_guest(address, value.get(..bytes.min(4) as usize).unwrap_or(&[])).is_err() {
            return Outcome::Refused;
        }
    }
    let step = if cpu.flags() & (1 << 10) != 0 {
        bytes.wrapping_neg()
    } else {
        bytes
    };
    let next = address.wrapping_add(step);
    cpu.set_gpr(index, if addr32 { next & 0xffff_ffff } else { next });
    if !rep {
        return Outcome::Done;
    }
    regs.rcx = regs.rcx.wrapping_sub(1);
    if regs.rcx == 0 {
        Outcome::Done
    } else {
        Outcome::Repeat
    }
}
