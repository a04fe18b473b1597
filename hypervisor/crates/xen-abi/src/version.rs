//! Version and capability queries (`public/version.h`).

consts! { OPS: u32 {
    VERSION = 0, "XENVER_version";
    EXTRAVERSION = 1, "XENVER_extraversion";
    COMPILE_INFO = 2, "XENVER_compile_info";
    CAPABILITIES = 3, "XENVER_capabilities";
    CHANGESET = 4, "XENVER_changeset";
    PLATFORM_PARAMETERS = 5, "XENVER_platform_parameters";
    GET_FEATURES = 6, "XENVER_get_features";
    PAGESIZE = 7, "XENVER_pagesize";
    GUEST_HANDLE = 8, "XENVER_guest_handle";
    COMMANDLINE = 9, "XENVER_commandline";
    BUILD_ID = 10, "XENVER_build_id";
} }

abi_structs! { LAYOUT {
    /// How the hypervisor was built; zero-terminated strings.
    struct CompileInfo = "struct xen_compile_info", 144 {
        0 => compiler: [u8; 64],
        64 => compile_by: [u8; 16],
        80 => compile_domain: [u8; 32],
        112 => compile_date: [u8; 32],
    }
    /// Start of the hypervisor's addresses.
    struct PlatformParameters = "struct xen_platform_parameters", 8 {
        0 => virt_start: u64,
    }
    /// 32 feature bits.
    struct FeatureInfo = "struct xen_feature_info", 8 {
        0 => submap_idx: u32,
        /// Out: bits of [`features`](crate::features).
        4 => submap: u32,
    }
} }

/// Bytes of `xen_extraversion_t`.
pub const EXTRAVERSION_LEN: usize = 16;
/// Bytes of `xen_capabilities_info_t`.
pub const CAPABILITIES_INFO_LEN: usize = 1024;
/// Bytes of `xen_changeset_info_t`.
pub const CHANGESET_INFO_LEN: usize = 64;
/// Bytes of `xen_commandline_t`.
pub const COMMANDLINE_LEN: usize = 1024;
