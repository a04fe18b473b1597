//! Result codes of grant table operations (`GNTST_*`).
use xen_abi::Errno;

/// Why a grant operation failed. `GNTST_okay` (0) is the `Ok` of a `Result`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i16)]
pub enum GntStatus {
    /// General undefined error.
    GeneralError = -1,
    /// Unrecognised domain id.
    BadDomain = -2,
    /// Unrecognised or inappropriate grant reference.
    BadGntref = -3,
    /// Unrecognised or inappropriate handle.
    BadHandle = -4,
    /// Inappropriate virtual address to map.
    BadVirtAddr = -5,
    /// Inappropriate device address to unmap.
    BadDevAddr = -6,
    /// Out of space in the I/O MMU.
    NoDeviceSpace = -7,
    /// Not enough privilege.
    PermissionDenied = -8,
    /// The page is not one that can be used so.
    BadPage = -9,
    /// Copy arguments cross a page boundary.
    BadCopyArg = -10,
    /// Page address too large for a transfer.
    AddressTooBig = -11,
    /// Not done; try again.
    Eagain = -12,
    /// Out of handles or the like.
    NoSpace = -13,
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
