//! Result codes of grant table operations (`GNTST_*`).
use xen_abi::Errno;
use xen_abi::grant_table as abi;

/// Why a grant operation failed. `GNTST_okay` (0) is the `Ok` of a `Result`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i16)]
pub enum GntStatus {
    /// General undefined error.
    GeneralError = abi::GNTST_GENERAL_ERROR,
    /// Unrecognised domain id.
    BadDomain = abi::GNTST_BAD_DOMAIN,
    /// Unrecognised or inappropriate grant reference.
    BadGntref = abi::GNTST_BAD_GNTREF,
    /// Unrecognised or inappropriate handle.
    BadHandle = abi::GNTST_BAD_HANDLE,
    /// Inappropriate virtual address to map.
    BadVirtAddr = abi::GNTST_BAD_VIRT_ADDR,
    /// Inappropriate device address to unmap.
    BadDevAddr = abi::GNTST_BAD_DEV_ADDR,
    /// Out of space in the I/O MMU.
    NoDeviceSpace = abi::GNTST_NO_DEVICE_SPACE,
    /// Not enough privilege.
    PermissionDenied = abi::GNTST_PERMISSION_DENIED,
    /// The page is not one that can be used so.
    BadPage = abi::GNTST_BAD_PAGE,
    /// Copy arguments cross a page boundary.
    BadCopyArg = abi::GNTST_BAD_COPY_ARG,
    /// Page address too large for a transfer.
    AddressTooBig = abi::GNTST_ADDRESS_TOO_BIG,
    /// Not done; try again.
    Eagain = abi::GNTST_EAGAIN,
    /// Out of handles or the like.
    NoSpace = abi::GNTST_NO_SPACE,
}

impl GntStatus {
    /// The ABI's number.
    pub const fn raw(self) -> i16 {
        self as i16
    }

    /// The number to store in an operation's `status` field: 0 or the error's.
    pub fn of<T>(result: &Result<T, GntStatus>) -> i16 {
        match result {
            Ok(_) => 0,
            Err(e) => e.raw(),
        }
    }
}

impl From<GntStatus> for Errno {
    /// For calls that report an errno instead.
    fn from(status: GntStatus) -> Errno {
        match status {
            GntStatus::BadDomain => Errno::ESRCH,
            GntStatus::PermissionDenied => Errno::EPERM,
            GntStatus::NoSpace | GntStatus::NoDeviceSpace => Errno::ENOSPC,
            GntStatus::Eagain => Errno::EAGAIN,
            _ => Errno::EINVAL,
        }
    }
}
