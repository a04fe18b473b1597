//! What a PVH guest finds at its start (`arch-x86/hvm/start_info.h`); its address is in `ebx` at entry.

consts! { START_INFO_CONSTANTS: u32 {
    START_MAGIC_VALUE = 0x336e_c578, "XEN_HVM_START_MAGIC_VALUE";
    MEMMAP_TYPE_RAM = 0x1, "XEN_HVM_MEMMAP_TYPE_RAM";
    MEMMAP_TYPE_RESERVED = 0x2, "XEN_HVM_MEMMAP_TYPE_RESERVED";
    MEMMAP_TYPE_ACPI = 0x3, "XEN_HVM_MEMMAP_TYPE_ACPI";
    MEMMAP_TYPE_NVS = 0x4, "XEN_HVM_MEMMAP_TYPE_NVS";
    MEMMAP_TYPE_UNUSABLE = 0x5, "XEN_HVM_MEMMAP_TYPE_UNUSABLE";
    MEMMAP_TYPE_DISABLED = 0x6, "XEN_HVM_MEMMAP_TYPE_DISABLED";
    MEMMAP_TYPE_PMEM = 0x7, "XEN_HVM_MEMMAP_TYPE_PMEM";
} }

abi_structs! { LAYOUT_START_INFO {
    /// The start info; all addresses are guest-physical.
    struct StartInfo = "struct hvm_start_info", 56 {
        /// [`START_MAGIC_VALUE`].
        0 => magic: u32,
        /// 1 when the memory map is present.
        4 => version: u32,
        /// `SIF_*` of [`xen`](crate::xen).
        8 => flags: u32,
        12 => nr_modules: u32,
        16 => modlist_paddr: u64,
        24 => cmdline_paddr: u64,
        32 => rsdp_paddr: u64,
        40 => memmap_paddr: u64,
        48 => memmap_entries: u32,
        52 => reserved: u32,
    }
    /// A module.
    struct ModlistEntry = "struct hvm_modlist_entry", 32 {
        0 => paddr: u64,
        8 => size: u64,
        16 => cmdline_paddr: u64,
        24 => reserved: u64,
    }
    /// A memory range; types as in E820.
    struct MemmapTableEntry = "struct hvm_memmap_table_entry", 24 {
        0 => addr: u64,
        8 => size: u64,
        16 => r#type: u32,
        20 => reserved: u32,
    }
} }
