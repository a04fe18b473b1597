//! Physical device calls of a PV guest (`public/physdev.h`): pirqs, PCI announcements, I/O privilege.
use crate::handle::{GuestHandle, Payload};
use crate::types::{DomId, Gfn, Pirq};

consts! { OPS: u32 {
    EOI = 12, "PHYSDEVOP_eoi";
    PIRQ_EOI_GMFN_V1 = 17, "PHYSDEVOP_pirq_eoi_gmfn_v1";
    PIRQ_EOI_GMFN_V2 = 28, "PHYSDEVOP_pirq_eoi_gmfn_v2";
    IRQ_STATUS_QUERY = 5, "PHYSDEVOP_irq_status_query";
    SET_IOPL = 6, "PHYSDEVOP_set_iopl";
    SET_IOBITMAP = 7, "PHYSDEVOP_set_iobitmap";
    APIC_READ = 8, "PHYSDEVOP_apic_read";
    APIC_WRITE = 9, "PHYSDEVOP_apic_write";
    ALLOC_IRQ_VECTOR = 10, "PHYSDEVOP_alloc_irq_vector";
    FREE_IRQ_VECTOR = 11, "PHYSDEVOP_free_irq_vector";
    MAP_PIRQ = 13, "PHYSDEVOP_map_pirq";
    UNMAP_PIRQ = 14, "PHYSDEVOP_unmap_pirq";
    MANAGE_PCI_ADD = 15, "PHYSDEVOP_manage_pci_add";
    MANAGE_PCI_REMOVE = 16, "PHYSDEVOP_manage_pci_remove";
    RESTORE_MSI = 19, "PHYSDEVOP_restore_msi";
    MANAGE_PCI_ADD_EXT = 20, "PHYSDEVOP_manage_pci_add_ext";
    SETUP_GSI = 21, "PHYSDEVOP_setup_gsi";
    GET_FREE_PIRQ = 23, "PHYSDEVOP_get_free_pirq";
    PCI_MMCFG_RESERVED = 24, "PHYSDEVOP_pci_mmcfg_reserved";
    PCI_DEVICE_ADD = 25, "PHYSDEVOP_pci_device_add";
    PCI_DEVICE_REMOVE = 26, "PHYSDEVOP_pci_device_remove";
    RESTORE_MSI_EXT = 27, "PHYSDEVOP_restore_msi_ext";
    PREPARE_MSIX = 30, "PHYSDEVOP_prepare_msix";
    RELEASE_MSIX = 31, "PHYSDEVOP_release_msix";
    DBGP_OP = 29, "PHYSDEVOP_dbgp_op";
} }

consts! { CONSTANTS: u32 {
    XENIRQSTAT_NEEDS_EOI = 0x1, "XENIRQSTAT_needs_eoi";
    XENIRQSTAT_SHARED = 0x2, "XENIRQSTAT_shared";
    MAP_PIRQ_TYPE_MSI = 0x0, "MAP_PIRQ_TYPE_MSI";
    MAP_PIRQ_TYPE_GSI = 0x1, "MAP_PIRQ_TYPE_GSI";
    MAP_PIRQ_TYPE_UNKNOWN = 0x2, "MAP_PIRQ_TYPE_UNKNOWN";
    MAP_PIRQ_TYPE_MSI_SEG = 0x3, "MAP_PIRQ_TYPE_MSI_SEG";
    MAP_PIRQ_TYPE_MULTI_MSI = 0x4, "MAP_PIRQ_TYPE_MULTI_MSI";
    XEN_PCI_MMCFG_RESERVED = 0x1, "XEN_PCI_MMCFG_RESERVED";
    XEN_PCI_DEV_EXTFN = 0x1, "XEN_PCI_DEV_EXTFN";
    XEN_PCI_DEV_VIRTFN = 0x2, "XEN_PCI_DEV_VIRTFN";
    XEN_PCI_DEV_PXM = 0x4, "XEN_PCI_DEV_PXM";
    PHYSDEVOP_DBGP_RESET_PREPARE = 0x1, "PHYSDEVOP_DBGP_RESET_PREPARE";
    PHYSDEVOP_DBGP_RESET_DONE = 0x2, "PHYSDEVOP_DBGP_RESET_DONE";
    PHYSDEVOP_DBGP_BUS_UNKNOWN = 0x0, "PHYSDEVOP_DBGP_BUS_UNKNOWN";
    PHYSDEVOP_DBGP_BUS_PCI = 0x1, "PHYSDEVOP_DBGP_BUS_PCI";
} }

