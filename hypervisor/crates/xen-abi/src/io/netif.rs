//! Network devices (`io/netif.h`): two rings, transmit and receive, seen from the front end.
use crate::types::GrantRef;

consts! { FLAGS: u16 {
    NETTXF_CSUM_BLANK = 0x1, "NETTXF_csum_blank";
    NETTXF_DATA_VALIDATED = 0x2, "NETTXF_data_validated";
    NETTXF_MORE_DATA = 0x4, "NETTXF_more_data";
    NETTXF_EXTRA_INFO = 0x8, "NETTXF_extra_info";
    NETRXF_DATA_VALIDATED = 0x1, "NETRXF_data_validated";
    NETRXF_CSUM_BLANK = 0x2, "NETRXF_csum_blank";
    NETRXF_MORE_DATA = 0x4, "NETRXF_more_data";
    NETRXF_EXTRA_INFO = 0x8, "NETRXF_extra_info";
    NETRXF_GSO_PREFIX = 0x10, "NETRXF_gso_prefix";
} }

consts! { STATUSES: i16 {
    RSP_DROPPED = -2, "NETIF_RSP_DROPPED";
    RSP_ERROR = -1, "NETIF_RSP_ERROR";
    RSP_OKAY = 0, "NETIF_RSP_OKAY";
    RSP_NULL = 1, "NETIF_RSP_NULL";
} }

consts! { EXTRAS: u8 {
    EXTRA_TYPE_NONE = 0, "XEN_NETIF_EXTRA_TYPE_NONE";
    EXTRA_TYPE_GSO = 1, "XEN_NETIF_EXTRA_TYPE_GSO";
    EXTRA_TYPE_MCAST_ADD = 2, "XEN_NETIF_EXTRA_TYPE_MCAST_ADD";
    EXTRA_TYPE_MCAST_DEL = 3, "XEN_NETIF_EXTRA_TYPE_MCAST_DEL";
    EXTRA_TYPE_HASH = 4, "XEN_NETIF_EXTRA_TYPE_HASH";
    EXTRA_TYPE_MAX = 5, "XEN_NETIF_EXTRA_TYPE_MAX";
    EXTRA_FLAG_MORE = 1, "XEN_NETIF_EXTRA_FLAG_MORE";
    GSO_TYPE_NONE = 0, "XEN_NETIF_GSO_TYPE_NONE";
    GSO_TYPE_TCPV4 = 1, "XEN_NETIF_GSO_TYPE_TCPV4";
    GSO_TYPE_TCPV6 = 2, "XEN_NETIF_GSO_TYPE_TCPV6";
} }

consts! { CONSTANTS: u32 {
    NR_SLOTS_MIN = 18, "XEN_NETIF_NR_SLOTS_MIN";
    MAX_TX_SIZE = 65535, "XEN_NETIF_MAX_TX_SIZE";
} }

abi_structs! { LAYOUT {
    /// Part of a frame to send.
    struct TxRequest = "struct netif_tx_request", 12 {
        0 => gref: GrantRef,
        4 => offset: u16,
        6 => flags: u16,
        8 => id: u16,
        10 => size: u16,
    }
    /// It was sent.
    struct TxResponse = "struct netif_tx_response", 4 {
        0 => id: u16,
        2 => status: i16,
    }
    /// A page to receive into.
    struct RxRequest = "struct netif_rx_request", 8 {
        0 => id: u16,
        2 => pad: u16,
        4 => gref: GrantRef,
    }
    /// It holds part of a frame; the status is its length.
    struct RxResponse = "struct netif_rx_response", 8 {
        0 => id: u16,
        2 => offset: u16,
        4 => flags: u16,
        6 => status: i16,
    }
    /// Follows a request: segmentation, multicast, hash.
    struct ExtraInfo = "struct netif_extra_info", 8 {
        0 => r#type: u8,
        1 => flags: u8,
        2 => u: [u8; 6],
    }
} }
