//! Power management: frequency and idle states.
use crate::handle::{GuestHandle, Payload, Payload32};

consts! { PM_OPS: u32 {
    PM_OP_SET_SCHED_OPT_SMT = 0x21, "XEN_SYSCTL_pm_op_set_sched_opt_smt";
    PM_OP_GET_MAX_CSTATE = 0x22, "XEN_SYSCTL_pm_op_get_max_cstate";
    PM_OP_SET_MAX_CSTATE = 0x23, "XEN_SYSCTL_pm_op_set_max_cstate";
    PM_OP_SET_VCPU_MIGRATION_DELAY = 0x24, "XEN_SYSCTL_pm_op_set_vcpu_migration_delay";
    PM_OP_GET_VCPU_MIGRATION_DELAY = 0x25, "XEN_SYSCTL_pm_op_get_vcpu_migration_delay";
    PM_OP_ENABLE_TURBO = 0x26, "XEN_SYSCTL_pm_op_enable_turbo";
    PM_OP_DISABLE_TURBO = 0x27, "XEN_SYSCTL_pm_op_disable_turbo";
    GET_CPUFREQ_PARA = 0x11, "GET_CPUFREQ_PARA";
    SET_CPUFREQ_GOV = 0x12, "SET_CPUFREQ_GOV";
    SET_CPUFREQ_PARA = 0x13, "SET_CPUFREQ_PARA";
    GET_CPUFREQ_AVGFREQ = 0x14, "GET_CPUFREQ_AVGFREQ";
    PMSTAT_CATEGORY_MASK = 0xf0, "PMSTAT_CATEGORY_MASK";
    PMSTAT_PX = 0x10, "PMSTAT_PX";
    PMSTAT_CX = 0x20, "PMSTAT_CX";
    PMSTAT_GET_MAX_PX = 0x11, "PMSTAT_get_max_px";
    PMSTAT_GET_PXSTAT = 0x12, "PMSTAT_get_pxstat";
    PMSTAT_RESET_PXSTAT = 0x13, "PMSTAT_reset_pxstat";
    PMSTAT_GET_MAX_CX = 0x21, "PMSTAT_get_max_cx";
    PMSTAT_GET_CXSTAT = 0x22, "PMSTAT_get_cxstat";
    PMSTAT_RESET_CXSTAT = 0x23, "PMSTAT_reset_cxstat";
    CX_UNLIMITED = 0xffff_ffff, "XEN_SYSCTL_CX_UNLIMITED";
    SCALING_MAX_FREQ = 0x1, "SCALING_MAX_FREQ";
    SCALING_MIN_FREQ = 0x2, "SCALING_MIN_FREQ";
    SCALING_SETSPEED = 0x3, "SCALING_SETSPEED";
    SAMPLING_RATE = 0x4, "SAMPLING_RATE";
    UP_THRESHOLD = 0x5, "UP_THRESHOLD";
} }

abi_structs! { LAYOUT_PM {
    /// Counters of a P-state.
    struct PmPxVal = "struct pm_px_val", 24 {
        0 => freq: u64,
        8 => residency: u64,
        16 => count: u64,
    }
    /// P-states of a CPU.
    struct PmPxStat = "struct pm_px_stat", 24 {
        0 => total: u8,
        1 => usable: u8,
        2 => last: u8,
        3 => cur: u8,
        4 => _pad4: u32,
        8 => trans_pt: GuestHandle<u64>,
        16 => pt: GuestHandle<PmPxVal>,
    }
    /// C-states of a CPU.
    struct PmCxStat = "struct pm_cx_stat", 56 {
        0 => nr: u32,
        4 => last: u32,
        8 => idle_time: u64,
        16 => triggers: GuestHandle<u64>,
        24 => residencies: GuestHandle<u64>,
        32 => nr_pc: u32,
        36 => nr_cc: u32,
        40 => pc: GuestHandle<u64>,
        48 => cc: GuestHandle<u64>,
    }
    /// Power statistics.
    struct GetPmstat = "struct xen_sysctl_get_pmstat", 64 {
        /// `PMSTAT_*`.
        0 => r#type: u32,
        4 => cpuid: u32,
        8 => u: Payload<7>,
    }
    /// Frequency parameters of a CPU.
    struct GetCpufreqPara = "struct xen_get_cpufreq_para", 120 {
        0 => cpu_num: u32,
        4 => freq_num: u32,
        8 => gov_num: u32,
        12 => _pad12: u32,
        16 => affected_cpus: GuestHandle<u32>,
        24 => scaling_available_frequencies: GuestHandle<u32>,
        32 => scaling_available_governors: GuestHandle<u8>,
        40 => scaling_driver: [u8; 16],
        56 => cpuinfo_cur_freq: u32,
        60 => cpuinfo_max_freq: u32,
        64 => cpuinfo_min_freq: u32,
        68 => scaling_cur_freq: u32,
        72 => scaling_governor: [u8; 16],
        88 => scaling_max_freq: u32,
        92 => scaling_min_freq: u32,
        96 => u: Payload32<4>,
        112 => turbo_enabled: i32,
        116 => _pad116: u32,
    }
    /// Sets a frequency parameter.
    struct SetCpufreqPara = "struct xen_set_cpufreq_para", 8 {
        0 => ctrl_type: u32,
        4 => ctrl_value: u32,
    }
    /// A power-management command.
    struct PmOp = "struct xen_sysctl_pm_op", 128 {
        0 => cmd: u32,
        4 => cpuid: u32,
        8 => u: Payload<15>,
    }
} }
