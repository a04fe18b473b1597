//! The machine as a whole: memory, console, domains, pools, debugging.
use crate::domctl::GetDomainInfo;
use crate::handle::{GuestHandle, Payload};
use crate::physdev::PciDevice;
use crate::types::DomId;
use crate::xen::XenctlBitmap;

consts! { PHYSCAP: u32 {
    PHYSCAP_HVM = 0x1, "XEN_SYSCTL_PHYSCAP_hvm";
    PHYSCAP_PV = 0x2, "XEN_SYSCTL_PHYSCAP_pv";
    PHYSCAP_DIRECTIO = 0x4, "XEN_SYSCTL_PHYSCAP_directio";
    PHYSCAP_HAP = 0x8, "XEN_SYSCTL_PHYSCAP_hap";
    PHYSCAP_SHADOW = 0x10, "XEN_SYSCTL_PHYSCAP_shadow";
    PHYSCAP_IOMMU_HAP_PT_SHARE = 0x20, "XEN_SYSCTL_PHYSCAP_iommu_hap_pt_share";
    PHYSCAP_VMTRACE = 0x40, "XEN_SYSCTL_PHYSCAP_vmtrace";
    PHYSCAP_VPMU = 0x80, "XEN_SYSCTL_PHYSCAP_vpmu";
    PHYSCAP_GNTTAB_V1 = 0x100, "XEN_SYSCTL_PHYSCAP_gnttab_v1";
    PHYSCAP_GNTTAB_V2 = 0x200, "XEN_SYSCTL_PHYSCAP_gnttab_v2";
    PHYSCAP_MAX = 0x200, "XEN_SYSCTL_PHYSCAP_MAX";
} }

consts! { CPUPOOL_OPS: u32 {
    CPUPOOL_OP_CREATE = 1, "XEN_SYSCTL_CPUPOOL_OP_CREATE";
    CPUPOOL_OP_DESTROY = 2, "XEN_SYSCTL_CPUPOOL_OP_DESTROY";
    CPUPOOL_OP_INFO = 3, "XEN_SYSCTL_CPUPOOL_OP_INFO";
    CPUPOOL_OP_ADDCPU = 4, "XEN_SYSCTL_CPUPOOL_OP_ADDCPU";
    CPUPOOL_OP_RMCPU = 5, "XEN_SYSCTL_CPUPOOL_OP_RMCPU";
    CPUPOOL_OP_MOVEDOMAIN = 6, "XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN";
    CPUPOOL_OP_FREEINFO = 7, "XEN_SYSCTL_CPUPOOL_OP_FREEINFO";
    CPUPOOL_PAR_ANY = 4294967295, "XEN_SYSCTL_CPUPOOL_PAR_ANY";
} }

consts! { SCHED_CONSTANTS: u32 {
    SCHED_RATELIMIT_MAX = 500000, "XEN_SYSCTL_SCHED_RATELIMIT_MAX";
    SCHED_RATELIMIT_MIN = 100, "XEN_SYSCTL_SCHED_RATELIMIT_MIN";
    CSCHED_TSLICE_MAX = 1000, "XEN_SYSCTL_CSCHED_TSLICE_MAX";
    CSCHED_TSLICE_MIN = 1, "XEN_SYSCTL_CSCHED_TSLICE_MIN";
    CSCHED_MGR_DLY_MAX_US = 100000, "XEN_SYSCTL_CSCHED_MGR_DLY_MAX_US";
    SCHEDOP_PUTINFO = 0, "XEN_SYSCTL_SCHEDOP_putinfo";
    SCHEDOP_GETINFO = 1, "XEN_SYSCTL_SCHEDOP_getinfo";
} }

