//! Ioctls of Linux's Xen devices, from dom0's side: `/dev/xen/{privcmd,evtchn,gntdev,gntalloc,xenbus_backend}`.
//!
//! All are `_IOC(_IOC_NONE, type, number, size)`: they say nothing of the direction.
use crate::types::DomId;

consts! { PRIVCMD: u64 {
    PRIVCMD_HYPERCALL = 0x30_5000, "IOCTL_PRIVCMD_HYPERCALL";
    PRIVCMD_MMAP = 0x10_5002, "IOCTL_PRIVCMD_MMAP";
    PRIVCMD_MMAPBATCH = 0x18_5003, "IOCTL_PRIVCMD_MMAPBATCH";
    PRIVCMD_MMAPBATCH_V2 = 0x20_5004, "IOCTL_PRIVCMD_MMAPBATCH_V2";
    PRIVCMD_DM_OP = 0x10_5005, "IOCTL_PRIVCMD_DM_OP";
    PRIVCMD_RESTRICT = 0x2_5006, "IOCTL_PRIVCMD_RESTRICT";
    PRIVCMD_MMAP_RESOURCE = 0x20_5007, "IOCTL_PRIVCMD_MMAP_RESOURCE";
    PRIVCMD_UNIMPLEMENTED = 0x50ff, "IOCTL_PRIVCMD_UNIMPLEMENTED";
} }

consts! { PRIVCMD_CONSTANTS: u32 {
    PRIVCMD_MMAPBATCH_MFN_ERROR = 0xf000_0000, "PRIVCMD_MMAPBATCH_MFN_ERROR";
    PRIVCMD_MMAPBATCH_PAGED_ERROR = 0x8000_0000, "PRIVCMD_MMAPBATCH_PAGED_ERROR";
} }

consts! { EVTCHN: u64 {
    EVTCHN_BIND_VIRQ = 0x4_4500, "IOCTL_EVTCHN_BIND_VIRQ";
    EVTCHN_BIND_INTERDOMAIN = 0x8_4501, "IOCTL_EVTCHN_BIND_INTERDOMAIN";
    EVTCHN_BIND_UNBOUND_PORT = 0x4_4502, "IOCTL_EVTCHN_BIND_UNBOUND_PORT";
    EVTCHN_UNBIND = 0x4_4503, "IOCTL_EVTCHN_UNBIND";
    EVTCHN_NOTIFY = 0x4_4504, "IOCTL_EVTCHN_NOTIFY";
    EVTCHN_RESET = 0x4505, "IOCTL_EVTCHN_RESET";
    EVTCHN_RESTRICT_DOMID = 0x2_4506, "IOCTL_EVTCHN_RESTRICT_DOMID";
} }

consts! { GNTDEV: u64 {
    GNTDEV_MAP_GRANT_REF = 0x18_4700, "IOCTL_GNTDEV_MAP_GRANT_REF";
    GNTDEV_UNMAP_GRANT_REF = 0x10_4701, "IOCTL_GNTDEV_UNMAP_GRANT_REF";
    GNTDEV_GET_OFFSET_FOR_VADDR = 0x18_4702, "IOCTL_GNTDEV_GET_OFFSET_FOR_VADDR";
    GNTDEV_SET_MAX_GRANTS = 0x4_4703, "IOCTL_GNTDEV_SET_MAX_GRANTS";
    GNTDEV_SET_UNMAP_NOTIFY = 0x10_4707, "IOCTL_GNTDEV_SET_UNMAP_NOTIFY";
    GNTDEV_GRANT_COPY = 0x10_4708, "IOCTL_GNTDEV_GRANT_COPY";
    GNTDEV_DMABUF_EXP_FROM_REFS = 0x14_4709, "IOCTL_GNTDEV_DMABUF_EXP_FROM_REFS";
    GNTDEV_DMABUF_EXP_WAIT_RELEASED = 0x8_470a, "IOCTL_GNTDEV_DMABUF_EXP_WAIT_RELEASED";
    GNTDEV_DMABUF_IMP_TO_REFS = 0x14_470b, "IOCTL_GNTDEV_DMABUF_IMP_TO_REFS";
    GNTDEV_DMABUF_IMP_RELEASE = 0x8_470c, "IOCTL_GNTDEV_DMABUF_IMP_RELEASE";
} }

