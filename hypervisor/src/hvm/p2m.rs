//! A hardware guest's physical address space, as the run loop needs it: translations, and what has become stale.

use super::VirtualCpu;
use crate::exit::Access;
use crate::host::HOST;
use crate::tlb;
use core::sync::atomic::Ordering;
use domain::{Domain, HvmVcpu};
use vdev::Via;
use xen_abi::Mfn;
use xen_abi::hvm::PARAM_CALLBACK_IRQ;

/// What the CPU walks.
pub fn root(dom: &Domain) -> u64 {
    dom.hvm.as_ref().map_or(0, |h| h.p2m.lock().root_pointer())
}

/// Calls `f` with the frame at `gfn`, to read or write on the guest's behalf: under the physmap's lock, so that it stays the guest's
/// for as long as that takes.
pub fn with_frame<R>(dom: &Domain, gfn: u64, write: bool, f: impl FnOnce(Mfn) -> R) -> Option<R> {
    domain::hvm::access(&HOST, dom, gfn, write, f).ok()
}

/// How event channels are announced.
#[inline]
pub fn via(dom: &Domain) -> Via {
    let Some(hvm) = &dom.hvm else {
        return Via::None;
    };
    let value = hvm.params[PARAM_CALLBACK_IRQ as usize].load(Ordering::Relaxed);
    Via::decode(value).unwrap_or(Via::None)
}

/// Is there a mapping now that allows what nested paging has stopped?
pub fn allows(dom: &Domain, access: &Access) -> bool {
    match domain::hvm::lookup(&HOST, dom, access.gpa >> 12) {
        Some(entry) if access.fetch => entry.kind.executable(),
        // Noting a write to a page under watch makes it writable.
        Some(_) if access.write => with_frame(dom, access.gpa >> 12, true, drop).is_some(),
        Some(_) => true,
        None => false,
    }
}

/// Translations that a change of the physmap has made stale are forgotten.
#[inline]
pub fn before_entry<C: VirtualCpu>(cpu: &mut C, hvm: &HvmVcpu) {
    if hvm.asid.load(Ordering::Acquire) == 0 {
        cpu.flush();
    }
}

/// See [`domain::Host::flush_p2m`]: no vcpu enters with its old address space id any more, and those inside come out.
pub fn flush(dom: &Domain) {
    for hvm in dom.vcpus.iter().filter_map(|v| v.hvm.as_ref()) {
        hvm.asid.store(0, Ordering::Release);
    }
    tlb::flush_mask(dom.dirty_cpus.load(Ordering::SeqCst), None);
}

/// Fills the page at `gfn` with hypercall stubs; `None`: there is no such page.
pub fn write_hypercall_page(dom: &Domain, gfn: u64) -> Option<()> {
    let vmcall = crate::arch::x86::cpu::features().vmx;
    with_frame(dom, gfn, true, |mfn| {
        hypercall::control::write_hvm_hypercall_page(&HOST, mfn, vmcall)
    })?
    .ok()
}
