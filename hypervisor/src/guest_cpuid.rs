//! CPUID answers for PV guests: the domain's policy, what depends on the vcpu, and the hypervisor's own leaves
//! (public/arch-x86/cpuid.h).

use crate::arch::x86::cpu::features;
use crate::arch::x86::pv::{self, emulate};
use crate::time;
use core::sync::atomic::Ordering;
use domain::{Domain, Vcpu};
use spin::Once;
use x86_64::registers::xcontrol::XCr0;

const BASE: u32 = 0x4000_0000;
/// Highest of our leaves.
const LAST: u32 = 0x4000_0005;
const CR4_OSXSAVE: u64 = 1 << 18;
const L1C_XSAVE: u32 = 1 << 26;
const L1C_OSXSAVE: u32 = 1 << 27;

/// eax, ebx, ecx, edx for the running vcpu.
pub fn answer(v: &Vcpu, leaf: u32, sub: u32) -> [u32; 4] {
    let (dom, _) = pv::guest();
    if (BASE..BASE + 0x100).contains(&leaf) {
        return hypervisor_leaf(dom, v, leaf - BASE, sub);
    }
    let mut r = dom.cpuid.lock().get(leaf, sub);
    match leaf {
        1 => {
            r[1] = (r[1] & 0x00ff_ffff) | (v.id.0 * 2) << 24;
            // Kernels look for OSXSAVE, which the hypervisor has set, before they set it themselves.
            let kernel = v.kernel_mode.load(Ordering::Relaxed) && r[2] & L1C_XSAVE != 0;
            if kernel || v.pv.lock().cr4 & CR4_OSXSAVE != 0 {
                r[2] |= L1C_OSXSAVE;
            }
        }
        0xd if sub < 2 && r[0] != 0 => {
            r[1] = state_size(sub == 1);
        }
        _ => {}
    }
    r
}

/// What the host's CPU offers to any guest: CPUID, without what does not work.
pub fn offered(leaf: u32, sub: u32) -> [u32; 4] {
    const XSAVEC: u32 = 1 << 1;
    let [a, b, c, d] = emulate::native_cpuid(leaf, sub);
    match (leaf, sub) {
        (0xd, 1) if !compaction_works() => [a & !XSAVEC, b, c, d],
        _ => [a, b, c, d],
    }
}

/// A CPU that does not know how large compacted state is does not save it as it loads it: Bochs, whose XSAVEC and XRSTOR
/// disagree about where AVX's part is.
fn compaction_works() -> bool {
    static WORKS: Once<bool> = Once::new();
    *WORKS.call_once(|| {
        if !features().xsave {
            return false;
        }
        let works = core::arch::x86_64::__cpuid_count(0xd, 1).ebx == state_size(true);
        if !works {
            log::info!("XSAVEC left off: its size is not that of its parts");
        }
        works
    })
}

/// Bytes of XSAVE's area for what XCR0 has enabled, which is what the loaded vcpu has; also in the compacted form of XSAVEC
/// (Intel SDM vol. 1, 13.4.3), where Bochs's CPUID tells the plain size.
pub fn state_size(compacted: bool) -> u32 {
    use core::arch::x86_64::__cpuid_count;
    const HEADER_END: u32 = 512 + 64;
    const ALIGNED: u32 = 1 << 1;
    if !compacted {
        return __cpuid_count(0xd, 0).ebx;
    }
    let enabled = XCr0::read_raw();
    let components = (2..63).filter(|n| enabled & 1 << n != 0);
    components.fold(HEADER_END, |end, n| {
        let leaf = __cpuid_count(0xd, n);
        let start = match leaf.ecx & ALIGNED {
            0 => end,
            _ => end.next_multiple_of(64),
        };
        start + leaf.eax
    })
}

/// The last of our leaves that a domain sees. All guests need the first three.
fn last_leaf(dom: &Domain) -> u32 {
    match dom.cpuid.lock().get(BASE, 0)[0] & 0xff {
        n @ 2.. => LAST.min(BASE + n),
        _ => LAST,
    }
}

/// The hypervisor's own leaves, by their number after the first.
pub fn hypervisor_leaf(dom: &Domain, v: &Vcpu, leaf: u32, sub: u32) -> [u32; 4] {
    let last = last_leaf(dom);
    match leaf {
        _ if BASE + leaf > last => [0; 4],
        // "XenVMMXenVMM": the signature of the ABI, which guests look for.
        0 => [last, 0x566e_6558, 0x6558_4d4d, 0x4d4d_566e],
        1 => [4 << 16 | 17, 0, 0, 0],
        2 => [1, BASE, 1, 0],
        3 => tsc_leaf(dom, v, sub),
        5 => [0, u32::from(features().phys_bits), 0, 0],
        _ => [0; 4],
    }
}

/// How the vcpu's TSC runs.
fn tsc_leaf(dom: &Domain, v: &Vcpu, sub: u32) -> [u32; 4] {
    const EMULATED: u32 = 1 << 0;
    const RELIABLE: u32 = 1 << 1;
    match sub {
        0 => {
            let timing = *dom.tsc.lock();
            let emulated = if v.tsc.is_trapped() { EMULATED } else { 0 };
            [
                emulated | RELIABLE,
                timing.mode,
                timing.khz,
                timing.incarnation,
            ]
        }
        1 => {
            let (line, scale) = (v.tsc.line(), time::scale());
            let (mul, shift) = line.clock_scale(scale.mul, scale.shift);
            let offset = line.at(time::boot_tsc()).wrapping_neg();
            let shift = u32::from(shift as u8);
            [offset as u32, (offset >> 32) as u32, mul, shift]
        }
        2 => [(time::tsc_hz() / 1000) as u32, 0, 0, 0],
        _ => [0; 4],
    }
}