consts! { DEBUG_OPS: u32 {
    TBUFOP_GET_INFO = 0, "XEN_SYSCTL_TBUFOP_get_info";
    TBUFOP_SET_CPU_MASK = 1, "XEN_SYSCTL_TBUFOP_set_cpu_mask";
    TBUFOP_SET_EVT_MASK = 2, "XEN_SYSCTL_TBUFOP_set_evt_mask";
    TBUFOP_SET_SIZE = 3, "XEN_SYSCTL_TBUFOP_set_size";
    TBUFOP_ENABLE = 4, "XEN_SYSCTL_TBUFOP_enable";
    TBUFOP_DISABLE = 5, "XEN_SYSCTL_TBUFOP_disable";
    PERFCOP_RESET = 1, "XEN_SYSCTL_PERFCOP_reset";
    PERFCOP_QUERY = 2, "XEN_SYSCTL_PERFCOP_query";
    LOCKPROF_RESET = 1, "XEN_SYSCTL_LOCKPROF_reset";
    LOCKPROF_QUERY = 2, "XEN_SYSCTL_LOCKPROF_query";
    COVERAGE_GET_SIZE = 0, "XEN_SYSCTL_COVERAGE_get_size";
    COVERAGE_READ = 1, "XEN_SYSCTL_COVERAGE_read";
    COVERAGE_RESET = 2, "XEN_SYSCTL_COVERAGE_reset";
    PSR_CMT_GET_TOTAL_RMID = 0, "XEN_SYSCTL_PSR_CMT_get_total_rmid";
    PSR_CMT_GET_L3_UPSCALING_FACTOR = 1, "XEN_SYSCTL_PSR_CMT_get_l3_upscaling_factor";
    PSR_CMT_GET_L3_CACHE_SIZE = 2, "XEN_SYSCTL_PSR_CMT_get_l3_cache_size";
    PSR_CMT_ENABLED = 3, "XEN_SYSCTL_PSR_CMT_enabled";
    PSR_CMT_GET_L3_EVENT_MASK = 4, "XEN_SYSCTL_PSR_CMT_get_l3_event_mask";
    PSR_GET_L3_INFO = 0, "XEN_SYSCTL_PSR_get_l3_info";
    PSR_GET_L2_INFO = 1, "XEN_SYSCTL_PSR_get_l2_info";
    PSR_GET_MBA_INFO = 2, "XEN_SYSCTL_PSR_get_mba_info";
    PSR_CAT_L3_CDP = 1, "XEN_SYSCTL_PSR_CAT_L3_CDP";
    PSR_MBA_LINEAR = 1, "XEN_SYSCTL_PSR_MBA_LINEAR";
    LIVEPATCH_UPLOAD = 0, "XEN_SYSCTL_LIVEPATCH_UPLOAD";
    LIVEPATCH_GET = 1, "XEN_SYSCTL_LIVEPATCH_GET";
    LIVEPATCH_LIST = 2, "XEN_SYSCTL_LIVEPATCH_LIST";
    LIVEPATCH_ACTION = 3, "XEN_SYSCTL_LIVEPATCH_ACTION";
    LIVEPATCH_STATE_CHECKED = 1, "LIVEPATCH_STATE_CHECKED";
    LIVEPATCH_STATE_APPLIED = 2, "LIVEPATCH_STATE_APPLIED";
    LIVEPATCH_ACTION_UNLOAD = 1, "LIVEPATCH_ACTION_UNLOAD";
    LIVEPATCH_ACTION_REVERT = 2, "LIVEPATCH_ACTION_REVERT";
    LIVEPATCH_ACTION_APPLY = 3, "LIVEPATCH_ACTION_APPLY";
    LIVEPATCH_ACTION_REPLACE = 4, "LIVEPATCH_ACTION_REPLACE";
    LIVEPATCH_ACTION_APPLY_NODEPS = 1, "LIVEPATCH_ACTION_APPLY_NODEPS";
    SYSCTL_PAGE_OFFLINE = 1, "sysctl_page_offline";
    SYSCTL_PAGE_ONLINE = 2, "sysctl_page_online";
    SYSCTL_QUERY_PAGE_OFFLINE = 3, "sysctl_query_page_offline";
} }

