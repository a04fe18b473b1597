//! Grant tables (`public/grant_table.h`): version 1 entries, operations, statuses.
use crate::handle::GuestHandle;
use crate::types::{DomId, GrantRef};

consts! { OPS: u32 {
    MAP_GRANT_REF = 0, "GNTTABOP_map_grant_ref";
    UNMAP_GRANT_REF = 1, "GNTTABOP_unmap_grant_ref";
    SETUP_TABLE = 2, "GNTTABOP_setup_table";
    DUMP_TABLE = 3, "GNTTABOP_dump_table";
    TRANSFER = 4, "GNTTABOP_transfer";
    COPY = 5, "GNTTABOP_copy";
    QUERY_SIZE = 6, "GNTTABOP_query_size";
    UNMAP_AND_REPLACE = 7, "GNTTABOP_unmap_and_replace";
    SET_VERSION = 8, "GNTTABOP_set_version";
    GET_STATUS_FRAMES = 9, "GNTTABOP_get_status_frames";
    GET_VERSION = 10, "GNTTABOP_get_version";
    SWAP_GRANT_REF = 11, "GNTTABOP_swap_grant_ref";
    CACHE_FLUSH = 12, "GNTTABOP_cache_flush";
} }

consts! { GTF: u16 {
    GTF_INVALID = 0x0, "GTF_invalid";
    GTF_PERMIT_ACCESS = 0x1, "GTF_permit_access";
    GTF_ACCEPT_TRANSFER = 0x2, "GTF_accept_transfer";
    GTF_TRANSITIVE = 0x3, "GTF_transitive";
    GTF_TYPE_MASK = 0x3, "GTF_type_mask";
    GTF_READONLY = 0x4, "GTF_readonly";
    /// The grant is mapped.
    GTF_READING = 0x8, "GTF_reading";
    /// The grant is mapped writable.
    GTF_WRITING = 0x10, "GTF_writing";
    GTF_PWT = 0x20, "GTF_PWT";
    GTF_PCD = 0x40, "GTF_PCD";
    GTF_PAT = 0x80, "GTF_PAT";
    GTF_SUB_PAGE = 0x100, "GTF_sub_page";
    GTF_TRANSFER_COMMITTED = 0x4, "GTF_transfer_committed";
    GTF_TRANSFER_COMPLETED = 0x8, "GTF_transfer_completed";
} }

consts! { RESERVED: u32 {
    NR_RESERVED_ENTRIES = 8, "GNTTAB_NR_RESERVED_ENTRIES";
    RESERVED_CONSOLE = 0, "GNTTAB_RESERVED_CONSOLE";
    RESERVED_XENSTORE = 1, "GNTTAB_RESERVED_XENSTORE";
} }

consts! { GNTMAP: u32 {
    /// Map for device access.
    GNTMAP_DEVICE_MAP = 0x1, "GNTMAP_device_map";
    /// Map for CPU access.
    GNTMAP_HOST_MAP = 0x2, "GNTMAP_host_map";
    GNTMAP_READONLY = 0x4, "GNTMAP_readonly";
    /// Map for user mode.
    GNTMAP_APPLICATION_MAP = 0x8, "GNTMAP_application_map";
    /// `host_addr` is the machine address of a page-table entry.
    GNTMAP_CONTAINS_PTE = 0x10, "GNTMAP_contains_pte";
    GNTMAP_GUEST_AVAIL_MASK = 0xffff_0000, "GNTMAP_guest_avail_mask";
} }

consts! { GNTCOPY: u16 {
    GNTCOPY_SOURCE_GREF = 1, "GNTCOPY_source_gref";
    GNTCOPY_DEST_GREF = 2, "GNTCOPY_dest_gref";
} }

consts! { CACHE: u32 {
    CACHE_CLEAN = 0x1, "GNTTAB_CACHE_CLEAN";
    CACHE_INVAL = 0x2, "GNTTAB_CACHE_INVAL";
    CACHE_SOURCE_GREF = 0x8000_0000, "GNTTAB_CACHE_SOURCE_GREF";
} }

consts! { GNTST: i16 {
    GNTST_OKAY = 0, "GNTST_okay";
    GNTST_GENERAL_ERROR = -1, "GNTST_general_error";
    GNTST_BAD_DOMAIN = -2, "GNTST_bad_domain";
    GNTST_BAD_GNTREF = -3, "GNTST_bad_gntref";
    GNTST_BAD_HANDLE = -4, "GNTST_bad_handle";
    GNTST_BAD_VIRT_ADDR = -5, "GNTST_bad_virt_addr";
    GNTST_BAD_DEV_ADDR = -6, "GNTST_bad_dev_addr";
    GNTST_NO_DEVICE_SPACE = -7, "GNTST_no_device_space";
    GNTST_PERMISSION_DENIED = -8, "GNTST_permission_denied";
    GNTST_BAD_PAGE = -9, "GNTST_bad_page";
    GNTST_BAD_COPY_ARG = -10, "GNTST_bad_copy_arg";
    GNTST_ADDRESS_TOO_BIG = -11, "GNTST_address_too_big";
    GNTST_EAGAIN = -12, "GNTST_eagain";
    GNTST_NO_SPACE = -13, "GNTST_no_space";
} }

