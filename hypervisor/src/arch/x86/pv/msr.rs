//! Model-specific registers as a PV guest sees them. What is not listed reads as a fault, and writes are refused.

use super::context::rdmsr;
use super::emulate::{read_msr, segment_base};
use crate::host::HOST;
use domain::{Host, SegmentBase, Vcpu};
use xen_abi::Mfn;

const TSC: u32 = 0x10;
const PLATFORM_ID: u32 = 0x17;
const APIC_BASE: u32 = 0x1b;
const MICROCODE: u32 = 0x8b;
const PLATFORM_INFO: u32 = 0xce;
const ARCH_CAPABILITIES: u32 = 0x10a;
const MISC_ENABLE: u32 = 0x1a0;
const PAT: u32 = 0x277;
const EFER: u32 = 0xc000_0080;
const STAR_TO_SFMASK: core::ops::RangeInclusive<u32> = 0xc000_0081..=0xc000_0084;
const FS_BASE: u32 = 0xc000_0100;
const GS_BASE: u32 = 0xc000_0101;
const KERNEL_GS_BASE: u32 = 0xc000_0102;
const TSC_AUX: u32 = 0xc000_0103;
const K8_SYSCFG: u32 = 0xc001_0010;
const K8_HWCR: u32 = 0xc001_0015;
const K8_TSEG: core::ops::RangeInclusive<u32> = 0xc001_0112..=0xc001_0113;
const AMD64_DE_CFG: u32 = 0xc001_1029;
const SYSENTER: core::ops::RangeInclusive<u32> = 0x174..=0x176;
/// The hypervisor's own: write a page's address to have it filled with call stubs (CPUID leaf 0x40000002).
const HYPERCALL_PAGE: u32 = 0x4000_0000;

/// The value the guest reads, `None` for a fault.
pub fn read(v: &Vcpu, msr: u32) -> Option<u64> {
    match msr {
        TSC => Some(v.tsc.at(crate::time::rdtsc())),
        FS_BASE | GS_BASE | KERNEL_GS_BASE => Some(rdmsr(msr)),
        // NX and SYSCALL are on, and long mode is active; nothing else of it is the guest's business.
        EFER => Some(0xd01),
        APIC_BASE => {
            let bsp = if v.id.0 == 0 { 1 << 8 } else { 0 };
            Some(0xfee0_0000 | 1 << 11 | bsp)
        }
        PAT => Some(crate::arch::x86::cpu::PAT),
        MICROCODE | PLATFORM_ID | MISC_ENABLE => read_msr(msr).or(Some(0)),
        PLATFORM_INFO | ARCH_CAPABILITIES => None,
        K8_SYSCFG | K8_HWCR | AMD64_DE_CFG => read_msr(msr).or(Some(0)),
        TSC_AUX => Some(0),
        m if K8_TSEG.contains(&m) => Some(0),
        m if STAR_TO_SFMASK.contains(&m) || SYSENTER.contains(&m) => Some(0),
        _ => None,
    }
}

/// Carries out a write; `false` for a fault.
pub fn write(v: &Vcpu, msr: u32, value: u64) -> bool {
    match msr {
        FS_BASE => segment_base(SegmentBase::Fs, value),
        GS_BASE => segment_base(SegmentBase::GsKernel, value),
        KERNEL_GS_BASE => segment_base(SegmentBase::GsUser, value),
        HYPERCALL_PAGE => hypercall_page(v, value),
        // What a kernel sets out of habit and the hypervisor has set already.
        EFER | PAT | APIC_BASE | MISC_ENABLE | MICROCODE | K8_SYSCFG | K8_HWCR | AMD64_DE_CFG
        | TSC_AUX => true,
        m if STAR_TO_SFMASK.contains(&m) || SYSENTER.contains(&m) => true,
        _ => false,
    }
}

/// Fills the page at guest frame `value >> 12`.
fn hypercall_page(v: &Vcpu, value: u64) -> bool {
    let Some(dom) = HOST.domains().get(v.dom) else {
        return false;
    };
    let paging = ::mm::Paging::new(HOST.frames(), &HOST);
    match paging.get_writable(Mfn(value >> 12), dom.id) {
        Ok(page) => {
            let written = hypercall::control::write_hypercall_page(&HOST, page.mfn());
            domain::put_writable(&HOST, page);
            written.is_ok()
        }
        Err(_) => false,
    }
}
