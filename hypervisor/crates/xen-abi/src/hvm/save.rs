//! Saved state of an HVM domain (`hvm/save.h`, `arch-x86/hvm/save.h`): records, each after a [`Descriptor`].

consts! { CODES: u16 {
    END = 0, "HVM_SAVE_CODE(END)";
    HEADER = 1, "HVM_SAVE_CODE(HEADER)";
    CPU = 2, "HVM_SAVE_CODE(CPU)";
    PIC = 3, "HVM_SAVE_CODE(PIC)";
    IOAPIC = 4, "HVM_SAVE_CODE(IOAPIC)";
    LAPIC = 5, "HVM_SAVE_CODE(LAPIC)";
    LAPIC_REGS = 6, "HVM_SAVE_CODE(LAPIC_REGS)";
    PCI_IRQ = 7, "HVM_SAVE_CODE(PCI_IRQ)";
    ISA_IRQ = 8, "HVM_SAVE_CODE(ISA_IRQ)";
    PCI_LINK = 9, "HVM_SAVE_CODE(PCI_LINK)";
    PIT = 10, "HVM_SAVE_CODE(PIT)";
    RTC = 11, "HVM_SAVE_CODE(RTC)";
    HPET = 12, "HVM_SAVE_CODE(HPET)";
    PMTIMER = 13, "HVM_SAVE_CODE(PMTIMER)";
    MTRR = 14, "HVM_SAVE_CODE(MTRR)";
    VIRIDIAN_DOMAIN = 15, "HVM_SAVE_CODE(VIRIDIAN_DOMAIN)";
    VIRIDIAN_VCPU = 17, "HVM_SAVE_CODE(VIRIDIAN_VCPU)";
    VMCE_VCPU = 18, "HVM_SAVE_CODE(VMCE_VCPU)";
    TSC_ADJUST = 19, "HVM_SAVE_CODE(TSC_ADJUST)";
    CPU_XSAVE = 16, "CPU_XSAVE_CODE";
    CPU_MSR = 20, "CPU_MSR_CODE";
    CODE_MAX = 20, "HVM_SAVE_CODE_MAX";
} }

consts! { CONSTANTS: u32 {
    HVM_FILE_MAGIC = 0x5438_1286, "HVM_FILE_MAGIC";
    HVM_FILE_VERSION = 0x1, "HVM_FILE_VERSION";
    XEN_X86_FPU_INITIALISED = 0x1, "XEN_X86_FPU_INITIALISED";
} }

