//! Memory of a domain: page-table types, dirty logging, the paging pool.
use crate::handle::GuestHandle;
use crate::types::Pfn;

consts! { PFINFO: u32 {
    PFINFO_LTAB_SHIFT = 0x1c, "XEN_DOMCTL_PFINFO_LTAB_SHIFT";
    PFINFO_NOTAB = 0x0, "XEN_DOMCTL_PFINFO_NOTAB";
    PFINFO_L1TAB = 0x1000_0000, "XEN_DOMCTL_PFINFO_L1TAB";
    PFINFO_L2TAB = 0x2000_0000, "XEN_DOMCTL_PFINFO_L2TAB";
    PFINFO_L3TAB = 0x3000_0000, "XEN_DOMCTL_PFINFO_L3TAB";
    PFINFO_L4TAB = 0x4000_0000, "XEN_DOMCTL_PFINFO_L4TAB";
    PFINFO_LTABTYPE_MASK = 0x7000_0000, "XEN_DOMCTL_PFINFO_LTABTYPE_MASK";
    PFINFO_LPINTAB = 0x8000_0000, "XEN_DOMCTL_PFINFO_LPINTAB";
    PFINFO_XTAB = 0xf000_0000, "XEN_DOMCTL_PFINFO_XTAB";
    PFINFO_XALLOC = 0xe000_0000, "XEN_DOMCTL_PFINFO_XALLOC";
    PFINFO_BROKEN = 0xd000_0000, "XEN_DOMCTL_PFINFO_BROKEN";
    PFINFO_LTAB_MASK = 0xf000_0000, "XEN_DOMCTL_PFINFO_LTAB_MASK";
} }

consts! { SHADOW: u32 {
    SHADOW_OP_OFF = 0, "XEN_DOMCTL_SHADOW_OP_OFF";
    SHADOW_OP_ENABLE = 32, "XEN_DOMCTL_SHADOW_OP_ENABLE";
    SHADOW_OP_CLEAN = 11, "XEN_DOMCTL_SHADOW_OP_CLEAN";
    SHADOW_OP_PEEK = 12, "XEN_DOMCTL_SHADOW_OP_PEEK";
    SHADOW_OP_GET_ALLOCATION = 30, "XEN_DOMCTL_SHADOW_OP_GET_ALLOCATION";
    SHADOW_OP_SET_ALLOCATION = 31, "XEN_DOMCTL_SHADOW_OP_SET_ALLOCATION";
    SHADOW_OP_ENABLE_TEST = 1, "XEN_DOMCTL_SHADOW_OP_ENABLE_TEST";
    SHADOW_OP_ENABLE_LOGDIRTY = 2, "XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY";
    SHADOW_ENABLE_REFCOUNT = 2, "XEN_DOMCTL_SHADOW_ENABLE_REFCOUNT";
    SHADOW_ENABLE_LOG_DIRTY = 4, "XEN_DOMCTL_SHADOW_ENABLE_LOG_DIRTY";
    SHADOW_ENABLE_TRANSLATE = 8, "XEN_DOMCTL_SHADOW_ENABLE_TRANSLATE";
    SHADOW_ENABLE_EXTERNAL = 16, "XEN_DOMCTL_SHADOW_ENABLE_EXTERNAL";
    SHADOW_LOGDIRTY_FINAL = 1, "XEN_DOMCTL_SHADOW_LOGDIRTY_FINAL";
} }

abi_structs! { LAYOUT_MEMORY {
    /// Types of pages.
    struct GetPageFrameInfo3 = "struct xen_domctl_getpageframeinfo3", 16 {
        /// Entries.
        0 => num: u64,
        /// In: gfns; out: `PFINFO_*`.
        8 => array: GuestHandle<u64>,
    }
    /// Counters of dirty logging.
    struct ShadowOpStats = "struct xen_domctl_shadow_op_stats", 8 {
        0 => fault_count: u32,
        4 => dirty_count: u32,
    }
    /// Dirty logging.
    struct ShadowOp = "struct xen_domctl_shadow_op", 40 {
        /// `SHADOW_OP_*`.
        0 => op: u32,
        4 => mode: u32,
        /// MiB of the pool, in or out.
        8 => mb: u32,
        12 => _pad12: u32,
        16 => dirty_bitmap: GuestHandle<u8>,
        /// In: bits of the bitmap; out: bits written.
        24 => pages: u64,
        32 => stats: ShadowOpStats,
    }
    /// Bytes of the paging pool.
    struct PagingMempool = "struct xen_domctl_paging_mempool", 8 {
        0 => size: u64,
    }
    /// Cleans caches for a range.
    struct CacheFlush = "struct xen_domctl_cacheflush", 16 {
        0 => start_pfn: Pfn,
        8 => nr_pfns: u64,
    }
    /// Pause vcpus on access faults nobody listens to.
    struct SetAccessRequired = "struct xen_domctl_set_access_required", 1 {
        0 => access_required: u8,
    }
    /// Marks a page as broken.
    struct SetBrokenPageP2m = "struct xen_domctl_set_broken_page_p2m", 8 {
        0 => pfn: u64,
    }
    /// Counts inconsistencies.
    struct AuditP2m = "struct xen_domctl_audit_p2m", 24 {
        0 => orphans: u64,
        8 => m2p_bad: u64,
        16 => p2m_bad: u64,
    }
    /// Reads or writes a domain's memory for a debugger.
    struct GdbsxMemio = "struct xen_domctl_gdbsx_memio", 40 {
        0 => pgd3val: u64,
        8 => gva: u64,
        16 => uva: u64,
        24 => len: u32,
        28 => gwr: u8,
        29 => _pad29: [u8; 3],
        32 => remain: u32,
        36 => _pad36: u32,
    }
} }
