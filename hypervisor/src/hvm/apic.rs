//! The local APICs of a hardware guest's vcpus: register accesses ([`effect`]) and messages between them ([`send`]).

use super::VirtualCpu;
use super::events::now;
use crate::host::HOST;
use crate::{schedule, timers};
use core::sync::atomic::Ordering;
use domain::{Domain, Host, HvmVcpu, PF_BLOCKED, PF_DOWN, Vcpu};
use vdev::vlapic::{Action, Effect, Ipi, Lapic};

/// Does what a register write asks for. The lock of the writer's APIC is free.
pub fn effect(dom: &Domain, v: &Vcpu, effect: Effect) {
    match effect {
        // There is no IO-APIC to be told.
        Effect::None | Effect::EoiBroadcast(_) => {}
        Effect::Timer => timers::changed(v),
        Effect::Send(ipi) => send(dom, v.id.0 * 2, &ipi),
    }
}

/// Delivers a message from the APIC with the id `sender`, or from no such.
pub fn send(dom: &Domain, sender: u32, ipi: &Ipi) {
    for v in dom.vcpus.iter() {
        let Some(hvm) = &v.hvm else { continue };
        if !hvm.lapic.lock().is_addressed(ipi, sender) {
            continue;
        }
        deliver(dom, v, hvm, ipi.action);
        if matches!(ipi.action, Action::Lowest(_)) {
            return;
        }
    }
}

fn deliver(dom: &Domain, v: &Vcpu, hvm: &HvmVcpu, action: Action) {
    match action {
        Action::Fixed(vector) | Action::Lowest(vector) => {
            if hvm.lapic.lock().raise(vector, false) {
                domain::wake_vcpu(&HOST, dom, v);
            }
        }
        Action::Nmi => {
            v.nmi_pending.store(true, Ordering::Release);
            domain::wake_vcpu(&HOST, dom, v);
        }
        Action::Init => {
            // From now on it waits for a start-up message.
            v.set_flags(PF_DOWN);
            HOST.preempt(v);
            hvm.lapic.lock().init();
        }
        Action::Startup(page) => start_up(dom, v, hvm, page),
    }
}

/// A start-up message: a vcpu that is down starts in real mode.
fn start_up(dom: &Domain, v: &Vcpu, hvm: &HvmVcpu, page: u8) {
    if !v.is_down() {
        return;
    }
    if !schedule::wait_for_stop(v) {
        return;
    }
    hvm.state.lock().start_at_page(page);
    if let Some(boot) = dom.vcpus.first() {
        v.tsc.follow(&boot.tsc);
    }
    v.initialised.store(true, Ordering::Release);
    // It may have slept when it was stopped; what it slept for went with its APIC's state.
    domain::end_poll(dom, v);
    v.nmi_pending.store(false, Ordering::Release);
    v.clear_flags(PF_DOWN | PF_BLOCKED);
    HOST.kick(v);
}

/// Reads the MMIO page.
pub fn read(v: &Vcpu, hvm: &HvmVcpu, offset: u16, size: u8) -> u32 {
    hvm.lapic.lock().mmio_read(offset, size, now(v))
}

/// Writes the MMIO page.
pub fn write(dom: &Domain, v: &Vcpu, hvm: &HvmVcpu, offset: u16, size: u8, value: u32) {
    let what = hvm.lapic.lock().mmio_write(offset, size, value, now(v));
    effect(dom, v, what);
}

/// CR8, which the guest changes without an exit, is the APIC's task priority: before the APIC is used.
#[inline]
pub fn take_priority<C: VirtualCpu>(cpu: &C, hvm: &HvmVcpu) {
    follow_cr8(&mut hvm.lapic.lock(), cpu);
}

/// The same with the lock held.
#[inline]
pub fn follow_cr8<C: VirtualCpu>(lapic: &mut Lapic, cpu: &C) {
    if lapic.cr8() != cpu.task_priority() {
        lapic.set_cr8(cpu.task_priority());
    }
}

/// And the other way round: after it was used.
pub fn give_priority<C: VirtualCpu>(cpu: &mut C, hvm: &HvmVcpu) {
    let class = hvm.lapic.lock().cr8();
    if class != cpu.task_priority() {
        cpu.set_task_priority(class);
    }
}
