//! A hardware guest's physical address space, as the run loop needs it: translations, and what has become stale.

use super::VirtualCpu;
use crate::exit::Access;
use domain::{Domain, HvmVcpu};
use vdev::Via;
use xen_abi::Mfn;

pub fn root(_dom: &Domain) -> u64 {
    0
}
pub fn frame(_dom: &Domain, _gfn: u64, _write: bool) -> Option<Mfn> {
    None
}
pub fn via(_dom: &Domain) -> Via {
    Via::None
}
pub fn allows(_dom: &Domain, _access: &Access) -> bool {
    false
}
pub fn before_entry<C: VirtualCpu>(_cpu: &mut C, _dom: &Domain, _hvm: &HvmVcpu) {}
pub fn write_hypercall_page(_dom: &Domain, _gfn: u64) -> Option<()> {
    None
}
