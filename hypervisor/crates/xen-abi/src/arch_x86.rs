//! x86-64 specifics (`arch-x86/xen.h`, `arch-x86/xen-x86_64.h`): selectors, address-space layout, registers, traps.

consts! { SELECTORS: u16 {
    FLAT_RING3_CS32 = 0xe023, "FLAT_RING3_CS32";
    FLAT_RING3_CS64 = 0xe033, "FLAT_RING3_CS64";
    FLAT_RING3_DS32 = 0xe02b, "FLAT_RING3_DS32";
    FLAT_RING3_DS64 = 0x0, "FLAT_RING3_DS64";
    FLAT_RING3_SS32 = 0xe02b, "FLAT_RING3_SS32";
    FLAT_RING3_SS64 = 0xe02b, "FLAT_RING3_SS64";
    FLAT_KERNEL_DS64 = 0x0, "FLAT_KERNEL_DS64";
    FLAT_KERNEL_DS32 = 0xe02b, "FLAT_KERNEL_DS32";
    FLAT_KERNEL_DS = 0x0, "FLAT_KERNEL_DS";
    FLAT_KERNEL_CS64 = 0xe033, "FLAT_KERNEL_CS64";
    FLAT_KERNEL_CS32 = 0xe023, "FLAT_KERNEL_CS32";
    FLAT_KERNEL_CS = 0xe033, "FLAT_KERNEL_CS";
    FLAT_KERNEL_SS64 = 0xe02b, "FLAT_KERNEL_SS64";
    FLAT_KERNEL_SS32 = 0xe02b, "FLAT_KERNEL_SS32";
    FLAT_KERNEL_SS = 0xe02b, "FLAT_KERNEL_SS";
    FLAT_USER_DS64 = 0x0, "FLAT_USER_DS64";
    FLAT_USER_DS32 = 0xe02b, "FLAT_USER_DS32";
    FLAT_USER_DS = 0x0, "FLAT_USER_DS";
    FLAT_USER_CS64 = 0xe033, "FLAT_USER_CS64";
    FLAT_USER_CS32 = 0xe023, "FLAT_USER_CS32";
    FLAT_USER_CS = 0xe033, "FLAT_USER_CS";
    FLAT_USER_SS64 = 0xe02b, "FLAT_USER_SS64";
    FLAT_USER_SS32 = 0xe02b, "FLAT_USER_SS32";
    FLAT_USER_SS = 0xe02b, "FLAT_USER_SS";
} }

consts! { LAYOUT_ADDRESSES: u64 {
    HYPERVISOR_VIRT_START = 0xffff_8000_0000_0000, "HYPERVISOR_VIRT_START";
    HYPERVISOR_VIRT_END = 0xffff_8800_0000_0000, "HYPERVISOR_VIRT_END";
    MACH2PHYS_VIRT_START = 0xffff_8000_0000_0000, "MACH2PHYS_VIRT_START";
    MACH2PHYS_VIRT_END = 0xffff_8040_0000_0000, "MACH2PHYS_VIRT_END";
    MACH2PHYS_NR_ENTRIES = 0x8_0000_0000, "MACH2PHYS_NR_ENTRIES";
} }

consts! { SEGBASE: u32 {
    SEGBASE_FS = 0, "SEGBASE_FS";
    SEGBASE_GS_USER = 1, "SEGBASE_GS_USER";
    SEGBASE_GS_KERNEL = 2, "SEGBASE_GS_KERNEL";
    /// Load the selector, not a base, into the user GS.
    SEGBASE_GS_USER_SEL = 3, "SEGBASE_GS_USER_SEL";
} }

consts! { VGCF: u64 {
    VGCF_I387_VALID = 0x1, "VGCF_i387_valid";
    VGCF_IN_KERNEL = 0x4, "VGCF_in_kernel";
    VGCF_FAILSAFE_DISABLES_EVENTS = 0x8, "VGCF_failsafe_disables_events";
    VGCF_SYSCALL_DISABLES_EVENTS = 0x10, "VGCF_syscall_disables_events";
    VGCF_ONLINE = 0x20, "VGCF_online";
} }

consts! { VGCF_X86_64: u64 {
    VGCF_IN_SYSCALL = 0x100, "VGCF_in_syscall";
} }

consts! { EMU: u32 {
    X86_EMU_LAPIC = 0x1, "XEN_X86_EMU_LAPIC";
    X86_EMU_HPET = 0x2, "XEN_X86_EMU_HPET";
    X86_EMU_PM = 0x4, "XEN_X86_EMU_PM";
    X86_EMU_RTC = 0x8, "XEN_X86_EMU_RTC";
    X86_EMU_IOAPIC = 0x10, "XEN_X86_EMU_IOAPIC";
    X86_EMU_PIC = 0x20, "XEN_X86_EMU_PIC";
    X86_EMU_VGA = 0x40, "XEN_X86_EMU_VGA";
    X86_EMU_IOMMU = 0x80, "XEN_X86_EMU_IOMMU";
    X86_EMU_PIT = 0x100, "XEN_X86_EMU_PIT";
    X86_EMU_USE_PIRQ = 0x200, "XEN_X86_EMU_USE_PIRQ";
    X86_EMU_VPCI = 0x400, "XEN_X86_EMU_VPCI";
    X86_EMU_ALL = 0x7ff, "XEN_X86_EMU_ALL";
    X86_MSR_RELAXED = 0x1, "XEN_X86_MSR_RELAXED";
} }

