//! CPUID answers for hardware guests: the domain's policy, what depends on the vcpu, and the hypervisor's own leaves.

use crate::guest_cpuid;
use domain::{Domain, Vcpu};
use xen_abi::cpuid::*;

/// The hypervisor's leaves.
const OWN: core::ops::Range<u32> = CPUID_FIRST_LEAF..CPUID_FIRST_LEAF + 0x100;
const L1C_OSXSAVE: u32 = 1 << 27;
const HVM_LEAF: u32 = CPUID_FIRST_LEAF + 4;

/// eax, ebx, ecx, edx for the loaded vcpu.
pub fn answer(dom: &Domain, v: &Vcpu, osxsave: bool, leaf: u32, sub: u32) -> [u32; 4] {
    if leaf == HVM_LEAF {
        let flags = HVM_CPUID_VCPU_ID_PRESENT | HVM_CPUID_DOMID_PRESENT;
        return [flags, v.id.0, u32::from(dom.id.0), 0];
    }
    if OWN.contains(&leaf) {
        return guest_cpuid::hypervisor_leaf(dom, v, leaf - CPUID_FIRST_LEAF, sub);
    }
    let mut r = dom.cpuid.lock().get(leaf, sub);
    let apic_id = v.id.0 * 2;
    match leaf {
        1 => {
            r[1] = r[1] & 0x00ff_ffff | apic_id << 24;
            if osxsave {
                r[2] |= L1C_OSXSAVE;
            }
        }
        0xb => r[3] = apic_id,
        0xd if sub < 2 && r[0] != 0 => r[1] = guest_cpuid::state_size(sub == 1),
        _ => {}
    }
    r
}
