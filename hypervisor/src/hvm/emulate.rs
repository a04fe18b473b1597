//! Instructions that the hypervisor carries out for a hardware guest: what reaches devices in ways that the decoders of
//! [`super::mmio`] do not know, in code of any width, and strings of ports. [`run`] is `x86emu::emulate` with [`Machine`],
//! the loaded vcpu with its memory and devices.

use super::{Event, Reg, VirtualCpu, fetch, memory, mmio};
use crate::arch::x86::pv::{self, emulate::Regs, ports};
use crate::schedule;
use domain::hvm_vcpu::Seg;
use domain::{Domain, GuestUse, HvmVcpu, Vcpu};
use x86emu::emulate::{self, Fault, Locked, SegmentState, Step, Stop, System, Table};
use x86emu::{Cpu, Gpr, MAX_LEN, Segment, Unhandled, Width};

/// Elements of a repeated instruction at a time; interrupts get their turn in between.
const ELEMENTS: u32 = 256;
const CR0_PE: u64 = 1;
const PAGE: u64 = 4096;

/// The loaded vcpu. Registers are those of the frame of this CPU, which has rip, rsp and rflags too meanwhile.
struct Machine<'a, C> {
    cpu: &'a mut C,
    dom: &'a Domain,
    v: &'a Vcpu,
    hvm: &'a HvmVcpu,
    /// It wanted something that is not done for it.
    refused: bool,
}

/// Carries out the instruction at rip, or a part of it if it repeats itself. `false`: it is none that can be.
pub fn run<C: VirtualCpu>(cpu: &mut C, dom: &Domain, v: &Vcpu, hvm: &HvmVcpu) -> bool {
    let mut code = [0; MAX_LEN];
    let n = fetch::at_rip(cpu, &mut code);
    if n == 0 {
        // Its code has gone meanwhile: it finds out by itself.
        return true;
    }
    let regs = &mut pv::info().regs;
    let before = (cpu.reg(Reg::Rip), cpu.reg(Reg::Rsp), cpu.reg(Reg::Rflags));
    (regs.rip, regs.rsp, regs.rflags) = before;
    let mut machine = Machine {
        cpu,
        dom,
        v,
        hvm,
        refused: false,
    };
    let code = code.get(..n).unwrap_or(&[]);
    let mut result = Ok(Step::Again);
    for _ in 0..ELEMENTS {
        if result != Ok(Step::Again) || schedule::wanted() {
            break;
        }
        result = emulate::step(code, &mut machine);
    }
    let refused = machine.refused;
    match result {
        _ if refused => return false,
        Ok(Step::Again | Step::Done | Step::Shadow) => {}
        Ok(Step::Halt | Step::Interrupt(_)) | Err(Stop::Later | Stop::Unhandled(_)) => {
            return false;
        }
        Err(Stop::Fault(fault)) => return raise(cpu, fault),
    }
    let regs = &pv::info().regs;
    let (rip, rsp, rflags) = (regs.rip, regs.rsp, regs.rflags);
    cpu.set_reg(Reg::Rsp, rsp);
    cpu.set_reg(Reg::Rflags, rflags);
    if result == Ok(Step::Again) {
        // Some elements are done; the guest comes back for the others.
        return true;
    }
    cpu.retire(0);
    cpu.set_reg(Reg::Rip, rip);
    true
}

/// Nothing of the instruction was done.
fn raise<C: VirtualCpu>(cpu: &mut C, fault: Fault) -> bool {
    if let Fault::Page { address, .. } = fault {
        cpu.set_reg(Reg::Cr2, address);
    }
    // Real mode has no error codes.
    let error = fault.error().filter(|_| cpu.reg(Reg::Cr0) & CR0_PE != 0);
    cpu.inject(Event::Exception(fault.vector(), error));
    true
}

fn seg(segment: Segment) -> Seg {
    match segment {
        Segment::Es => Seg::Es,
        Segment::Cs => Seg::Cs,
        Segment::Ss => Seg::Ss,
        Segment::Ds => Seg::Ds,
        Segment::Fs => Seg::Fs,
        Segment::Gs => Seg::Gs,
    }
}

fn frame() -> Regs<'static> {
    Regs(&mut pv::info().regs)
}

impl<C: VirtualCpu> Cpu for Machine<'_, C> {
    fn gpr(&self, reg: Gpr) -> u64 {
        frame().gpr(reg)
    }
    fn set_gpr(&mut self, reg: Gpr, value: u64) {
        frame().set_gpr(reg, value);
    }
    fn rip(&self) -> u64 {
        frame().rip()
    }
    fn set_rip(&mut self, rip: u64) {
        frame().set_rip(rip);
    }
    fn flags(&self) -> u64 {
        pv::info().regs.rflags
    }
    fn set_flags(&mut self, flags: u64) {
        pv::info().regs.rflags = flags;
    }
    fn segment_base(&self, segment: Segment) -> u64 {
        self.cpu.segment(seg(segment)).base
    }
}

