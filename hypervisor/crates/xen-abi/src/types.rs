//! The field's words as newtypes. All are open: a value from a guest is an allegation until checked.
use core::fmt;

macro_rules! newtype {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $prefix:literal, $fmt:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout,
        )]
        #[repr(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, $fmt), self.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self, f)
            }
        }
    };
}

newtype!(
    /// Machine frame number: host-physical address >> 12.
    Mfn, u64, "mfn ", "{:#x}"
);
newtype!(
    /// Guest frame number: an mfn for PV guests, a pfn for translated guests.
    Gfn, u64, "gfn ", "{:#x}"
);
newtype!(
    /// Pseudo-physical frame number, a guest's own contiguous numbering.
    Pfn, u64, "pfn ", "{:#x}"
);
newtype!(
    /// Domain id (`domid_t`).
    DomId, u16, "d", "{}"
);
newtype!(
    /// Index of a vcpu within its domain.
    VcpuId, u32, "v", "{}"
);
newtype!(
    /// Grant reference (`grant_ref_t`).
    GrantRef, u32, "gref ", "{}"
);
newtype!(
    /// Event channel port (`evtchn_port_t`).
    Port, u32, "port ", "{}"
);
newtype!(
    /// Physical interrupt as a domain numbers it.
    Pirq, u32, "pirq ", "{}"
);

/// Bytes in a page, and its log2.
pub const PAGE_SIZE: usize = 4096;
/// log2 of [`PAGE_SIZE`].
pub const PAGE_SHIFT: u32 = 12;

impl DomId {
    /// Domain 0, the privileged control domain.
    pub const DOM0: DomId = DomId(0);
    /// First id that names no ordinary domain.
    pub const FIRST_RESERVED: DomId = DomId(0x7ff0);
    /// "Myself" (`DOMID_SELF`).
    pub const SELF: DomId = DomId(0x7ff0);
    /// Owner of I/O pages (`DOMID_IO`).
    pub const IO: DomId = DomId(0x7ff1);
    /// The hypervisor's own pages shared with privileged guests (`DOMID_XEN`).
    pub const XEN: DomId = DomId(0x7ff2);
    /// Owner of copy-on-write pages (`DOMID_COW`).
    pub const COW: DomId = DomId(0x7ff3);
    /// Nobody (`DOMID_INVALID`).
    pub const INVALID: DomId = DomId(0x7ff4);
    /// The idle domain (`DOMID_IDLE`).
    pub const IDLE: DomId = DomId(0x7fff);
}

impl Mfn {
    /// All ones: no frame (`INVALID_MFN`).
    pub const INVALID: Mfn = Mfn(!0);
    /// Host-physical byte address of the frame's start.
    pub const fn addr(self) -> u64 {
        self.0 << PAGE_SHIFT
    }
    /// Frame that holds host-physical byte address `pa`.
    pub const fn from_addr(pa: u64) -> Mfn {
        Mfn(pa >> PAGE_SHIFT)
    }
}
