//! NMI callbacks of a PV guest (`public/nmi.h`).

consts! { OPS: u32 {
    REGISTER_CALLBACK = 0, "XENNMI_register_callback";
    UNREGISTER_CALLBACK = 1, "XENNMI_unregister_callback";
} }

consts! { REASONS: u64 {
    NMIREASON_IO_ERROR = 1, "XEN_NMIREASON_io_error";
    NMIREASON_PCI_SERR = 2, "XEN_NMIREASON_pci_serr";
    NMIREASON_UNKNOWN = 4, "XEN_NMIREASON_unknown";
} }

abi_structs! { LAYOUT {
    /// The NMI entry point.
    struct Callback = "struct xennmi_callback", 16 {
        0 => handler_address: u64,
        8 => pad: u64,
    }
} }
