//! The toolstack's calls, `domctl` and `sysctl`: version and privilege first, then one handler per command.
use crate::{Cx, Ret};
use domain::Host;
use xen_abi::Errno;

/// `domctl(arg)`.
pub fn domctl<H: Host>(cx: &Cx<H>) -> Ret {
    cx.need_privilege()?;
    Err(Errno::ENOSYS.into())
}

/// `sysctl(arg)`.
pub fn sysctl<H: Host>(cx: &Cx<H>) -> Ret {
    cx.need_privilege()?;
    Err(Errno::ENOSYS.into())
}
