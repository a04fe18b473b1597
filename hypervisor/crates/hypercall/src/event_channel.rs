//! `event_channel_op`: the port table's operations, with copies, peers and interrupts around them.
use crate::{Cx, Ret, Stop};
use core::sync::atomic::Ordering;
use domain::{DomEvents, Domain, Host, deliver};
use evtchn::Binding;
use mm::WritableRef;
use xen_abi::event_channel as abi;
use xen_abi::event_channel::*;
use xen_abi::{Errno, Mfn, Payload32, Port};

/// `event_channel_op(cmd, arg)`.
pub fn event_channel_op<H: Host>(cx: &Cx<H>) -> Ret {
    let [cmd, arg, ..] = cx.args;
    let Ok(cmd) = u32::try_from(cmd) else {
        return Err(Errno::ENOSYS.into());
    };
    match cmd {
        SEND => {
            let op: abi::Send = cx.read(arg)?;
            domain::notify_port(cx.h, cx.dom, op.port)?;
        }
        UNMASK => {
            let op: abi::Unmask = cx.read(arg)?;
            let wake = cx.dom.events.read().unmask(&shared(cx, cx.dom), op.port)?;
            deliver(cx.h, cx.dom, wake);
        }
        ALLOC_UNBOUND => alloc_unbound(cx, arg)?,
        BIND_INTERDOMAIN => bind_interdomain(cx, arg)?,
        BIND_VIRQ => {
            let mut op: abi::BindVirq = cx.read(arg)?;
            op.port = cx
                .dom
                .events
                .write()
                .bind_virq(&shared(cx, cx.dom), op.virq, op.vcpu)?;
            cx.write(arg, &op)?;
        }
        BIND_IPI => {
            let mut op: abi::BindIpi = cx.read(arg)?;
            op.port = cx
                .dom
                .events
                .write()
                .bind_ipi(&shared(cx, cx.dom), op.vcpu)?;
            cx.write(arg, &op)?;
        }
        BIND_PIRQ => bind_pirq(cx, arg)?,
        CLOSE => {
            let op: abi::Close = cx.read(arg)?;
            close(cx, op.port)?;
        }
        STATUS => status(cx, arg)?,
        BIND_VCPU => {
            let op: abi::BindVcpu = cx.read(arg)?;
            // Interrupts follow lazily: they are delivered wherever they arrive and forwarded as events.
            let _moved = cx.dom.events.write().bind_vcpu(op.port, op.vcpu)?;
        }
        RESET => reset(cx, arg)?,
        INIT_CONTROL => init_control(cx, arg)?,
        EXPAND_ARRAY => expand_array(cx, arg)?,
        SET_PRIORITY => {
            let op: abi::SetPriority = cx.read(arg)?;
            cx.dom.events.write().set_priority(op.port, op.priority)?;
        }
        _ => return Err(Errno::ENOSYS.into()),
    }
    Ok(0)
}

fn shared<'a, H: Host>(cx: &Cx<'a, H>, dom: &'a Domain) -> DomEvents<'a, H> {
    DomEvents { h: cx.h, dom }
}

fn alloc_unbound<H: Host>(cx: &Cx<H>, arg: u64) -> Result<(), Stop> {
    let mut op: abi::AllocUnbound = cx.read(arg)?;
    let dom = cx.target(op.dom)?;
    let remote = cx.resolve(op.remote_dom);
    op.port = dom
        .events
        .write()
        .alloc_unbound(&shared(cx, &dom), remote)?;
    cx.write(arg, &op)
}

fn bind_interdomain<H: Host>(cx: &Cx<H>, arg: u64) -> Result<(), Stop> {
    let mut op: abi::BindInterdomain = cx.read(arg)?;
    let remote = cx.peer(op.remote_dom)?;
    let here = shared(cx, cx.dom);
    let bound = if remote.id == cx.dom.id {
        cx.dom.events.write().bind_loopback(&here, op.remote_port)?
    } else {
        // Both tables, lowest domain id first, so that two domains binding to each other cannot deadlock.
        let (mut local, mut peer);
        if cx.dom.id < remote.id {
            local = cx.dom.events.write();
            peer = remote.events.write();
        } else {
            peer = remote.events.write();
            local = cx.dom.events.write();
        }
        evtchn::bind_interdomain(&mut local, &here, &mut peer, op.remote_port)?
    };
    op.local_port = bound.port;
    deliver(cx.h, cx.dom, bound.wake);
    cx.write(arg, &op)
}

fn bind_pirq<H: Host>(cx: &Cx<H>, arg: u64) -> Result<(), Stop> {
    let mut op: abi::BindPirq = cx.read(arg)?;
    let irq = cx
        .dom
        .irqs
        .lock()
        .irqs
        .get(op.pirq.0 as usize)
        .copied()
        .flatten()
        .ok_or(Errno::EPERM)?;
    op.port = cx
        .dom
        .events
        .write()
        .bind_pirq(&shared(cx, cx.dom), op.pirq)?;
    let share = op.flags & BIND_PIRQ__WILL_SHARE != 0;
    if let Err(e) = cx.h.irqs().bind(irq, cx.dom.id, op.pirq.0, share) {
        let _ = cx.dom.events.write().close(&shared(cx, cx.dom), op.port);
        return Err(e.into());
    }
    cx.write(arg, &op)
}

