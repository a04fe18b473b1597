//! System control (`public/sysctl.h`, interface 0x15): one argument struct, a command and a union of 128 bytes.
//!
//! The union's members are in files by topic and re-exported here; [`Sysctl`] reads and writes them by name.
use crate::handle::Payload;

mod cpu;
mod pm;
mod system;

pub use cpu::*;
pub use pm::*;
pub use system::*;

consts! { VERSIONS: u32 {
    INTERFACE_VERSION = 0x15, "XEN_SYSCTL_INTERFACE_VERSION";
} }

consts! { OPS: u32 {
    READCONSOLE = 1, "XEN_SYSCTL_readconsole";
    TBUF_OP = 2, "XEN_SYSCTL_tbuf_op";
    PHYSINFO = 3, "XEN_SYSCTL_physinfo";
    SCHED_ID = 4, "XEN_SYSCTL_sched_id";
    PERFC_OP = 5, "XEN_SYSCTL_perfc_op";
    GETDOMAININFOLIST = 6, "XEN_SYSCTL_getdomaininfolist";
    DEBUG_KEYS = 7, "XEN_SYSCTL_debug_keys";
    GETCPUINFO = 8, "XEN_SYSCTL_getcpuinfo";
    AVAILHEAP = 9, "XEN_SYSCTL_availheap";
    GET_PMSTAT = 10, "XEN_SYSCTL_get_pmstat";
    CPU_HOTPLUG = 11, "XEN_SYSCTL_cpu_hotplug";
    PM_OP = 12, "XEN_SYSCTL_pm_op";
    PAGE_OFFLINE_OP = 14, "XEN_SYSCTL_page_offline_op";
    LOCKPROF_OP = 15, "XEN_SYSCTL_lockprof_op";
    CPUTOPOINFO = 16, "XEN_SYSCTL_cputopoinfo";
    NUMAINFO = 17, "XEN_SYSCTL_numainfo";
    CPUPOOL_OP = 18, "XEN_SYSCTL_cpupool_op";
    SCHEDULER_OP = 19, "XEN_SYSCTL_scheduler_op";
    COVERAGE_OP = 20, "XEN_SYSCTL_coverage_op";
    PSR_CMT_OP = 21, "XEN_SYSCTL_psr_cmt_op";
    PCITOPOINFO = 22, "XEN_SYSCTL_pcitopoinfo";
    PSR_ALLOC = 23, "XEN_SYSCTL_psr_alloc";
    GET_CPU_LEVELLING_CAPS = 25, "XEN_SYSCTL_get_cpu_levelling_caps";
    GET_CPU_FEATURESET = 26, "XEN_SYSCTL_get_cpu_featureset";
    LIVEPATCH_OP = 27, "XEN_SYSCTL_livepatch_op";
    GET_CPU_POLICY = 29, "XEN_SYSCTL_get_cpu_policy";
} }

abi_structs! { LAYOUT {
    /// Argument of the call; the hypervisor writes it back.
    struct Sysctl = "struct xen_sysctl", 136 {
        /// One of [`OPS`].
        0 => cmd: u32,
        /// [`INTERFACE_VERSION`].
        4 => interface_version: u32,
        8 => u: Payload<16>,
    }
} }

impl Sysctl {
    /// A command without parameters.
    pub fn new(cmd: u32) -> Sysctl {
        Sysctl {
            cmd,
            interface_version: INTERFACE_VERSION,
            ..Sysctl::default()
        }
    }
    /// A command with its union member.
    pub fn with<T: zerocopy::IntoBytes + zerocopy::Immutable>(cmd: u32, member: T) -> Sysctl {
        Sysctl {
            u: Payload::of(member),
            ..Sysctl::new(cmd)
        }
    }
}

union_accessors! { Sysctl {
    readconsole, set_readconsole: ReadConsole;
    tbuf_op, set_tbuf_op: TbufOp;
    physinfo, set_physinfo: Physinfo;
    cputopoinfo, set_cputopoinfo: CpuTopoInfo;
    pcitopoinfo, set_pcitopoinfo: PciTopoInfo;
    numainfo, set_numainfo: NumaInfo;
    sched_id, set_sched_id: SchedId;
    perfc_op, set_perfc_op: PerfcOp;
    getdomaininfolist, set_getdomaininfolist: GetDomainInfoList;
    debug_keys, set_debug_keys: DebugKeys;
    getcpuinfo, set_getcpuinfo: GetCpuInfo;
    availheap, set_availheap: AvailHeap;
    get_pmstat, set_get_pmstat: GetPmstat;
    cpu_hotplug, set_cpu_hotplug: CpuHotplug;
    pm_op, set_pm_op: PmOp;
    page_offline, set_page_offline: PageOfflineOp;
    lockprof_op, set_lockprof_op: LockprofOp;
    cpupool_op, set_cpupool_op: CpupoolOp;
    scheduler_op, set_scheduler_op: SchedulerOp;
    coverage_op, set_coverage_op: CoverageOp;
    psr_cmt_op, set_psr_cmt_op: PsrCmtOp;
    psr_alloc, set_psr_alloc: PsrAlloc;
    cpu_levelling_caps, set_cpu_levelling_caps: CpuLevellingCaps;
    cpu_featureset, set_cpu_featureset: CpuFeatureset;
    livepatch, set_livepatch: LivepatchOp;
    cpu_policy, set_cpu_policy: CpuPolicy;
} }