consts! { PAGE_STATUSES: u32 {
    PG_OFFLINE_STATUS_MASK = 0xff, "PG_OFFLINE_STATUS_MASK";
    PG_OFFLINE_INVALID = 0x1, "PG_OFFLINE_INVALID";
    PG_OFFLINE_OFFLINED = 0x2, "PG_OFFLINE_OFFLINED";
    PG_OFFLINE_PENDING = 0x4, "PG_OFFLINE_PENDING";
    PG_OFFLINE_FAILED = 0x8, "PG_OFFLINE_FAILED";
    PG_OFFLINE_AGAIN = 0x10, "PG_OFFLINE_AGAIN";
    PG_ONLINE_FAILED = 0x8, "PG_ONLINE_FAILED";
    PG_ONLINE_ONLINED = 0x2, "PG_ONLINE_ONLINED";
    PG_OFFLINE_STATUS_OFFLINED = 0x2, "PG_OFFLINE_STATUS_OFFLINED";
    PG_OFFLINE_STATUS_ONLINE = 0x4, "PG_OFFLINE_STATUS_ONLINE";
    PG_OFFLINE_STATUS_OFFLINE_PENDING = 0x8, "PG_OFFLINE_STATUS_OFFLINE_PENDING";
    PG_OFFLINE_STATUS_BROKEN = 0x10, "PG_OFFLINE_STATUS_BROKEN";
    PG_OFFLINE_MISC_MASK = 0xff0, "PG_OFFLINE_MISC_MASK";
    PG_OFFLINE_XENPAGE = 0x100, "PG_OFFLINE_XENPAGE";
    PG_OFFLINE_DOM0PAGE = 0x200, "PG_OFFLINE_DOM0PAGE";
    PG_OFFLINE_ANONYMOUS = 0x400, "PG_OFFLINE_ANONYMOUS";
    PG_OFFLINE_NOT_CONV_RAM = 0x800, "PG_OFFLINE_NOT_CONV_RAM";
    PG_OFFLINE_OWNED = 0x1000, "PG_OFFLINE_OWNED";
    PG_OFFLINE_BROKEN = 0x2000, "PG_OFFLINE_BROKEN";
    PG_ONLINE_BROKEN = 0x2000, "PG_ONLINE_BROKEN";
    PG_OFFLINE_OWNER_SHIFT = 0x10, "PG_OFFLINE_OWNER_SHIFT";
} }

