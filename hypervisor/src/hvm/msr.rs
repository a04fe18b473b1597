//! Model-specific registers as a hardware guest sees them. What is not listed faults.

use super::events::now;
use super::{Reg, VirtualCpu, apic, p2m};
use crate::arch::x86::cpu::features;
use crate::arch::x86::pv::context::{rdmsr, wrmsr};
use crate::{guest_time, time, timers};
use domain::hvm_vcpu::MTRR_CAP;
use domain::{Domain, HvmVcpu, Vcpu};
use vdev::vlapic::Effect;
use xen_abi::cpuid::MSR_HYPERCALL_BASE;

const TSC: u32 = 0x10;
const PLATFORM_ID: u32 = 0x17;
const TSC_ADJUST: u32 = 0x3b;
const APIC_BASE: u32 = 0x1b;
const FEATURE_CONTROL: u32 = 0x3a;
const MICROCODE: u32 = 0x8b;
const MTRR_CAPABILITIES: u32 = 0xfe;
const MCG_CAP: u32 = 0x179;
const MCG_STATUS: u32 = 0x17a;
const MISC_ENABLE: u32 = 0x1a0;
const DEBUGCTL: u32 = 0x1d9;
/// Recording of branches, single-stepping by branches.
const DEBUGCTL_KNOWN: u64 = 3;
/// Of AMD's: from, to, and the same of the last interrupt or exception.
const LAST_BRANCH: core::ops::RangeInclusive<u32> = 0x1db..=0x1de;
const MTRR_FIXED: [u32; 11] = [
    0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f,
];
const PAT: u32 = 0x277;
const MTRR_DEFAULT: u32 = 0x2ff;
const TSC_DEADLINE: u32 = 0x6e0;
const EFER: u32 = 0xc000_0080;
const TSC_AUX: u32 = 0xc000_0103;
const K7_PERF: core::ops::RangeInclusive<u32> = 0xc001_0000..=0xc001_0007;
const K8_SYSCFG: u32 = 0xc001_0010;
const K8_HWCR: u32 = 0xc001_0015;
const NB_CFG: u32 = 0xc001_001f;
const K8_INT_PENDING: u32 = 0xc001_0055;
const K8_TSEG: core::ops::RangeInclusive<u32> = 0xc001_0112..=0xc001_0113;
const AMD64_DE_CFG: u32 = 0xc001_1029;

/// SCE, LME, LMA, NXE.
const EFER_KNOWN: u64 = 0xd01;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
const CR0_PG: u64 = 1 << 31;

/// The value the guest reads, `None` for #GP.
pub fn read<C: VirtualCpu>(
    cpu: &mut C,
    dom: &Domain,
    v: &Vcpu,
    hvm: &HvmVcpu,
    msr: u32,
) -> Option<u64> {
    Some(match msr {
        TSC => now(v).tsc,
        TSC_ADJUST if has_tsc_adjust(dom) => v.tsc.adjust(),
        APIC_BASE => hvm.lapic.lock().base(),
        0x800..=0x8ff => {
            apic::take_priority(cpu, hvm);
            return hvm.lapic.lock().msr_read(msr, now(v)).ok();
        }
        TSC_DEADLINE => hvm.lapic.lock().tsc_deadline(),
        EFER => cpu.reg(Reg::Efer) & EFER_KNOWN,
        PAT => cpu.reg(Reg::Pat),
        MTRR_CAPABILITIES => MTRR_CAP,
        MTRR_DEFAULT => hvm.state.lock().mtrr.default,
        0x200..=0x20f => *hvm.state.lock().mtrr.variable.get(msr as usize - 0x200)?,
        TSC_AUX => tsc_aux(),
        PLATFORM_ID | FEATURE_CONTROL | MICROCODE | MCG_CAP | MCG_STATUS => 0,
        DEBUGCTL => cpu.reg(Reg::DebugCtl),
        m if LAST_BRANCH.contains(&m) => cpu.last_branch((m - LAST_BRANCH.start()) as usize)?,
        // Fast strings.
        MISC_ENABLE => 1,
        K8_SYSCFG | K8_HWCR | NB_CFG | K8_INT_PENDING => 0,
        // LFENCE serialises.
        AMD64_DE_CFG => 2,
        m if K7_PERF.contains(&m) || K8_TSEG.contains(&m) => 0,
        m => {
            let at = MTRR_FIXED.iter().position(|f| *f == m)?;
            *hvm.state.lock().mtrr.fixed.get(at)?
        }
    })
}

