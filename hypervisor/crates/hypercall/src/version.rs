//! `xen_version`: what runs here and what it can do.
use crate::{Cx, Ret};
use domain::Host;
use xen_abi::Errno;

/// `xen_version(cmd, arg)`.
pub fn xen_version<H: Host>(_cx: &Cx<H>) -> Ret {
    Err(Errno::ENOSYS.into())
}
