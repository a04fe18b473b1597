//! Calls of the domain that runs the platform (`public/platform.h`): time, firmware, power, CPUs.
use crate::handle::{GuestHandle, Payload};
use crate::types::Mfn;

consts! { OPS: u32 {
    SETTIME32 = 17, "XENPF_settime32";
    SETTIME64 = 62, "XENPF_settime64";
    ADD_MEMTYPE = 31, "XENPF_add_memtype";
    DEL_MEMTYPE = 32, "XENPF_del_memtype";
    READ_MEMTYPE = 33, "XENPF_read_memtype";
    MICROCODE_UPDATE = 35, "XENPF_microcode_update";
    PLATFORM_QUIRK = 39, "XENPF_platform_quirk";
    EFI_RUNTIME_CALL = 49, "XENPF_efi_runtime_call";
    FIRMWARE_INFO = 50, "XENPF_firmware_info";
    ENTER_ACPI_SLEEP = 51, "XENPF_enter_acpi_sleep";
    CHANGE_FREQ = 52, "XENPF_change_freq";
    GETIDLETIME = 53, "XENPF_getidletime";
    SET_PROCESSOR_PMINFO = 54, "XENPF_set_processor_pminfo";
    GET_CPUINFO = 55, "XENPF_get_cpuinfo";
    GET_CPU_VERSION = 48, "XENPF_get_cpu_version";
    CPU_ONLINE = 56, "XENPF_cpu_online";
    CPU_OFFLINE = 57, "XENPF_cpu_offline";
    CPU_HOTADD = 58, "XENPF_cpu_hotadd";
    MEM_HOTADD = 59, "XENPF_mem_hotadd";
    CORE_PARKING = 60, "XENPF_core_parking";
    RESOURCE_OP = 61, "XENPF_resource_op";
    GET_SYMBOL = 63, "XENPF_get_symbol";
} }

