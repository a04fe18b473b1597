//! Device-model calls (`hvm/dm_op.h`). The call takes an array of [`Buf`]; the first holds a [`DmOp`].
use crate::handle::{GuestHandle, Payload};
use crate::types::Port;

consts! { OPS: u32 {
    CREATE_IOREQ_SERVER = 1, "XEN_DMOP_create_ioreq_server";
    GET_IOREQ_SERVER_INFO = 2, "XEN_DMOP_get_ioreq_server_info";
    MAP_IO_RANGE_TO_IOREQ_SERVER = 3, "XEN_DMOP_map_io_range_to_ioreq_server";
    UNMAP_IO_RANGE_FROM_IOREQ_SERVER = 4, "XEN_DMOP_unmap_io_range_from_ioreq_server";
    SET_IOREQ_SERVER_STATE = 5, "XEN_DMOP_set_ioreq_server_state";
    DESTROY_IOREQ_SERVER = 6, "XEN_DMOP_destroy_ioreq_server";
    TRACK_DIRTY_VRAM = 7, "XEN_DMOP_track_dirty_vram";
    SET_PCI_INTX_LEVEL = 8, "XEN_DMOP_set_pci_intx_level";
    SET_ISA_IRQ_LEVEL = 9, "XEN_DMOP_set_isa_irq_level";
    SET_PCI_LINK_ROUTE = 10, "XEN_DMOP_set_pci_link_route";
    MODIFIED_MEMORY = 11, "XEN_DMOP_modified_memory";
    SET_MEM_TYPE = 12, "XEN_DMOP_set_mem_type";
    INJECT_EVENT = 13, "XEN_DMOP_inject_event";
    INJECT_MSI = 14, "XEN_DMOP_inject_msi";
    MAP_MEM_TYPE_TO_IOREQ_SERVER = 15, "XEN_DMOP_map_mem_type_to_ioreq_server";
    REMOTE_SHUTDOWN = 16, "XEN_DMOP_remote_shutdown";
    RELOCATE_MEMORY = 17, "XEN_DMOP_relocate_memory";
    PIN_MEMORY_CACHEATTR = 18, "XEN_DMOP_pin_memory_cacheattr";
    SET_IRQ_LEVEL = 19, "XEN_DMOP_set_irq_level";
    NR_VCPUS = 20, "XEN_DMOP_nr_vcpus";
} }

consts! { CONSTANTS: u32 {
    NO_GFNS = 0x1, "XEN_DMOP_no_gfns";
    IO_RANGE_PORT = 0x0, "XEN_DMOP_IO_RANGE_PORT";
    IO_RANGE_MEMORY = 0x1, "XEN_DMOP_IO_RANGE_MEMORY";
    IO_RANGE_PCI = 0x2, "XEN_DMOP_IO_RANGE_PCI";
    EVENT_EXT_INT = 0x0, "XEN_DMOP_EVENT_ext_int";
    EVENT_NMI = 0x2, "XEN_DMOP_EVENT_nmi";
    EVENT_HW_EXC = 0x3, "XEN_DMOP_EVENT_hw_exc";
    EVENT_SW_INT = 0x4, "XEN_DMOP_EVENT_sw_int";
    EVENT_PRI_SW_EXC = 0x5, "XEN_DMOP_EVENT_pri_sw_exc";
    EVENT_SW_EXC = 0x6, "XEN_DMOP_EVENT_sw_exc";
    IOREQ_MEM_ACCESS_READ = 0x1, "XEN_DMOP_IOREQ_MEM_ACCESS_READ";
    IOREQ_MEM_ACCESS_WRITE = 0x2, "XEN_DMOP_IOREQ_MEM_ACCESS_WRITE";
    MEM_CACHEATTR_UC = 0x0, "XEN_DMOP_MEM_CACHEATTR_UC";
    MEM_CACHEATTR_WC = 0x1, "XEN_DMOP_MEM_CACHEATTR_WC";
    MEM_CACHEATTR_WT = 0x4, "XEN_DMOP_MEM_CACHEATTR_WT";
    MEM_CACHEATTR_WP = 0x5, "XEN_DMOP_MEM_CACHEATTR_WP";
    MEM_CACHEATTR_WB = 0x6, "XEN_DMOP_MEM_CACHEATTR_WB";
    MEM_CACHEATTR_UCM = 0x7, "XEN_DMOP_MEM_CACHEATTR_UCM";
    DELETE_MEM_CACHEATTR = 0xffff_ffff, "XEN_DMOP_DELETE_MEM_CACHEATTR";
} }

