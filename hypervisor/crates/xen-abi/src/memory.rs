//! Memory calls (`public/memory.h`): reservations, the physmap, memory maps, resources, vNUMA.
use crate::handle::GuestHandle;
use crate::physdev::PciDevice;
use crate::types::{DomId, Gfn};

consts! { OPS: u32 {
    INCREASE_RESERVATION = 0, "XENMEM_increase_reservation";
    DECREASE_RESERVATION = 1, "XENMEM_decrease_reservation";
    POPULATE_PHYSMAP = 6, "XENMEM_populate_physmap";
    EXCHANGE = 11, "XENMEM_exchange";
    MAXIMUM_RAM_PAGE = 2, "XENMEM_maximum_ram_page";
    CURRENT_RESERVATION = 3, "XENMEM_current_reservation";
    MAXIMUM_RESERVATION = 4, "XENMEM_maximum_reservation";
    MAXIMUM_GPFN = 14, "XENMEM_maximum_gpfn";
    MACHPHYS_MFN_LIST = 5, "XENMEM_machphys_mfn_list";
    MACHPHYS_COMPAT_MFN_LIST = 25, "XENMEM_machphys_compat_mfn_list";
    MACHPHYS_MAPPING = 12, "XENMEM_machphys_mapping";
    ADD_TO_PHYSMAP = 7, "XENMEM_add_to_physmap";
    ADD_TO_PHYSMAP_BATCH = 23, "XENMEM_add_to_physmap_batch";
    REMOVE_FROM_PHYSMAP = 15, "XENMEM_remove_from_physmap";
    MEMORY_MAP = 9, "XENMEM_memory_map";
    MACHINE_MEMORY_MAP = 10, "XENMEM_machine_memory_map";
    SET_MEMORY_MAP = 13, "XENMEM_set_memory_map";
    SET_POD_TARGET = 16, "XENMEM_set_pod_target";
    GET_POD_TARGET = 17, "XENMEM_get_pod_target";
    GET_SHARING_FREED_PAGES = 18, "XENMEM_get_sharing_freed_pages";
    GET_SHARING_SHARED_PAGES = 19, "XENMEM_get_sharing_shared_pages";
    PAGING_OP = 20, "XENMEM_paging_op";
    ACCESS_OP = 21, "XENMEM_access_op";
    SHARING_OP = 22, "XENMEM_sharing_op";
    CLAIM_PAGES = 24, "XENMEM_claim_pages";
    RESERVED_DEVICE_MEMORY_MAP = 27, "XENMEM_reserved_device_memory_map";
    ACQUIRE_RESOURCE = 28, "XENMEM_acquire_resource";
    GET_VNUMAINFO = 26, "XENMEM_get_vnumainfo";
} }

consts! { RESOURCES: u32 {
    RESOURCE_IOREQ_SERVER = 0, "XENMEM_resource_ioreq_server";
    RESOURCE_GRANT_TABLE = 1, "XENMEM_resource_grant_table";
    RESOURCE_VMTRACE_BUF = 2, "XENMEM_resource_vmtrace_buf";
    RESOURCE_GRANT_TABLE_ID_SHARED = 0, "XENMEM_resource_grant_table_id_shared";
    RESOURCE_GRANT_TABLE_ID_STATUS = 1, "XENMEM_resource_grant_table_id_status";
    RESOURCE_IOREQ_SERVER_FRAME_BUFIOREQ = 0, "XENMEM_resource_ioreq_server_frame_bufioreq";
} }

consts! { MAPSPACES: u32 {
    MAPSPACE_SHARED_INFO = 0, "XENMAPSPACE_shared_info";
    MAPSPACE_GRANT_TABLE = 1, "XENMAPSPACE_grant_table";
    MAPSPACE_GMFN = 2, "XENMAPSPACE_gmfn";
    MAPSPACE_GMFN_RANGE = 3, "XENMAPSPACE_gmfn_range";
    MAPSPACE_GMFN_FOREIGN = 4, "XENMAPSPACE_gmfn_foreign";
    MAPSPACE_DEV_MMIO = 5, "XENMAPSPACE_dev_mmio";
} }

consts! { FLAGS: u32 {
    MEMF_POPULATE_ON_DEMAND = 0x1_0000, "XENMEMF_populate_on_demand";
    MEMF_EXACT_NODE_REQUEST = 0x2_0000, "XENMEMF_exact_node_request";
    MEMF_VNODE = 0x4_0000, "XENMEMF_vnode";
    MAPIDX_GRANT_TABLE_STATUS = 0x8000_0000, "XENMAPIDX_grant_table_status";
    MEM_RDM_ALL = 0x1, "XENMEM_RDM_ALL";
} }