abi_structs! { LAYOUT {
    /// End of interrupt.
    struct Eoi = "struct physdev_eoi", 4 {
        0 => irq: Pirq,
    }
    /// A page for the bitmap of pirqs that need an end-of-interrupt call.
    struct PirqEoiGmfn = "struct physdev_pirq_eoi_gmfn", 8 {
        0 => gmfn: Gfn,
    }
    /// Does a pirq need an end-of-interrupt call?
    struct IrqStatusQuery = "struct physdev_irq_status_query", 8 {
        0 => irq: Pirq,
        /// Out: `XENIRQSTAT_*`.
        4 => flags: u32,
    }
    /// The vcpu's virtual IOPL.
    struct SetIopl = "struct physdev_set_iopl", 4 {
        0 => iopl: u32,
    }
    /// The vcpu's I/O permission bitmap.
    struct SetIobitmap = "struct physdev_set_iobitmap", 16 {
        0 => bitmap: GuestHandle<u8>,
        8 => nr_ports: u32,
        12 => _pad12: u32,
    }
    /// Reads or writes an IO-APIC register.
    struct Apic = "struct physdev_apic", 16 {
        0 => apic_physbase: u64,
        8 => reg: u32,
        /// In or out.
        12 => value: u32,
    }
    /// Allocates a vector for a pin.
    struct Irq = "struct physdev_irq", 8 {
        0 => irq: u32,
        4 => vector: u32,
    }
    /// Gives a domain a pirq for a GSI or MSI.
    struct MapPirq = "struct physdev_map_pirq", 40 {
        0 => domid: DomId,
        2 => _pad2: u16,
        4 => r#type: i32,
        8 => index: i32,
        /// In and out: -1 for any.
        12 => pirq: i32,
        /// Low byte the bus; with `MSI_SEG` bits 16-31 the segment.
        16 => bus: i32,
        20 => devfn: i32,
        24 => entry_nr: i32,
        28 => _pad28: u32,
        32 => table_base: u64,
    }
    /// Undoes [`MapPirq`].
    struct UnmapPirq = "struct physdev_unmap_pirq", 8 {
        0 => domid: DomId,
        2 => _pad2: u16,
        4 => pirq: i32,
    }
    /// A PCI device came or went (old form).
    struct ManagePci = "struct physdev_manage_pci", 2 {
        0 => bus: u8,
        1 => devfn: u8,
    }
    /// Restores MSI state after a suspend.
    struct RestoreMsi = "struct physdev_restore_msi", 2 {
        0 => bus: u8,
        1 => devfn: u8,
    }
    /// A PCI function came (old form).
    struct ManagePciExt = "struct physdev_manage_pci_ext", 16 {
        0 => bus: u8,
        1 => devfn: u8,
        2 => _pad2: u16,
        4 => is_extfn: u32,
        8 => is_virtfn: u32,
        /// Bus and devfn of the physical function.
        12 => physfn: [u8; 2],
        14 => _pad14: u16,
    }
    /// Trigger and polarity of a GSI.
    struct SetupGsi = "struct physdev_setup_gsi", 8 {
        0 => gsi: i32,
        /// 0 edge, 1 level.
        4 => triggering: u8,
        /// 0 high, 1 low.
        5 => polarity: u8,
        6 => _pad6: u16,
    }
    /// Reserves a pirq.
    struct GetFreePirq = "struct physdev_get_free_pirq", 8 {
        0 => r#type: i32,
        /// Out.
        4 => pirq: Pirq,
    }
    /// An MMCONFIG window.
    struct PciMmcfgReserved = "struct physdev_pci_mmcfg_reserved", 16 {
        0 => address: u64,
        8 => segment: u16,
        10 => start_bus: u8,
        11 => end_bus: u8,
        12 => flags: u32,
    }
    /// A PCI function came; with `XEN_PCI_DEV_PXM` a `u32` proximity domain follows.
    struct PciDeviceAdd = "struct physdev_pci_device_add", 12 {
        0 => seg: u16,
        2 => bus: u8,
        3 => devfn: u8,
        4 => flags: u32,
        /// Bus and devfn of the physical function.
        8 => physfn: [u8; 2],
        10 => _pad10: u16,
    }
    /// A PCI function.
    struct PciDevice = "struct physdev_pci_device", 4 {
        0 => seg: u16,
        2 => bus: u8,
        3 => devfn: u8,
    }
    /// The debug port is about to be reset, or was.
    struct DbgpOp = "struct physdev_dbgp_op", 6 {
        0 => op: u8,
        1 => bus: u8,
        2 => u: PciDevice,
    }
    /// Argument of the old `physdev_op_compat` call.
    struct Op = "struct physdev_op", 24 {
        0 => cmd: u32,
        4 => _pad4: u32,
        8 => u: Payload<2>,
    }
} }
