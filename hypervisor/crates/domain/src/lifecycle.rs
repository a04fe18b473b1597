//! Pausing, shutting down and destroying domains.
use crate::{DomEvents, Domain, Host, PF_RETIRED, SharedSpot, Vcpu, events, finish, put_writable};
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use evtchn::Binding;
use mm::{Budget, Paging, RootRef, WritableRef};
use xen_abi::xen::VIRQ_DOM_EXC;
use xen_abi::{Errno, Mfn, Port};

/// `SHUTDOWN_crash`.
const SHUTDOWN_CRASH: u32 = 3;
/// Work units per continuation of a destruction.
const STEP_UNITS: u32 = 2048;

/// Stops every vcpu of a domain; returns without waiting. Pair with [`unpause`].
pub fn pause<H: Host>(h: &H, dom: &Domain) {
    dom.pause_count.fetch_add(1, Ordering::SeqCst);
    for v in dom.vcpus.iter() {
        h.preempt(v);
    }
}

/// Waits until none of the domain's vcpus runs. The caller holds no lock and is not one of them.
pub fn wait_paused<H: Host>(h: &H, dom: &Domain) {
    for v in dom.vcpus.iter() {
        h.wait_descheduled(v);
    }
}

/// Ends one pause; the vcpus run again when it was the last.
pub fn unpause<H: Host>(h: &H, dom: &Domain) {
    let before = dom
        .pause_count
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |c| c.checked_sub(1));
    if before == Ok(1) {
        for v in dom.vcpus.iter() {
            h.kick(v);
        }
    }
}

/// Stops one vcpu and waits for it.
pub fn pause_vcpu<H: Host>(h: &H, v: &Vcpu) {
    v.pause_count.fetch_add(1, Ordering::SeqCst);
    h.preempt(v);
    h.wait_descheduled(v);
}

/// Ends one pause of a vcpu.
pub fn unpause_vcpu<H: Host>(h: &H, v: &Vcpu) {
    let before = v
        .pause_count
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |c| c.checked_sub(1));
    if before == Ok(1) {
        h.kick(v);
    }
}

/// The domain stops for `reason` (`SHUTDOWN_*`): its vcpus pause, dom0 is told. Dom0's own shutdown is the machine's.
pub fn shutdown<H: Host>(h: &H, dom: &Domain, reason: u32) {
    if dom.privileged {
        h.machine_shutdown(reason);
        return;
    }
    let reason = match dom.shutdown_code.load(Ordering::Acquire) {
        0 => reason + 1,
        announced => announced,
    };
    if dom
        .shutdown
        .compare_exchange(0, reason, Ordering::AcqRel, Ordering::Relaxed)
        .is_ok()
    {
        pause(h, dom);
        events::send_global_virq(h, VIRQ_DOM_EXC);
    }
}

/// The guest did something that cannot be answered otherwise.
pub fn crash<H: Host>(h: &H, dom: &Domain) {
    shutdown(h, dom, SHUTDOWN_CRASH);
}

/// One step of `destroydomain`; repeat on `ERESTART`. `Ok` means that nothing is left but pages which others hold.
pub fn kill_step<H: Host>(h: &H, dom: &Arc<Domain>) -> Result<(), Errno> {
    if dom.privileged {
        return Err(Errno::EINVAL);
    }
    if !dom.dying.swap(true, Ordering::AcqRel) {
        pause(h, dom);
        for v in dom.vcpus.iter() {
            v.set_flags(PF_RETIRED);
        }
        wait_paused(h, dom);
        h.domain_retired(dom);
        // Giving a claim up cannot fail.
        let _ = crate::set_claim(h, dom, 0);
    }
    wait_paused(h, dom);
    close_ports(h, dom)?;
    // Before the maptrack lets go of what is mapped there.
    crate::hvm::release_step(h, dom, STEP_UNITS)?;
    hypercall_release(h, dom)?;
    release_vcpus(h, dom)?;
    release_pages(h, dom)?;
    release_shared(h, dom);
    if !dom.dead.swap(true, Ordering::AcqRel) {
        forget_if_gone(h, dom);
        events::send_global_virq(h, VIRQ_DOM_EXC);
    }
    Ok(())
}

fn close_ports<H: Host>(h: &H, dom: &Domain) -> Result<(), Errno> {
    for _ in 0..STEP_UNITS {
        let from = Port(dom.teardown_port.load(Ordering::Relaxed));
        let closed = dom.events.write().destroy_step(&DomEvents { h, dom }, from);
        let Some(closed) = closed else { return Ok(()) };
        dom.teardown_port
            .store(closed.port.0 + 1, Ordering::Relaxed);
        after_close(h, dom, closed.port, closed.was);
    }
    Err(Errno::ERESTART)
}

