//! Block devices (`io/blkif.h`, 64-bit layout).
use crate::types::GrantRef;

consts! { OPS: u8 {
    OP_READ = 0, "BLKIF_OP_READ";
    OP_WRITE = 1, "BLKIF_OP_WRITE";
    OP_WRITE_BARRIER = 2, "BLKIF_OP_WRITE_BARRIER";
    OP_FLUSH_DISKCACHE = 3, "BLKIF_OP_FLUSH_DISKCACHE";
    OP_RESERVED_1 = 4, "BLKIF_OP_RESERVED_1";
    OP_DISCARD = 5, "BLKIF_OP_DISCARD";
    OP_INDIRECT = 6, "BLKIF_OP_INDIRECT";
} }

consts! { RESPONSES: i16 {
    RSP_EOPNOTSUPP = -2, "BLKIF_RSP_EOPNOTSUPP";
    RSP_ERROR = -1, "BLKIF_RSP_ERROR";
    RSP_OKAY = 0, "BLKIF_RSP_OKAY";
} }

consts! { CONSTANTS: u32 {
    MAX_SEGMENTS_PER_REQUEST = 11, "BLKIF_MAX_SEGMENTS_PER_REQUEST";
    MAX_INDIRECT_PAGES_PER_REQUEST = 8, "BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST";
    DISCARD_SECURE = 1, "BLKIF_DISCARD_SECURE";
    VDISK_CDROM = 1, "VDISK_CDROM";
    VDISK_REMOVABLE = 2, "VDISK_REMOVABLE";
    VDISK_READONLY = 4, "VDISK_READONLY";
} }

abi_structs! { LAYOUT {
    /// Part of a granted page, in 512-byte sectors, both ends included.
    struct RequestSegment = "struct blkif_request_segment", 8 {
        0 => gref: GrantRef,
        4 => first_sect: u8,
        5 => last_sect: u8,
        6 => _pad6: u16,
    }
    /// Read or write.
    struct Request = "struct blkif_request", 112 {
        0 => operation: u8,
        1 => nr_segments: u8,
        2 => handle: u16,
        4 => _pad4: u32,
        8 => id: u64,
        16 => sector_number: u64,
        24 => seg: [RequestSegment; 11],
    }
    /// Discard.
    struct RequestDiscard = "struct blkif_request_discard", 32 {
        0 => operation: u8,
        1 => flag: u8,
        2 => handle: u16,
        4 => _pad4: u32,
        8 => id: u64,
        16 => sector_number: u64,
        24 => nr_sectors: u64,
    }
    /// Read or write with segments in granted pages.
    struct RequestIndirect = "struct blkif_request_indirect", 64 {
        0 => operation: u8,
        1 => indirect_op: u8,
        2 => nr_segments: u16,
        4 => _pad4: u32,
        8 => id: u64,
        16 => sector_number: u64,
        24 => handle: u16,
        26 => _pad26: u16,
        28 => indirect_grefs: [GrantRef; 8],
        60 => _pad60: u32,
    }
    /// The answer.
    struct Response = "struct blkif_response", 16 {
        0 => id: u64,
        8 => operation: u8,
        9 => _pad9: u8,
        10 => status: i16,
        12 => _pad12: u32,
    }
} }
