//! Entry points of a PV guest (`public/callback.h`).

consts! { OPS: u32 {
    REGISTER = 0, "CALLBACKOP_register";
    UNREGISTER = 1, "CALLBACKOP_unregister";
} }

consts! { TYPES: u16 {
    CALLBACKTYPE_EVENT = 0, "CALLBACKTYPE_event";
    CALLBACKTYPE_FAILSAFE = 1, "CALLBACKTYPE_failsafe";
    CALLBACKTYPE_SYSCALL = 2, "CALLBACKTYPE_syscall";
    CALLBACKTYPE_SYSENTER_DEPRECATED = 3, "CALLBACKTYPE_sysenter_deprecated";
    CALLBACKTYPE_NMI = 4, "CALLBACKTYPE_nmi";
    CALLBACKTYPE_SYSENTER = 5, "CALLBACKTYPE_sysenter";
    CALLBACKTYPE_SYSCALL32 = 7, "CALLBACKTYPE_syscall32";
} }

consts! { FLAGS: u16 {
    CALLBACKF_MASK_EVENTS = 1, "CALLBACKF_mask_events";
} }

abi_structs! { LAYOUT {
    /// Sets an entry point.
    struct Register = "struct callback_register", 16 {
        /// `CALLBACKTYPE_*`.
        0 => r#type: u16,
        2 => flags: u16,
        4 => _pad4: u32,
        8 => address: u64,
    }
    /// Clears an entry point.
    struct Unregister = "struct callback_unregister", 4 {
        0 => r#type: u16,
        2 => _unused: u16,
    }
} }
