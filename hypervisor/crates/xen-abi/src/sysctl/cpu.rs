//! CPUs: topology, load, features, policies.
use crate::arch_x86::{CpuidLeaf, MsrEntry};
use crate::handle::{GuestHandle, Payload, Payload32};

consts! { LEVELCAPS: u32 {
    CPU_LEVELCAP_FAULTING = 0x1, "XEN_SYSCTL_CPU_LEVELCAP_faulting";
    CPU_LEVELCAP_ECX = 0x2, "XEN_SYSCTL_CPU_LEVELCAP_ecx";
    CPU_LEVELCAP_EDX = 0x4, "XEN_SYSCTL_CPU_LEVELCAP_edx";
    CPU_LEVELCAP_EXTD_ECX = 0x8, "XEN_SYSCTL_CPU_LEVELCAP_extd_ecx";
    CPU_LEVELCAP_EXTD_EDX = 0x10, "XEN_SYSCTL_CPU_LEVELCAP_extd_edx";
    CPU_LEVELCAP_XSAVE_EAX = 0x20, "XEN_SYSCTL_CPU_LEVELCAP_xsave_eax";
    CPU_LEVELCAP_THERMAL_ECX = 0x40, "XEN_SYSCTL_CPU_LEVELCAP_thermal_ecx";
    CPU_LEVELCAP_L7S0_EAX = 0x80, "XEN_SYSCTL_CPU_LEVELCAP_l7s0_eax";
    CPU_LEVELCAP_L7S0_EBX = 0x100, "XEN_SYSCTL_CPU_LEVELCAP_l7s0_ebx";
} }

consts! { FEATURESETS: u32 {
    CPU_FEATURESET_RAW = 0, "XEN_SYSCTL_cpu_featureset_raw";
    CPU_FEATURESET_HOST = 1, "XEN_SYSCTL_cpu_featureset_host";
    CPU_FEATURESET_PV = 2, "XEN_SYSCTL_cpu_featureset_pv";
    CPU_FEATURESET_HVM = 3, "XEN_SYSCTL_cpu_featureset_hvm";
    CPU_FEATURESET_PV_MAX = 4, "XEN_SYSCTL_cpu_featureset_pv_max";
    CPU_FEATURESET_HVM_MAX = 5, "XEN_SYSCTL_cpu_featureset_hvm_max";
} }

consts! { POLICIES: u32 {
    CPU_POLICY_RAW = 0, "XEN_SYSCTL_cpu_policy_raw";
    CPU_POLICY_HOST = 1, "XEN_SYSCTL_cpu_policy_host";
    CPU_POLICY_PV_MAX = 2, "XEN_SYSCTL_cpu_policy_pv_max";
    CPU_POLICY_HVM_MAX = 3, "XEN_SYSCTL_cpu_policy_hvm_max";
    CPU_POLICY_PV_DEFAULT = 4, "XEN_SYSCTL_cpu_policy_pv_default";
    CPU_POLICY_HVM_DEFAULT = 5, "XEN_SYSCTL_cpu_policy_hvm_default";
} }

consts! { HOTPLUG_OPS: u32 {
    CPU_HOTPLUG_ONLINE = 0, "XEN_SYSCTL_CPU_HOTPLUG_ONLINE";
    CPU_HOTPLUG_OFFLINE = 1, "XEN_SYSCTL_CPU_HOTPLUG_OFFLINE";
    CPU_HOTPLUG_SMT_ENABLE = 2, "XEN_SYSCTL_CPU_HOTPLUG_SMT_ENABLE";
    CPU_HOTPLUG_SMT_DISABLE = 3, "XEN_SYSCTL_CPU_HOTPLUG_SMT_DISABLE";
} }

consts! { INVALID: u32 {
    INVALID_CORE_ID = 0xffff_ffff, "XEN_INVALID_CORE_ID";
    INVALID_SOCKET_ID = 0xffff_ffff, "XEN_INVALID_SOCKET_ID";
    INVALID_NODE_ID = 0xffff_ffff, "XEN_INVALID_NODE_ID";
    INVALID_MEM_SZ = 0xffff_ffff, "XEN_INVALID_MEM_SZ";
    INVALID_NODE_DIST = 0xffff_ffff, "XEN_INVALID_NODE_DIST";
    INVALID_DEV = 0xffff_fffe, "XEN_INVALID_DEV";
} }

abi_structs! { LAYOUT_CPU {
    /// Place of a CPU.
    struct Cputopo = "struct xen_sysctl_cputopo", 12 {
        0 => core: u32,
        4 => socket: u32,
        8 => node: u32,
    }
    /// Places of the CPUs.
    struct CpuTopoInfo = "struct xen_sysctl_cputopoinfo", 16 {
        /// In: room; out: CPUs.
        0 => num_cpus: u32,
        4 => _pad4: u32,
        8 => cputopo: GuestHandle<Cputopo>,
    }
    /// Idle time of a CPU, in nanoseconds.
    struct Cpuinfo = "struct xen_sysctl_cpuinfo", 8 {
        0 => idletime: u64,
    }
    /// Idle times of the CPUs.
    struct GetCpuInfo = "struct xen_sysctl_getcpuinfo", 24 {
        0 => max_cpus: u32,
        4 => _pad4: u32,
        8 => info: GuestHandle<Cpuinfo>,
        16 => nr_cpus: u32,
        20 => _pad20: u32,
    }
    /// Takes a CPU on or off line.
    struct CpuHotplug = "struct xen_sysctl_cpu_hotplug", 8 {
        0 => cpu: u32,
        4 => op: u32,
    }
    /// What of CPUID can be masked.
    struct CpuLevellingCaps = "struct xen_sysctl_cpu_levelling_caps", 4 {
        0 => caps: u32,
    }
    /// A featureset: words as in [`featureset`](crate::featureset).
    struct CpuFeatureset = "struct xen_sysctl_cpu_featureset", 16 {
        /// `CPU_FEATURESET_*`.
        0 => index: u32,
        /// In: room; out: words.
        4 => nr_features: u32,
        8 => features: GuestHandle<u32>,
    }
    /// A policy of the machine.
    struct CpuPolicy = "struct xen_sysctl_cpu_policy", 32 {
        /// `CPU_POLICY_*`.
        0 => index: u32,
        4 => nr_leaves: u32,
        8 => nr_msrs: u32,
        12 => _rsvd: u32,
        16 => leaves: GuestHandle<CpuidLeaf>,
        24 => msrs: GuestHandle<MsrEntry>,
    }
    /// Cache monitoring.
    struct PsrCmtOp = "struct xen_sysctl_psr_cmt_op", 16 {
        0 => cmd: u32,
        4 => flags: u32,
        8 => u: Payload<1>,
    }
    /// Cache allocation.
    struct PsrAlloc = "struct xen_sysctl_psr_alloc", 20 {
        0 => cmd: u32,
        4 => target: u32,
        8 => u: Payload32<3>,
    }
} }
