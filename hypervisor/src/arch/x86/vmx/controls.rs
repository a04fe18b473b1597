//! What this CPU's VT-x can do and whether that is enough: [`detect`] turns the capability MSRs (Intel SDM vol. 3, appendix A)
//! into the [`Controls`] that every guest is run with, or into the reason why none can be.

use super::bits::{cpu, cpu2, entry, exit, pin};
use crate::arch::x86::cpu::features;
use crate::arch::x86::pv::context::wrmsr;
use crate::arch::x86::pv::emulate::{native_cpuid, read_msr};

const MSR_FEATURE_CONTROL: u32 = 0x3a;
const LOCKED: u64 = 1;
const VMX_OUTSIDE_SMX: u64 = 1 << 2;
const MSR_BASIC: u32 = 0x480;
const TRUE_CONTROLS: u64 = 1 << 55;
const MSR_MISC: u32 = 0x485;
const MSR_CR4_FIXED0: u32 = 0x488;
const MSR_CPU2: u32 = 0x48b;
const MSR_EPT: u32 = 0x48c;
/// Four levels, write-back tables, INVEPT for one and for all, INVVPID for one and for all.
const EPT_NEEDED: u64 =
    1 << 6 | 1 << 14 | 1 << 20 | 1 << 25 | 1 << 26 | 1 << 32 | 1 << 41 | 1 << 42;
/// CPUID leaf 7, ebx: INVPCID.
const INVPCID: u32 = 1 << 10;

/// Values of the control fields, and what else an entry depends on.
#[derive(Clone, Copy, Debug)]
pub struct Controls {
    /// First word of VMXON regions and VMCSs.
    pub revision: u32,
    /// Pin-based.
    pub pin: u32,
    /// Processor-based.
    pub cpu: u32,
    /// Secondary processor-based.
    pub cpu2: u32,
    /// Of exits.
    pub exit: u32,
    /// Of entries, without [`entry::LONG_MODE`].
    pub entry: u32,
    /// The preemption timer counts ticks of the TSC divided by two to the power of this.
    pub timer_shift: u32,
    /// Bits of CR4 that must be set in VMX operation.
    pub cr4_fixed: u64,
}

/// A control word that has all of `wanted`, and of the rest what the CPU insists on.
fn adjust(msr: u32, wanted: u32, optional: u32) -> Option<u32> {
    let allowed = read_msr(msr)?;
    let (must, may) = (allowed as u32, (allowed >> 32) as u32);
    (wanted & !may == 0).then_some(must | (wanted | optional) & may)
}

/// May VMXON work, by what IA32_FEATURE_CONTROL says? `Some`: once this has been written to it. `Err`: firmware has locked it.
const fn permitted(state: u64) -> Result<Option<u64>, &'static str> {
    match (state & LOCKED != 0, state & VMX_OUTSIDE_SMX != 0) {
        (true, false) => Err("VT-x is switched off by the firmware"),
        (true, true) => Ok(None),
        (false, _) => Ok(Some(state | LOCKED | VMX_OUTSIDE_SMX)),
    }
}

// Locked without VMX, or with VMX in SMX only; locked with it; left open.
const _: () = assert!(permitted(1).is_err() && permitted(3).is_err());
const _: () = assert!(matches!(permitted(5), Ok(None)));
const _: () = assert!(matches!(permitted(0), Ok(Some(5))) && matches!(permitted(4), Ok(Some(5))));

/// Lets VMXON work on this CPU if firmware has not decided.
pub fn unlock() -> Result<(), &'static str> {
    let state = read_msr(MSR_FEATURE_CONTROL).unwrap_or(LOCKED);
    if let Some(open) = permitted(state)? {
        wrmsr(MSR_FEATURE_CONTROL, open);
    }
    Ok(())
}

/// What guests are run with, or why there can be none.
pub fn detect() -> Result<Controls, &'static str> {
    if !features().vmx {
        return Err("the CPU has no VT-x");
    }
    unlock()?;
    let basic = read_msr(MSR_BASIC).ok_or("VT-x without its capability registers")?;
    if basic & TRUE_CONTROLS == 0 {
        return Err("VT-x without flexible controls");
    }
    let mut optional = cpu2::TSC_SCALING | cpu2::PAUSE_LOOP;
    if features().rdtscp {
        optional |= cpu2::RDTSCP;
    }
    if native_cpuid(7, 0)[1] & INVPCID != 0 {
        optional |= cpu2::INVPCID;
    }
    let ept = read_msr(MSR_EPT).unwrap_or(0);
    let controls = (|| {
        let pin = adjust(0x48d, pin::ALL, pin::TIMER)?;
        let timer = (pin & pin::TIMER != 0) as u32 * exit::SAVE_TIMER;
        Some(Controls {
            revision: basic as u32 & 0x7fff_ffff,
            pin,
            // The CPU can, and does not by default.
            cpu: adjust(0x48e, cpu::ALL | cpu::RDTSC, 0)? & !cpu::RDTSC,
            cpu2: adjust(MSR_CPU2, cpu2::ALL, optional)?,
            exit: adjust(0x48f, exit::ALL, timer)?,
            entry: adjust(0x490, entry::ALL, 0)?,
            timer_shift: read_msr(MSR_MISC)? as u32 & 0x1f,
            cr4_fixed: read_msr(MSR_CR4_FIXED0)?,
        })
    })();
    match controls {
        Some(_) if ept & EPT_NEEDED != EPT_NEEDED => Err("VT-x without EPT and VPID as needed"),
        Some(controls) => Ok(controls),
        None => Err("VT-x without EPT, VPID, unrestricted guests or virtual NMIs"),
    }
}