/// Carries out a write; `None` for #GP.
pub fn write<C: VirtualCpu>(
    cpu: &mut C,
    dom: &Domain,
    v: &Vcpu,
    hvm: &HvmVcpu,
    msr: u32,
    value: u64,
) -> Option<()> {
    match msr {
        APIC_BASE => {
            hvm.lapic.lock().set_base(value).ok()?;
            timers::changed(v);
        }
        0x800..=0x8ff => {
            apic::take_priority(cpu, hvm);
            let what = hvm.lapic.lock().msr_write(msr, value, now(v)).ok()?;
            apic::give_priority(cpu, hvm);
            apic::effect(dom, v, what);
        }
        TSC_DEADLINE => {
            let what = hvm.lapic.lock().set_tsc_deadline(value);
            if what == Effect::Timer {
                timers::changed(v);
            }
        }
        TSC => {
            v.tsc.write(time::rdtsc(), value);
            tsc_changed(cpu, v);
        }
        TSC_ADJUST if has_tsc_adjust(dom) => {
            v.tsc.write_adjust(value);
            tsc_changed(cpu, v);
        }
        EFER => return write_efer(cpu, value),
        PAT => {
            let good = value
                .to_le_bytes()
                .iter()
                .all(|t| matches!(t, 0 | 1 | 4..=7));
            return good.then(|| cpu.set_reg(Reg::Pat, value));
        }
        TSC_AUX => {
            if value >> 32 != 0 || !features().rdtscp {
                return None;
            }
            wrmsr(TSC_AUX, value);
        }
        MSR_HYPERCALL_BASE => return p2m::write_hypercall_page(dom, value >> 12),
        // What a kernel sets out of habit.
        MICROCODE | MISC_ENABLE | MCG_STATUS | K8_SYSCFG | K8_HWCR | NB_CFG | AMD64_DE_CFG => {}
        m if K7_PERF.contains(&m) => {}
        DEBUGCTL if value & !DEBUGCTL_KNOWN == 0 => cpu.set_reg(Reg::DebugCtl, value),
        // The CPU writes them.
        m if LAST_BRANCH.contains(&m) => drop(cpu.last_branch(0)?),
        m => return write_mtrr(hvm, m, value),
    }
    Some(())
}

/// `IA32_TSC_AUX` of the loaded vcpu; zero where there is none.
pub fn tsc_aux() -> u64 {
    match features().rdtscp {
        true => rdmsr(TSC_AUX),
        false => 0,
    }
}

/// Does CPUID offer `IA32_TSC_ADJUST`?
fn has_tsc_adjust(dom: &Domain) -> bool {
    dom.cpuid.lock().get(7, 0)[1] & 1 << 1 != 0
}

/// The vcpu's TSC has moved, and all that is told or waited for by it.
fn tsc_changed<C: VirtualCpu>(cpu: &mut C, v: &Vcpu) {
    cpu.follow_tsc(&v.tsc);
    guest_time::write_clock(v);
    guest_time::write_secondary(v);
    timers::changed(v);
}

fn write_efer<C: VirtualCpu>(cpu: &mut C, value: u64) -> Option<()> {
    let old = cpu.reg(Reg::Efer) & EFER_KNOWN;
    let paging = cpu.reg(Reg::Cr0) & CR0_PG != 0;
    if value & !EFER_KNOWN != 0 || (paging && (old ^ value) & EFER_LME != 0) {
        return None;
    }
    cpu.set_reg(Reg::Efer, value & !EFER_LMA | old & EFER_LMA);
    Some(())
}

/// Memory types are remembered only.
fn write_mtrr(hvm: &HvmVcpu, msr: u32, value: u64) -> Option<()> {
    let mut state = hvm.state.lock();
    let slot = match msr {
        MTRR_DEFAULT => &mut state.mtrr.default,
        0x200..=0x20f => state.mtrr.variable.get_mut(msr as usize - 0x200)?,
        m => {
            let at = MTRR_FIXED.iter().position(|f| *f == m)?;
            state.mtrr.fixed.get_mut(at)?
        }
    };
    *slot = value;
    Some(())
}
