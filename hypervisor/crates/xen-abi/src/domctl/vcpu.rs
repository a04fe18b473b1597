//! State of vcpus: context, affinity, extended state, MSRs, CPU policy.
use crate::arch_x86::{CpuidLeaf, MsrEntry, VcpuGuestContext};
use crate::handle::GuestHandle;
use crate::types::VcpuId;
use crate::xen::XenctlBitmap;

consts! { VCPU_CONSTANTS: u32 {
    VCPUAFFINITY_HARD = 0x1, "XEN_VCPUAFFINITY_HARD";
    VCPUAFFINITY_SOFT = 0x2, "XEN_VCPUAFFINITY_SOFT";
    VCPUAFFINITY_FORCE = 0x4, "XEN_VCPUAFFINITY_FORCE";
    SENDTRIGGER_NMI = 0x0, "XEN_DOMCTL_SENDTRIGGER_NMI";
    SENDTRIGGER_RESET = 0x1, "XEN_DOMCTL_SENDTRIGGER_RESET";
    SENDTRIGGER_INIT = 0x2, "XEN_DOMCTL_SENDTRIGGER_INIT";
    SENDTRIGGER_POWER = 0x3, "XEN_DOMCTL_SENDTRIGGER_POWER";
    SENDTRIGGER_SLEEP = 0x4, "XEN_DOMCTL_SENDTRIGGER_SLEEP";
    DEBUG_OP_SINGLE_STEP_OFF = 0x0, "XEN_DOMCTL_DEBUG_OP_SINGLE_STEP_OFF";
    DEBUG_OP_SINGLE_STEP_ON = 0x1, "XEN_DOMCTL_DEBUG_OP_SINGLE_STEP_ON";
    CPUID_INPUT_UNUSED = 0xffff_ffff, "XEN_CPUID_INPUT_UNUSED";
} }

abi_structs! { LAYOUT_VCPU {
    /// Whole state of a PV vcpu.
    struct VcpuContext = "struct xen_domctl_vcpucontext", 16 {
        0 => vcpu: VcpuId,
        4 => _pad4: u32,
        8 => ctxt: GuestHandle<VcpuGuestContext>,
    }
    /// Run state of a vcpu.
    struct GetVcpuInfo = "struct xen_domctl_getvcpuinfo", 24 {
        0 => vcpu: VcpuId,
        4 => online: u8,
        5 => blocked: u8,
        6 => running: u8,
        7 => _pad7: u8,
        /// Nanoseconds.
        8 => cpu_time: u64,
        /// CPU it is on.
        16 => cpu: u32,
        20 => _pad20: u32,
    }
    /// CPUs a vcpu must or should run on.
    struct VcpuAffinity = "struct xen_domctl_vcpuaffinity", 40 {
        0 => vcpu: VcpuId,
        4 => flags: u32,
        8 => cpumap_hard: XenctlBitmap,
        24 => cpumap_soft: XenctlBitmap,
    }
    /// Sends an NMI, INIT, power button.
    struct SendTrigger = "struct xen_domctl_sendtrigger", 8 {
        0 => trigger: u32,
        4 => vcpu: VcpuId,
    }
    /// Virtual machine-check state.
    struct VmceVcpu = "struct hvm_vmce_vcpu", 32 {
        0 => caps: u64,
        8 => mci_ctl2_bank0: u64,
        16 => mci_ctl2_bank1: u64,
        24 => mcg_ext_ctl: u64,
    }
    /// Entry points for compatibility-mode system calls, and machine-check state.
    struct ExtVcpuContext = "struct xen_domctl_ext_vcpucontext", 64 {
        0 => vcpu: VcpuId,
        4 => size: u32,
        8 => syscall32_callback_eip: u64,
        16 => sysenter_callback_eip: u64,
        24 => syscall32_callback_cs: u16,
        26 => sysenter_callback_cs: u16,
        28 => syscall32_disables_events: u8,
        29 => sysenter_disables_events: u8,
        30 => _pad30: u16,
        32 => vmce: VmceVcpu,
    }
    /// XSAVE area of a vcpu.
    struct VcpuExtState = "struct xen_domctl_vcpuextstate", 32 {
        0 => vcpu: VcpuId,
        4 => _pad4: u32,
        8 => xfeature_mask: u64,
        16 => size: u64,
        24 => buffer: GuestHandle<u64>,
    }
    /// One MSR.
    struct VcpuMsr = "struct xen_domctl_vcpu_msr", 16 {
        0 => index: u32,
        4 => reserved: u32,
        8 => value: u64,
    }
    /// MSRs of a vcpu.
    struct VcpuMsrs = "struct xen_domctl_vcpu_msrs", 16 {
        0 => vcpu: VcpuId,
        4 => msr_count: u32,
        8 => msrs: GuestHandle<VcpuMsr>,
    }
    /// CPUID leaves and MSRs a domain sees.
    struct CpuPolicy = "struct xen_domctl_cpu_policy", 40 {
        0 => nr_leaves: u32,
        4 => nr_msrs: u32,
        8 => leaves: GuestHandle<CpuidLeaf>,
        16 => msrs: GuestHandle<MsrEntry>,
        /// Out: what was refused; all ones if nothing.
        24 => err_leaf: u32,
        28 => err_subleaf: u32,
        32 => err_msr: u32,
        36 => _pad36: u32,
    }
    /// Single-stepping of a vcpu.
    struct DebugOp = "struct xen_domctl_debug_op", 8 {
        0 => op: u32,
        4 => vcpu: VcpuId,
    }
    /// Saved state of an HVM domain.
    struct HvmContext = "struct xen_domctl_hvmcontext", 16 {
        /// In: room; out: bytes.
        0 => size: u32,
        4 => _pad4: u32,
        8 => buffer: GuestHandle<u8>,
    }
    /// One record of the saved state.
    struct HvmContextPartial = "struct xen_domctl_hvmcontext_partial", 24 {
        0 => r#type: u32,
        4 => instance: u32,
        8 => bufsz: u64,
        16 => buffer: GuestHandle<u8>,
    }
    /// Width of a PV domain's words: 32 or 64.
    struct AddressSize = "struct xen_domctl_address_size", 4 {
        0 => size: u32,
    }
    /// Pauses or continues a vcpu for a debugger.
    struct GdbsxPauseunpVcpu = "struct xen_domctl_gdbsx_pauseunp_vcpu", 4 {
        0 => vcpu: VcpuId,
    }
    /// Debugger state of a domain.
    struct GdbsxDomstatus = "struct xen_domctl_gdbsx_domstatus", 12 {
        0 => paused: u8,
        1 => _pad1: [u8; 3],
        4 => vcpu_id: u32,
        8 => vcpu_ev: u32,
    }
} }
