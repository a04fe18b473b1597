//! Devices and what a domain may touch.
use crate::handle::{GuestHandle, Payload};
use crate::types::{DomId, Gfn, Mfn, Pirq, Port};

consts! { DEVICE_CONSTANTS: u32 {
    DEV_PCI = 0x0, "XEN_DOMCTL_DEV_PCI";
    DEV_DT = 0x1, "XEN_DOMCTL_DEV_DT";
    DEV_RDM_RELAXED = 0x1, "XEN_DOMCTL_DEV_RDM_RELAXED";
    VMSI_X86_DEST_ID_MASK = 0xff, "XEN_DOMCTL_VMSI_X86_DEST_ID_MASK";
    VMSI_X86_RH_MASK = 0x100, "XEN_DOMCTL_VMSI_X86_RH_MASK";
    VMSI_X86_DM_MASK = 0x200, "XEN_DOMCTL_VMSI_X86_DM_MASK";
    VMSI_X86_DELIV_MASK = 0x7000, "XEN_DOMCTL_VMSI_X86_DELIV_MASK";
    VMSI_X86_TRIG_MASK = 0x8000, "XEN_DOMCTL_VMSI_X86_TRIG_MASK";
    VMSI_X86_UNMASKED = 0x1_0000, "XEN_DOMCTL_VMSI_X86_UNMASKED";
    MEM_CACHEATTR_UC = 0x0, "XEN_DOMCTL_MEM_CACHEATTR_UC";
    MEM_CACHEATTR_WC = 0x1, "XEN_DOMCTL_MEM_CACHEATTR_WC";
    MEM_CACHEATTR_WT = 0x4, "XEN_DOMCTL_MEM_CACHEATTR_WT";
    MEM_CACHEATTR_WP = 0x5, "XEN_DOMCTL_MEM_CACHEATTR_WP";
    MEM_CACHEATTR_WB = 0x6, "XEN_DOMCTL_MEM_CACHEATTR_WB";
    MEM_CACHEATTR_UCM = 0x7, "XEN_DOMCTL_MEM_CACHEATTR_UCM";
    DELETE_MEM_CACHEATTR = 0xffff_ffff, "XEN_DOMCTL_DELETE_MEM_CACHEATTR";
    VUART_OP_INIT = 0x0, "XEN_DOMCTL_VUART_OP_INIT";
    VUART_TYPE_VPL011 = 0x0, "XEN_DOMCTL_VUART_TYPE_VPL011";
    DPCI_ADD_MAPPING = 0x1, "DPCI_ADD_MAPPING";
    DPCI_REMOVE_MAPPING = 0x0, "DPCI_REMOVE_MAPPING";
} }

abi_structs! { LAYOUT_DEVICE {
    /// May the domain have a pirq?
    struct IrqPermission = "struct xen_domctl_irq_permission", 8 {
        0 => pirq: Pirq,
        4 => allow_access: u8,
        5 => pad: [u8; 3],
    }
    /// May the domain map machine frames?
    struct IomemPermission = "struct xen_domctl_iomem_permission", 24 {
        0 => first_mfn: Mfn,
        8 => nr_mfns: u64,
        16 => allow_access: u8,
        17 => _pad17: [u8; 7],
    }
    /// May the domain use I/O ports?
    struct IoportPermission = "struct xen_domctl_ioport_permission", 12 {
        0 => first_port: u32,
        4 => nr_ports: u32,
        8 => allow_access: u8,
        9 => _pad9: [u8; 3],
    }
    /// Gives a device to a domain.
    struct AssignDevice = "struct xen_domctl_assign_device", 24 {
        0 => dev: u32,
        4 => flags: u32,
        8 => u: Payload<2>,
    }
    /// Devices that can only be given together.
    struct GetDeviceGroup = "struct xen_domctl_get_device_group", 24 {
        0 => machine_sbdf: u32,
        4 => max_sdevs: u32,
        8 => num_sdevs: u32,
        12 => _pad12: u32,
        16 => sdev_array: GuestHandle<u32>,
    }
    /// Connects a machine interrupt to a virtual one.
    struct BindPtIrq = "struct xen_domctl_bind_pt_irq", 24 {
        0 => machine_irq: u32,
        4 => irq_type: u32,
        8 => u: Payload<2>,
    }
    /// Maps machine frames into the physmap.
    struct MemoryMapping = "struct xen_domctl_memory_mapping", 32 {
        0 => first_gfn: Gfn,
        8 => first_mfn: Mfn,
        16 => nr_mfns: u64,
        24 => add_mapping: u32,
        28 => padding: u32,
    }
    /// Maps I/O ports.
    struct IoportMapping = "struct xen_domctl_ioport_mapping", 16 {
        0 => first_gport: u32,
        4 => first_mport: u32,
        8 => nr_ports: u32,
        12 => add_mapping: u32,
    }
    /// Virtual UART (not on x86).
    struct VuartOp = "struct xen_domctl_vuart_op", 24 {
        0 => cmd: u32,
        4 => r#type: u32,
        8 => gfn: u64,
        16 => console_domid: DomId,
        18 => pad: [u8; 2],
        20 => evtchn: Port,
    }
} }
