//! Pages a guest shares with the hypervisor (`public/xen.h`, `arch-x86/xen-x86_64.h`): vcpu info, time, shared info.
//!
//! A guest writes to them while they are read. The hypervisor therefore uses the offsets; the structs are for copies.

abi_structs! { LAYOUT {
    /// Paravirtual clock of a vcpu: a version-locked line from TSC to nanoseconds since boot.
    struct VcpuTimeInfo = "struct vcpu_time_info", 32 {
        /// Odd while being updated.
        0 => version: u32,
        4 => pad0: u32,
        8 => tsc_timestamp: u64,
        /// Nanoseconds since boot at `tsc_timestamp`.
        16 => system_time: u64,
        /// 32.32 fixed-point nanoseconds per (shifted) tick.
        24 => tsc_to_system_mul: u32,
        /// Left shift of a TSC delta before the multiplication; negative shifts right.
        28 => tsc_shift: i8,
        29 => flags: u8,
        30 => pad1: [u8; 2],
    }
    /// x86 part of [`VcpuInfo`].
    struct ArchVcpuInfo = "struct arch_vcpu_info", 16 {
        /// Faulting address of the last page fault.
        0 => cr2: u64,
        8 => pad: u64,
    }
    /// Event delivery state and clock of a vcpu.
    struct VcpuInfo = "struct vcpu_info", 64 {
        0 => evtchn_upcall_pending: u8,
        1 => evtchn_upcall_mask: u8,
        2 => _pad2: [u8; 6],
        8 => evtchn_pending_sel: u64,
        16 => arch: ArchVcpuInfo,
        32 => time: VcpuTimeInfo,
    }
    /// x86 part of [`SharedInfo`].
    struct ArchSharedInfo = "struct arch_shared_info", 48 {
        /// Number of pfns in the guest p2m.
        0 => max_pfn: u64,
        /// Mfn of the top of the guest p2m list, for the toolstack.
        8 => pfn_to_mfn_frame_list_list: u64,
        16 => nmi_reason: u64,
        24 => p2m_cr3: u64,
        32 => p2m_vaddr: u64,
        40 => p2m_generation: u64,
    }
    /// The page every domain shares with the hypervisor.
    struct SharedInfo = "struct shared_info", 3136 {
        0 => vcpu_info: [VcpuInfo; 32],
        2048 => evtchn_pending: [u64; 64],
        2560 => evtchn_mask: [u64; 64],
        3072 => wc_version: u32,
        3076 => wc_sec: u32,
        3080 => wc_nsec: u32,
        3084 => wc_sec_hi: u32,
        3088 => arch: ArchSharedInfo,
    }
} }

consts! { PVCLOCK: u8 {
    PVCLOCK_TSC_STABLE_BIT = 1, "XEN_PVCLOCK_TSC_STABLE_BIT";
    PVCLOCK_GUEST_STOPPED = 2, "XEN_PVCLOCK_GUEST_STOPPED";
} }

/// Vcpus that have a `vcpu_info` in the shared info page; the others must register one.
pub const LEGACY_MAX_VCPUS: usize = 32;