consts! { CONSTANTS: u32 {
    INTERFACE_VERSION = 0x300_0001, "XENPF_INTERFACE_VERSION";
    QUIRK_NOIRQBALANCING = 0x1, "QUIRK_NOIRQBALANCING";
    QUIRK_IOAPIC_BAD_REGSEL = 0x2, "QUIRK_IOAPIC_BAD_REGSEL";
    QUIRK_IOAPIC_GOOD_REGSEL = 0x3, "QUIRK_IOAPIC_GOOD_REGSEL";
    XEN_EFI_GET_TIME = 0x1, "XEN_EFI_get_time";
    XEN_EFI_SET_TIME = 0x2, "XEN_EFI_set_time";
    XEN_EFI_GET_WAKEUP_TIME = 0x3, "XEN_EFI_get_wakeup_time";
    XEN_EFI_SET_WAKEUP_TIME = 0x4, "XEN_EFI_set_wakeup_time";
    XEN_EFI_GET_NEXT_HIGH_MONOTONIC_COUNT = 0x5, "XEN_EFI_get_next_high_monotonic_count";
    XEN_EFI_GET_VARIABLE = 0x6, "XEN_EFI_get_variable";
    XEN_EFI_SET_VARIABLE = 0x7, "XEN_EFI_set_variable";
    XEN_EFI_GET_NEXT_VARIABLE_NAME = 0x8, "XEN_EFI_get_next_variable_name";
    XEN_EFI_QUERY_VARIABLE_INFO = 0x9, "XEN_EFI_query_variable_info";
    XEN_EFI_QUERY_CAPSULE_CAPABILITIES = 0xa, "XEN_EFI_query_capsule_capabilities";
    XEN_EFI_UPDATE_CAPSULE = 0xb, "XEN_EFI_update_capsule";
    XEN_EFI_GET_TIME_SET_CLEARS_NS = 0x1, "XEN_EFI_GET_TIME_SET_CLEARS_NS";
    XEN_EFI_GET_WAKEUP_TIME_ENABLED = 0x1, "XEN_EFI_GET_WAKEUP_TIME_ENABLED";
    XEN_EFI_GET_WAKEUP_TIME_PENDING = 0x2, "XEN_EFI_GET_WAKEUP_TIME_PENDING";
    XEN_EFI_SET_WAKEUP_TIME_ENABLE = 0x1, "XEN_EFI_SET_WAKEUP_TIME_ENABLE";
    XEN_EFI_SET_WAKEUP_TIME_ENABLE_ONLY = 0x2, "XEN_EFI_SET_WAKEUP_TIME_ENABLE_ONLY";
    XEN_EFI_VARIABLE_NON_VOLATILE = 0x1, "XEN_EFI_VARIABLE_NON_VOLATILE";
    XEN_EFI_VARIABLE_BOOTSERVICE_ACCESS = 0x2, "XEN_EFI_VARIABLE_BOOTSERVICE_ACCESS";
    XEN_EFI_VARIABLE_RUNTIME_ACCESS = 0x4, "XEN_EFI_VARIABLE_RUNTIME_ACCESS";
    XEN_EFI_VARINFO_BOOT_SNAPSHOT = 0x1, "XEN_EFI_VARINFO_BOOT_SNAPSHOT";
    XEN_FW_DISK_INFO = 0x1, "XEN_FW_DISK_INFO";
    XEN_FW_DISK_MBR_SIGNATURE = 0x2, "XEN_FW_DISK_MBR_SIGNATURE";
    XEN_FW_VBEDDC_INFO = 0x3, "XEN_FW_VBEDDC_INFO";
    XEN_FW_EFI_INFO = 0x4, "XEN_FW_EFI_INFO";
    XEN_FW_EFI_VERSION = 0x0, "XEN_FW_EFI_VERSION";
    XEN_FW_EFI_CONFIG_TABLE = 0x1, "XEN_FW_EFI_CONFIG_TABLE";
    XEN_FW_EFI_VENDOR = 0x2, "XEN_FW_EFI_VENDOR";
    XEN_FW_EFI_MEM_INFO = 0x3, "XEN_FW_EFI_MEM_INFO";
    XEN_FW_EFI_RT_VERSION = 0x4, "XEN_FW_EFI_RT_VERSION";
    XEN_FW_EFI_PCI_ROM = 0x5, "XEN_FW_EFI_PCI_ROM";
    XEN_FW_EFI_APPLE_PROPERTIES = 0x6, "XEN_FW_EFI_APPLE_PROPERTIES";
    XEN_FW_KBD_SHIFT_FLAGS = 0x5, "XEN_FW_KBD_SHIFT_FLAGS";
    ACPI_SLEEP_EXTENDED = 0x1, "XENPF_ACPI_SLEEP_EXTENDED";
    XEN_PROCESSOR_PM_CX = 0x1, "XEN_PROCESSOR_PM_CX";
    XEN_PROCESSOR_PM_PX = 0x2, "XEN_PROCESSOR_PM_PX";
    XEN_PROCESSOR_PM_TX = 0x4, "XEN_PROCESSOR_PM_TX";
    XEN_PM_CX = 0x0, "XEN_PM_CX";
    XEN_PM_PX = 0x1, "XEN_PM_PX";
    XEN_PM_TX = 0x2, "XEN_PM_TX";
    XEN_PM_PDC = 0x3, "XEN_PM_PDC";
    XEN_PX_PCT = 0x1, "XEN_PX_PCT";
    XEN_PX_PSS = 0x2, "XEN_PX_PSS";
    XEN_PX_PPC = 0x4, "XEN_PX_PPC";
    XEN_PX_PSD = 0x8, "XEN_PX_PSD";
    XEN_CPUPERF_SHARED_TYPE_HW = 0x1, "XEN_CPUPERF_SHARED_TYPE_HW";
    XEN_CPUPERF_SHARED_TYPE_ALL = 0x2, "XEN_CPUPERF_SHARED_TYPE_ALL";
    XEN_CPUPERF_SHARED_TYPE_ANY = 0x3, "XEN_CPUPERF_SHARED_TYPE_ANY";
    XEN_PCPU_FLAGS_ONLINE = 0x1, "XEN_PCPU_FLAGS_ONLINE";
    XEN_PCPU_FLAGS_INVALID = 0x2, "XEN_PCPU_FLAGS_INVALID";
    XEN_CORE_PARKING_SET = 0x1, "XEN_CORE_PARKING_SET";
    XEN_CORE_PARKING_GET = 0x2, "XEN_CORE_PARKING_GET";
    XEN_RESOURCE_OP_MSR_READ = 0x0, "XEN_RESOURCE_OP_MSR_READ";
    XEN_RESOURCE_OP_MSR_WRITE = 0x1, "XEN_RESOURCE_OP_MSR_WRITE";
} }

