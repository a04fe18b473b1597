//! Access to the current guest's virtual memory, the only place that touches guest addresses. Everything copied
//! is an allegation until checked; faults are caught in `copy_guest` of `entry.S`.
use super::symbols;
use domain::Fault;
use xen_abi::xen::{HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START};

/// Whether `[gva, gva+len)` may be touched for a guest: canonical and outside the hypervisor's range.
#[inline]
pub fn access_ok(gva: u64, len: usize) -> bool {
    let Some(end) = gva.checked_add(len as u64) else {
        return false;
    };
    if gva < 0x0000_8000_0000_0000 {
        end <= 0x0000_8000_0000_0000
    } else {
        gva >= HYPERVISOR_VIRT_END || (gva >= 0xffff_8000_0000_0000 && end <= HYPERVISOR_VIRT_START)
    }
}

#[inline]
fn with_user_access<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: have_smap is written once at boot; STAC/CLAC exist when it is set and only open the window for `f`.
    unsafe {
        let smap = (&raw const symbols::have_smap).read() != 0;
        if smap {
            core::arch::asm!("stac", options(nostack));
        }
        let r = f();
        if smap {
            core::arch::asm!("clac", options(nostack));
        }
        r
    }
}

/// Reads guest memory; may leave `buf` partly written on a fault.
#[inline]
pub fn copy_from_guest(buf: &mut [u8], gva: u64) -> Result<(), Fault> {
    if !access_ok(gva, buf.len()) {
        return Err(Fault);
    }
    // SAFETY: the range is not the hypervisor's; a fault inside copy_guest is fixed up and reported.
    let fault = with_user_access(|| unsafe {
        symbols::copy_guest(buf.as_mut_ptr(), gva as *const u8, buf.len())
    });
    if fault == 0 { Ok(()) } else { Err(Fault) }
}

/// Writes guest memory; may leave the target partly written on a fault.
#[inline]
pub fn copy_to_guest(gva: u64, buf: &[u8]) -> Result<(), Fault> {
    if !access_ok(gva, buf.len()) {
        return Err(Fault);
    }
    // SAFETY: as above; the guest's own page tables decide what is writable (CR0.WP is set).
    let fault = with_user_access(|| unsafe {
        symbols::copy_guest(gva as *mut u8, buf.as_ptr(), buf.len())
    });
    if fault == 0 { Ok(()) } else { Err(Fault) }
}