consts! { GNTALLOC: u64 {
    GNTALLOC_ALLOC_GREF = 0x18_4705, "IOCTL_GNTALLOC_ALLOC_GREF";
    GNTALLOC_DEALLOC_GREF = 0x10_4706, "IOCTL_GNTALLOC_DEALLOC_GREF";
    GNTALLOC_SET_UNMAP_NOTIFY = 0x10_4707, "IOCTL_GNTALLOC_SET_UNMAP_NOTIFY";
} }

consts! { XENBUS_BACKEND: u64 {
    XENBUS_BACKEND_EVTCHN = 0x4200, "IOCTL_XENBUS_BACKEND_EVTCHN";
    XENBUS_BACKEND_SETUP = 0x4201, "IOCTL_XENBUS_BACKEND_SETUP";
} }

consts! { UNMAP_NOTIFY: u32 {
    GNTALLOC_FLAG_WRITABLE = 1, "GNTALLOC_FLAG_WRITABLE";
    UNMAP_NOTIFY_CLEAR_BYTE = 1, "UNMAP_NOTIFY_CLEAR_BYTE";
    UNMAP_NOTIFY_SEND_EVENT = 2, "UNMAP_NOTIFY_SEND_EVENT";
} }

abi_structs! { LAYOUT {
    /// A hypercall.
    struct PrivcmdHypercall = "privcmd_hypercall_t", 48 {
        0 => op: u64,
        8 => arg: [u64; 5],
    }
    /// A range to map.
    struct PrivcmdMmapEntry = "privcmd_mmap_entry_t", 24 {
        0 => va: u64,
        8 => mfn: u64,
        16 => npages: u64,
    }
    /// Maps ranges of foreign frames.
    struct PrivcmdMmap = "privcmd_mmap_t", 16 {
        0 => num: i32,
        4 => dom: DomId,
        6 => _pad6: u16,
        /// Address of [`PrivcmdMmapEntry`]s.
        8 => entry: u64,
    }
    /// Maps foreign frames; errors go into the array.
    struct PrivcmdMmapbatch = "privcmd_mmapbatch_t", 24 {
        0 => num: i32,
        4 => dom: DomId,
        6 => _pad6: u16,
        8 => addr: u64,
        /// Address of frame numbers.
        16 => arr: u64,
    }
    /// Maps foreign frames.
    struct PrivcmdMmapbatchV2 = "privcmd_mmapbatch_v2_t", 32 {
        0 => num: u32,
        4 => dom: DomId,
        6 => _pad6: u16,
        8 => addr: u64,
        /// Address of frame numbers.
        16 => arr: u64,
        /// Address of an `i32` for each.
        24 => err: u64,
    }
    /// A buffer of a device-model call.
    struct PrivcmdDmOpBuf = "privcmd_dm_op_buf_t", 16 {
        0 => uptr: u64,
        8 => size: u64,
    }
    /// A device-model call.
    struct PrivcmdDmOp = "privcmd_dm_op_t", 16 {
        0 => dom: DomId,
        2 => num: u16,
        4 => _pad4: u32,
        /// Address of [`PrivcmdDmOpBuf`]s.
        8 => ubufs: u64,
    }
    /// Maps a resource; `addr` zero asks for its size.
    struct PrivcmdMmapResource = "privcmd_mmap_resource_t", 32 {
        0 => dom: DomId,
        2 => _pad2: u16,
        4 => r#type: u32,
        8 => id: u32,
        12 => idx: u32,
        16 => num: u64,
        24 => addr: u64,
    }
    /// Binds a virtual interrupt; the result is the port.
    struct EvtchnBindVirq = "struct ioctl_evtchn_bind_virq", 4 {
        0 => virq: u32,
    }
    /// Binds a remote port; the result is the local port.
    struct EvtchnBindInterdomain = "struct ioctl_evtchn_bind_interdomain", 8 {
        0 => remote_domain: u32,
        4 => remote_port: u32,
    }
    /// Allocates a port for a domain; it is the result.
    struct EvtchnBindUnboundPort = "struct ioctl_evtchn_bind_unbound_port", 4 {
        0 => remote_domain: u32,
    }
    /// Closes a port.
    struct EvtchnUnbind = "struct ioctl_evtchn_unbind", 4 {
        0 => port: u32,
    }
    /// Signals a port.
    struct EvtchnNotify = "struct ioctl_evtchn_notify", 4 {
        0 => port: u32,
    }
    /// Limits the file to one domain.
    struct EvtchnRestrictDomid = "struct ioctl_evtchn_restrict_domid", 2 {
        0 => domid: DomId,
    }
    /// A grant.
    struct GntdevGrantRef = "struct ioctl_gntdev_grant_ref", 8 {
        0 => domid: u32,
        4 => r#ref: u32,
    }
    /// Prepares a mapping; `index` is the offset to map at. More `refs` may follow.
    struct GntdevMapGrantRef = "struct ioctl_gntdev_map_grant_ref", 24 {
        0 => count: u32,
        4 => pad: u32,
        8 => index: u64,
        16 => refs: [GntdevGrantRef; 1],
    }
    /// Forgets a mapping.
    struct GntdevUnmapGrantRef = "struct ioctl_gntdev_unmap_grant_ref", 16 {
        0 => index: u64,
        8 => count: u32,
        12 => pad: u32,
    }
    /// Finds a mapping.
    struct GntdevGetOffsetForVaddr = "struct ioctl_gntdev_get_offset_for_vaddr", 24 {
        0 => vaddr: u64,
        8 => offset: u64,
        16 => count: u32,
        20 => pad: u32,
    }
    /// Limits the file (ignored by later kernels).
    struct GntdevSetMaxGrants = "struct ioctl_gntdev_set_max_grants", 4 {
        0 => count: u32,
    }
    /// What to do at an unmap.
    struct GntdevUnmapNotify = "struct ioctl_gntdev_unmap_notify", 16 {
        0 => index: u64,
        8 => action: u32,
        12 => event_channel_port: u32,
    }
    /// A copy.
    struct GntdevGrantCopySegment = "struct ioctl_gntdev_grant_copy_segment", 24 {
        0 => source: u64,
        8 => dest: u64,
        16 => len: u16,
        18 => flags: u16,
        20 => status: i16,
        22 => _pad22: u16,
    }
    /// Copies.
    struct GntdevGrantCopy = "struct ioctl_gntdev_grant_copy", 16 {
        0 => count: u32,
        4 => _pad4: u32,
        /// Address of [`GntdevGrantCopySegment`]s.
        8 => segments: u64,
    }
    /// Allocates pages and grants them. More `gref_ids` may follow.
    struct GntallocAllocGref = "struct ioctl_gntalloc_alloc_gref", 24 {
        0 => domid: u16,
        2 => flags: u16,
        4 => count: u32,
        8 => index: u64,
        16 => gref_ids: [u32; 1],
        20 => _pad20: u32,
    }
    /// Frees them.
    struct GntallocDeallocGref = "struct ioctl_gntalloc_dealloc_gref", 16 {
        0 => index: u64,
        8 => count: u32,
        12 => _pad12: u32,
    }
    /// What to do at an unmap.
    struct GntallocUnmapNotify = "struct ioctl_gntalloc_unmap_notify", 16 {
        0 => index: u64,
        8 => action: u32,
        12 => event_channel_port: u32,
    }
} }
