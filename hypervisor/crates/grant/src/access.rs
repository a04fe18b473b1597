//! How a grant is used: the map flags of the ABI, and the access that is pinned for it.
use crate::GntStatus;
use xen_abi::grant_table as abi;

/// `GNTMAP_*` flags of a map operation; an open word, checked by [`MapFlags::access`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MapFlags(pub u32);

impl MapFlags {
    /// Map for I/O by the domain's devices.
    pub const DEVICE_MAP: u32 = abi::GNTMAP_DEVICE_MAP;
    /// Map into the domain's address space.
    pub const HOST_MAP: u32 = abi::GNTMAP_HOST_MAP;
    /// Do not allow writing.
    pub const READONLY: u32 = abi::GNTMAP_READONLY;
    /// User mode may access the mapping.
    pub const APPLICATION_MAP: u32 = abi::GNTMAP_APPLICATION_MAP;
    /// `host_addr` is the machine address of the PTE to write, not a virtual address.
    pub const CONTAINS_PTE: u32 = abi::GNTMAP_CONTAINS_PTE;
    /// Bits 16.. go into the available bits of the PTE.
    pub const GUEST_AVAIL_SHIFT: u32 = 16;

    /// True if all of `bits` are set.
    pub const fn has(self, bits: u32) -> bool {
        self.0 & bits == bits
    }

    /// The PTE's available bits the guest asked for.
    pub const fn guest_avail(self) -> u32 {
        self.0 >> Self::GUEST_AVAIL_SHIFT
    }

    /// The access these flags ask for. Neither host nor device map: `BadGntref`, as Xen has it.
    pub fn access(self) -> Result<Access, GntStatus> {
        let access = Access {
            host: self.has(Self::HOST_MAP),
            dev: self.has(Self::DEVICE_MAP),
            write: !self.has(Self::READONLY),
        };
        if access.host || access.dev {
            Ok(access)
        } else {
            Err(GntStatus::BadGntref)
        }
    }
}

/// What is pinned in a grant entry. A copy pins like a host mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// By the CPU.
    pub host: bool,
    /// By devices.
    pub dev: bool,
    /// For writing as well.
    pub write: bool,
}

impl Access {
    /// The source of a copy.
    pub const COPY_FROM: Access = Access {
        host: true,
        dev: false,
        write: false,
    };
    /// The destination of a copy.
    pub const COPY_TO: Access = Access {
        host: true,
        dev: false,
        write: true,
    };
}
