//! Installing a whole PV vcpu context: [`install`], for `VCPUOP_initialise` and `XEN_DOMCTL_setvcpucontext`.
use alloc::sync::Arc;
use domain::{Domain, Host, Vcpu};
use xen_abi::Errno;
use xen_abi::xen::VcpuGuestContext;

/// Checks all of `ctx`, then makes it the state of `v`.
pub fn install<H: Host>(_h: &H, _dom: &Arc<Domain>, _v: &Vcpu, _ctx: &VcpuGuestContext) -> Result<(), Errno> {
    Err(Errno::ENOSYS)
}
