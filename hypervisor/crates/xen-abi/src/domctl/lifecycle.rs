//! Creating a domain and asking about it.
use crate::arch_x86::ArchDomainConfig;
use crate::handle::{DomainHandle, GuestHandle, Payload, Payload32};
use crate::memory::Vmemrange;
use crate::types::{DomId, Gfn, VcpuId};
use crate::xen::XenctlBitmap;

consts! { CDF: u32 {
    /// Hardware-virtualised guest.
    CDF_HVM = 0x1, "XEN_DOMCTL_CDF_hvm";
    /// With nested paging.
    CDF_HAP = 0x2, "XEN_DOMCTL_CDF_hap";
    CDF_S3_INTEGRITY = 0x4, "XEN_DOMCTL_CDF_s3_integrity";
    CDF_OOS_OFF = 0x8, "XEN_DOMCTL_CDF_oos_off";
    /// Runs the xenstore.
    CDF_XS_DOMAIN = 0x10, "XEN_DOMCTL_CDF_xs_domain";
    CDF_IOMMU = 0x20, "XEN_DOMCTL_CDF_iommu";
    CDF_NESTED_VIRT = 0x40, "XEN_DOMCTL_CDF_nested_virt";
    CDF_VPMU = 0x80, "XEN_DOMCTL_CDF_vpmu";
    CDF_MAX = 0x80, "XEN_DOMCTL_CDF_MAX";
    IOMMU_NO_SHAREPT = 0x1, "XEN_DOMCTL_IOMMU_no_sharept";
    IOMMU_MAX = 0x1, "XEN_DOMCTL_IOMMU_MAX";
    GRANT_VERSION_MASK = 0xf, "XEN_DOMCTL_GRANT_version_mask";
} }

consts! { DOMINF: u32 {
    DOMINF_DYING = 0x1, "XEN_DOMINF_dying";
    DOMINF_HVM_GUEST = 0x2, "XEN_DOMINF_hvm_guest";
    DOMINF_SHUTDOWN = 0x4, "XEN_DOMINF_shutdown";
    DOMINF_PAUSED = 0x8, "XEN_DOMINF_paused";
    DOMINF_BLOCKED = 0x10, "XEN_DOMINF_blocked";
    DOMINF_RUNNING = 0x20, "XEN_DOMINF_running";
    DOMINF_DEBUGGED = 0x40, "XEN_DOMINF_debugged";
    DOMINF_XS_DOMAIN = 0x80, "XEN_DOMINF_xs_domain";
    DOMINF_HAP = 0x100, "XEN_DOMINF_hap";
    DOMINF_SHUTDOWNMASK = 0xff, "XEN_DOMINF_shutdownmask";
    DOMINF_SHUTDOWNSHIFT = 0x10, "XEN_DOMINF_shutdownshift";
} }

consts! { DOMINF_CONSTANTS: u32 {
    INVALID_MAX_VCPU_ID = 0xffff_ffff, "XEN_INVALID_MAX_VCPU_ID";
} }

consts! { SCHEDULERS: u32 {
    SCHEDULER_CREDIT = 5, "XEN_SCHEDULER_CREDIT";
    SCHEDULER_CREDIT2 = 6, "XEN_SCHEDULER_CREDIT2";
    SCHEDULER_ARINC653 = 7, "XEN_SCHEDULER_ARINC653";
    SCHEDULER_RTDS = 8, "XEN_SCHEDULER_RTDS";
    SCHEDULER_NULL = 9, "XEN_SCHEDULER_NULL";
} }

consts! { SCHEDOPS: u32 {
    SCHEDRT_EXTRA = 1, "XEN_DOMCTL_SCHEDRT_extra";
    SCHEDOP_PUTINFO = 0, "XEN_DOMCTL_SCHEDOP_putinfo";
    SCHEDOP_GETINFO = 1, "XEN_DOMCTL_SCHEDOP_getinfo";
    SCHEDOP_PUTVCPUINFO = 2, "XEN_DOMCTL_SCHEDOP_putvcpuinfo";
    SCHEDOP_GETVCPUINFO = 3, "XEN_DOMCTL_SCHEDOP_getvcpuinfo";
} }

