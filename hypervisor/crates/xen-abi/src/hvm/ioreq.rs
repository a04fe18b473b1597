//! Requests to a device model (`hvm/ioreq.h`), shared pages.
use crate::types::Port;

consts! { CONSTANTS: u32 {
    IOREQ_READ = 1, "IOREQ_READ";
    IOREQ_WRITE = 0, "IOREQ_WRITE";
    STATE_IOREQ_NONE = 0, "STATE_IOREQ_NONE";
    STATE_IOREQ_READY = 1, "STATE_IOREQ_READY";
    STATE_IOREQ_INPROCESS = 2, "STATE_IOREQ_INPROCESS";
    STATE_IORESP_READY = 3, "STATE_IORESP_READY";
    IOREQ_TYPE_PIO = 0, "IOREQ_TYPE_PIO";
    IOREQ_TYPE_COPY = 1, "IOREQ_TYPE_COPY";
    IOREQ_TYPE_PCI_CONFIG = 2, "IOREQ_TYPE_PCI_CONFIG";
    IOREQ_TYPE_TIMEOFFSET = 7, "IOREQ_TYPE_TIMEOFFSET";
    IOREQ_TYPE_INVALIDATE = 8, "IOREQ_TYPE_INVALIDATE";
    IOREQ_BUFFER_SLOT_NUM = 511, "IOREQ_BUFFER_SLOT_NUM";
} }

consts! { ACPI_PORTS: u16 {
    ACPI_PM1A_EVT_BLK_ADDRESS_V0 = 0x1f40, "ACPI_PM1A_EVT_BLK_ADDRESS_V0";
    ACPI_PM1A_CNT_BLK_ADDRESS_V0 = 0x1f44, "ACPI_PM1A_CNT_BLK_ADDRESS_V0";
    ACPI_PM_TMR_BLK_ADDRESS_V0 = 0x1f48, "ACPI_PM_TMR_BLK_ADDRESS_V0";
    ACPI_GPE0_BLK_ADDRESS_V0 = 0x1f68, "ACPI_GPE0_BLK_ADDRESS_V0";
    ACPI_GPE0_BLK_LEN_V0 = 0x8, "ACPI_GPE0_BLK_LEN_V0";
    ACPI_PM1A_EVT_BLK_ADDRESS_V1 = 0xb000, "ACPI_PM1A_EVT_BLK_ADDRESS_V1";
    ACPI_PM1A_CNT_BLK_ADDRESS_V1 = 0xb004, "ACPI_PM1A_CNT_BLK_ADDRESS_V1";
    ACPI_PM_TMR_BLK_ADDRESS_V1 = 0xb008, "ACPI_PM_TMR_BLK_ADDRESS_V1";
    ACPI_GPE0_BLK_ADDRESS_V1 = 0xafe0, "ACPI_GPE0_BLK_ADDRESS_V1";
    ACPI_GPE0_BLK_LEN_V1 = 0x4, "ACPI_GPE0_BLK_LEN_V1";
    ACPI_PM1A_EVT_BLK_ADDRESS = 0x1f40, "ACPI_PM1A_EVT_BLK_ADDRESS";
    ACPI_PM1A_CNT_BLK_ADDRESS = 0x1f44, "ACPI_PM1A_CNT_BLK_ADDRESS";
    ACPI_PM_TMR_BLK_ADDRESS = 0x1f48, "ACPI_PM_TMR_BLK_ADDRESS";
    ACPI_GPE0_BLK_ADDRESS = 0x1f68, "ACPI_GPE0_BLK_ADDRESS";
    ACPI_GPE0_BLK_LEN = 0x8, "ACPI_GPE0_BLK_LEN";
} }

abi_structs! { LAYOUT {
    /// One vcpu's request, in the page of its server.
    struct Ioreq = "struct ioreq", 32 {
        0 => addr: u64,
        /// The value, or the address of the values.
        8 => data: u64,
        /// Repetitions.
        16 => count: u32,
        /// Bytes of one access.
        20 => size: u32,
        /// Port that announces it.
        24 => vp_eport: Port,
        28 => _pad0: u16,
        /// Bits 0-3 state, 4 `data_is_ptr`, 5 direction (1 read), 6 `df`.
        30 => _bits: u8,
        31 => r#type: u8,
    }
    /// A buffered write.
    struct BufIoreq = "struct buf_ioreq", 8 {
        /// Bits 0-7 type, 9 direction, 10-11 log2 of the bytes, 12-31 address.
        0 => _bits: u32,
        4 => data: u32,
    }
} }

impl Ioreq {
    /// `STATE_IO*`.
    pub const fn state(&self) -> u8 {
        self._bits & 0xf
    }
    /// Sets the state and leaves the other bits.
    pub const fn set_state(&mut self, state: u8) {
        self._bits = (self._bits & 0xf0) | (state & 0xf);
    }
    /// `data` is the guest-physical address of the values.
    pub const fn data_is_ptr(&self) -> bool {
        self._bits & 0x10 != 0
    }
    /// True for a read.
    pub const fn is_read(&self) -> bool {
        self._bits & 0x20 != 0
    }
    /// Repetitions go to falling addresses.
    pub const fn df(&self) -> bool {
        self._bits & 0x40 != 0
    }
}
