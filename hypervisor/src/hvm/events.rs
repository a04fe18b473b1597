//! Interrupts into a hardware guest: what waits, delivered before each entry ([`deliver`]), and halting.
//!
//! Event channels come by a vector of their own that needs no end-of-interrupt (`HVM_PARAM_CALLBACK_IRQ`), or through the
//! local APIC (`HVMOP_set_evtchn_upcall_vector`): see `domain::events`.

use super::{Event, VirtualCpu, p2m};
use crate::arch::x86::pv::info;
use crate::host::HOST;
use crate::{schedule, time};
use core::sync::atomic::Ordering;
use domain::{Domain, HvmVcpu, PF_BLOCKED, PF_DOWN, Vcpu};
use vdev::vlapic::Waiting;
use vdev::{Now, Via};

/// Both clocks, as the vcpu has them.
pub fn now(v: &Vcpu) -> Now {
    let tsc = v.tsc.at(time::rdtsc());
    Now {
        ns: time::now_ns(),
        tsc,
    }
}

/// Byte 0 of the loaded vcpu's `vcpu_info`: an upcall is pending.
#[inline]
fn upcall_pending() -> bool {
    // SAFETY: `upcall` points at the loaded vcpu's info, whose page is held, or at a static word.
    unsafe { (*info().upcall).load(Ordering::Acquire) & 0xff != 0 }
}

/// The vector that the loaded vcpu's pending upcall comes by, past the APIC.
fn upcall_vector(dom: &Domain) -> Option<u8> {
    match p2m::via(dom) {
        Via::Vector(vector) if upcall_pending() => Some(vector),
        _ => None,
    }
}

/// Delivers what waits, or asks for an exit as soon as it can be delivered.
#[inline]
pub fn deliver<C: VirtualCpu>(cpu: &mut C, dom: &Domain, v: &Vcpu, hvm: &HvmVcpu) {
    if v.nmi_pending.load(Ordering::Relaxed) {
        if cpu.has_event() || cpu.nmi_masked() || cpu.in_shadow() {
            cpu.want_nmi_window();
        } else {
            v.nmi_pending.store(false, Ordering::Relaxed);
            cpu.inject(Event::Nmi);
            cpu.want_nmi_window();
        }
    }
    let mut lapic = hvm.lapic.lock();
    let upcall = upcall_vector(dom);
    let vector = match upcall.map_or_else(|| lapic.waiting(), Waiting::Deliverable) {
        Waiting::Deliverable(vector) => vector,
        Waiting::HeldBack(class) => return cpu.want_priority_below(class),
        Waiting::Nothing => return,
    };
    if cpu.has_event() || cpu.in_shadow() || !cpu.interrupts_on() {
        // CR8 has nothing to say: the upcall is above all, and the APIC's vector is above CR8 already.
        return cpu.want_window(true);
    }
    if upcall.is_none() {
        lapic.accept();
    }
    cpu.inject(Event::Interrupt(vector));
    let more = lapic.waiting();
    drop(lapic);
    if let Waiting::HeldBack(class) = more {
        cpu.want_priority_below(class);
    }
    cpu.want_window(matches!(more, Waiting::Deliverable(_)));
}

/// HLT: sleeps until something waits. With interrupts off only an NMI can end it, and none comes: the vcpu is down.
pub fn halt(v: &Vcpu, interruptible: bool) {
    let (dom, _) = crate::arch::x86::pv::guest();
    if !interruptible && !v.nmi_pending.load(Ordering::Acquire) {
        v.set_flags(PF_DOWN);
        if dom.vcpus.iter().all(Vcpu::is_down) {
            domain::shutdown(&HOST, dom, xen_abi::sched::SHUTDOWN_POWEROFF);
        }
        return schedule::request();
    }
    // Flag first, then look: what arrives in between clears it again.
    v.set_flags(PF_BLOCKED);
    if domain::interrupt_waits(&HOST, dom, v) {
        v.clear_flags(PF_BLOCKED);
    } else {
        schedule::request();
    }
}

/// The APIC timer's next deadline in nanoseconds since boot, 0 = none.
pub fn timer_deadline(v: &Vcpu, hvm: &HvmVcpu) -> u64 {
    match hvm.lapic.lock().deadline() {
        vdev::vlapic::Deadline::Never => 0,
        vdev::vlapic::Deadline::Ns(at) => at.max(1),
        vdev::vlapic::Deadline::Tsc(at) => {
            let at = v.tsc.line().host_at(at, time::rdtsc());
            let ticks = at.saturating_sub(time::boot_tsc());
            time::scale().to_far_ns(ticks).saturating_add(1)
        }
    }
}

/// Time has come for a vcpu's APIC timer, perhaps.
pub fn expire_timer(dom: &Domain, v: &Vcpu, hvm: &HvmVcpu) {
    let wake = {
        let mut lapic = hvm.lapic.lock();
        lapic.expire(now(v));
        lapic.pending().is_some()
    };
    if wake {
        domain::wake_vcpu(&HOST, dom, v);
    }
}