abi_structs! { LAYOUT {
    /// Before each record.
    struct Descriptor = "struct hvm_save_descriptor", 8 {
        0 => typecode: u16,
        2 => instance: u16,
        /// Bytes that follow.
        4 => length: u32,
    }
    /// The first record.
    struct Header = "struct hvm_save_header", 24 {
        0 => magic: u32,
        4 => version: u32,
        8 => changeset: u64,
        16 => cpuid: u32,
        20 => gtsc_khz: u32,
    }
    /// A vcpu.
    struct HwCpu = "struct hvm_hw_cpu", 1032 {
        0 => fpu_regs: [u8; 512],
        512 => rax: u64,
        520 => rbx: u64,
        528 => rcx: u64,
        536 => rdx: u64,
        544 => rbp: u64,
        552 => rsi: u64,
        560 => rdi: u64,
        568 => rsp: u64,
        576 => r8: u64,
        584 => r9: u64,
        592 => r10: u64,
        600 => r11: u64,
        608 => r12: u64,
        616 => r13: u64,
        624 => r14: u64,
        632 => r15: u64,
        640 => rip: u64,
        648 => rflags: u64,
        656 => cr0: u64,
        664 => cr2: u64,
        672 => cr3: u64,
        680 => cr4: u64,
        688 => dr0: u64,
        696 => dr1: u64,
        704 => dr2: u64,
        712 => dr3: u64,
        720 => dr6: u64,
        728 => dr7: u64,
        736 => cs_sel: u32,
        740 => ds_sel: u32,
        744 => es_sel: u32,
        748 => fs_sel: u32,
        752 => gs_sel: u32,
        756 => ss_sel: u32,
        760 => tr_sel: u32,
        764 => ldtr_sel: u32,
        768 => cs_limit: u32,
        772 => ds_limit: u32,
        776 => es_limit: u32,
        780 => fs_limit: u32,
        784 => gs_limit: u32,
        788 => ss_limit: u32,
        792 => tr_limit: u32,
        796 => ldtr_limit: u32,
        800 => idtr_limit: u32,
        804 => gdtr_limit: u32,
        808 => cs_base: u64,
        816 => ds_base: u64,
        824 => es_base: u64,
        832 => fs_base: u64,
        840 => gs_base: u64,
        848 => ss_base: u64,
        856 => tr_base: u64,
        864 => ldtr_base: u64,
        872 => idtr_base: u64,
        880 => gdtr_base: u64,
        888 => cs_arbytes: u32,
        892 => ds_arbytes: u32,
        896 => es_arbytes: u32,
        900 => fs_arbytes: u32,
        904 => gs_arbytes: u32,
        908 => ss_arbytes: u32,
        912 => tr_arbytes: u32,
        916 => ldtr_arbytes: u32,
        920 => sysenter_cs: u64,
        928 => sysenter_esp: u64,
        936 => sysenter_eip: u64,
        944 => shadow_gs: u64,
        952 => msr_flags: u64,
        960 => msr_lstar: u64,
        968 => msr_star: u64,
        976 => msr_cstar: u64,
        984 => msr_syscall_mask: u64,
        992 => msr_efer: u64,
        1000 => msr_tsc_aux: u64,
        1008 => tsc: u64,
        /// Event being injected: vector, type << 8, error valid << 11, valid << 31.
        1016 => pending_event: u32,
        1020 => error_code: u32,
        1024 => flags: u32,
        1028 => pad0: u32,
    }
    /// Local APIC: hidden state.
    struct HwLapic = "struct hvm_hw_lapic", 24 {
        0 => apic_base_msr: u64,
        8 => disabled: u32,
        12 => timer_divisor: u32,
        16 => tdt_msr: u64,
    }
    /// Local APIC: registers.
    struct HwLapicRegs = "struct hvm_hw_lapic_regs", 1024 {
        0 => data: [u8; 1024],
    }
    /// PCI link routes.
    struct HwPciLink = "struct hvm_hw_pci_link", 8 {
        0 => route: [u8; 4],
        4 => pad0: [u8; 4],
    }
    /// A PIT channel.
    struct HwPitChannel = "struct hvm_hw_pit_channel", 16 {
        0 => count: u32,
        4 => latched_count: u16,
        6 => count_latched: u8,
        7 => status_latched: u8,
        8 => status: u8,
        9 => read_state: u8,
        10 => write_state: u8,
        11 => write_latch: u8,
        12 => rw_mode: u8,
        13 => mode: u8,
        14 => bcd: u8,
        15 => gate: u8,
    }
    /// PIT.
    struct HwPit = "struct hvm_hw_pit", 56 {
        0 => channels: [HwPitChannel; 3],
        48 => speaker_data_on: u32,
        52 => pad0: u32,
    }
    /// RTC.
    struct HwRtc = "struct hvm_hw_rtc", 24 {
        0 => cmos_data: [u8; 14],
        14 => cmos_index: u8,
        15 => pad0: u8,
        16 => rtc_offset: i64,
    }
    /// ACPI timer.
    struct HwPmtimer = "struct hvm_hw_pmtimer", 8 {
        0 => tmr_val: u32,
        4 => pm1a_sts: u16,
        6 => pm1a_en: u16,
    }
    /// MTRRs and PAT.
    struct HwMtrr = "struct hvm_hw_mtrr", 240 {
        0 => msr_pat_cr: u64,
        8 => msr_mtrr_var: [u64; 16],
        136 => msr_mtrr_fixed: [u64; 11],
        224 => msr_mtrr_cap: u64,
        232 => msr_mtrr_def_type: u64,
    }
    /// TSC_ADJUST.
    struct TscAdjust = "struct hvm_tsc_adjust", 8 {
        0 => tsc_adjust: u64,
    }
    /// An MSR; the record is a 32-bit count, 32 bits of padding, and these.
    struct OneMsr = "struct hvm_one_msr", 16 {
        0 => index: u32,
        4 => _rsvd: u32,
        8 => val: u64,
    }
} }