impl<C: VirtualCpu> Machine<'_, C> {
    /// Guest-physical addresses of the part of an access in the first page it touches, and of that in the second.
    fn places(
        &mut self,
        address: u64,
        len: usize,
        write: bool,
        system: bool,
    ) -> Result<[(u64, usize); 2], Stop> {
        let what = GuestUse {
            write,
            user: !system && self.cpu.cpl() == 3,
        };
        let first = ((PAGE - address % PAGE) as usize).min(len);
        let at = |address: u64| {
            memory::translate(self.dom, &self.cpu.paging(), address, what)
                .map_err(|error| Stop::Fault(Fault::Page { address, error }))
        };
        let one = (at(address)?, first);
        let two = match len - first {
            0 => (0, 0),
            rest => (at(self.next_page(address))?, rest),
        };
        Ok([one, two])
    }

    /// The page after that of `address`.
    fn next_page(&self, address: u64) -> u64 {
        let next = (address | (PAGE - 1)).wrapping_add(1);
        if self.cpu.long_mode() {
            next
        } else {
            next & 0xffff_ffff
        }
    }

    fn refuse(&mut self) -> Stop {
        self.refused = true;
        Stop::Unhandled(Unhandled::Unknown)
    }
}

impl<C: VirtualCpu> System for Machine<'_, C> {
    fn segment(&self, segment: Segment) -> SegmentState {
        let s = self.cpu.segment(seg(segment));
        SegmentState {
            selector: s.selector,
            access: s.attributes,
            limit: s.limit,
            base: s.base,
        }
    }
    fn set_segment(&mut self, _: Segment, _: SegmentState) {
        // A selector from a device: nobody does that.
        self.refused = true;
    }
    fn table(&self, table: Table) -> SegmentState {
        let seg = match table {
            Table::Task => Seg::Tr,
            Table::Ldt => Seg::Ldtr,
            // Only what loads segments looks at these, which is refused.
            Table::Gdt | Table::Idt => return SegmentState::default(),
        };
        let s = self.cpu.segment(seg);
        SegmentState {
            selector: s.selector,
            access: s.attributes,
            limit: s.limit,
            base: s.base,
        }
    }
    fn set_table(&mut self, _: Table, _: u64, _: u16) {
        self.refused = true;
    }
    fn cpl(&self) -> u8 {
        self.cpu.cpl()
    }
    fn efer(&self) -> u64 {
        self.cpu.reg(Reg::Efer)
    }
    fn cr(&self, number: u8) -> u64 {
        match number {
            0 => self.cpu.reg(Reg::Cr0),
            2 => self.cpu.reg(Reg::Cr2),
            3 => self.cpu.reg(Reg::Cr3),
            4 => self.cpu.reg(Reg::Cr4),
            _ => u64::from(self.cpu.task_priority()),
        }
    }
    fn set_cr(&mut self, number: u8, value: u64) -> Result<(), Stop> {
        match (number, value) {
            (8, 0..=15) => {
                self.hvm.lapic.lock().set_cr8(value as u8);
                self.cpu.set_task_priority(value as u8);
                Ok(())
            }
            (8, _) => Err(Stop::Fault(Fault::GP0)),
            _ => Err(self.refuse()),
        }
    }
    fn dr(&self, _: u8) -> u64 {
        0
    }
    fn set_dr(&mut self, _: u8, _: u64) -> Result<(), Stop> {
        Err(self.refuse())
    }
    fn read(&mut self, address: u64, bytes: &mut [u8], system: bool) -> Result<(), Stop> {
        let [one, two] = self.places(address, bytes.len(), false, system)?;
        let (first, second) = bytes.split_at_mut(one.1);
        for (gpa, part) in [(one.0, first), (two.0, second)] {
            if !part.is_empty() && !memory::read_physical(self.dom, gpa, part) {
                mmio::device_read(self.dom, self.v, self.hvm, gpa, part);
            }
        }
        Ok(())
    }
    fn write(&mut self, address: u64, bytes: &[u8], system: bool) -> Result<(), Stop> {
        let [one, two] = self.places(address, bytes.len(), true, system)?;
        let (first, second) = bytes.split_at(one.1);
        for (gpa, part) in [(one.0, first), (two.0, second)] {
            if !part.is_empty() && !memory::write_physical(self.dom, gpa, part) {
                mmio::device_write(self.dom, self.v, self.hvm, gpa, part);
            }
        }
        Ok(())
    }
    fn exchange(&mut self, address: u64, width: Width, old: u64, new: u64) -> Result<Locked, Stop> {
        let len = width.bytes() as usize;
        let [one, two] = self.places(address, len, true, false)?;
        if two.1 != 0 || memory::is_mapped(self.dom, one.0) {
            // The operand that came here is a device's, in one piece; with memory the CPU does it itself.
            return Err(self.refuse());
        }
        let mut found = [0; 8];
        let part = found.get_mut(..len).unwrap_or(&mut []);
        mmio::device_read(self.dom, self.v, self.hvm, one.0, part);
        if u64::from_le_bytes(found) != old {
            return Ok(Locked::Differs);
        }
        let bytes = new.to_le_bytes();
        let part = bytes.get(..len).unwrap_or(&[]);
        mmio::device_write(self.dom, self.v, self.hvm, one.0, part);
        Ok(Locked::Exchanged)
    }
    fn port_in(&mut self, port: u16, width: Width) -> Result<u32, Stop> {
        // The CPU has checked whether it may, before the exit.
        Ok(ports::read(port, width.bytes() as u8))
    }
    fn port_out(&mut self, port: u16, width: Width, value: u32) -> Result<(), Stop> {
        ports::write(port, width.bytes() as u8, value);
        Ok(())
    }
    fn invlpg(&mut self, _: u64) {
        self.refused = true;
    }
}