/// Undoes outside the table what a closed port stood for.
pub fn after_close<H: Host>(h: &H, dom: &Domain, port: Port, was: Binding) {
    match was {
        Binding::Interdomain {
            remote,
            remote_port,
        } if remote != dom.id => {
            if let Some(peer) = h.domains().get(remote) {
                peer.events.write().peer_closed(remote_port, dom.id, port);
            }
        }
        Binding::Pirq(pirq) => {
            let irq = dom.irqs.lock().irqs.get(pirq.0 as usize).copied().flatten();
            if let Some(irq) = irq {
                h.irqs().unbind(irq, dom.id);
            }
        }
        _ => {}
    }
}

/// Gives back the grants this domain has mapped.
fn hypercall_release<H: Host>(h: &H, dom: &Arc<Domain>) -> Result<(), Errno> {
    for _ in 0..STEP_UNITS {
        if !h.release_one_mapping(dom) {
            return Ok(());
        }
    }
    Err(Errno::ERESTART)
}

fn drop_spot<H: Host>(h: &H, dom: &Domain, spot: &SharedSpot) {
    if let Some((mfn, _)) = spot.take()
        && mfn != dom.shared_info
    {
        put_writable(h, WritableRef::from_raw(mfn));
    }
}

fn release_vcpus<H: Host>(h: &H, dom: &Domain) -> Result<(), Errno> {
    let paging = Paging::new(h.frames(), h);
    for v in dom.vcpus.iter() {
        drop_spot(h, dom, &v.info);
        v.runstate_gva.store(0, Ordering::Relaxed);
        v.time_gva.store(0, Ordering::Relaxed);
        let gdt = {
            let mut pv = v.pv.lock();
            pv.gdt_entries = 0;
            core::mem::take(&mut pv.gdt_frames)
        };
        for mfn in gdt.into_iter().filter(|m| *m != 0) {
            finish(h, paging.put_segdesc(mm::pv::SegRef::from_raw(Mfn(mfn))));
        }
        for root in [&v.kernel_l4, &v.user_l4] {
            let mfn = root.swap(0, Ordering::AcqRel);
            if mfn == 0 {
                continue;
            }
            let mut tables = dom.paging.lock();
            let mut budget = Budget(STEP_UNITS);
            if let Err(back) =
                paging.put_root(&mut tables, RootRef::from_raw(Mfn(mfn)), &mut budget)
            {
                root.store(back.into_raw().0, Ordering::Release);
                return Err(Errno::ERESTART);
            }
        }
    }
    drop_fifo(h, dom);
    Ok(())
}

/// Lets go of the pages that FIFO event delivery used.
pub fn drop_fifo<H: Host>(h: &H, dom: &Domain) {
    for v in dom.vcpus.iter() {
        drop_spot(h, dom, &v.fifo_control);
    }
    for slot in &dom.fifo_array {
        let page = slot.swap(0, Ordering::AcqRel);
        if page != 0 {
            put_writable(h, WritableRef::from_raw(Mfn(page - 1)));
        }
    }
}

/// Takes the domain's reference off each of its pages. Pages that others still refer to stay on the list.
fn release_pages<H: Host>(h: &H, dom: &Domain) -> Result<(), Errno> {
    let paging = Paging::new(h.frames(), h);
    let mut budget = Budget(STEP_UNITS);
    {
        let mut tables = dom.paging.lock();
        paging.drain(&mut tables, &mut budget)?;
    }
    // Once around the list at most: whatever stays is held by others.
    let left = &dom.teardown_pages;
    if left.load(Ordering::Relaxed) == !0 {
        left.store(u64::from(dom.memory.lock().pages.len()), Ordering::Relaxed);
    }
    for _ in 0..STEP_UNITS {
        if left.load(Ordering::Relaxed) == 0 {
            return paging.drain(&mut dom.paging.lock(), &mut budget);
        }
        let next = dom.memory.lock().pages.rotate(h.frames());
        let Some(mfn) = next else {
            left.store(0, Ordering::Relaxed);
            continue;
        };
        paging.relinquish(&mut dom.paging.lock(), mfn, &mut budget)?;
        left.fetch_sub(1, Ordering::Relaxed);
    }
    Err(Errno::ERESTART)
}

fn release_shared<H: Host>(h: &H, dom: &Domain) {
    let mut pages = core::mem::take(&mut *dom.grant_frames.write());
    pages.push(dom.shared_info);
    for mfn in pages {
        if let Some(page) = h.frames().free_domain_ref(mfn, dom.id) {
            crate::put_page(h, page);
        }
    }
}

/// Takes a dead domain off the registry once its last page is back.
pub(crate) fn forget_if_gone<H: Host>(h: &H, dom: &Domain) {
    if !dom.dead.load(Ordering::Acquire) {
        return;
    }
    let gone = {
        let mem = dom.memory.lock();
        mem.pages.is_empty() && mem.shared_pages == 0
    };
    if gone && h.domains().remove(dom.id).is_some() {
        events::send_global_virq(h, VIRQ_DOM_EXC);
    }
}
