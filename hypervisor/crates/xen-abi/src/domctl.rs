//! Domain control (`public/domctl.h`, interface 0x15): one argument struct, a command and a union of 128 bytes.
//!
//! The union's members are in files by topic and re-exported here; [`Domctl`] reads and writes them by name.
use crate::handle::Payload;
use crate::types::DomId;

mod device;
mod lifecycle;
mod memory;
mod monitor;
mod vcpu;

pub use device::*;
pub use lifecycle::*;
pub use memory::*;
pub use monitor::*;
pub use vcpu::*;

consts! { VERSIONS: u32 {
    INTERFACE_VERSION = 0x15, "XEN_DOMCTL_INTERFACE_VERSION";
} }

consts! { OPS: u32 {
    CREATEDOMAIN = 1, "XEN_DOMCTL_createdomain";
    DESTROYDOMAIN = 2, "XEN_DOMCTL_destroydomain";
    PAUSEDOMAIN = 3, "XEN_DOMCTL_pausedomain";
    UNPAUSEDOMAIN = 4, "XEN_DOMCTL_unpausedomain";
    GETDOMAININFO = 5, "XEN_DOMCTL_getdomaininfo";
    SETVCPUAFFINITY = 9, "XEN_DOMCTL_setvcpuaffinity";
    SHADOW_OP = 10, "XEN_DOMCTL_shadow_op";
    MAX_MEM = 11, "XEN_DOMCTL_max_mem";
    SETVCPUCONTEXT = 12, "XEN_DOMCTL_setvcpucontext";
    GETVCPUCONTEXT = 13, "XEN_DOMCTL_getvcpucontext";
    GETVCPUINFO = 14, "XEN_DOMCTL_getvcpuinfo";
    MAX_VCPUS = 15, "XEN_DOMCTL_max_vcpus";
    SCHEDULER_OP = 16, "XEN_DOMCTL_scheduler_op";
    SETDOMAINHANDLE = 17, "XEN_DOMCTL_setdomainhandle";
    SETDEBUGGING = 18, "XEN_DOMCTL_setdebugging";
    IRQ_PERMISSION = 19, "XEN_DOMCTL_irq_permission";
    IOMEM_PERMISSION = 20, "XEN_DOMCTL_iomem_permission";
    IOPORT_PERMISSION = 21, "XEN_DOMCTL_ioport_permission";
    HYPERCALL_INIT = 22, "XEN_DOMCTL_hypercall_init";
    SETTIMEOFFSET = 24, "XEN_DOMCTL_settimeoffset";
    GETVCPUAFFINITY = 25, "XEN_DOMCTL_getvcpuaffinity";
    REAL_MODE_AREA = 26, "XEN_DOMCTL_real_mode_area";
    RESUMEDOMAIN = 27, "XEN_DOMCTL_resumedomain";
    SENDTRIGGER = 28, "XEN_DOMCTL_sendtrigger";
    SUBSCRIBE = 29, "XEN_DOMCTL_subscribe";
    GETHVMCONTEXT = 33, "XEN_DOMCTL_gethvmcontext";
    SETHVMCONTEXT = 34, "XEN_DOMCTL_sethvmcontext";
    SET_ADDRESS_SIZE = 35, "XEN_DOMCTL_set_address_size";
    GET_ADDRESS_SIZE = 36, "XEN_DOMCTL_get_address_size";
    ASSIGN_DEVICE = 37, "XEN_DOMCTL_assign_device";
    BIND_PT_IRQ = 38, "XEN_DOMCTL_bind_pt_irq";
    MEMORY_MAPPING = 39, "XEN_DOMCTL_memory_mapping";
    IOPORT_MAPPING = 40, "XEN_DOMCTL_ioport_mapping";
    SET_EXT_VCPUCONTEXT = 42, "XEN_DOMCTL_set_ext_vcpucontext";
    GET_EXT_VCPUCONTEXT = 43, "XEN_DOMCTL_get_ext_vcpucontext";
    SET_OPT_FEATURE = 44, "XEN_DOMCTL_set_opt_feature";
    TEST_ASSIGN_DEVICE = 45, "XEN_DOMCTL_test_assign_device";
    SET_TARGET = 46, "XEN_DOMCTL_set_target";
    DEASSIGN_DEVICE = 47, "XEN_DOMCTL_deassign_device";
    UNBIND_PT_IRQ = 48, "XEN_DOMCTL_unbind_pt_irq";
    GET_DEVICE_GROUP = 50, "XEN_DOMCTL_get_device_group";
    DEBUG_OP = 54, "XEN_DOMCTL_debug_op";
    GETHVMCONTEXT_PARTIAL = 55, "XEN_DOMCTL_gethvmcontext_partial";
    VM_EVENT_OP = 56, "XEN_DOMCTL_vm_event_op";
    MEM_SHARING_OP = 57, "XEN_DOMCTL_mem_sharing_op";
    GETTSCINFO = 59, "XEN_DOMCTL_gettscinfo";
    SETTSCINFO = 60, "XEN_DOMCTL_settscinfo";
    GETPAGEFRAMEINFO3 = 61, "XEN_DOMCTL_getpageframeinfo3";
    SETVCPUEXTSTATE = 62, "XEN_DOMCTL_setvcpuextstate";
    GETVCPUEXTSTATE = 63, "XEN_DOMCTL_getvcpuextstate";
    SET_ACCESS_REQUIRED = 64, "XEN_DOMCTL_set_access_required";
    AUDIT_P2M = 65, "XEN_DOMCTL_audit_p2m";
    SET_VIRQ_HANDLER = 66, "XEN_DOMCTL_set_virq_handler";
    SET_BROKEN_PAGE_P2M = 67, "XEN_DOMCTL_set_broken_page_p2m";
    SETNODEAFFINITY = 68, "XEN_DOMCTL_setnodeaffinity";
    GETNODEAFFINITY = 69, "XEN_DOMCTL_getnodeaffinity";
    CACHEFLUSH = 71, "XEN_DOMCTL_cacheflush";
    GET_VCPU_MSRS = 72, "XEN_DOMCTL_get_vcpu_msrs";
    SET_VCPU_MSRS = 73, "XEN_DOMCTL_set_vcpu_msrs";
    SETVNUMAINFO = 74, "XEN_DOMCTL_setvnumainfo";
    PSR_CMT_OP = 75, "XEN_DOMCTL_psr_cmt_op";
    MONITOR_OP = 77, "XEN_DOMCTL_monitor_op";
    PSR_ALLOC = 78, "XEN_DOMCTL_psr_alloc";
    SOFT_RESET = 79, "XEN_DOMCTL_soft_reset";
    VUART_OP = 81, "XEN_DOMCTL_vuart_op";
    GET_CPU_POLICY = 82, "XEN_DOMCTL_get_cpu_policy";
    SET_CPU_POLICY = 83, "XEN_DOMCTL_set_cpu_policy";
    VMTRACE_OP = 84, "XEN_DOMCTL_vmtrace_op";
    GET_PAGING_MEMPOOL_SIZE = 85, "XEN_DOMCTL_get_paging_mempool_size";
    SET_PAGING_MEMPOOL_SIZE = 86, "XEN_DOMCTL_set_paging_mempool_size";
    GDBSX_GUESTMEMIO = 1000, "XEN_DOMCTL_gdbsx_guestmemio";
    GDBSX_PAUSEVCPU = 1001, "XEN_DOMCTL_gdbsx_pausevcpu";
    GDBSX_UNPAUSEVCPU = 1002, "XEN_DOMCTL_gdbsx_unpausevcpu";
    GDBSX_DOMSTATUS = 1003, "XEN_DOMCTL_gdbsx_domstatus";
} }

