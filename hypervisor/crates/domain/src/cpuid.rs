//! What CPUID shows a PV guest: [`CpuidPolicy`]. Derived from the host's leaves by masks that hide what a PV guest
//! cannot use, then overlaid with what the toolstack sets. Leaf meanings: SDM vol. 2A CPUID, APM vol. 3 appendix E;
//! the hypervisor's own leaves: public/arch-x86/cpuid.h.
use alloc::vec::Vec;
use xen_abi::xen::CpuidLeaf;

/// Most leaves a policy may hold.
pub const MAX_LEAVES: usize = 128;
/// "No subleaf" marker of `xen_cpuid_leaf`.
const NO_SUBLEAF: u32 = !0;

/// eax, ebx, ecx, edx.
pub type CpuidResult = [u32; 4];

/// CPUID as one domain sees it.
#[derive(Clone, Debug, Default)]
pub struct CpuidPolicy {
    leaves: Vec<CpuidLeaf>,
}

/// Bits of `leaf 1 ecx` a PV guest may see: all but MONITOR, DTES64, DS-CPL, VMX, SMX, EST, TM2, CNXT-ID, SDBG, xTPR,
/// PDCM, PCID, DCA, x2APIC, TSC-deadline; the hypervisor bit is added.
const L1C_HIDE: u32 = (1 << 2)
    | (1 << 3)
    | (1 << 4)
    | (1 << 5)
    | (1 << 6)
    | (1 << 7)
    | (1 << 8)
    | (1 << 10)
    | (1 << 11)
    | (1 << 14)
    | (1 << 15)
    | (1 << 17)
    | (1 << 18)
    | (1 << 21)
    | (1 << 24)
    | (1 << 27);
/// `leaf 1 edx`: VME, PSE, MCE, MTRR, PGE, MCA, PSE36, PSN, DS, ACPI, SS, HTT, TM, PBE.
const L1D_HIDE: u32 = (1 << 1)
    | (1 << 3)
    | (1 << 7)
    | (1 << 12)
    | (1 << 13)
    | (1 << 14)
    | (1 << 17)
    | (1 << 18)
    | (1 << 21)
    | (1 << 22)
    | (1 << 27)
    | (1 << 28)
    | (1 << 29)
    | (1 << 31);
/// `leaf 7 ebx`: FSGSBASE, TSC_ADJUST, SGX, SMEP, INVPCID, PQM, MPX, PQE, SMAP, PT hidden.
const L7B_HIDE: u32 = (1 << 0)
    | (1 << 1)
    | (1 << 2)
    | (1 << 7)
    | (1 << 10)
    | (1 << 12)
    | (1 << 14)
    | (1 << 15)
    | (1 << 20)
    | (1 << 25);
/// `leaf 7 ecx` kept: AVX512_VBMI, VBMI2, GFNI, VAES, VPCLMULQDQ, VNNI, BITALG, VPOPCNTDQ.
const L7C_KEEP: u32 =
    (1 << 1) | (1 << 6) | (1 << 8) | (1 << 9) | (1 << 10) | (1 << 11) | (1 << 12) | (1 << 14);
/// `leaf 7 edx` kept: AVX512_4VNNIW, 4FMAPS, FSRM, MD_CLEAR.
const L7D_KEEP: u32 = (1 << 2) | (1 << 3) | (1 << 4) | (1 << 10);
/// `0x80000001 ecx`: SVM, EXTAPIC, OSVW, IBS, SKINIT, WDT, LWP, NODEID, TOPOEXT, PERFCTR*, MWAITX hidden.
const E1C_HIDE: u32 = (1 << 2)
    | (1 << 3)
    | (1 << 9)
    | (1 << 10)
    | (1 << 12)
    | (1 << 13)
    | (1 << 15)
    | (1 << 19)
    | (1 << 22)
    | (1 << 23)
    | (1 << 24)
    | (1 << 26)
    | (1 << 27)
    | (1 << 28)
    | (1 << 29);
