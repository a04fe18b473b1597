//! Exceptions and interrupts, from guests and from the hypervisor itself.

use super::bounce::{inject, inject_page_fault, inject_software};
use super::{context, emulate, exit, failsafe, guest, info, log_registers};
use crate::arch::x86::cpu::gdt;
use crate::arch::x86::entry::symbols::addr;
use crate::arch::x86::irq;
use core::sync::atomic::Ordering;
use domain::Vcpu;
use x86_64::registers::control::Cr2;
use xen_abi::xen::{CpuUserRegs, HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START};

const DB: u32 = 1;
const NMI: u32 = 2;
const UD: u32 = 6;
const NM: u32 = 7;
const DF: u32 = 8;
const GP: u32 = 13;
const PF: u32 = 14;
const MC: u32 = 18;
/// First vector that is not an exception.
const FIRST_INTERRUPT: u32 = 32;
/// Offset of a guest's LDT in a CPU's window.
const LDT_OFFSET: u64 = 16 * 4096;

#[unsafe(no_mangle)]
extern "C" fn trap_from_guest() {
    handle(&mut info().regs);
    exit::to_guest();
}

fn handle(regs: &mut CpuUserRegs) {
    let vector = regs.entry_vector & 0xff;
    if vector >= FIRST_INTERRUPT && vector != 0x80 {
        irq::handle_vector(vector as u8);
        return;
    }
    let (_, v) = guest();
    match vector {
        PF => page_fault(regs, v),
        GP => general_protection(regs, v),
        UD => {
            if !emulate::forced(regs, v) {
                inject(regs, v, UD as u8, None);
            }
        }
        NM => device_not_available(regs, v),
        DB => debug(regs, v),
        NMI => {
            crate::panic::nmi_arrived();
            log::warn!("CPU {}: unexpected NMI", info().cpu);
        }
        DF => crate::panic::fatal("double fault"),
        MC => crate::panic::fatal("machine check"),
        0x80 => inject_software(regs, v, 0x80, 0),
        // #BP and #OF arrive through gates of DPL 3, with rip after the instruction already.
        3 | 4 => inject(regs, v, vector as u8, None),
        10..=12 | 17 | 21 => inject(regs, v, vector as u8, Some(regs.error_code)),
        _ => inject(regs, v, vector as u8, None),
    }
}

fn page_fault(regs: &mut CpuUserRegs, v: &Vcpu) {
    const PRESENT: u32 = 1;
    const WRITE: u32 = 2;
    let address = Cr2::read_raw();
    let error = regs.error_code;
    if (HYPERVISOR_VIRT_START..HYPERVISOR_VIRT_END).contains(&address) {
        let window = gdt::window(info().cpu) + LDT_OFFSET;
        let (dom, _) = guest();
        if (window - LDT_OFFSET..window).contains(&address) {
            // A selector of a GDT page that the guest does not have: its table ends before.
            let selector = (address - (window - LDT_OFFSET)) as u32 & 0xfff8;
            return inject(regs, v, GP as u8, Some(selector));
        }
        if (window..window + LDT_OFFSET).contains(&address) {
            let offset = address - window;
            if context::fault_in_ldt(dom, v, offset) {
                return;
            }
            // The guest sees the fault where it believes its LDT to be.
            let base = v.pv.lock().ldt_base;
            return inject_page_fault(regs, v, base.wrapping_add(offset), error);
        }
    } else if error & (PRESENT | WRITE) == PRESENT | WRITE
        && v.kernel_mode.load(Ordering::Relaxed)
        && emulate::page_table_write(regs, v, address)
    {
        return;
    }
    inject_page_fault(regs, v, address, error);
}

fn general_protection(regs: &mut CpuUserRegs, v: &Vcpu) {
    const FROM_IDT: u32 = 2;
    if regs.error_code & 7 == FROM_IDT {
        // `int n` through a gate that ring 3 may not use: the guest's own table decides.
        inject_software(regs, v, (regs.error_code >> 3) as u8, 2);
    } else if regs.error_code != 0 || !emulate::privileged(regs, v) {
        inject(regs, v, GP as u8, Some(regs.error_code));
    }
}

fn device_not_available(regs: &mut CpuUserRegs, v: &Vcpu) {
    const CR0_TS: u64 = 1 << 3;
    context::set_ts(false);
    let wanted = {
        let mut pv = v.pv.lock();
        let was = pv.cr0 & CR0_TS != 0;
        pv.cr0 &= !CR0_TS;
        was
    };
    if wanted {
        inject(regs, v, NM as u8, None);
    }
}

fn debug(regs: &mut CpuUserRegs, v: &Vcpu) {
    let dr6: u64;
    // SAFETY: reads DR6, then sets it to its idle value.
    unsafe {
        core::arch::asm!("mov {0}, dr6", "mov dr6, {1}", out(reg) dr6, in(reg) 0xffff_0ff0u64,
            options(nomem, nostack, preserves_flags))
    };
    {
        let mut pv = v.pv.lock();
        pv.debug[6] |= dr6 & 0xe00f;
    }
    inject(regs, v, DB as u8, None);
}

#[unsafe(no_mangle)]
extern "C" fn trap_from_hypervisor(frame: &mut CpuUserRegs) {
    let vector = frame.entry_vector & 0xff;
    if vector >= FIRST_INTERRUPT {
        irq::handle_vector(vector as u8);
        return;
    }
    match vector {
        NMI => return crate::panic::nmi_arrived(),
        PF | GP | 11 | 12 => {
            if let Some(resume) = fixup(frame.rip) {
                frame.rip = resume;
                return;
            }
            if frame.rip == addr!(guest_iretq) {
                if vector == PF && ldt_page_wanted() {
                    return;
                }
                failsafe::iretq_faulted(frame);
            }
        }
        DB => {
            // A guest's breakpoint or single step that slipped through an entry instruction.
            frame.rflags &= !(1 << 8);
            return;
        }
        _ => {}
    }
    let cr2 = Cr2::read_raw();
    crate::panic::emergency_console();
    log::error!(
        "exception {vector} in the hypervisor, error {:#x}, cr2 {cr2:016x}",
        frame.error_code
    );
    log_registers(frame);
    crate::panic::fatal("an exception in the hypervisor");
}

/// The return to a guest has faulted on a page of its LDT, as the address says: brings it in, if there is one.
fn ldt_page_wanted() -> bool {
    let window = gdt::window(info().cpu) + LDT_OFFSET;
    let (dom, v) = guest();
    let offset = Cr2::read_raw().wrapping_sub(window);
    offset < LDT_OFFSET && context::fault_in_ldt(dom, v, offset)
}

/// Where to go on after a fault at one of the few instructions that may fault.
fn fixup(rip: u64) -> Option<u64> {
    use crate::arch::x86::entry::symbols;
    let copy = symbols::copy_guest as *const () as u64;
    if (copy..addr!(copy_guest_end)).contains(&rip) {
        return Some(addr!(copy_guest_end));
    }
    if rip == addr!(rdmsr_fault) {
        return Some(addr!(msr_fixup));
    }
    let selectors = symbols::load_fs_selector as *const () as u64;
    if (selectors..addr!(load_selector_fixup)).contains(&rip) {
        return Some(addr!(load_selector_fixup));
    }
    None
}
