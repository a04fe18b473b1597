//! The parts of a vcpu's state that its context has no room for: entry points of 32-bit calls, XSAVE image, MSRs.
use super::vcpu::while_paused;
use super::{Outcome, Reply, not_self, vcpu_of};
use crate::Cx;
use crate::mmu::guest_address;
use alloc::vec::Vec;
use domain::pv::{Callback, FPU_BYTES, FpuArea};
use domain::{Domain, Host, PV_XCR0};
use xen_abi::Errno;
use xen_abi::domctl::*;
use xen_abi::xen::FLAT_KERNEL_CS;

/// Bytes of [`ExtVcpuContext`] that must be there at least: all before the machine-check state.
const EXT_MIN: u32 = core::mem::offset_of!(ExtVcpuContext, _pad30) as u32;
/// XCR0 and the components ever enabled, in front of the XSAVE image.
const XSTATE_HEAD: usize = 16;
/// Where the image says which components it holds; x87 and SSE are usable whatever XCR0 says.
const XSTATE_BV: usize = 512;
const X87_SSE: u64 = 3;
/// The XSAVE image's legacy part and header.
const XSAVE_BASE: usize = 512 + 64;

/// `get_ext_vcpucontext`.
pub(super) fn get_ext(dom: &Domain, op: &mut Domctl) -> Outcome {
    let mut e = op.ext_vcpucontext();
    let v = vcpu_of(dom, e.vcpu)?;
    let pv = v.pv.lock();
    e.size = size_of::<ExtVcpuContext>() as u32;
    e.syscall32_callback_eip = pv.syscall32.address;
    e.syscall32_callback_cs = FLAT_KERNEL_CS;
    e.syscall32_disables_events = u8::from(pv.syscall32.mask_events);
    e.sysenter_callback_eip = pv.sysenter.address;
    e.sysenter_callback_cs = FLAT_KERNEL_CS;
    e.sysenter_disables_events = u8::from(pv.sysenter.mask_events);
    e.vmce = VmceVcpu::default();
    drop(pv);
    op.set_ext_vcpucontext(e);
    Ok(Reply::Data)
}

/// `set_ext_vcpucontext`.
pub(super) fn set_ext<H: Host>(cx: &Cx<H>, dom: &Domain, op: &Domctl) -> Outcome {
    not_self(cx, dom.id)?;
    let e = op.ext_vcpucontext();
    let v = vcpu_of(dom, e.vcpu)?;
    if e.size < EXT_MIN
        || !guest_address(e.syscall32_callback_eip)
        || !guest_address(e.sysenter_callback_eip)
    {
        return Err(Errno::EINVAL.into());
    }
    while_paused(cx, dom, || {
        let mut pv = v.pv.lock();
        pv.syscall32 = Callback {
            address: e.syscall32_callback_eip,
            mask_events: e.syscall32_disables_events != 0,
        };
        pv.sysenter = Callback {
            address: e.sysenter_callback_eip,
            mask_events: e.sysenter_disables_events != 0,
        };
    });
    Ok(Reply::Done)
}

/// Bytes of an XSAVE image with the components `xcr0`, by the sizes CPUID gives.
pub(super) fn image_bytes<H: Host>(cx: &Cx<H>, xcr0: u64) -> usize {
    let policy = cx.h.default_cpuid();
    let end = |bit: u32| {
        let [size, offset, ..] = policy.get(0xd, bit);
        (offset as usize).saturating_add(size as usize)
    };
    let most = (2..63)
        .filter(|bit| xcr0 & (1 << bit) != 0)
        .map(end)
        .max()
        .unwrap_or(0);
    most.clamp(XSAVE_BASE, FPU_BYTES)
}

/// Appends XCR0, the components ever enabled, and `image` bytes of the area.
pub(super) fn get_image(out: &mut Vec<u8>, xcr0: u64, fpu: &FpuArea, image: usize) {
    out.extend_from_slice(&xcr0.to_le_bytes());
    out.extend_from_slice(&xcr0.to_le_bytes());
    let at = out.len() + XSTATE_BV;
    out.extend_from_slice(fpu.0.get(..image).unwrap_or(&fpu.0));
    // Components that the guest has not enabled are the hypervisor's business.
    if let Some(present) = out.get_mut(at..at + 8) {
        let shown = word(present, 0) & (xcr0 | X87_SSE);
        present.copy_from_slice(&shown.to_le_bytes());
    }
}