abi_structs! { LAYOUT {
    /// A list of extents to add, remove or populate.
    struct MemoryReservation = "struct xen_memory_reservation", 32 {
        /// Frame numbers, one for each extent.
        0 => extent_start: GuestHandle<u64>,
        8 => nr_extents: u64,
        /// log2 of the pages in an extent.
        16 => extent_order: u32,
        /// `MEMF_*`, address bits, node.
        20 => mem_flags: u32,
        24 => domid: DomId,
        26 => _pad26: [u8; 6],
    }
    /// Gives pages back for pages of another kind.
    struct MemoryExchange = "struct xen_memory_exchange", 72 {
        0 => r#in: MemoryReservation,
        32 => out: MemoryReservation,
        64 => nr_exchanged: u64,
    }
    /// A domain to ask about.
    struct MemoryDomain = "struct xen_memory_domain", 2 {
        0 => domid: DomId,
    }
    /// Frames of the M2P, one for each 2 MiB of it.
    struct MachphysMfnList = "struct xen_machphys_mfn_list", 24 {
        0 => max_extents: u32,
        4 => _pad4: u32,
        8 => extent_start: GuestHandle<u64>,
        16 => nr_extents: u32,
        20 => _pad20: u32,
    }
    /// Where the M2P is in the caller's address space.
    struct MachphysMapping = "struct xen_machphys_mapping", 24 {
        0 => v_start: u64,
        8 => v_end: u64,
        16 => max_mfn: u64,
    }
    /// Puts one page (or a range) into the physmap.
    struct AddToPhysmap = "struct xen_add_to_physmap", 24 {
        0 => domid: DomId,
        2 => size: u16,
        /// `MAPSPACE_*`.
        4 => space: u32,
        8 => idx: u64,
        16 => gpfn: Gfn,
    }
    /// Puts many pages into the physmap.
    struct AddToPhysmapBatch = "struct xen_add_to_physmap_batch", 32 {
        0 => domid: DomId,
        2 => space: u16,
        4 => size: u16,
        /// Foreign domain id for `MAPSPACE_GMFN_FOREIGN`, else zero.
        6 => u: u16,
        8 => idxs: GuestHandle<u64>,
        16 => gpfns: GuestHandle<u64>,
        24 => errs: GuestHandle<i32>,
    }
    /// Takes a page out of the physmap.
    struct RemoveFromPhysmap = "struct xen_remove_from_physmap", 16 {
        0 => domid: DomId,
        2 => _pad2: [u8; 6],
        8 => gpfn: Gfn,
    }
    /// An E820 map.
    struct MemoryMap = "struct xen_memory_map", 16 {
        /// In: room; out: entries.
        0 => nr_entries: u32,
        4 => _pad4: u32,
        8 => buffer: GuestHandle<E820Entry>,
    }
    /// Sets a domain's E820 map.
    struct ForeignMemoryMap = "struct xen_foreign_memory_map", 24 {
        0 => domid: DomId,
        2 => _pad2: [u8; 6],
        8 => map: MemoryMap,
    }
    /// Populate-on-demand target.
    struct PodTarget = "struct xen_pod_target", 40 {
        0 => target_pages: u64,
        8 => tot_pages: u64,
        16 => pod_cache_pages: u64,
        24 => pod_entries: u64,
        32 => domid: DomId,
        34 => _pad34: [u8; 6],
    }
    /// A range a device needs at its machine address.
    struct ReservedDeviceMemory = "struct xen_reserved_device_memory", 16 {
        0 => start_pfn: u64,
        8 => nr_pages: u64,
    }
    /// Asks for such ranges.
    struct ReservedDeviceMemoryMap = "struct xen_reserved_device_memory_map", 24 {
        0 => flags: u32,
        4 => nr_entries: u32,
        8 => buffer: GuestHandle<ReservedDeviceMemory>,
        16 => dev: PciDevice,
        20 => _pad20: u32,
    }
    /// Maps pages that belong to the hypervisor's side of a domain.
    struct MemAcquireResource = "struct xen_mem_acquire_resource", 32 {
        0 => domid: DomId,
        2 => r#type: u16,
        4 => id: u32,
        8 => nr_frames: u32,
        12 => pad: u32,
        16 => frame: u64,
        24 => frame_list: GuestHandle<u64>,
    }
    /// A memory range of a vNUMA node.
    struct Vmemrange = "struct xen_vmemrange", 24 {
        0 => start: u64,
        8 => end: u64,
        16 => flags: u32,
        20 => nid: u32,
    }
    /// Asks for the caller's vNUMA topology.
    struct VnumaTopologyInfo = "struct xen_vnuma_topology_info", 40 {
        0 => domid: DomId,
        2 => pad: u16,
        4 => nr_vnodes: u32,
        8 => nr_vcpus: u32,
        12 => nr_vmemranges: u32,
        16 => vdistance: GuestHandle<u32>,
        24 => vcpu_to_vnode: GuestHandle<u32>,
        32 => vmemrange: GuestHandle<Vmemrange>,
    }
} }

/// One entry of an E820 memory map: packed, 20 bytes.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Debug,
    Default,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
)]
#[repr(C, packed)]
#[allow(missing_docs)]
pub struct E820Entry {
    pub addr: u64,
    pub size: u64,
    /// `E820_*`.
    pub r#type: u32,
}
const _: () = assert!(size_of::<E820Entry>() == 20);

/// E820 type: usable RAM.
pub const E820_RAM: u32 = 1;
/// E820 type: reserved.
pub const E820_RESERVED: u32 = 2;
/// E820 type: ACPI tables, reclaimable.
pub const E820_ACPI: u32 = 3;
/// E820 type: ACPI non-volatile storage.
pub const E820_NVS: u32 = 4;
/// E820 type: unusable.
pub const E820_UNUSABLE: u32 = 5;

/// `XENMEMF_get_address_bits`: greatest width of the machine address, zero for any.
pub const fn memf_address_bits(flags: u32) -> u32 {
    flags & 0xff
}
/// `XENMEMF_get_node`: the node asked for, if any.
pub const fn memf_node(flags: u32) -> Option<u8> {
    match (flags >> 8) & 0xff {
        0 => None,
        n => Some((n - 1) as u8),
    }
}