/// Bits of [`TrapInfo::flags`] that hold the lowest privilege level allowed to raise the vector.
pub const TI_DPL: u8 = 3;
/// Bit of [`TrapInfo::flags`]: mask events on entry.
pub const TI_IF: u8 = 4;
/// First page of a guest's GDT that the hypervisor keeps for itself.
pub const FIRST_RESERVED_GDT_PAGE: u32 = 14;
/// First GDT entry that the hypervisor keeps for itself.
pub const FIRST_RESERVED_GDT_ENTRY: u32 = FIRST_RESERVED_GDT_PAGE * 4096 / 8;
/// First GDT byte that the hypervisor keeps for itself.
pub const FIRST_RESERVED_GDT_BYTE: u32 = FIRST_RESERVED_GDT_PAGE * 4096;
/// `ud2; "xen"`: the prefix of an emulated instruction, of which `cpuid` is the only one.
pub const EMULATE_PREFIX: [u8; 5] = [0x0f, 0x0b, 0x78, 0x65, 0x6e];
/// I/O port of the debug console for HVM guests.
pub const HVM_DEBUGCONS_IOPORT: u16 = 0xe9;
/// "The leaf has no subleaves" in [`CpuidLeaf::subleaf`].
pub const CPUID_NO_SUBLEAF: u32 = !0;

abi_structs! { LAYOUT {
    /// Registers of a guest as calls and saved images show them.
    struct CpuUserRegs = "struct cpu_user_regs", 200 {
        0 => r15: u64,
        8 => r14: u64,
        16 => r13: u64,
        24 => r12: u64,
        32 => rbp: u64,
        40 => rbx: u64,
        48 => r11: u64,
        56 => r10: u64,
        64 => r9: u64,
        72 => r8: u64,
        80 => rax: u64,
        88 => rcx: u64,
        96 => rdx: u64,
        104 => rsi: u64,
        112 => rdi: u64,
        120 => error_code: u32,
        124 => entry_vector: u32,
        128 => rip: u64,
        136 => cs: u16,
        138 => _pad0: [u16; 1],
        140 => saved_upcall_mask: u8,
        141 => _pad1: [u8; 3],
        144 => rflags: u64,
        152 => rsp: u64,
        160 => ss: u16,
        162 => _pad2: [u16; 3],
        168 => es: u16,
        170 => _pad3: [u16; 3],
        176 => ds: u16,
        178 => _pad4: [u16; 3],
        184 => fs: u16,
        186 => _pad5: [u16; 3],
        192 => gs: u16,
        194 => _pad6: [u16; 3],
    }
    /// One entry of a PV guest's trap table; a zero address ends the table.
    struct TrapInfo = "struct trap_info", 16 {
        0 => vector: u8,
        1 => flags: u8,
        2 => cs: u16,
        4 => _pad4: u32,
        8 => address: u64,
    }
    /// What the `iret` call pops off the guest's kernel stack.
    struct IretContext = "struct iret_context", 72 {
        0 => rax: u64,
        8 => r11: u64,
        16 => rcx: u64,
        /// [`VGCF_IN_SYSCALL`]: return with `sysret` semantics, `rcx` and `r11` not restored.
        24 => flags: u64,
        32 => rip: u64,
        40 => cs: u64,
        48 => rflags: u64,
        56 => rsp: u64,
        64 => ss: u64,
    }
    /// Whole state of a PV vcpu, as set at its start and by the toolstack.
    struct VcpuGuestContext = "struct vcpu_guest_context", 5168 {
        0 => fpu_ctxt: [u8; 512],
        512 => flags: u64,
        520 => user_regs: CpuUserRegs,
        720 => trap_ctxt: [TrapInfo; 256],
        4816 => ldt_base: u64,
        4824 => ldt_ents: u64,
        4832 => gdt_frames: [u64; 16],
        4960 => gdt_ents: u64,
        4968 => kernel_ss: u64,
        4976 => kernel_sp: u64,
        /// `cr0`-`cr7`; `cr3` is [`pfn_to_cr3`] of the root, `cr1` that of the user root.
        4984 => ctrlreg: [u64; 8],
        5048 => debugreg: [u64; 8],
        5112 => event_callback_eip: u64,
        5120 => failsafe_callback_eip: u64,
        5128 => syscall_callback_eip: u64,
        5136 => vm_assist: u64,
        5144 => fs_base: u64,
        5152 => gs_base_kernel: u64,
        5160 => gs_base_user: u64,
    }
    /// x86 part of a domain's parameters: `EMU_*` bits and [`X86_MSR_RELAXED`].
    struct ArchDomainConfig = "struct xen_arch_domainconfig", 8 {
        0 => emulation_flags: u32,
        4 => misc_flags: u32,
    }
    /// One CPUID leaf.
    struct CpuidLeaf = "struct xen_cpuid_leaf", 24 {
        0 => leaf: u32,
        4 => subleaf: u32,
        8 => a: u32,
        12 => b: u32,
        16 => c: u32,
        20 => d: u32,
    }
    /// One MSR and its value.
    struct MsrEntry = "struct xen_msr_entry", 16 {
        0 => idx: u32,
        4 => flags: u32,
        8 => val: u64,
    }
} }

/// Frame number to `cr3` as guests see it.
pub const fn pfn_to_cr3(pfn: u64) -> u64 {
    pfn << 12
}
/// `cr3` as guests see it to frame number.
pub const fn cr3_to_pfn(cr3: u64) -> u64 {
    cr3 >> 12
}