abi_structs! { LAYOUT_SYSTEM {
    /// Reads the console ring.
    struct ReadConsole = "struct xen_sysctl_readconsole", 24 {
        0 => clear: u8,
        1 => incremental: u8,
        2 => pad0: u8,
        3 => pad1: u8,
        /// In and out, with `incremental`: where to read on.
        4 => index: u32,
        8 => buffer: GuestHandle<u8>,
        /// In: room; out: bytes.
        16 => count: u32,
        20 => _pad20: u32,
    }
    /// CPUs, memory and capabilities.
    struct Physinfo = "struct xen_sysctl_physinfo", 112 {
        0 => threads_per_core: u32,
        4 => cores_per_socket: u32,
        8 => nr_cpus: u32,
        12 => max_cpu_id: u32,
        16 => nr_nodes: u32,
        20 => max_node_id: u32,
        24 => cpu_khz: u32,
        /// `PHYSCAP_*`.
        28 => capabilities: u32,
        32 => arch_capabilities: u32,
        36 => pad: u32,
        40 => total_pages: u64,
        48 => free_pages: u64,
        56 => scrub_pages: u64,
        64 => outstanding_pages: u64,
        72 => max_mfn: u64,
        /// First words of the host featureset.
        80 => hw_cap: [u32; 8],
    }
    /// Which scheduler.
    struct SchedId = "struct xen_sysctl_sched_id", 4 {
        0 => sched_id: u32,
    }
    /// State of domains from an id up.
    struct GetDomainInfoList = "struct xen_sysctl_getdomaininfolist", 24 {
        0 => first_domain: DomId,
        2 => _pad2: u16,
        4 => max_domains: u32,
        8 => buffer: GuestHandle<GetDomainInfo>,
        /// Out.
        16 => num_domains: u32,
        20 => _pad20: u32,
    }
    /// Debug keys to act on.
    struct DebugKeys = "struct xen_sysctl_debug_keys", 16 {
        0 => keys: GuestHandle<u8>,
        8 => nr_keys: u32,
        12 => _pad12: u32,
    }
    /// Free memory of a node and address width.
    struct AvailHeap = "struct xen_sysctl_availheap", 24 {
        0 => min_bitwidth: u32,
        4 => max_bitwidth: u32,
        /// -1 for all.
        8 => node: i32,
        12 => _pad12: u32,
        /// Out.
        16 => avail_bytes: u64,
    }
    /// Memory of a node, in bytes.
    struct Meminfo = "struct xen_sysctl_meminfo", 16 {
        0 => memsize: u64,
        8 => memfree: u64,
    }
    /// Nodes and their distances.
    struct NumaInfo = "struct xen_sysctl_numainfo", 24 {
        0 => num_nodes: u32,
        4 => _pad4: u32,
        8 => meminfo: GuestHandle<Meminfo>,
        16 => distance: GuestHandle<u32>,
    }
    /// Nodes of devices.
    struct PciTopoInfo = "struct xen_sysctl_pcitopoinfo", 24 {
        0 => num_devs: u32,
        4 => _pad4: u32,
        8 => devs: GuestHandle<PciDevice>,
        16 => nodes: GuestHandle<u32>,
    }
    /// CPU pools.
    struct CpupoolOp = "struct xen_sysctl_cpupool_op", 40 {
        /// `CPUPOOL_OP_*`.
        0 => op: u32,
        4 => cpupool_id: u32,
        8 => sched_id: u32,
        12 => domid: u32,
        16 => cpu: u32,
        20 => n_dom: u32,
        24 => cpumap: XenctlBitmap,
    }
    /// Parameters of the credit scheduler.
    struct CreditSchedule = "struct xen_sysctl_credit_schedule", 12 {
        0 => tslice_ms: u32,
        4 => ratelimit_us: u32,
        8 => vcpu_migr_delay_us: u32,
    }
    /// Parameters of the credit2 scheduler.
    struct Credit2Schedule = "struct xen_sysctl_credit2_schedule", 4 {
        0 => ratelimit_us: u32,
    }
    /// Reads or writes parameters of a scheduler.
    struct SchedulerOp = "struct xen_sysctl_scheduler_op", 32 {
        0 => cpupool_id: u32,
        4 => sched_id: u32,
        8 => cmd: u32,
        12 => _pad12: u32,
        16 => u: Payload<2>,
    }
    /// Trace buffers.
    struct TbufOp = "struct xen_sysctl_tbuf_op", 48 {
        0 => cmd: u32,
        4 => _pad4: u32,
        8 => cpu_mask: XenctlBitmap,
        24 => evt_mask: u32,
        28 => _pad28: u32,
        32 => buffer_mfn: u64,
        40 => size: u32,
        44 => _pad44: u32,
    }
    /// Performance counters.
    struct PerfcOp = "struct xen_sysctl_perfc_op", 32 {
        0 => cmd: u32,
        4 => nr_counters: u32,
        8 => nr_vals: u32,
        12 => _pad12: u32,
        16 => desc: GuestHandle<u8>,
        24 => val: GuestHandle<u32>,
    }
    /// Lock profile.
    struct LockprofOp = "struct xen_sysctl_lockprof_op", 32 {
        0 => cmd: u32,
        4 => max_elem: u32,
        8 => nr_elem: u32,
        12 => _pad12: u32,
        16 => time: u64,
        24 => data: GuestHandle<u8>,
    }
    /// Takes pages out of use.
    struct PageOfflineOp = "struct xen_sysctl_page_offline_op", 24 {
        0 => cmd: u32,
        4 => start: u32,
        8 => end: u32,
        12 => _pad12: u32,
        16 => status: GuestHandle<u32>,
    }
    /// Coverage data.
    struct CoverageOp = "struct xen_sysctl_coverage_op", 16 {
        0 => cmd: u32,
        4 => size: u32,
        8 => buffer: GuestHandle<u8>,
    }
    /// Live patches.
    struct LivepatchOp = "struct xen_sysctl_livepatch_op", 72 {
        0 => cmd: u32,
        4 => pad: u32,
        8 => u: Payload<8>,
    }
} }
