//! Descriptor tables, trap tables and entry points of a PV guest.
use crate::mmu::guest_address;
use crate::{Cx, Ret, Stop};
use core::sync::atomic::Ordering;
use domain::Host;
use domain::pv::{Callback, GDT_PAGES};
use mm::{Paging, SegRef};
use xen_abi::callback::*;
use xen_abi::xen::{FIRST_RESERVED_GDT_ENTRY, TrapInfo};
use xen_abi::{Errno, Mfn};

/// `set_trap_table(table)`: entries until one with address 0; a null table clears all.
pub fn set_trap_table<H: Host>(cx: &Cx<H>) -> Ret {
    let table = cx.args[0];
    if table == 0 {
        *cx.v.pv.lock().traps = [TrapInfo::default(); 256];
        return Ok(0);
    }
    for i in 0..=256u64 {
        let at = table
            .checked_add(i * size_of::<TrapInfo>() as u64)
            .ok_or(Errno::EFAULT)?;
        let t: TrapInfo = cx.read(at)?;
        if t.address == 0 {
            return Ok(0);
        }
        set_trap(cx, t)?;
    }
    // Longer than there are vectors: the rest could only repeat.
    Ok(0)
}

fn set_trap<H: Host>(cx: &Cx<H>, mut t: TrapInfo) -> Result<(), Stop> {
    if !guest_address(t.address) {
        return Err(Errno::EINVAL.into());
    }
    t.cs = fix_selector(t.cs);
    let mut pv = cx.v.pv.lock();
    if let Some(slot) = pv.traps.get_mut(t.vector as usize) {
        *slot = t;
    }
    Ok(())
}

/// A guest selector made harmless: RPL 3, the guest's kernel runs there.
pub fn fix_selector(sel: u16) -> u16 {
    sel | 3
}

/// Takes descriptor references on the frames of a GDT of `entries` descriptors. All or none.
pub fn take_gdt<H: Host>(
    h: &H,
    dom: &domain::Domain,
    frames: &[u64],
    entries: u32,
) -> Result<[u64; GDT_PAGES], Errno> {
    let pages = (entries as usize).div_ceil(512);
    if entries > FIRST_RESERVED_GDT_ENTRY || pages > frames.len() {
        return Err(Errno::EINVAL);
    }
    let paging = Paging::new(h.frames(), h);
    let mut taken = [0u64; GDT_PAGES];
    let mut tables = dom.paging.lock();
    for (slot, frame) in taken.iter_mut().zip(frames.iter().take(pages)) {
        match paging.get_segdesc(&mut tables, Mfn(*frame)) {
            Ok(page) => *slot = page.into_raw().0,
            Err(e) => {
                drop(tables);
                release_gdt(h, taken);
                return Err(e);
            }
        }
    }
    Ok(taken)
}

/// Drops the references of a GDT.
pub fn release_gdt<H: Host>(h: &H, frames: [u64; GDT_PAGES]) {
    let paging = Paging::new(h.frames(), h);
    for mfn in frames.into_iter().filter(|m| *m != 0) {
        domain::finish(h, paging.put_segdesc(SegRef::from_raw(Mfn(mfn))));
    }
}

/// `set_gdt(frame_list, entries)`.
pub fn set_gdt<H: Host>(cx: &Cx<H>) -> Ret {
    let [list, entries, ..] = cx.args;
    if entries > u64::from(FIRST_RESERVED_GDT_ENTRY) {
        return Err(Errno::EINVAL.into());
    }
    let pages = (entries as usize).div_ceil(512);
    let mut frames = [0u64; GDT_PAGES];
    for (i, slot) in frames.iter_mut().enumerate().take(pages) {
        *slot = cx.read(list.checked_add(i as u64 * 8).ok_or(Errno::EFAULT)?)?;
    }
    let taken = take_gdt(cx.h, cx.dom, &frames, entries as u32)?;
    let old = {
        let mut pv = cx.v.pv.lock();
        pv.gdt_entries = entries as u32;
        core::mem::replace(&mut pv.gdt_frames, taken)
    };
    // The CPU must leave the old pages before their references go.
    cx.h.reload_descriptors(cx.v);
    release_gdt(cx.h, old);
    Ok(0)
}

