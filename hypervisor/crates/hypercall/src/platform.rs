//! `platform_op`: what dom0 asks of the machine: wall clock, firmware data, power, CPUs.
use crate::{Cx, Ret};
use domain::{Domain, Host};
use xen_abi::Errno;

/// `platform_op(arg)`.
pub fn platform_op<H: Host>(cx: &Cx<H>) -> Ret {
    cx.need_privilege()?;
    Err(Errno::ENOSYS.into())
}

/// Writes a domain's wall clock base into its shared page.
pub fn update_wallclock<H: Host>(_h: &H, _dom: &Domain) {}
