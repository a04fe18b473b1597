//! Core constants (`public/xen.h`): virtual interrupts, MMU commands, VM assists, console I/O, start-of-day flags.
//!
//! The structs that go with them are in [`shared`](crate::shared) [`mmu`](crate::mmu), [`start_info`](crate::start_info) and
//! [`arch_x86`](crate::arch_x86), all re-exported here.
use crate::handle::GuestHandle;

pub use crate::arch_x86::*;
pub use crate::handle::DomainHandle;
pub use crate::mmu::*;
pub use crate::shared::*;
pub use crate::start_info::*;

abi_structs! { LAYOUT {
    /// A bitmap in the caller's memory.
    struct XenctlBitmap = "struct xenctl_bitmap", 16 {
        0 => bitmap: GuestHandle<u8>,
        /// Bits, not bytes, the buffer holds.
        8 => nr_bits: u32,
        12 => _pad12: u32,
    }
} }

consts! { VIRQS: u32 {
    /// Per vcpu: its timer fired.
    VIRQ_TIMER = 0, "VIRQ_TIMER";
    /// Per vcpu: dump debugging state.
    VIRQ_DEBUG = 1, "VIRQ_DEBUG";
    /// Dom0: input on the emergency console.
    VIRQ_CONSOLE = 2, "VIRQ_CONSOLE";
    /// Dom0: a domain changed state (shutdown, died).
    VIRQ_DOM_EXC = 3, "VIRQ_DOM_EXC";
    VIRQ_TBUF = 4, "VIRQ_TBUF";
    VIRQ_DEBUGGER = 6, "VIRQ_DEBUGGER";
    VIRQ_XENOPROF = 7, "VIRQ_XENOPROF";
    VIRQ_CON_RING = 8, "VIRQ_CON_RING";
    VIRQ_PCPU_STATE = 9, "VIRQ_PCPU_STATE";
    VIRQ_MEM_EVENT = 10, "VIRQ_MEM_EVENT";
    VIRQ_ARGO = 11, "VIRQ_ARGO";
    VIRQ_ENOMEM = 12, "VIRQ_ENOMEM";
    VIRQ_XENPMU = 13, "VIRQ_XENPMU";
    VIRQ_ARCH_0 = 16, "VIRQ_ARCH_0";
    VIRQ_ARCH_1 = 17, "VIRQ_ARCH_1";
    VIRQ_ARCH_2 = 18, "VIRQ_ARCH_2";
    VIRQ_ARCH_3 = 19, "VIRQ_ARCH_3";
    VIRQ_ARCH_4 = 20, "VIRQ_ARCH_4";
    VIRQ_ARCH_5 = 21, "VIRQ_ARCH_5";
    VIRQ_ARCH_6 = 22, "VIRQ_ARCH_6";
    VIRQ_ARCH_7 = 23, "VIRQ_ARCH_7";
    NR_VIRQS = 24, "NR_VIRQS";
} }

consts! { CONSOLEIO: u32 {
    CONSOLEIO_WRITE = 0, "CONSOLEIO_write";
    CONSOLEIO_READ = 1, "CONSOLEIO_read";
} }

consts! { VM_ASSISTS: u32 {
    VMASST_CMD_ENABLE = 0, "VMASST_CMD_enable";
    VMASST_CMD_DISABLE = 1, "VMASST_CMD_disable";
    VMASST_TYPE_4GB_SEGMENTS = 0, "VMASST_TYPE_4gb_segments";
    VMASST_TYPE_4GB_SEGMENTS_NOTIFY = 1, "VMASST_TYPE_4gb_segments_notify";
    /// Emulate direct writes to page tables.
    VMASST_TYPE_WRITABLE_PAGETABLES = 2, "VMASST_TYPE_writable_pagetables";
    VMASST_TYPE_PAE_EXTENDED_CR3 = 3, "VMASST_TYPE_pae_extended_cr3";
    /// Guest user mode uses the real IOPL rules.
    VMASST_TYPE_ARCHITECTURAL_IOPL = 4, "VMASST_TYPE_architectural_iopl";
    /// Set `XEN_RUNSTATE_UPDATE` while a runstate area is being written.
    VMASST_TYPE_RUNSTATE_UPDATE_FLAG = 5, "VMASST_TYPE_runstate_update_flag";
    /// Hide the M2P from guest user mode.
    VMASST_TYPE_M2P_STRICT = 32, "VMASST_TYPE_m2p_strict";
} }
