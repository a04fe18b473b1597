//! Scheduling calls (`public/sched.h`).
use crate::handle::GuestHandle;
use crate::types::{DomId, Port};

consts! { OPS: u32 {
    YIELD = 0, "SCHEDOP_yield";
    BLOCK = 1, "SCHEDOP_block";
    SHUTDOWN = 2, "SCHEDOP_shutdown";
    POLL = 3, "SCHEDOP_poll";
    REMOTE_SHUTDOWN = 4, "SCHEDOP_remote_shutdown";
    SHUTDOWN_CODE = 5, "SCHEDOP_shutdown_code";
    WATCHDOG = 6, "SCHEDOP_watchdog";
    PIN_OVERRIDE = 7, "SCHEDOP_pin_override";
} }

consts! { SHUTDOWN_REASONS: u32 {
    SHUTDOWN_POWEROFF = 0, "SHUTDOWN_poweroff";
    SHUTDOWN_REBOOT = 1, "SHUTDOWN_reboot";
    SHUTDOWN_SUSPEND = 2, "SHUTDOWN_suspend";
    SHUTDOWN_CRASH = 3, "SHUTDOWN_crash";
    SHUTDOWN_WATCHDOG = 4, "SHUTDOWN_watchdog";
    SHUTDOWN_SOFT_RESET = 5, "SHUTDOWN_soft_reset";
    SHUTDOWN_MAX = 5, "SHUTDOWN_MAX";
} }

abi_structs! { LAYOUT {
    /// Stops the calling domain.
    struct Shutdown = "struct sched_shutdown", 4 {
        /// `SHUTDOWN_*`.
        0 => reason: u32,
    }
    /// Blocks until one of some ports is pending.
    struct Poll = "struct sched_poll", 24 {
        0 => ports: GuestHandle<Port>,
        8 => nr_ports: u32,
        12 => _pad12: u32,
        /// System time in nanoseconds; zero for none.
        16 => timeout: u64,
    }
    /// Marks another domain as shut down.
    struct RemoteShutdown = "struct sched_remote_shutdown", 8 {
        0 => domain_id: DomId,
        2 => _pad2: u16,
        4 => reason: u32,
    }
    /// Sets, pets or (timeout zero) stops a watchdog.
    struct Watchdog = "struct sched_watchdog", 8 {
        /// Zero for a new one.
        0 => id: u32,
        /// Seconds.
        4 => timeout: u32,
    }
    /// Pins the calling vcpu; negative to undo.
    struct PinOverride = "struct sched_pin_override", 4 {
        0 => pcpu: i32,
    }
} }
