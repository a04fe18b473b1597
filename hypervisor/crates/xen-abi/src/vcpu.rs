//! Vcpu calls (`public/vcpu.h`): bring-up, timers, registered areas, runstate.
use crate::types::Gfn;

consts! { OPS: u32 {
    INITIALISE = 0, "VCPUOP_initialise";
    UP = 1, "VCPUOP_up";
    DOWN = 2, "VCPUOP_down";
    IS_UP = 3, "VCPUOP_is_up";
    GET_RUNSTATE_INFO = 4, "VCPUOP_get_runstate_info";
    REGISTER_RUNSTATE_MEMORY_AREA = 5, "VCPUOP_register_runstate_memory_area";
    SET_PERIODIC_TIMER = 6, "VCPUOP_set_periodic_timer";
    STOP_PERIODIC_TIMER = 7, "VCPUOP_stop_periodic_timer";
    SET_SINGLESHOT_TIMER = 8, "VCPUOP_set_singleshot_timer";
    STOP_SINGLESHOT_TIMER = 9, "VCPUOP_stop_singleshot_timer";
    REGISTER_VCPU_INFO = 10, "VCPUOP_register_vcpu_info";
    SEND_NMI = 11, "VCPUOP_send_nmi";
    GET_PHYSID = 12, "VCPUOP_get_physid";
    REGISTER_VCPU_TIME_MEMORY_AREA = 13, "VCPUOP_register_vcpu_time_memory_area";
} }

consts! { RUNSTATES: i32 {
    RUNSTATE_RUNNING = 0, "RUNSTATE_running";
    RUNSTATE_RUNNABLE = 1, "RUNSTATE_runnable";
    RUNSTATE_BLOCKED = 2, "RUNSTATE_blocked";
    RUNSTATE_OFFLINE = 3, "RUNSTATE_offline";
} }

consts! { RUNSTATE_FLAGS: u64 {
    /// In `state_entry_time`: the area is being written.
    RUNSTATE_UPDATE = 0x8000_0000_0000_0000, "XEN_RUNSTATE_UPDATE";
} }

consts! { TIMER_FLAGS: u32 {
    /// Fail with `ETIME` when the timeout has passed.
    SSHOTTMR_FUTURE = 1, "VCPU_SSHOTTMR_future";
} }

abi_structs! { LAYOUT {
    /// Where the time of a vcpu went.
    struct RunstateInfo = "struct vcpu_runstate_info", 48 {
        /// `RUNSTATE_*`.
        0 => state: i32,
        4 => _pad4: u32,
        8 => state_entry_time: u64,
        /// Nanoseconds in each state.
        16 => time: [u64; 4],
    }
    /// Where to keep a [`RunstateInfo`] current.
    struct RegisterRunstateMemoryArea = "struct vcpu_register_runstate_memory_area", 8 {
        /// Virtual address.
        0 => addr: u64,
    }
    /// Period of the timer that raises `VIRQ_TIMER`.
    struct SetPeriodicTimer = "struct vcpu_set_periodic_timer", 8 {
        0 => period_ns: u64,
    }
    /// One `VIRQ_TIMER` at a system time.
    struct SetSingleshotTimer = "struct vcpu_set_singleshot_timer", 16 {
        0 => timeout_abs_ns: u64,
        8 => flags: u32,
        12 => _pad12: u32,
    }
    /// Moves `vcpu_info` into a page of the guest.
    struct RegisterVcpuInfo = "struct vcpu_register_vcpu_info", 16 {
        /// The guest's frame number of it.
        0 => mfn: Gfn,
        8 => offset: u32,
        12 => rsvd: u32,
    }
    /// APIC id (low half) and ACPI id of the CPU a vcpu is pinned to.
    struct GetPhysid = "struct vcpu_get_physid", 8 {
        0 => phys_id: u64,
    }
    /// Where to keep a second `VcpuTimeInfo` current.
    struct RegisterTimeMemoryArea = "struct vcpu_register_time_memory_area", 8 {
        /// Virtual address.
        0 => addr: u64,
    }
} }