/// `0x80000001 edx`: as leaf 1, and 1-GiB pages, RDTSCP.
const E1D_HIDE: u32 = (1 << 1)
    | (1 << 3)
    | (1 << 7)
    | (1 << 12)
    | (1 << 13)
    | (1 << 14)
    | (1 << 17)
    | (1 << 26)
    | (1 << 27);
/// XCR0 bits offered to PV guests: x87, SSE, AVX, and AVX-512's three.
pub const PV_XCR0: u64 = 0xe7;

/// Masks the host's answer for a PV guest.
fn pv_mask(leaf: u32, sub: u32, r: CpuidResult) -> CpuidResult {
    let [a, b, c, d] = r;
    match leaf {
        1 => [
            a,
            (b & 0x0000_ff00) | (1 << 16),
            (c & !L1C_HIDE) | (1 << 31),
            d & !L1D_HIDE,
        ],
        4 => [if a & 0x1f == 0 { 0 } else { a & 0x3fff }, b, c, d],
        7 if sub == 0 => [0, b & !L7B_HIDE, c & L7C_KEEP, d & L7D_KEEP],
        0xd if sub == 0 => [a & PV_XCR0 as u32, b, c, 0],
        // XSAVEOPT, XSAVEC, XGETBV1; supervisor state is not offered.
        0xd if sub == 1 => [a & 7, 0, 0, 0],
        0xd if sub < 63 && PV_XCR0 & (1 << sub) != 0 => [a, b, c, d],
        0 | 2 | 0x8000_0000 | 0x8000_0002..=0x8000_0006 => r,
        0x8000_0001 => [a, b, c & !E1C_HIDE, d & !E1D_HIDE],
        // Invariant TSC: time does not stop for a guest that is not migrated; the pvclock is stable either way.
        0x8000_0007 => [0, 0, 0, d & (1 << 8)],
        0x8000_0008 => [a & 0xffff, b & 1, 0, 0],
        _ => [0; 4],
    }
}

/// Bits of `leaf 1 ecx` no hardware-virtualised guest has: DTES64, MONITOR, DS-CPL, VMX, SMX, EST, TM2, CNXT-ID, SDBG,
/// xTPR, PDCM, DCA, OSXSAVE (which depends on CR4).
const HVM_L1C_HIDE: u32 = (1 << 2)
    | (1 << 3)
    | (1 << 4)
    | (1 << 5)
    | (1 << 6)
    | (1 << 7)
    | (1 << 8)
    | (1 << 10)
    | (1 << 11)
    | (1 << 14)
    | (1 << 15)
    | (1 << 18)
    | (1 << 27);
/// x2APIC, TSC deadline (both emulated), a hypervisor.
const HVM_L1C_ADD: u32 = 1 << 21 | 1 << 24 | 1 << 31;
/// `leaf 1 edx`: MCE, MCA, PSN, DS, ACPI, SS, HTT, TM, PBE.
const HVM_L1D_HIDE: u32 = (1 << 7)
    | (1 << 14)
    | (1 << 18)
    | (1 << 21)
    | (1 << 22)
    | (1 << 27)
    | (1 << 28)
    | (1 << 29)
    | (1 << 31);
/// APIC, MTRR.
const HVM_L1D_ADD: u32 = 1 << 9 | 1 << 12;
/// `leaf 7 ebx`: SGX, HLE, PQM, MPX, PQE, RTM, PT.
const HVM_L7B_HIDE: u32 =
    (1 << 2) | (1 << 4) | (1 << 11) | (1 << 12) | (1 << 14) | (1 << 15) | (1 << 25);
/// `leaf 7 ebx`: TSC_ADJUST, which is emulated.
const HVM_L7B_ADD: u32 = 1 << 1;
/// `leaf 7 ecx` kept beyond what PV guests have: UMIP, RDPID.
const HVM_L7C_KEEP: u32 = L7C_KEEP | 1 << 2 | 1 << 22;
/// `0x80000001 edx`: MCE, MCA, FFXSR.
const HVM_E1D_HIDE: u32 = (1 << 7) | (1 << 14) | (1 << 25);