abi_structs! { LAYOUT_LIFECYCLE {
    /// Parameters of a new domain; a header domain of zero or a reserved id asks for any.
    struct CreateDomain = "struct xen_domctl_createdomain", 64 {
        0 => ssidref: u32,
        4 => handle: DomainHandle,
        /// `CDF_*`.
        20 => flags: u32,
        /// `IOMMU_*`.
        24 => iommu_opts: u32,
        28 => max_vcpus: u32,
        /// Greatest port number; at least 2^31-1 for no limit.
        32 => max_evtchn_port: u32,
        /// Negative: the default.
        36 => max_grant_frames: i32,
        /// Negative: the default.
        40 => max_maptrack_frames: i32,
        /// Low four bits: greatest grant table version.
        44 => grant_opts: u32,
        48 => vmtrace_size: u32,
        52 => cpupool_id: u32,
        56 => arch: ArchDomainConfig,
    }
    /// State of a domain.
    struct GetDomainInfo = "struct xen_domctl_getdomaininfo", 112 {
        0 => domain: DomId,
        2 => pad1: u16,
        /// `DOMINF_*`, and the shutdown reason above [`DOMINF_SHUTDOWNSHIFT`].
        4 => flags: u32,
        8 => tot_pages: u64,
        16 => max_pages: u64,
        24 => outstanding_pages: u64,
        32 => shr_pages: u64,
        40 => paged_pages: u64,
        /// Gfn of the shared info page.
        48 => shared_info_frame: u64,
        /// Nanoseconds.
        56 => cpu_time: u64,
        64 => nr_online_vcpus: u32,
        68 => max_vcpu_id: u32,
        72 => ssidref: u32,
        76 => handle: DomainHandle,
        92 => cpupool: u32,
        /// Width of guest physical addresses; zero if none.
        96 => gpaddr_bits: u8,
        97 => pad2: [u8; 7],
        104 => arch_config: ArchDomainConfig,
    }
    /// Limit of a domain's memory, in KiB.
    struct MaxMem = "struct xen_domctl_max_mem", 8 {
        0 => max_memkb: u64,
    }
    /// Allocates the vcpus; once.
    struct MaxVcpus = "struct xen_domctl_max_vcpus", 4 {
        0 => max: u32,
    }
    /// Sets a domain's UUID.
    struct SetDomainHandle = "struct xen_domctl_setdomainhandle", 16 {
        0 => handle: DomainHandle,
    }
    /// Turns debugging on or off.
    struct SetDebugging = "struct xen_domctl_setdebugging", 1 {
        0 => enable: u8,
    }
    /// Fills a hypercall page.
    struct HypercallInit = "struct xen_domctl_hypercall_init", 8 {
        0 => gmfn: Gfn,
    }
    /// Offset of the domain's wall clock.
    struct SetTimeOffset = "struct xen_domctl_settimeoffset", 8 {
        0 => time_offset_seconds: i64,
    }
    /// TSC mode: 0 default, 1 always emulated, 2 never.
    struct TscInfo = "struct xen_domctl_tsc_info", 24 {
        0 => tsc_mode: u32,
        4 => gtsc_khz: u32,
        8 => incarnation: u32,
        12 => pad: u32,
        16 => elapsed_nsec: u64,
    }
    /// Sends a global virtual interrupt to this domain.
    struct SetVirqHandler = "struct xen_domctl_set_virq_handler", 4 {
        0 => virq: u32,
    }
    /// Nodes to allocate from.
    struct NodeAffinity = "struct xen_domctl_nodeaffinity", 16 {
        0 => nodemap: XenctlBitmap,
    }
    /// The domain this one may control.
    struct SetTarget = "struct xen_domctl_set_target", 2 {
        0 => target: DomId,
    }
    /// Weight and cap (percent of a CPU).
    struct SchedCredit = "struct xen_domctl_sched_credit", 4 {
        0 => weight: u16,
        2 => cap: u16,
    }
    /// Weight and cap (percent of a CPU).
    struct SchedCredit2 = "struct xen_domctl_sched_credit2", 4 {
        0 => weight: u16,
        2 => cap: u16,
    }
    /// Period and budget in microseconds.
    struct SchedRtds = "struct xen_domctl_sched_rtds", 12 {
        0 => period: u32,
        4 => budget: u32,
        8 => flags: u32,
    }
    /// Parameters of one vcpu.
    struct SchedparamVcpu = "struct xen_domctl_schedparam_vcpu", 16 {
        0 => u: Payload32<3>,
        12 => vcpuid: VcpuId,
    }
    /// Reads or writes scheduling parameters.
    struct SchedulerOp = "struct xen_domctl_scheduler_op", 24 {
        /// `SCHEDULER_*`.
        0 => sched_id: u32,
        /// `SCHEDOP_*`.
        4 => cmd: u32,
        /// [`SchedCredit`], [`SchedCredit2`], [`SchedRtds`] or [`SchedulerOpVcpus`].
        8 => u: Payload<2>,
    }
    /// Parameters of several vcpus.
    struct SchedulerOpVcpus = "__typeof__(((struct xen_domctl_scheduler_op *)0)->u.v)", 16 {
        0 => vcpus: GuestHandle<SchedparamVcpu>,
        8 => nr_vcpus: u32,
        12 => padding: u32,
    }
    /// vNUMA topology.
    struct Vnuma = "struct xen_domctl_vnuma", 48 {
        0 => nr_vnodes: u32,
        4 => nr_vmemranges: u32,
        8 => nr_vcpus: u32,
        12 => pad: u32,
        16 => vdistance: GuestHandle<u32>,
        24 => vcpu_to_vnode: GuestHandle<u32>,
        32 => vnode_to_pnode: GuestHandle<u32>,
        40 => vmemrange: GuestHandle<Vmemrange>,
    }
} }

impl GetDomainInfo {
    /// Why the domain shut down (`SHUTDOWN_*` of [`sched`](crate::sched)), if it did.
    pub fn shutdown_reason(&self) -> Option<u32> {
        (self.flags & DOMINF_SHUTDOWN != 0)
            .then_some((self.flags >> DOMINF_SHUTDOWNSHIFT) & DOMINF_SHUTDOWNMASK)
    }
}
