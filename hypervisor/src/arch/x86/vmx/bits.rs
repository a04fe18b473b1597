//! Bits of the VMCS's control words and of the words that describe events (Intel SDM vol. 3, 25.6 to 25.9).
#![allow(missing_docs)]

/// Of RFLAGS: stop after each instruction.
pub const FLAG_TF: u64 = 1 << 8;
/// Of DEBUGCTL: stop after each branch instead.
pub const BRANCHES: u64 = 1 << 1;
/// Pending debug exceptions: a single step.
pub const SINGLE_STEP: u64 = 1 << 14;

pub mod pin {
    pub const INTERRUPTS: u32 = 1 << 0;
    pub const NMIS: u32 = 1 << 3;
    pub const VIRTUAL_NMIS: u32 = 1 << 5;
    pub const TIMER: u32 = 1 << 6;
    pub const ALL: u32 = INTERRUPTS | NMIS | VIRTUAL_NMIS;
}

pub mod cpu {
    pub const INTERRUPT_WINDOW: u32 = 1 << 2;
    pub const TSC_OFFSET: u32 = 1 << 3;
    pub const HLT: u32 = 1 << 7;
    pub const MWAIT: u32 = 1 << 10;
    pub const RDPMC: u32 = 1 << 11;
    pub const RDTSC: u32 = 1 << 12;
    pub const TPR_SHADOW: u32 = 1 << 21;
    pub const NMI_WINDOW: u32 = 1 << 22;
    pub const IO_BITMAPS: u32 = 1 << 25;
    pub const MSR_BITMAP: u32 = 1 << 28;
    pub const MONITOR: u32 = 1 << 29;
    pub const SECONDARY: u32 = 1 << 31;
    /// The two windows are opened when they are wanted, and so is RDTSC.
    pub const ALL: u32 = TSC_OFFSET
        | HLT
        | MWAIT
        | RDPMC
        | TPR_SHADOW
        | IO_BITMAPS
        | MSR_BITMAP
        | MONITOR
        | SECONDARY;
}

pub mod cpu2 {
    pub const EPT: u32 = 1 << 1;
    pub const RDTSCP: u32 = 1 << 3;
    pub const VPID: u32 = 1 << 5;
    pub const WBINVD: u32 = 1 << 6;
    pub const UNRESTRICTED: u32 = 1 << 7;
    /// PAUSE in a tight loop is an exit.
    pub const PAUSE_LOOP: u32 = 1 << 10;
    pub const INVPCID: u32 = 1 << 12;
    pub const TSC_SCALING: u32 = 1 << 25;
    pub const ALL: u32 = EPT | VPID | WBINVD | UNRESTRICTED;
}

pub mod exit {
    pub const SAVE_DEBUG: u32 = 1 << 2;
    pub const HOST_64: u32 = 1 << 9;
    pub const SAVE_PAT: u32 = 1 << 18;
    pub const LOAD_PAT: u32 = 1 << 19;
    pub const SAVE_EFER: u32 = 1 << 20;
    pub const LOAD_EFER: u32 = 1 << 21;
    pub const SAVE_TIMER: u32 = 1 << 22;
    pub const ALL: u32 = SAVE_DEBUG | HOST_64 | SAVE_PAT | LOAD_PAT | SAVE_EFER | LOAD_EFER;
}

pub mod entry {
    pub const LOAD_DEBUG: u32 = 1 << 2;
    /// The guest is in long mode; changes with it.
    pub const LONG_MODE: u32 = 1 << 9;
    pub const LOAD_PAT: u32 = 1 << 14;
    pub const LOAD_EFER: u32 = 1 << 15;
    pub const ALL: u32 = LOAD_DEBUG | LOAD_PAT | LOAD_EFER;
}

pub mod event {
    pub const VALID: u64 = 1 << 31;
    pub const ERROR_VALID: u64 = 1 << 11;
    pub const INTERRUPT: u64 = 0;
    pub const NMI: u64 = 2;
    pub const EXCEPTION: u64 = 3;
    /// By INT1.
    pub const PRIVILEGED: u64 = 5;
}

pub mod blocking {
    pub const STI: u64 = 1 << 0;
    pub const MOV_SS: u64 = 1 << 1;
    pub const NMI: u64 = 1 << 3;
}