/// Masks the host's answer for a hardware-virtualised guest.
fn hvm_mask(leaf: u32, sub: u32, r: CpuidResult) -> CpuidResult {
    let [a, b, c, d] = r;
    match leaf {
        1 => [
            a,
            (b & 0x0000_ff00) | (1 << 16),
            (c & !HVM_L1C_HIDE) | HVM_L1C_ADD,
            (d & !HVM_L1D_HIDE) | HVM_L1D_ADD,
        ],
        7 if sub == 0 => [
            0,
            b & !HVM_L7B_HIDE | HVM_L7B_ADD,
            c & HVM_L7C_KEEP,
            d & L7D_KEEP,
        ],
        0x8000_0001 => [a, b, c & !E1C_HIDE, d & !HVM_E1D_HIDE],
        _ => pv_mask(leaf, sub, r),
    }
}

impl CpuidPolicy {
    /// The policy a new hardware-virtualised domain gets: `host` is the CPUID instruction.
    pub fn hvm_default(host: impl Fn(u32, u32) -> CpuidResult) -> CpuidPolicy {
        CpuidPolicy::masked(host, hvm_mask)
    }

    /// The policy a new PV domain gets: `host` is the CPUID instruction.
    pub fn pv_default(host: impl Fn(u32, u32) -> CpuidResult) -> CpuidPolicy {
        CpuidPolicy::masked(host, pv_mask)
    }

    fn masked(
        host: impl Fn(u32, u32) -> CpuidResult,
        mask: impl Fn(u32, u32, CpuidResult) -> CpuidResult,
    ) -> CpuidPolicy {
        let mut policy = CpuidPolicy::default();
        let mut add = |leaf: u32, sub: Option<u32>| {
            let r = mask(leaf, sub.unwrap_or(0), host(leaf, sub.unwrap_or(0)));
            policy.set(leaf, sub.unwrap_or(NO_SUBLEAF), r);
        };
        let max = host(0, 0)[0].min(0xd);
        for leaf in 0..=max {
            match leaf {
                4 => (0..6).for_each(|s| add(4, Some(s))),
                7 => add(7, Some(0)),
                0xb => (0..2).for_each(|s| add(0xb, Some(s))),
                0xd => (0..8).for_each(|s| add(0xd, Some(s))),
                _ => add(leaf, None),
            }
        }
        let max_ext = host(0x8000_0000, 0)[0].clamp(0x8000_0000, 0x8000_0008);
        for leaf in 0x8000_0000..=max_ext {
            add(leaf, None);
        }
        // Toolstacks write a policy back into the room this one took, empty leaves and the hypervisor's two included.
        policy.set(0x4000_0000, NO_SUBLEAF, [0; 4]);
        policy.set(0x4000_0100, NO_SUBLEAF, [0; 4]);
        policy.set(0, NO_SUBLEAF, {
            let r = host(0, 0);
            [max, r[1], r[2], r[3]]
        });
        policy.set(0x8000_0000, NO_SUBLEAF, {
            let r = host(0x8000_0000, 0);
            [max_ext, r[1], r[2], r[3]]
        });
        policy
    }

    /// Sets one leaf (`subleaf` !0 = has none); ignored when the policy is full.
    pub fn set(&mut self, leaf: u32, subleaf: u32, r: CpuidResult) {
        let [a, b, c, d] = r;
        let new = CpuidLeaf {
            leaf,
            subleaf,
            a,
            b,
            c,
            d,
        };
        if let Some(old) = self
            .leaves
            .iter_mut()
            .find(|l| l.leaf == leaf && l.subleaf == subleaf)
        {
            *old = new;
        } else if self.leaves.len() < MAX_LEAVES && self.leaves.try_reserve(1).is_ok() {
            self.leaves.push(new);
        }
    }

    /// What the guest sees; zeroes for leaves that are not there.
    pub fn get(&self, leaf: u32, subleaf: u32) -> CpuidResult {
        self.leaves
            .iter()
            .find(|l| l.leaf == leaf && (l.subleaf == NO_SUBLEAF || l.subleaf == subleaf))
            .map_or([0; 4], |l| [l.a, l.b, l.c, l.d])
    }

    /// All leaves.
    pub fn leaves(&self) -> &[CpuidLeaf] {
        &self.leaves
    }
}
