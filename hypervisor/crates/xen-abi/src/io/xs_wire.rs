//! The xenstore protocol (`io/xs_wire.h`): messages, over the socket or the shared ring.
use crate::errno::Errno;

consts! { TYPES: u32 {
    CONTROL = 0, "XS_CONTROL";
    DIRECTORY = 1, "XS_DIRECTORY";
    READ = 2, "XS_READ";
    GET_PERMS = 3, "XS_GET_PERMS";
    WATCH = 4, "XS_WATCH";
    UNWATCH = 5, "XS_UNWATCH";
    TRANSACTION_START = 6, "XS_TRANSACTION_START";
    TRANSACTION_END = 7, "XS_TRANSACTION_END";
    INTRODUCE = 8, "XS_INTRODUCE";
    RELEASE = 9, "XS_RELEASE";
    GET_DOMAIN_PATH = 10, "XS_GET_DOMAIN_PATH";
    WRITE = 11, "XS_WRITE";
    MKDIR = 12, "XS_MKDIR";
    RM = 13, "XS_RM";
    SET_PERMS = 14, "XS_SET_PERMS";
    /// Unasked: path and token.
    WATCH_EVENT = 15, "XS_WATCH_EVENT";
    /// The payload is a zero-terminated name of [`ERROR_NAMES`].
    ERROR = 16, "XS_ERROR";
    IS_DOMAIN_INTRODUCED = 17, "XS_IS_DOMAIN_INTRODUCED";
    RESUME = 18, "XS_RESUME";
    SET_TARGET = 19, "XS_SET_TARGET";
    RESET_WATCHES = 21, "XS_RESET_WATCHES";
    DIRECTORY_PART = 22, "XS_DIRECTORY_PART";
    TYPE_COUNT = 23, "XS_TYPE_COUNT";
    INVALID = 65535, "XS_INVALID";
} }

consts! { WATCH_EVENT_PARTS: u32 {
    WATCH_PATH = 0, "XS_WATCH_PATH";
    WATCH_TOKEN = 1, "XS_WATCH_TOKEN";
} }

consts! { CONSTANTS: u32 {
    RING_SIZE = 1024, "XENSTORE_RING_SIZE";
    PAYLOAD_MAX = 4096, "XENSTORE_PAYLOAD_MAX";
    ABS_PATH_MAX = 3072, "XENSTORE_ABS_PATH_MAX";
    REL_PATH_MAX = 2048, "XENSTORE_REL_PATH_MAX";
    SERVER_FEATURE_RECONNECTION = 1, "XENSTORE_SERVER_FEATURE_RECONNECTION";
    SERVER_FEATURE_ERROR = 2, "XENSTORE_SERVER_FEATURE_ERROR";
    CONNECTED = 0, "XENSTORE_CONNECTED";
    RECONNECT = 1, "XENSTORE_RECONNECT";
    ERROR_NONE = 0, "XENSTORE_ERROR_NONE";
    ERROR_COMM = 1, "XENSTORE_ERROR_COMM";
    ERROR_RINGIDX = 2, "XENSTORE_ERROR_RINGIDX";
    ERROR_PROTO = 3, "XENSTORE_ERROR_PROTO";
} }

abi_structs! { LAYOUT {
    /// Header of a message.
    struct Sockmsg = "struct xsd_sockmsg", 16 {
        0 => r#type: u32,
        4 => req_id: u32,
        /// Transaction; zero for none.
        8 => tx_id: u32,
        /// Bytes of payload that follow.
        12 => len: u32,
    }
    /// The ring page of a domain.
    struct DomainInterface = "struct xenstore_domain_interface", 2076 {
        0 => req: [u8; 1024],
        1024 => rsp: [u8; 1024],
        2048 => req_cons: u32,
        2052 => req_prod: u32,
        2056 => rsp_cons: u32,
        2060 => rsp_prod: u32,
        2064 => server_features: u32,
        2068 => connection: u32,
        2072 => error: u32,
    }
} }

/// Errors the protocol knows, by the name it sends.
pub const ERROR_NAMES: &[Errno] = &[
    Errno::EINVAL,
    Errno::EACCES,
    Errno::EEXIST,
    Errno::EISDIR,
    Errno::ENOENT,
    Errno::ENOMEM,
    Errno::ENOSPC,
    Errno::EIO,
    Errno::ENOTEMPTY,
    Errno::ENOSYS,
    Errno::EROFS,
    Errno::EBUSY,
    Errno::EAGAIN,
    Errno::EISCONN,
    Errno::E2BIG,
    Errno::EPERM,
];
