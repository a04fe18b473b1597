//! Control registers of the loaded vcpu: what the guest reads ([`cr0`], [`cr4`]), what the CPU runs with, and the writes that
//! exit because they touch a bit that the hypervisor keeps (Intel SDM vol. 3, 26.6.6 and 28.1.3).

use super::state::set_long_mode;
use super::vmcs::{Field, attributes, read, write, write_nth};
use super::{Vmx, shared};
use crate::arch::x86::pv::{guest, info};
use crate::host::HOST;
use crate::hvm::{self, VirtualCpu};
use domain::hvm_vcpu::Seg;
use domain::{Domain, Host};
use xen_abi::xen::CpuUserRegs;

const CR0_PE: u64 = 1;
const CR0_ET: u64 = 1 << 4;
const CR0_NE: u64 = 1 << 5;
const CR0_NW: u64 = 1 << 29;
const CR0_CD: u64 = 1 << 30;
const CR0_PG: u64 = 1 << 31;
const CR0_KNOWN: u64 = 0x3f | 1 << 16 | 1 << 18 | CR0_NW | CR0_CD | CR0_PG;
/// Bits of CR0 whose value is ours: NE must be set; caches are the machine's.
const CR0_OURS: u64 = CR0_NE | CR0_NW | CR0_CD;
const CR4_PAE: u64 = 1 << 5;
const CR4_PCIDE: u64 = 1 << 17;
/// The machine's own: a machine check with this off would stop it.
const CR4_MCE: u64 = 1 << 6;
/// Bits of CR4 that a guest may have, as far as the CPU does; not among them: machine checks, 57-bit addresses, VMX, SMX, protection keys, shadow stacks, and what
/// is not known here.
const CR4_GUEST: u64 = 0x37_0fff & !CR4_MCE;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// Attribute of 64-bit code segments.
const LONG: u16 = 1 << 9;
/// Bits of a PDPTE that must be zero.
const PDPTE_RESERVED: u64 = 0xfff0_0000_0000_01e6;

/// CR0 as the guest believes it to be.
pub(super) fn cr0() -> u64 {
    read(Field::GuestCr0) & !CR0_OURS | read(Field::Cr0Shadow) & CR0_OURS
}

/// CR4 as the guest believes it to be.
pub(super) fn cr4() -> u64 {
    read(Field::GuestCr4) & CR4_GUEST | read(Field::Cr4Shadow) & !CR4_GUEST
}

/// Sets CR0.
pub(super) fn set_cr0(value: u64) {
    write(Field::Cr0Mask, CR0_OURS);
    write(Field::Cr0Shadow, value);
    write(
        Field::GuestCr0,
        value & CR0_KNOWN & !CR0_OURS | CR0_ET | CR0_NE,
    );
}

/// Sets CR4.
pub(super) fn set_cr4(value: u64) {
    let fixed = shared().map_or(0, |s| s.controls.cr4_fixed);
    write(Field::Cr4Mask, !CR4_GUEST);
    write(Field::Cr4Shadow, value);
    let machine = read(Field::HostCr4) & CR4_MCE;
    write(Field::GuestCr4, value & CR4_GUEST | fixed | machine);
}

/// Sets EFER, and what goes with it.
pub(super) fn set_efer(value: u64) {
    write(Field::GuestEfer, value);
    set_long_mode(value);
}

/// With 32-bit PAE paging, the four top entries are part of the vcpu's state. `false`: they are not in memory, or impossible.
pub(super) fn load_pdptes(dom: &Domain) -> bool {
    let pae = cr0() & CR0_PG != 0 && cr4() & CR4_PAE != 0;
    if !pae || read(Field::GuestEfer) & EFER_LMA != 0 {
        return true;
    }
    let table = read(Field::GuestCr3) & 0xffff_ffe0;
    let mut bytes = [0u8; 32];
    let at = (table & 0xfff) as usize;
    let got = hvm::p2m::with_frame(dom, table >> 12, false, |mfn| {
        HOST.read_frame(mfn, at, &mut bytes)
    });
    if !matches!(got, Some(Ok(()))) {
        return false;
    }
    let mut entries = [0u64; 4];
    for (entry, bytes) in entries.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *entry = u64::from_le_bytes(*bytes);
    }
    if entries
        .iter()
        .any(|e| e & 1 != 0 && e & PDPTE_RESERVED != 0)
    {
        return false;
    }
    for (n, entry) in entries.iter().enumerate() {
        write_nth(Field::GuestPdptes, n, *entry);
    }
    true
}

/// The four of the vcpu before are not this one's.
pub(super) fn no_pdptes() {
    (0..4).for_each(|n| write_nth(Field::GuestPdptes, n, 0));
}

/// General register `n` in the order of instruction encoding; RSP is in the VMCS.
fn general(regs: &CpuUserRegs, n: u64) -> u64 {
    match n & 15 {
        0 => regs.rax,
        1 => regs.rcx,
        2 => regs.rdx,
        3 => regs.rbx,
        4 => read(Field::GuestRsp),
        5 => regs.rbp,
        6 => regs.rsi,
        7 => regs.rdi,
        8 => regs.r8,
        9 => regs.r9,
        10 => regs.r10,
        11 => regs.r11,
        12 => regs.r12,
        13 => regs.r13,
        14 => regs.r14,
        _ => regs.r15,
    }
}

/// Carries out the access to a control register that has exited: a write that changes a bit of ours.
pub(super) fn access(cpu: &mut Vmx, qualification: u64) {
    const MOV_TO: u64 = 0;
    let done = match (qualification >> 4 & 3, qualification & 15) {
        (MOV_TO, register @ (0 | 4)) => {
            let mut value = general(&info().regs, qualification >> 8);
            if !cpu.long_mode() {
                value &= 0xffff_ffff;
            }
            if register == 0 {
                write_cr0(cpu, value)
            } else {
                // Such writes set a bit that guests do not have.
                false
            }
        }
        // CLTS and LMSW touch no bit of ours.
        _ => false,
    };
    if done {
        cpu.retire(read(Field::ExitLength));
    } else {
        cpu.inject(hvm::GP);
    }
}

/// MOV to CR0; `false`: #GP.
fn write_cr0(cpu: &Vmx, value: u64) -> bool {
    let (old, old_efer) = (cr0(), read(Field::GuestEfer));
    let impossible = value >> 32 != 0
        || value & (CR0_PG | CR0_PE) == CR0_PG
        || value & (CR0_NW | CR0_CD) == CR0_NW;
    if impossible {
        return false;
    }
    let mut efer = old_efer;
    let (was, is) = (old & CR0_PG != 0, value & CR0_PG != 0);
    if is && !was && efer & EFER_LME != 0 {
        if cr4() & CR4_PAE == 0 || attributes(Seg::Cs) & LONG != 0 {
            return false;
        }
        efer |= EFER_LMA;
    }
    if was && !is {
        if cpu.long_mode() || cr4() & CR4_PCIDE != 0 {
            return false;
        }
        efer &= !EFER_LMA;
    }
    set_cr0(value & CR0_KNOWN | CR0_ET);
    set_efer(efer);
    if is && !load_pdptes(guest().0) {
        set_cr0(old);
        set_efer(old_efer);
        return false;
    }
    if (old ^ value) & (CR0_PG | CR0_PE | 1 << 16) != 0 {
        cpu.forget_translations();
    }
    true
}
