//! Event delivery: the bridge between a domain's port table and its guest-shared pages ([`DomEvents`]), and the
//! waking that a delivery asks for ([`deliver`]).
use crate::{Domain, Host, PF_BLOCKED, PF_POLLING, Vcpu};
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use evtchn::{ControlBlock, Send, SharedEvents, VcpuEvents, WORDS_PER_PAGE, Wake};
use vdev::Via;
use xen_abi::hvm::PARAM_CALLBACK_IRQ;
use xen_abi::{DomId, Errno, Mfn, Pirq, Port, VcpuId};

const PENDING_OFFSET: usize = core::mem::offset_of!(xen_abi::xen::SharedInfo, evtchn_pending);
const MASK_OFFSET: usize = core::mem::offset_of!(xen_abi::xen::SharedInfo, evtchn_mask);

/// A domain's event memory as the port table wants to see it.
pub struct DomEvents<'a, H: Host> {
    /// The machine.
    pub h: &'a H,
    /// The domain.
    pub dom: &'a Domain,
}

impl<H: Host> SharedEvents for DomEvents<'_, H> {
    fn pending_word(&self, i: usize) -> Option<&AtomicU64> {
        if i >= 64 {
            return None;
        }
        self.h
            .shared_u64(self.dom.shared_info, PENDING_OFFSET + i * 8)
    }

    fn mask_word(&self, i: usize) -> Option<&AtomicU64> {
        if i >= 64 {
            return None;
        }
        self.h.shared_u64(self.dom.shared_info, MASK_OFFSET + i * 8)
    }

    fn vcpu_events(&self, vcpu: VcpuId) -> Option<VcpuEvents<'_>> {
        let (mfn, offset) = self.dom.vcpu(vcpu)?.info.get()?;
        // Hardware-virtualised vcpus have an interrupt flag instead.
        static NEVER: AtomicU8 = AtomicU8::new(0);
        let upcall_mask = match self.dom.is_hvm() {
            true => &NEVER,
            false => self.h.shared_u8(mfn, offset + 1)?,
        };
        Some(VcpuEvents {
            upcall_pending: self.h.shared_u8(mfn, offset)?,
            upcall_mask,
            pending_sel: self.h.shared_u64(mfn, offset + 8)?,
        })
    }

    fn event_word(&self, port: Port) -> Option<&AtomicU32> {
        let page = self
            .dom
            .fifo_array
            .get((port.0 / WORDS_PER_PAGE) as usize)?;
        match page.load(Ordering::Acquire) {
            0 => None,
            mfn => self
                .h
                .shared_u32(Mfn(mfn - 1), (port.0 % WORDS_PER_PAGE) as usize * 4),
        }
    }

    fn control_block(&self, vcpu: VcpuId) -> Option<ControlBlock<'_>> {
        let (mfn, offset) = self.dom.vcpu(vcpu)?.fifo_control.get()?;
        Some(ControlBlock {
            ready: self.h.shared_u32(mfn, offset)?,
            heads: self.h.shared_heads(mfn, offset + 8)?,
        })
    }
}

/// Carries out what a delivery to `dom` asks for.
pub fn deliver<H: Host>(h: &H, dom: &Domain, wake: Wake) {
    if let Some(v) = wake.kick.and_then(|id| dom.vcpu(id)) {
        raise_upcall(v);
        wake_vcpu(h, dom, v);
    }
    if let Some(port) = wake.pollers {
        let events = dom.events.read();
        for id in events.pollers(port) {
            if let Some(v) = dom.vcpu(id) {
                events.poll_end(id);
                v.clear_flags(PF_POLLING | PF_BLOCKED);
                v.poll_deadline_ns.store(0, Ordering::Relaxed);
                h.kick(v);
            }
        }
    }
}

/// Ends a vcpu's `SCHEDOP_poll`, if it is in one: any event that would interrupt it does.
pub fn end_poll(dom: &Domain, v: &Vcpu) {
    if v.clear_flags(PF_POLLING) & PF_POLLING != 0 {
        v.poll_deadline_ns.store(0, Ordering::Relaxed);
        dom.events.read().poll_end(v.id);
    }
}

/// A hardware-virtualised vcpu that has chosen a vector of its own gets its upcall through its local APIC.
fn raise_upcall(v: &Vcpu) {
    if let Some(hvm) = &v.hvm {
        match hvm.upcall_vector.load(Ordering::Acquire) {
            0 => {}
            vector => {
                hvm.lapic.lock().raise(vector, false);
            }
        }
    }
}