fn close<H: Host>(cx: &Cx<H>, port: Port) -> Result<(), Stop> {
    let closed = cx.dom.events.write().close(&shared(cx, cx.dom), port)?;
    domain::after_close(cx.h, cx.dom, closed.port, closed.was);
    Ok(())
}

fn status<H: Host>(cx: &Cx<H>, arg: u64) -> Result<(), Stop> {
    let mut op: abi::Status = cx.read(arg)?;
    let dom = cx.target(op.dom)?;
    let (binding, vcpu) = dom.events.read().status(op.port)?;
    op.vcpu = vcpu;
    op.u = Payload32::default();
    op.status = match binding {
        Binding::Free | Binding::Reserved => EVTCHNSTAT_CLOSED,
        Binding::Unbound { remote } => {
            op.u.set(remote);
            EVTCHNSTAT_UNBOUND
        }
        Binding::Interdomain {
            remote,
            remote_port,
        } => {
            op.u.set(abi::Interdomain {
                dom: remote,
                _pad2: 0,
                port: remote_port,
            });
            EVTCHNSTAT_INTERDOMAIN
        }
        Binding::Pirq(pirq) => {
            op.u.set(pirq.0);
            EVTCHNSTAT_PIRQ
        }
        Binding::Virq(virq) => {
            op.u.set(virq);
            EVTCHNSTAT_VIRQ
        }
        Binding::Ipi => EVTCHNSTAT_IPI,
    };
    cx.write(arg, &op)
}

fn reset<H: Host>(cx: &Cx<H>, arg: u64) -> Result<(), Stop> {
    let op: abi::Reset = cx.read(arg)?;
    let dom = cx.target(op.dom)?;
    let mut from = Port(1);
    loop {
        let step = dom.events.write().reset_step(&shared(cx, &dom), from);
        let Some(closed) = step else { break };
        domain::after_close(cx.h, &dom, closed.port, closed.was);
        from = Port(closed.port.0 + 1);
    }
    if dom.events.write().finish_reset() {
        domain::drop_fifo(cx.h, &dom);
    }
    Ok(())
}

/// A frame the domain gives for event memory: held writable until the domain dies or resets.
fn event_page<H: Host>(cx: &Cx<H>, gfn: u64) -> Result<WritableRef, Stop> {
    let page = domain::hvm::get_writable(cx.h, cx.dom, gfn)?;
    if page.mfn() == cx.dom.shared_info {
        domain::put_writable(cx.h, page);
        return Err(Errno::EINVAL.into());
    }
    Ok(page)
}

fn init_control<H: Host>(cx: &Cx<H>, arg: u64) -> Result<(), Stop> {
    let mut op: abi::InitControl = cx.read(arg)?;
    let mut events = cx.dom.events.write();
    events.check_control(op.vcpu, op.offset)?;
    let v = cx.dom.vcpu(op.vcpu).ok_or(Errno::ENOENT)?;
    if v.fifo_control.get().is_some() {
        return Err(Errno::EINVAL.into());
    }
    op.link_bits = evtchn::LINK_BITS;
    cx.write(arg, &op)?;
    let page = event_page(cx, op.control_gfn.0)?;
    v.fifo_control.set(page.into_raw(), op.offset as usize);
    if let Err(e) = events.init_fifo(&shared(cx, cx.dom)) {
        drop(events);
        domain::drop_fifo(cx.h, cx.dom);
        return Err(e.into());
    }
    // Events raised before this vcpu had a control block are linked now.
    let mut wakes = alloc::vec::Vec::new();
    events.control_added(&shared(cx, cx.dom), op.vcpu, |wake| wakes.push(wake));
    drop(events);
    wakes
        .into_iter()
        .for_each(|wake| deliver(cx.h, cx.dom, wake));
    Ok(())
}

fn expand_array<H: Host>(cx: &Cx<H>, arg: u64) -> Result<(), Stop> {
    let op: abi::ExpandArray = cx.read(arg)?;
    let mut wakes = alloc::vec::Vec::new();
    {
        let mut events = cx.dom.events.write();
        let index = events.check_expand()?;
        let slot = cx.dom.fifo_array.get(index as usize).ok_or(Errno::ENOSPC)?;
        let page = event_page(cx, op.array_gfn.0)?;
        let before = slot.swap(page.into_raw().0 + 1, Ordering::AcqRel);
        if before != 0 {
            // A reset on another vcpu has emptied the table and not given up its pages yet.
            domain::put_writable(cx.h, WritableRef::from_raw(Mfn(before - 1)));
        }
        events.expand_array(&shared(cx, cx.dom), |wake| wakes.push(wake))?;
    }
    for wake in wakes {
        deliver(cx.h, cx.dom, wake);
    }
    Ok(())
}