/// Takes what [`get_image`] gave, or nothing of it; the vcpu's XCR0. `EINVAL`: no state of a guest's.
pub(super) fn set_image<H: Host>(
    cx: &Cx<H>,
    bytes: &[u8],
    fpu: &mut FpuArea,
) -> Result<u64, Errno> {
    if bytes.len() > XSTATE_HEAD + FPU_BYTES {
        return Err(Errno::EINVAL);
    }
    let (head, image) = bytes.split_at_checked(XSTATE_HEAD).ok_or(Errno::EINVAL)?;
    let xcr0 = word(head, 0);
    let allowed = cx.h.default_cpuid().get(0xd, 0)[0];
    let known = PV_XCR0 & u64::from(allowed) | 1;
    if xcr0 & !known != 0 || xcr0 & 1 == 0 || xcr0 & 6 == 4 {
        return Err(Errno::EINVAL);
    }
    if !image.is_empty() && !loadable(image, xcr0) {
        return Err(Errno::EINVAL);
    }
    for (slot, byte) in fpu.0.iter_mut().zip(image) {
        *slot = *byte;
    }
    Ok(xcr0)
}

/// `getvcpuextstate`: size 0 asks for the size.
pub(super) fn get_xstate<H: Host>(cx: &Cx<H>, dom: &Domain, op: &mut Domctl) -> Outcome {
    not_self(cx, dom.id)?;
    let mut x = op.vcpuextstate();
    let v = vcpu_of(dom, x.vcpu)?;
    let xcr0 = v.pv.lock().xcr0;
    let image = image_bytes(cx, xcr0);
    let size = (XSTATE_HEAD + image) as u64;
    if x.size == 0 && x.xfeature_mask == 0 {
        x.size = size;
        x.xfeature_mask = PV_XCR0;
        op.set_vcpuextstate(x);
        return Ok(Reply::Data);
    }
    if x.size != size || x.xfeature_mask != PV_XCR0 {
        return Err(Errno::EINVAL.into());
    }
    let mut out = Vec::new();
    out.try_reserve_exact(XSTATE_HEAD + image)
        .map_err(|_| Errno::ENOMEM)?;
    while_paused(cx, dom, || {
        let pv = v.pv.lock();
        get_image(&mut out, xcr0, &pv.fpu, image);
    });
    cx.write_bytes(x.buffer.addr(), &out)?;
    Ok(Reply::Done)
}

/// `setvcpuextstate`.
pub(super) fn set_xstate<H: Host>(cx: &Cx<H>, dom: &Domain, op: &Domctl) -> Outcome {
    not_self(cx, dom.id)?;
    let x = op.vcpuextstate();
    let v = vcpu_of(dom, x.vcpu)?;
    let len = usize::try_from(x.size).map_err(|_| Errno::EINVAL)?;
    if !(XSTATE_HEAD..=XSTATE_HEAD + FPU_BYTES).contains(&len) {
        return Err(Errno::EINVAL.into());
    }
    let bytes = cx.read_bytes(x.buffer.addr(), len, XSTATE_HEAD + FPU_BYTES)?;
    while_paused(cx, dom, || {
        let mut pv = v.pv.lock();
        pv.xcr0 = set_image(cx, &bytes, &mut pv.fpu)?;
        Ok::<(), Errno>(())
    })?;
    Ok(Reply::Done)
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

/// Would XRSTOR take it? Standard format, no unknown component, nothing in reserved places (SDM vol. 1, 13.8).
fn loadable(image: &[u8], xcr0: u64) -> bool {
    image.len() >= XSAVE_BASE
        && word(image, XSTATE_BV) & !(xcr0 | X87_SSE) == 0
        && (520..XSAVE_BASE).all(|i| image.get(i) == Some(&0))
        && word(image, 24) & 0xffff_0000 == 0
}

/// `get_vcpu_msrs`: a PV vcpu has none beyond its context.
pub(super) fn get_msrs(dom: &Domain, op: &mut Domctl) -> Outcome {
    let mut m = op.vcpu_msrs();
    vcpu_of(dom, m.vcpu)?;
    m.msr_count = 0;
    op.set_vcpu_msrs(m);
    Ok(Reply::Data)
}

/// Most MSRs per `set_vcpu_msrs`.
const MAX_MSRS: u32 = 64;

/// `set_vcpu_msrs`: accepts what is as it is, zero.
pub(super) fn set_msrs<H: Host>(cx: &Cx<H>, dom: &Domain, op: &mut Domctl) -> Outcome {
    let mut m = op.vcpu_msrs();
    vcpu_of(dom, m.vcpu)?;
    if m.msr_count > MAX_MSRS {
        return Err(Errno::EINVAL.into());
    }
    for i in 0..m.msr_count {
        let msr = cx.read_nth(m.msrs, u64::from(i))?;
        if msr.reserved != 0 || msr.value != 0 {
            // The caller learns which one it was.
            m.msr_count = i;
            op.set_vcpu_msrs(m);
            cx.write(cx.args[0], op)?;
            return Err(Errno::EINVAL.into());
        }
    }
    Ok(Reply::Done)
}