abi_structs! { LAYOUT {
    /// A call.
    struct DmOp = "struct xen_dm_op", 32 {
        0 => op: u32,
        4 => pad: u32,
        8 => u: Payload<3>,
    }
    /// A buffer in the caller's memory.
    struct Buf = "struct xen_dm_op_buf", 16 {
        0 => h: GuestHandle<u8>,
        8 => size: u64,
    }
    /// Creates a server; `id` is out.
    struct CreateIoreqServer = "struct xen_dm_op_create_ioreq_server", 6 {
        0 => handle_bufioreq: u8,
        1 => pad: [u8; 3],
        4 => id: u16,
    }
    /// Where the pages of a server are.
    struct GetIoreqServerInfo = "struct xen_dm_op_get_ioreq_server_info", 24 {
        0 => id: u16,
        2 => flags: u16,
        4 => bufioreq_port: Port,
        8 => ioreq_gfn: u64,
        16 => bufioreq_gfn: u64,
    }
    /// A range of ports, memory or PCI functions.
    struct IoreqServerRange = "struct xen_dm_op_ioreq_server_range", 24 {
        0 => id: u16,
        2 => pad: u16,
        4 => r#type: u32,
        8 => start: u64,
        16 => end: u64,
    }
    /// Turns a server on or off.
    struct SetIoreqServerState = "struct xen_dm_op_set_ioreq_server_state", 4 {
        0 => id: u16,
        2 => enabled: u8,
        3 => pad: u8,
    }
    /// Destroys a server.
    struct DestroyIoreqServer = "struct xen_dm_op_destroy_ioreq_server", 4 {
        0 => id: u16,
        2 => pad: u16,
    }
    /// Which frame-buffer pages changed?
    struct TrackDirtyVram = "struct xen_dm_op_track_dirty_vram", 16 {
        0 => nr: u32,
        4 => pad: u32,
        8 => first_pfn: u64,
    }
    /// Drives a PCI interrupt pin.
    struct SetPciIntxLevel = "struct xen_dm_op_set_pci_intx_level", 6 {
        0 => domain: u16,
        2 => bus: u8,
        3 => device: u8,
        4 => intx: u8,
        5 => level: u8,
    }
    /// Drives an ISA interrupt.
    struct SetIsaIrqLevel = "struct xen_dm_op_set_isa_irq_level", 2 {
        0 => isa_irq: u8,
        1 => level: u8,
    }
    /// Routes a PCI link.
    struct SetPciLinkRoute = "struct xen_dm_op_set_pci_link_route", 2 {
        0 => link: u8,
        1 => isa_irq: u8,
    }
    /// Marks pages as dirty.
    struct ModifiedMemory = "struct xen_dm_op_modified_memory", 8 {
        0 => nr_extents: u32,
        4 => opaque: u32,
    }
    /// Pages to mark.
    struct ModifiedMemoryExtent = "struct xen_dm_op_modified_memory_extent", 16 {
        0 => nr: u32,
        4 => pad: u32,
        8 => first_pfn: u64,
    }
    /// Sets the kind of pages.
    struct SetMemType = "struct xen_dm_op_set_mem_type", 16 {
        0 => nr: u32,
        4 => mem_type: u16,
        6 => pad: u16,
        8 => first_pfn: u64,
    }
    /// Injects an event.
    struct InjectEvent = "struct xen_dm_op_inject_event", 24 {
        0 => vcpuid: u32,
        4 => vector: u8,
        5 => r#type: u8,
        6 => insn_len: u8,
        7 => pad0: u8,
        8 => error_code: u32,
        12 => pad1: u32,
        16 => cr2: u64,
    }
    /// Injects an MSI.
    struct InjectMsi = "struct xen_dm_op_inject_msi", 16 {
        0 => data: u32,
        4 => pad: u32,
        8 => addr: u64,
    }
    /// Sends accesses to a kind of memory to a server.
    struct MapMemTypeToIoreqServer = "struct xen_dm_op_map_mem_type_to_ioreq_server", 16 {
        0 => id: u16,
        2 => r#type: u16,
        4 => flags: u32,
        8 => opaque: u64,
    }
    /// Shuts the domain down.
    struct RemoteShutdown = "struct xen_dm_op_remote_shutdown", 4 {
        0 => reason: u32,
    }
    /// Moves pages.
    struct RelocateMemory = "struct xen_dm_op_relocate_memory", 24 {
        0 => size: u32,
        4 => pad: u32,
        8 => src_gfn: u64,
        16 => dst_gfn: u64,
    }
    /// Pins cache attributes.
    struct PinMemoryCacheattr = "struct xen_dm_op_pin_memory_cacheattr", 24 {
        0 => start: u64,
        8 => end: u64,
        16 => r#type: u32,
        20 => pad: u32,
    }
    /// Drives an interrupt (not on x86).
    struct SetIrqLevel = "struct xen_dm_op_set_irq_level", 8 {
        0 => irq: u32,
        4 => level: u8,
        5 => pad: [u8; 3],
    }
    /// Asks for the number of vcpus.
    struct NrVcpus = "struct xen_dm_op_nr_vcpus", 4 {
        0 => vcpus: u32,
    }
} }

union_accessors! { DmOp {
    create_ioreq_server, set_create_ioreq_server: CreateIoreqServer;
    get_ioreq_server_info, set_get_ioreq_server_info: GetIoreqServerInfo;
    ioreq_server_range, set_ioreq_server_range: IoreqServerRange;
    set_ioreq_server_state, set_set_ioreq_server_state: SetIoreqServerState;
    destroy_ioreq_server, set_destroy_ioreq_server: DestroyIoreqServer;
    track_dirty_vram, set_track_dirty_vram: TrackDirtyVram;
    set_pci_intx_level, set_set_pci_intx_level: SetPciIntxLevel;
    set_isa_irq_level, set_set_isa_irq_level: SetIsaIrqLevel;
    set_pci_link_route, set_set_pci_link_route: SetPciLinkRoute;
    modified_memory, set_modified_memory: ModifiedMemory;
    set_mem_type, set_set_mem_type: SetMemType;
    inject_event, set_inject_event: InjectEvent;
    inject_msi, set_inject_msi: InjectMsi;
    map_mem_type_to_ioreq_server, set_map_mem_type_to_ioreq_server: MapMemTypeToIoreqServer;
    remote_shutdown, set_remote_shutdown: RemoteShutdown;
    relocate_memory, set_relocate_memory: RelocateMemory;
    pin_memory_cacheattr, set_pin_memory_cacheattr: PinMemoryCacheattr;
} }