abi_structs! { LAYOUT {
    /// One entry of a version 1 table, shared with the guest.
    struct GrantEntryV1 = "struct grant_entry_v1", 8 {
        0 => flags: u16,
        2 => domid: DomId,
        /// Gfn granted.
        4 => frame: u32,
    }
    /// Maps a foreign grant.
    struct MapGrantRef = "struct gnttab_map_grant_ref", 32 {
        /// Address to map at, or of the page-table entry to write.
        0 => host_addr: u64,
        8 => flags: u32,
        12 => r#ref: GrantRef,
        16 => dom: DomId,
        /// Out: `GNTST_*`.
        18 => status: i16,
        /// Out.
        20 => handle: u32,
        /// Out.
        24 => dev_bus_addr: u64,
    }
    /// Undoes a mapping.
    struct UnmapGrantRef = "struct gnttab_unmap_grant_ref", 24 {
        0 => host_addr: u64,
        8 => dev_bus_addr: u64,
        16 => handle: u32,
        /// Out: `GNTST_*`.
        20 => status: i16,
        22 => _pad22: u16,
    }
    /// Sets a table's size and asks for its frames.
    struct SetupTable = "struct gnttab_setup_table", 24 {
        0 => dom: DomId,
        2 => _pad2: u16,
        4 => nr_frames: u32,
        /// Out: `GNTST_*`.
        8 => status: i16,
        10 => _pad10: [u8; 6],
        /// Out: `nr_frames` frame numbers.
        16 => frame_list: GuestHandle<u64>,
    }
    /// Writes a table to the log.
    struct DumpTable = "struct gnttab_dump_table", 4 {
        0 => dom: DomId,
        2 => status: i16,
    }
    /// Gives a page away.
    struct Transfer = "struct gnttab_transfer", 24 {
        0 => mfn: u64,
        8 => domid: DomId,
        10 => _pad10: u16,
        12 => r#ref: GrantRef,
        16 => status: i16,
        18 => _pad18: [u8; 6],
    }
    /// One end of a copy.
    struct CopyPtr = "struct gnttab_copy_ptr", 16 {
        /// Grant reference (low 32 bits) or gmfn.
        0 => u: u64,
        8 => domid: DomId,
        10 => offset: u16,
        12 => _pad12: u32,
    }
    /// Copies within one page to one page, each own or granted.
    struct Copy = "struct gnttab_copy", 40 {
        0 => source: CopyPtr,
        16 => dest: CopyPtr,
        32 => len: u16,
        34 => flags: u16,
        /// Out: `GNTST_*`.
        36 => status: i16,
        38 => _pad38: u16,
    }
    /// Asks for a table's present and greatest size.
    struct QuerySize = "struct gnttab_query_size", 16 {
        0 => dom: DomId,
        2 => _pad2: u16,
        /// Out.
        4 => nr_frames: u32,
        /// Out.
        8 => max_nr_frames: u32,
        /// Out: `GNTST_*`.
        12 => status: i16,
        14 => _pad14: u16,
    }
    /// Undoes a mapping and moves the mapping of `new_addr` into its place.
    struct UnmapAndReplace = "struct gnttab_unmap_and_replace", 24 {
        0 => host_addr: u64,
        8 => new_addr: u64,
        16 => handle: u32,
        20 => status: i16,
        22 => _pad22: u16,
    }
    /// Chooses the version of the own table.
    struct SetVersion = "struct gnttab_set_version", 4 {
        /// In and out.
        0 => version: u32,
    }
    /// Asks for the status frames of a version 2 table.
    struct GetStatusFrames = "struct gnttab_get_status_frames", 16 {
        0 => nr_frames: u32,
        4 => dom: DomId,
        6 => status: i16,
        8 => frame_list: GuestHandle<u64>,
    }
    /// Asks for the version of a domain's table.
    struct GetVersion = "struct gnttab_get_version", 8 {
        0 => dom: DomId,
        2 => pad: u16,
        4 => version: u32,
    }
    /// Exchanges two entries.
    struct SwapGrantRef = "struct gnttab_swap_grant_ref", 12 {
        0 => ref_a: GrantRef,
        4 => ref_b: GrantRef,
        8 => status: i16,
        10 => _pad10: u16,
    }
    /// Flushes caches for a page.
    struct CacheFlush = "struct gnttab_cache_flush", 16 {
        /// Bus address or grant reference.
        0 => a: u64,
        8 => offset: u16,
        10 => length: u16,
        12 => op: u32,
    }
} }
