//! `xenpmu_op` numbers (`public/pmu.h`).
use crate::handle::Payload32;

consts! { OPS: u32 {
    MODE_GET = 0, "XENPMU_mode_get";
    MODE_SET = 1, "XENPMU_mode_set";
    FEATURE_GET = 2, "XENPMU_feature_get";
    FEATURE_SET = 3, "XENPMU_feature_set";
    INIT = 4, "XENPMU_init";
    FINISH = 5, "XENPMU_finish";
    LVTPC_SET = 6, "XENPMU_lvtpc_set";
    FLUSH = 7, "XENPMU_flush";
} }

consts! { CONSTANTS: u32 {
    VER_MAJ = 0, "XENPMU_VER_MAJ";
    VER_MIN = 1, "XENPMU_VER_MIN";
    MODE_OFF = 0, "XENPMU_MODE_OFF";
    MODE_SELF = 1, "XENPMU_MODE_SELF";
    MODE_HV = 2, "XENPMU_MODE_HV";
    MODE_ALL = 4, "XENPMU_MODE_ALL";
    FEATURE_INTEL_BTS = 1, "XENPMU_FEATURE_INTEL_BTS";
    FEATURE_IPC_ONLY = 2, "XENPMU_FEATURE_IPC_ONLY";
    FEATURE_ARCH_ONLY = 4, "XENPMU_FEATURE_ARCH_ONLY";
} }

abi_structs! { LAYOUT {
    /// Argument of the call.
    struct Params = "struct xen_pmu_params", 24 {
        0 => version: Payload32<2>,
        8 => val: u64,
        16 => vcpu: u32,
        20 => pad: u32,
    }
} }