fn upcall_waits<H: Host>(h: &H, dom: &Domain, v: &Vcpu) -> bool {
    let events = DomEvents { h, dom };
    let events = events.vcpu_events(v.id);
    events.is_some_and(|e| e.needs_delivery())
}

/// How a vcpu is told of events has changed: it is told anew of those that are pending.
pub fn announce_pending<H: Host>(h: &H, dom: &Domain, v: &Vcpu) {
    if upcall_waits(h, dom, v) {
        raise_upcall(v);
    }
    wake_vcpu(h, dom, v);
}

/// Does anything wait that would interrupt a vcpu, if a hardware-virtualised one let itself be interrupted? An event interrupts
/// those only if their domain has said by what vector events come.
pub fn interrupt_waits<H: Host>(h: &H, dom: &Domain, v: &Vcpu) -> bool {
    v.nmi_pending.load(Ordering::Acquire) || maskable_waits(h, dom, v)
}

/// Would the current vcpu be interrupted at once, as it is? What it sleeps with interrupts off for (Linux waits so for its
/// spinlocks) is the arrival of something new, not what waits already.
pub fn is_interrupted<H: Host>(h: &H, dom: &Domain, v: &Vcpu) -> bool {
    let nmi = v.nmi_pending.load(Ordering::Acquire);
    nmi || (v.hvm.is_none() || h.interrupts_on()) && maskable_waits(h, dom, v)
}

fn maskable_waits<H: Host>(h: &H, dom: &Domain, v: &Vcpu) -> bool {
    let upcall = || upcall_waits(h, dom, v);
    let (Some(machine), Some(hvm)) = (&dom.hvm, &v.hvm) else {
        return upcall();
    };
    let via = machine.params[PARAM_CALLBACK_IRQ as usize].load(Ordering::Relaxed);
    hvm.lapic.lock().pending().is_some()
        || matches!(Via::decode(via), Some(Via::Vector(_))) && upcall()
}

/// Unblocks a vcpu, whether it waits in `SCHEDOP_block` or `SCHEDOP_poll`, and makes its CPU notice.
pub fn wake_vcpu<H: Host>(h: &H, dom: &Domain, v: &Vcpu) {
    end_poll(dom, v);
    v.clear_flags(PF_BLOCKED);
    h.kick(v);
}

/// Sends on a local port: `EVTCHNOP_send`.
pub fn notify_port<H: Host>(h: &H, dom: &Domain, port: Port) -> Result<(), Errno> {
    let (target, wake) = {
        let events = dom.events.read();
        match events.send(port)? {
            Send::Nothing => return Ok(()),
            Send::Local(p) => (None, events.set_pending(&DomEvents { h, dom }, p)),
            Send::Remote { dom: d, port: p } => (Some((d, p)), Wake::NONE),
        }
    };
    match target {
        None => deliver(h, dom, wake),
        Some((id, remote_port)) => {
            // The peer may have gone meanwhile: then nobody is connected any more.
            if let Some(remote) = h.domains().get(id) {
                let shared = DomEvents { h, dom: &remote };
                let wake = remote
                    .events
                    .read()
                    .notify_peer(&shared, remote_port, dom.id, port);
                deliver(h, &remote, wake);
            }
        }
    }
    Ok(())
}

/// Raises a per-vcpu virtual interrupt.
pub fn send_vcpu_virq<H: Host>(h: &H, dom: &Domain, vcpu: VcpuId, virq: u32) {
    let wake = dom
        .events
        .read()
        .send_vcpu_virq(&DomEvents { h, dom }, vcpu, virq);
    deliver(h, dom, wake);
}

/// Raises a global virtual interrupt in dom0 (`VIRQ_DOM_EXC`, `VIRQ_CON_RING` …).
pub fn send_global_virq<H: Host>(h: &H, virq: u32) {
    if let Some(dom0) = h.domains().get(DomId::DOM0) {
        let wake = dom0
            .events
            .read()
            .send_global_virq(&DomEvents { h, dom: &dom0 }, virq);
        deliver(h, &dom0, wake);
    }
}

/// Raises a physical interrupt; `false` when the domain has not bound it.
pub fn send_pirq<H: Host>(h: &H, dom: &Domain, pirq: Pirq) -> bool {
    let (bound, wake) = dom.events.read().send_pirq(&DomEvents { h, dom }, pirq);
    deliver(h, dom, wake);
    bound
}