abi_structs! { LAYOUT {
    /// Argument of the call; the hypervisor writes it back when the command returns something.
    struct Domctl = "struct xen_domctl", 144 {
        /// One of [`OPS`].
        0 => cmd: u32,
        /// [`INTERFACE_VERSION`].
        4 => interface_version: u32,
        8 => domain: DomId,
        10 => _pad: [u16; 3],
        16 => u: Payload<16>,
    }
} }

impl Domctl {
    /// A command without parameters.
    pub fn new(cmd: u32, domain: DomId) -> Domctl {
        Domctl {
            cmd,
            interface_version: INTERFACE_VERSION,
            domain,
            ..Domctl::default()
        }
    }
    /// A command with its union member.
    pub fn with<T: zerocopy::IntoBytes + zerocopy::Immutable>(
        cmd: u32,
        domain: DomId,
        member: T,
    ) -> Domctl {
        Domctl {
            u: Payload::of(member),
            ..Domctl::new(cmd, domain)
        }
    }
}

union_accessors! { Domctl {
    createdomain, set_createdomain: CreateDomain;
    getdomaininfo, set_getdomaininfo: GetDomainInfo;
    getpageframeinfo3, set_getpageframeinfo3: GetPageFrameInfo3;
    nodeaffinity, set_nodeaffinity: NodeAffinity;
    vcpuaffinity, set_vcpuaffinity: VcpuAffinity;
    shadow_op, set_shadow_op: ShadowOp;
    max_mem, set_max_mem: MaxMem;
    vcpucontext, set_vcpucontext: VcpuContext;
    getvcpuinfo, set_getvcpuinfo: GetVcpuInfo;
    max_vcpus, set_max_vcpus: MaxVcpus;
    scheduler_op, set_scheduler_op: SchedulerOp;
    setdomainhandle, set_setdomainhandle: SetDomainHandle;
    setdebugging, set_setdebugging: SetDebugging;
    irq_permission, set_irq_permission: IrqPermission;
    iomem_permission, set_iomem_permission: IomemPermission;
    ioport_permission, set_ioport_permission: IoportPermission;
    hypercall_init, set_hypercall_init: HypercallInit;
    settimeoffset, set_settimeoffset: SetTimeOffset;
    tsc_info, set_tsc_info: TscInfo;
    hvmcontext, set_hvmcontext: HvmContext;
    hvmcontext_partial, set_hvmcontext_partial: HvmContextPartial;
    address_size, set_address_size: AddressSize;
    sendtrigger, set_sendtrigger: SendTrigger;
    get_device_group, set_get_device_group: GetDeviceGroup;
    assign_device, set_assign_device: AssignDevice;
    bind_pt_irq, set_bind_pt_irq: BindPtIrq;
    memory_mapping, set_memory_mapping: MemoryMapping;
    ioport_mapping, set_ioport_mapping: IoportMapping;
    ext_vcpucontext, set_ext_vcpucontext: ExtVcpuContext;
    set_target, set_set_target: SetTarget;
    subscribe, set_subscribe: Subscribe;
    debug_op, set_debug_op: DebugOp;
    vm_event_op, set_vm_event_op: VmEventOp;
    mem_sharing_op, set_mem_sharing_op: MemSharingOp;
    cpu_policy, set_cpu_policy: CpuPolicy;
    vcpuextstate, set_vcpuextstate: VcpuExtState;
    vcpu_msrs, set_vcpu_msrs: VcpuMsrs;
    access_required, set_access_required: SetAccessRequired;
    audit_p2m, set_audit_p2m: AuditP2m;
    set_virq_handler, set_set_virq_handler: SetVirqHandler;
    gdbsx_guest_memio, set_gdbsx_guest_memio: GdbsxMemio;
    set_broken_page_p2m, set_set_broken_page_p2m: SetBrokenPageP2m;
    cacheflush, set_cacheflush: CacheFlush;
    gdbsx_pauseunp_vcpu, set_gdbsx_pauseunp_vcpu: GdbsxPauseunpVcpu;
    gdbsx_domstatus, set_gdbsx_domstatus: GdbsxDomstatus;
    vnuma, set_vnuma: Vnuma;
    psr_cmt_op, set_psr_cmt_op: PsrCmtOp;
    monitor_op, set_monitor_op: MonitorOp;
    psr_alloc, set_psr_alloc: PsrAlloc;
    vuart_op, set_vuart_op: VuartOp;
    vmtrace_op, set_vmtrace_op: VmtraceOp;
    paging_mempool, set_paging_mempool: PagingMempool;
} }