/// `update_descriptor(machine address, descriptor)`.
pub fn update_descriptor<H: Host>(cx: &Cx<H>) -> Ret {
    let [maddr, descriptor, ..] = cx.args;
    if !maddr.is_multiple_of(8) {
        return Err(Errno::EINVAL.into());
    }
    let paging = Paging::new(cx.h.frames(), cx.h);
    let mut tables = cx.dom.paging.lock();
    paging.update_descriptor(
        &mut tables,
        Mfn::from_addr(maddr),
        (maddr & 0xfff) as usize / 8,
        descriptor,
    )?;
    Ok(0)
}

/// `stack_switch(ss, sp)`: the kernel stack for entries from user mode.
pub fn stack_switch<H: Host>(cx: &Cx<H>) -> Ret {
    let [ss, sp, ..] = cx.args;
    if !guest_address(sp) {
        return Err(Errno::EINVAL.into());
    }
    cx.v.pv.lock().kernel_ss = u64::from(fix_selector(ss as u16));
    cx.v.kernel_sp.store(sp, Ordering::Relaxed);
    Ok(0)
}

/// `set_callbacks(event, failsafe, syscall)`, the older form of `callback_op`.
pub fn set_callbacks<H: Host>(cx: &Cx<H>) -> Ret {
    let [event, failsafe, syscall, ..] = cx.args;
    if ![event, failsafe, syscall].iter().all(|a| guest_address(*a)) {
        return Err(Errno::EINVAL.into());
    }
    let mut pv = cx.v.pv.lock();
    pv.event.address = event;
    pv.failsafe.address = failsafe;
    pv.syscall.address = syscall;
    Ok(0)
}

/// `callback_op(cmd, arg)`.
pub fn callback_op<H: Host>(cx: &Cx<H>) -> Ret {
    let [cmd, arg, ..] = cx.args;
    match u32::try_from(cmd).unwrap_or(u32::MAX) {
        REGISTER => {
            let op: Register = cx.read(arg)?;
            if !guest_address(op.address) {
                return Err(Errno::EINVAL.into());
            }
            let mask_events = op.flags & CALLBACKF_MASK_EVENTS != 0;
            let mut pv = cx.v.pv.lock();
            let slot = match op.r#type {
                CALLBACKTYPE_EVENT => &mut pv.event,
                CALLBACKTYPE_FAILSAFE => &mut pv.failsafe,
                CALLBACKTYPE_SYSCALL => &mut pv.syscall,
                CALLBACKTYPE_SYSCALL32 => &mut pv.syscall32,
                CALLBACKTYPE_SYSENTER | CALLBACKTYPE_SYSENTER_DEPRECATED => &mut pv.sysenter,
                CALLBACKTYPE_NMI => &mut pv.nmi,
                _ => return Err(Errno::ENOSYS.into()),
            };
            *slot = Callback {
                address: op.address,
                mask_events,
            };
            Ok(0)
        }
        UNREGISTER => {
            let op: Unregister = cx.read(arg)?;
            let mut pv = cx.v.pv.lock();
            match op.r#type {
                CALLBACKTYPE_NMI => pv.nmi = Callback::default(),
                CALLBACKTYPE_SYSCALL32 => pv.syscall32 = Callback::default(),
                CALLBACKTYPE_SYSENTER | CALLBACKTYPE_SYSENTER_DEPRECATED => {
                    pv.sysenter = Callback::default()
                }
                CALLBACKTYPE_EVENT | CALLBACKTYPE_FAILSAFE | CALLBACKTYPE_SYSCALL => {
                    return Err(Errno::EINVAL.into());
                }
                _ => return Err(Errno::ENOSYS.into()),
            }
            Ok(0)
        }
        _ => Err(Errno::ENOSYS.into()),
    }
}
