//! Introspection, tracing and cache control. Numbers and layouts only: Corten offers none of them yet.
use crate::handle::{Payload, Payload32};

consts! { MONITOR_CONSTANTS: u32 {
    VM_EVENT_OP_PAGING = 1, "XEN_DOMCTL_VM_EVENT_OP_PAGING";
    VM_EVENT_OP_MONITOR = 2, "XEN_DOMCTL_VM_EVENT_OP_MONITOR";
    VM_EVENT_OP_SHARING = 3, "XEN_DOMCTL_VM_EVENT_OP_SHARING";
    MEM_SHARING_CONTROL = 0, "XEN_DOMCTL_MEM_SHARING_CONTROL";
    PSR_CMT_OP_DETACH = 0, "XEN_DOMCTL_PSR_CMT_OP_DETACH";
    PSR_CMT_OP_ATTACH = 1, "XEN_DOMCTL_PSR_CMT_OP_ATTACH";
    PSR_CMT_OP_QUERY_RMID = 2, "XEN_DOMCTL_PSR_CMT_OP_QUERY_RMID";
    MONITOR_OP_ENABLE = 0, "XEN_DOMCTL_MONITOR_OP_ENABLE";
    MONITOR_OP_DISABLE = 1, "XEN_DOMCTL_MONITOR_OP_DISABLE";
    MONITOR_OP_GET_CAPABILITIES = 2, "XEN_DOMCTL_MONITOR_OP_GET_CAPABILITIES";
    MONITOR_OP_EMULATE_EACH_REP = 3, "XEN_DOMCTL_MONITOR_OP_EMULATE_EACH_REP";
    MONITOR_OP_CONTROL_REGISTERS = 4, "XEN_DOMCTL_MONITOR_OP_CONTROL_REGISTERS";
    MONITOR_EVENT_WRITE_CTRLREG = 0, "XEN_DOMCTL_MONITOR_EVENT_WRITE_CTRLREG";
    MONITOR_EVENT_MOV_TO_MSR = 1, "XEN_DOMCTL_MONITOR_EVENT_MOV_TO_MSR";
    MONITOR_EVENT_SINGLESTEP = 2, "XEN_DOMCTL_MONITOR_EVENT_SINGLESTEP";
    MONITOR_EVENT_SOFTWARE_BREAKPOINT = 3, "XEN_DOMCTL_MONITOR_EVENT_SOFTWARE_BREAKPOINT";
    MONITOR_EVENT_GUEST_REQUEST = 4, "XEN_DOMCTL_MONITOR_EVENT_GUEST_REQUEST";
    MONITOR_EVENT_DEBUG_EXCEPTION = 5, "XEN_DOMCTL_MONITOR_EVENT_DEBUG_EXCEPTION";
    MONITOR_EVENT_CPUID = 6, "XEN_DOMCTL_MONITOR_EVENT_CPUID";
    MONITOR_EVENT_PRIVILEGED_CALL = 7, "XEN_DOMCTL_MONITOR_EVENT_PRIVILEGED_CALL";
    MONITOR_EVENT_INTERRUPT = 8, "XEN_DOMCTL_MONITOR_EVENT_INTERRUPT";
    MONITOR_EVENT_DESC_ACCESS = 9, "XEN_DOMCTL_MONITOR_EVENT_DESC_ACCESS";
    MONITOR_EVENT_EMUL_UNIMPLEMENTED = 10, "XEN_DOMCTL_MONITOR_EVENT_EMUL_UNIMPLEMENTED";
    MONITOR_EVENT_INGUEST_PAGEFAULT = 11, "XEN_DOMCTL_MONITOR_EVENT_INGUEST_PAGEFAULT";
    MONITOR_EVENT_VMEXIT = 12, "XEN_DOMCTL_MONITOR_EVENT_VMEXIT";
    PSR_SET_L3_CBM = 0, "XEN_DOMCTL_PSR_SET_L3_CBM";
    PSR_GET_L3_CBM = 1, "XEN_DOMCTL_PSR_GET_L3_CBM";
    PSR_SET_L3_CODE = 2, "XEN_DOMCTL_PSR_SET_L3_CODE";
    PSR_SET_L3_DATA = 3, "XEN_DOMCTL_PSR_SET_L3_DATA";
    PSR_GET_L3_CODE = 4, "XEN_DOMCTL_PSR_GET_L3_CODE";
    PSR_GET_L3_DATA = 5, "XEN_DOMCTL_PSR_GET_L3_DATA";
    PSR_SET_L2_CBM = 6, "XEN_DOMCTL_PSR_SET_L2_CBM";
    PSR_GET_L2_CBM = 7, "XEN_DOMCTL_PSR_GET_L2_CBM";
    PSR_SET_MBA_THRTL = 8, "XEN_DOMCTL_PSR_SET_MBA_THRTL";
    PSR_GET_MBA_THRTL = 9, "XEN_DOMCTL_PSR_GET_MBA_THRTL";
    VM_EVENT_ENABLE = 0, "XEN_VM_EVENT_ENABLE";
    VM_EVENT_DISABLE = 1, "XEN_VM_EVENT_DISABLE";
    VM_EVENT_RESUME = 2, "XEN_VM_EVENT_RESUME";
    VM_EVENT_GET_VERSION = 3, "XEN_VM_EVENT_GET_VERSION";
    VMTRACE_ENABLE = 1, "XEN_DOMCTL_vmtrace_enable";
    VMTRACE_DISABLE = 2, "XEN_DOMCTL_vmtrace_disable";
    VMTRACE_RESET_AND_ENABLE = 3, "XEN_DOMCTL_vmtrace_reset_and_enable";
    VMTRACE_OUTPUT_POSITION = 4, "XEN_DOMCTL_vmtrace_output_position";
    VMTRACE_GET_OPTION = 5, "XEN_DOMCTL_vmtrace_get_option";
    VMTRACE_SET_OPTION = 6, "XEN_DOMCTL_vmtrace_set_option";
} }

abi_structs! { LAYOUT_MONITOR {
    /// Port for VM events.
    struct Subscribe = "struct xen_domctl_subscribe", 4 {
        0 => port: u32,
    }
    /// Rings for VM events.
    struct VmEventOp = "struct xen_domctl_vm_event_op", 12 {
        0 => op: u32,
        4 => mode: u32,
        8 => u: Payload32<1>,
    }
    /// Memory sharing.
    struct MemSharingOp = "struct xen_domctl_mem_sharing_op", 2 {
        0 => op: u8,
        1 => u: [u8; 1],
    }
    /// Cache monitoring.
    struct PsrCmtOp = "struct xen_domctl_psr_cmt_op", 8 {
        0 => cmd: u32,
        4 => data: u32,
    }
    /// Which events to report.
    struct MonitorOp = "struct xen_domctl_monitor_op", 24 {
        0 => op: u32,
        4 => event: u32,
        8 => u: Payload<2>,
    }
    /// Cache allocation.
    struct PsrAlloc = "struct xen_domctl_psr_alloc", 16 {
        0 => cmd: u32,
        4 => target: u32,
        8 => data: u64,
    }
    /// Processor trace.
    struct VmtraceOp = "struct xen_domctl_vmtrace_op", 24 {
        0 => cmd: u32,
        4 => vcpu: u32,
        8 => key: u64,
        16 => value: u64,
    }
} }
