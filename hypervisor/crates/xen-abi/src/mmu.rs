//! PV memory management calls (`public/xen.h`): page-table updates, extended MMU operations, multicalls.

consts! { MMU_COMMANDS: u32 {
    /// Low two bits of [`MmuUpdate::ptr`]: a checked page-table write.
    MMU_NORMAL_PT_UPDATE = 0, "MMU_NORMAL_PT_UPDATE";
    /// Set the M2P entry of the frame at `ptr`.
    MMU_MACHPHYS_UPDATE = 1, "MMU_MACHPHYS_UPDATE";
    /// A checked page-table write that ORs in the present Accessed and Dirty bits.
    MMU_PT_UPDATE_PRESERVE_AD = 2, "MMU_PT_UPDATE_PRESERVE_AD";
    MMU_PT_UPDATE_NO_TRANSLATE = 3, "MMU_PT_UPDATE_NO_TRANSLATE";
} }

consts! { MMUEXT_COMMANDS: u32 {
    MMUEXT_PIN_L1_TABLE = 0, "MMUEXT_PIN_L1_TABLE";
    MMUEXT_PIN_L2_TABLE = 1, "MMUEXT_PIN_L2_TABLE";
    MMUEXT_PIN_L3_TABLE = 2, "MMUEXT_PIN_L3_TABLE";
    MMUEXT_PIN_L4_TABLE = 3, "MMUEXT_PIN_L4_TABLE";
    MMUEXT_UNPIN_TABLE = 4, "MMUEXT_UNPIN_TABLE";
    MMUEXT_NEW_BASEPTR = 5, "MMUEXT_NEW_BASEPTR";
    MMUEXT_TLB_FLUSH_LOCAL = 6, "MMUEXT_TLB_FLUSH_LOCAL";
    MMUEXT_INVLPG_LOCAL = 7, "MMUEXT_INVLPG_LOCAL";
    MMUEXT_TLB_FLUSH_MULTI = 8, "MMUEXT_TLB_FLUSH_MULTI";
    MMUEXT_INVLPG_MULTI = 9, "MMUEXT_INVLPG_MULTI";
    MMUEXT_TLB_FLUSH_ALL = 10, "MMUEXT_TLB_FLUSH_ALL";
    MMUEXT_INVLPG_ALL = 11, "MMUEXT_INVLPG_ALL";
    MMUEXT_FLUSH_CACHE = 12, "MMUEXT_FLUSH_CACHE";
    MMUEXT_SET_LDT = 13, "MMUEXT_SET_LDT";
    MMUEXT_NEW_USER_BASEPTR = 15, "MMUEXT_NEW_USER_BASEPTR";
    MMUEXT_CLEAR_PAGE = 16, "MMUEXT_CLEAR_PAGE";
    MMUEXT_COPY_PAGE = 17, "MMUEXT_COPY_PAGE";
    MMUEXT_FLUSH_CACHE_GLOBAL = 18, "MMUEXT_FLUSH_CACHE_GLOBAL";
    MMUEXT_MARK_SUPER = 19, "MMUEXT_MARK_SUPER";
    MMUEXT_UNMARK_SUPER = 20, "MMUEXT_UNMARK_SUPER";
} }

consts! { UVMF: u64 {
    UVMF_NONE = 0, "UVMF_NONE";
    UVMF_TLB_FLUSH = 1, "UVMF_TLB_FLUSH";
    UVMF_INVLPG = 2, "UVMF_INVLPG";
    UVMF_FLUSHTYPE_MASK = 3, "UVMF_FLUSHTYPE_MASK";
    /// The flush pointer addresses a vcpu bitmap; the pointer is the remaining bits.
    UVMF_MULTI = 0, "UVMF_MULTI";
    UVMF_LOCAL = 0, "UVMF_LOCAL";
    UVMF_ALL = 4, "UVMF_ALL";
} }

abi_structs! { LAYOUT {
    /// One page-table or M2P update.
    struct MmuUpdate = "struct mmu_update", 16 {
        /// Machine address of the entry; its low two bits are the command.
        0 => ptr: u64,
        /// New entry, or pfn.
        8 => val: u64,
    }
    /// One extended MMU operation.
    struct MmuextOp = "struct mmuext_op", 24 {
        0 => cmd: u32,
        4 => _pad4: u32,
        /// Mfn or linear address, by command.
        8 => arg1: u64,
        /// `nr_ents` (low 32 bits), vcpu mask handle or source mfn, by command.
        16 => arg2: u64,
    }
    /// One call of a batch; `result` is written back.
    struct MulticallEntry = "struct multicall_entry", 64 {
        0 => op: u64,
        8 => result: u64,
        16 => args: [u64; 6],
    }
} }

impl MmuextOp {
    /// `arg2` as an entry count.
    pub const fn nr_ents(&self) -> u32 {
        self.arg2 as u32
    }
}