abi_structs! { LAYOUT {
    /// Argument of the call.
    struct PlatformOp = "struct xen_platform_op", 136 {
        0 => cmd: u32,
        4 => interface_version: u32,
        8 => u: Payload<16>,
    }
    /// Sets the wall clock.
    struct Settime32 = "struct xenpf_settime32", 16 {
        0 => secs: u32,
        4 => nsecs: u32,
        8 => system_time: u64,
    }
    /// Sets the wall clock.
    struct Settime64 = "struct xenpf_settime64", 24 {
        0 => secs: u64,
        8 => nsecs: u32,
        12 => mbz: u32,
        /// System time in nanoseconds at which it was `secs`.
        16 => system_time: u64,
    }
    /// Adds an MTRR.
    struct AddMemtype = "struct xenpf_add_memtype", 32 {
        0 => mfn: Mfn,
        8 => nr_mfns: u64,
        16 => r#type: u32,
        20 => handle: u32,
        24 => reg: u32,
        28 => _pad28: u32,
    }
    /// Removes an MTRR.
    struct DelMemtype = "struct xenpf_del_memtype", 8 {
        0 => handle: u32,
        4 => reg: u32,
    }
    /// Reads an MTRR.
    struct ReadMemtype = "struct xenpf_read_memtype", 32 {
        0 => reg: u32,
        4 => _pad4: u32,
        8 => mfn: Mfn,
        16 => nr_mfns: u64,
        24 => r#type: u32,
        28 => _pad28: u32,
    }
    /// Loads microcode.
    struct MicrocodeUpdate = "struct xenpf_microcode_update", 16 {
        0 => data: GuestHandle<u8>,
        8 => length: u32,
        12 => _pad12: u32,
    }
    /// Names a quirk.
    struct PlatformQuirk = "struct xenpf_platform_quirk", 4 {
        0 => quirk_id: u32,
    }
    /// EFI time.
    struct EfiTime = "struct xenpf_efi_time", 16 {
        0 => year: u16,
        2 => month: u8,
        3 => day: u8,
        4 => hour: u8,
        5 => min: u8,
        6 => sec: u8,
        7 => _pad7: u8,
        8 => ns: u32,
        12 => tz: i16,
        14 => daylight: u8,
        15 => _pad15: u8,
    }
    /// EFI GUID.
    struct EfiGuid = "struct xenpf_efi_guid", 16 {
        0 => data1: u32,
        4 => data2: u16,
        6 => data3: u16,
        8 => data4: [u8; 8],
    }
    /// Calls an EFI runtime service.
    struct EfiRuntimeCall = "struct xenpf_efi_runtime_call", 56 {
        0 => function: u32,
        4 => misc: u32,
        8 => status: u64,
        16 => u: Payload<5>,
    }
    /// Asks what the firmware said.
    struct FirmwareInfo = "struct xenpf_firmware_info", 40 {
        0 => r#type: u32,
        4 => index: u32,
        8 => u: Payload<4>,
    }
    /// EDD data of a disk.
    struct FwDiskInfo = "__typeof__(((struct xenpf_firmware_info *)0)->u.disk_info)", 16 {
        0 => device: u8,
        1 => version: u8,
        2 => interface_support: u16,
        4 => legacy_max_cylinder: u16,
        6 => legacy_max_head: u8,
        7 => legacy_sectors_per_track: u8,
        8 => edd_params: GuestHandle<u8>,
    }
    /// MBR signature of a disk.
    struct FwDiskMbrSignature = "__typeof__(((struct xenpf_firmware_info *)0)->u.disk_mbr_signature)", 8 {
        0 => device: u8,
        1 => _pad1: [u8; 3],
        4 => mbr_signature: u32,
    }
    /// EDID.
    struct FwVbeddcInfo = "__typeof__(((struct xenpf_firmware_info *)0)->u.vbeddc_info)", 16 {
        0 => capabilities: u8,
        1 => edid_transfer_time: u8,
        2 => _pad2: [u8; 6],
        8 => edid: GuestHandle<u8>,
    }
    /// EFI configuration tables.
    struct FwEfiConfigTable = "__typeof__(((struct xenpf_firmware_info *)0)->u.efi_info.cfg)", 16 {
        0 => addr: u64,
        8 => nent: u32,
        12 => _pad12: u32,
    }
    /// EFI vendor.
    struct FwEfiVendor = "__typeof__(((struct xenpf_firmware_info *)0)->u.efi_info.vendor)", 16 {
        0 => revision: u32,
        4 => bufsz: u32,
        8 => name: GuestHandle<u8>,
    }
    /// EFI memory descriptor.
    struct FwEfiMemInfo = "__typeof__(((struct xenpf_firmware_info *)0)->u.efi_info.mem)", 32 {
        0 => addr: u64,
        8 => size: u64,
        16 => attr: u64,
        24 => r#type: u32,
        28 => _pad28: u32,
    }
    /// Enters a sleep state; S5 turns the machine off.
    struct EnterAcpiSleep = "struct xenpf_enter_acpi_sleep", 12 {
        0 => val_a: u16,
        2 => val_b: u16,
        4 => sleep_state: u32,
        8 => flags: u32,
    }
    /// A CPU changed its frequency.
    struct ChangeFreq = "struct xenpf_change_freq", 16 {
        0 => flags: u32,
        4 => cpu: u32,
        8 => freq: u64,
    }
    /// Idle time of CPUs.
    struct Getidletime = "struct xenpf_getidletime", 32 {
        0 => cpumap_bitmap: GuestHandle<u8>,
        8 => cpumap_nr_cpus: u32,
        12 => _pad12: u32,
        16 => idletime: GuestHandle<u64>,
        24 => now: u64,
    }
    /// An ACPI generic address.
    struct PowerRegister = "struct xen_power_register", 24 {
        0 => space_id: u32,
        4 => bit_width: u32,
        8 => bit_offset: u32,
        12 => access_size: u32,
        16 => address: u64,
    }
    /// C-state dependency.
    struct ProcessorCsd = "struct xen_processor_csd", 12 {
        0 => domain: u32,
        4 => coord_type: u32,
        8 => num: u32,
    }
    /// A C-state.
    struct ProcessorCx = "struct xen_processor_cx", 48 {
        0 => reg: PowerRegister,
        24 => r#type: u8,
        25 => _pad25: [u8; 3],
        28 => latency: u32,
        32 => power: u32,
        36 => dpcnt: u32,
        40 => dp: GuestHandle<ProcessorCsd>,
    }
    /// C-states of a CPU.
    struct ProcessorPower = "struct xen_processor_power", 16 {
        0 => count: u32,
        /// Bits, in order: bm_control, bm_check, has_cst, power_setup_done, bm_rld_set.
        4 => flags: u32,
        8 => states: GuestHandle<ProcessorCx>,
    }
    /// A performance control register.
    struct PctRegister = "struct xen_pct_register", 16 {
        0 => descriptor: u8,
        1 => _pad1: u8,
        2 => length: u16,
        4 => space_id: u8,
        5 => bit_width: u8,
        6 => bit_offset: u8,
        7 => reserved: u8,
        8 => address: u64,
    }
    /// A P-state.
    struct ProcessorPx = "struct xen_processor_px", 48 {
        0 => core_frequency: u64,
        8 => power: u64,
        16 => transition_latency: u64,
        24 => bus_master_latency: u64,
        32 => control: u64,
        40 => status: u64,
    }
    /// P-state dependency.
    struct PsdPackage = "struct xen_psd_package", 40 {
        0 => num_entries: u64,
        8 => revision: u64,
        16 => domain: u64,
        24 => coord_type: u64,
        32 => num_processors: u64,
    }
    /// P-states of a CPU.
    struct ProcessorPerformance = "struct xen_processor_performance", 104 {
        0 => flags: u32,
        4 => platform_limit: u32,
        8 => control_register: PctRegister,
        24 => status_register: PctRegister,
        40 => state_count: u32,
        44 => _pad44: u32,
        48 => states: GuestHandle<ProcessorPx>,
        56 => domain_info: PsdPackage,
        96 => shared_type: u32,
        100 => _pad100: u32,
    }
    /// Hands ACPI power data of a CPU over.
    struct SetProcessorPminfo = "struct xenpf_set_processor_pminfo", 112 {
        0 => id: u32,
        4 => r#type: u32,
        8 => u: Payload<13>,
    }
    /// Asks about a CPU.
    struct Pcpuinfo = "struct xenpf_pcpuinfo", 20 {
        0 => xen_cpuid: u32,
        4 => max_present: u32,
        8 => flags: u32,
        12 => apic_id: u32,
        16 => acpi_id: u32,
    }
    /// Asks about a CPU's version.
    struct PcpuVersion = "struct xenpf_pcpu_version", 32 {
        0 => xen_cpuid: u32,
        4 => max_present: u32,
        8 => vendor_id: [u8; 12],
        20 => family: u32,
        24 => model: u32,
        28 => stepping: u32,
    }
    /// Takes a CPU on or off line.
    struct CpuOl = "struct xenpf_cpu_ol", 4 {
        0 => cpuid: u32,
    }
    /// A CPU came.
    struct CpuHotadd = "struct xenpf_cpu_hotadd", 12 {
        0 => apic_id: u32,
        4 => acpi_id: u32,
        8 => pxm: u32,
    }
    /// Memory came.
    struct MemHotadd = "struct xenpf_mem_hotadd", 24 {
        0 => spfn: u64,
        8 => epfn: u64,
        16 => pxm: u32,
        20 => flags: u32,
    }
    /// Parks cores.
    struct CoreParking = "struct xenpf_core_parking", 8 {
        0 => r#type: u32,
        4 => idle_nums: u32,
    }
    /// An MSR access.
    struct ResourceEntry = "struct xenpf_resource_entry", 24 {
        /// In: command; out: error.
        0 => u: u32,
        4 => rsvd: u32,
        8 => idx: u64,
        16 => val: u64,
    }
    /// A list of MSR accesses.
    struct ResourceOp = "struct xenpf_resource_op", 16 {
        0 => nr_entries: u32,
        4 => cpu: u32,
        8 => entries: GuestHandle<ResourceEntry>,
    }
    /// Asks for a symbol.
    struct Symdata = "struct xenpf_symdata", 32 {
        0 => namelen: u32,
        4 => symnum: u32,
        8 => name: GuestHandle<u8>,
        16 => address: u64,
        24 => r#type: u8,
        25 => _pad25: [u8; 7],
    }
} }

union_accessors! { PlatformOp {
    settime32, set_settime32: Settime32;
    settime64, set_settime64: Settime64;
    add_memtype, set_add_memtype: AddMemtype;
    del_memtype, set_del_memtype: DelMemtype;
    read_memtype, set_read_memtype: ReadMemtype;
    microcode, set_microcode: MicrocodeUpdate;
    platform_quirk, set_platform_quirk: PlatformQuirk;
    efi_runtime_call, set_efi_runtime_call: EfiRuntimeCall;
    firmware_info, set_firmware_info: FirmwareInfo;
    enter_acpi_sleep, set_enter_acpi_sleep: EnterAcpiSleep;
    change_freq, set_change_freq: ChangeFreq;
    getidletime, set_getidletime: Getidletime;
    set_pminfo, set_set_pminfo: SetProcessorPminfo;
    pcpu_info, set_pcpu_info: Pcpuinfo;
    pcpu_version, set_pcpu_version: PcpuVersion;
    cpu_ol, set_cpu_ol: CpuOl;
    resource_op, set_resource_op: ResourceOp;
    symdata, set_symdata: Symdata;
} }
