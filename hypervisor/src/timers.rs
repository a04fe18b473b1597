//! Each CPU's list of vcpu deadlines, and the hardware timer that serves them and the scheduler's slices.
//!
//! An entry names a vcpu, not a purpose: when it comes due, the vcpu's own fields say what it waited for, so stale
//! entries do no harm.

use crate::host::HOST;
use crate::percpu::{self, MAX_CPUS};
use crate::{hvm, schedule, time};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use domain::{Host, Mutex, Vcpu};
use sched::Key;
use xen_abi::sched::SHUTDOWN_WATCHDOG;
use xen_abi::xen::VIRQ_TIMER;

static DEADLINES: [Mutex<Vec<(u64, Key)>>; MAX_CPUS] = [const { Mutex::new(Vec::new()) }; MAX_CPUS];

fn mine() -> &'static Mutex<Vec<(u64, Key)>> {
    &DEADLINES[percpu::cpu_id() as usize % MAX_CPUS]
}

/// Makes room for the deadlines of `vcpus` vcpus on every CPU.
pub fn make_room(vcpus: usize) {
    for list in &DEADLINES {
        let mut list = list.lock();
        let more = vcpus.saturating_sub(list.len());
        list.reserve(more);
    }
}

/// The earliest thing a vcpu waits for.
fn next_deadline(v: &Vcpu) -> Option<u64> {
    let periodic = if v.periodic_ns.load(Ordering::Relaxed) == 0 {
        0
    } else {
        v.periodic_next_ns.load(Ordering::Relaxed)
    };
    let apic = v
        .hvm
        .as_ref()
        .map_or(0, |h| hvm::events::timer_deadline(v, h));
    let watchdogs = v.watchdog_ns.iter().map(|w| w.load(Ordering::Relaxed));
    [
        apic,
        v.timer_ns.load(Ordering::Relaxed),
        periodic,
        v.poll_deadline_ns.load(Ordering::Relaxed),
    ]
    .into_iter()
    .chain(watchdogs)
    .filter(|t| *t != 0)
    .min()
}

/// A vcpu's timers changed: files its next deadline on this CPU.
pub fn changed(v: &Vcpu) {
    let period = v.periodic_ns.load(Ordering::Relaxed);
    if period == 0 {
        v.periodic_next_ns.store(0, Ordering::Relaxed);
    } else if v.periodic_next_ns.load(Ordering::Relaxed) == 0 {
        v.periodic_next_ns
            .store(time::now_ns().saturating_add(period), Ordering::Relaxed);
    }
    file(v);
    rearm();
}

fn file(v: &Vcpu) {
    let key = Key {
        dom: v.dom,
        vcpu: v.id,
    };
    let mut list = mine().lock();
    let at = list.iter().position(|(_, k)| *k == key);
    match (next_deadline(v), at) {
        (Some(t), Some(i)) => {
            if let Some(slot) = list.get_mut(i) {
                slot.0 = t;
            }
        }
        (Some(t), None) => list.push((t, key)),
        (None, Some(i)) => drop(list.swap_remove(i)),
        (None, None) => {}
    }
}

/// Sets the hardware timer to the earliest of deadlines and slice end.
pub fn rearm() {
    let earliest = mine()
        .lock()
        .iter()
        .map(|(t, _)| *t)
        .min()
        .unwrap_or(u64::MAX);
    let console = crate::console_poll_deadline();
    // A slice that is over has been reported: another interrupt for it could strike before the scheduler is reached, for ever
    // where instructions take long. The scheduler sets the timer anew.
    let slice = if schedule::wanted() {
        u64::MAX
    } else {
        schedule::slice_end()
    };
    time::set_timer(earliest.min(slice).min(console));
}

/// The hardware timer has fired.
pub fn fired() {
    let now = time::now_ns();
    crate::console_poll(now);
    // Each once, whatever is filed anew: time is for the guests too.
    let filed = mine().lock().len();
    for _ in 0..filed {
        let due = {
            let mut list = mine().lock();
            let at = list.iter().position(|(t, _)| *t <= now);
            at.map(|i| list.swap_remove(i).1)
        };
        let Some(key) = due else { break };
        if let Some(dom) = HOST.domains().get(key.dom)
            && let Some(v) = dom.vcpu(key.vcpu)
        {
            expire(&dom, v, now);
            file(v);
        }
    }
    if schedule::slice_end() <= now {
        schedule::request();
    }
    rearm();
}

fn expire(dom: &domain::Domain, v: &Vcpu, now: u64) {
    let one_shot = v.timer_ns.load(Ordering::Relaxed);
    let mut tick = false;
    if one_shot != 0 && one_shot <= now {
        // Only the deadline that was seen: the guest may be setting another at this moment, on another CPU.
        let _ = v
            .timer_ns
            .compare_exchange(one_shot, 0, Ordering::Relaxed, Ordering::Relaxed);
        tick = true;
    }
    let (period, next) = (
        v.periodic_ns.load(Ordering::Relaxed),
        v.periodic_next_ns.load(Ordering::Relaxed),
    );
    if period != 0 && next <= now {
        // Missed ticks are not made up for.
        let late = now.saturating_sub(next) / period.max(1);
        v.periodic_next_ns.store(
            next.saturating_add((late + 1).saturating_mul(period)),
            Ordering::Relaxed,
        );
        tick = true;
    }
    let poll = v.poll_deadline_ns.load(Ordering::Relaxed);
    if poll != 0 && poll <= now {
        // Whether it still polls or not: a deadline that stayed would come due again and again.
        let _ = v
            .poll_deadline_ns
            .compare_exchange(poll, 0, Ordering::Relaxed, Ordering::Relaxed);
        domain::wake_vcpu(&HOST, dom, v);
    }
    if let Some(hvm) = &v.hvm {
        hvm::events::expire_timer(dom, v, hvm);
    }
    let bites = |w: &AtomicU64| {
        let at = w.load(Ordering::Relaxed);
        // Only the deadline that was seen: the guest may be petting it at this moment.
        at != 0
            && at <= now
            && w.compare_exchange(at, 0, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    };
    if v.watchdog_ns.iter().filter(|w| bites(w)).count() != 0 {
        log::warn!("{}: its watchdog bites", dom.id);
        domain::shutdown(&HOST, dom, SHUTDOWN_WATCHDOG);
    }
    if tick {
        domain::send_vcpu_virq(&HOST, dom, v.id, VIRQ_TIMER);
    }
}

/// Prints every CPU's deadlines, for the debug key.
pub fn dump() {
    log::info!("now {} ns", time::now_ns());
    for cpu in 0..crate::smp::cpu_count() {
        let armed = percpu::of(cpu).map_or(0, |p| p.timer_armed());
        log::info!(
            " CPU {cpu}: timer set for {armed}, slice ends {}",
            schedule::slice_end_of(cpu)
        );
        for (t, key) in DEADLINES[cpu as usize % MAX_CPUS].lock().iter() {
            log::info!("  {key} at {t}");
        }
    }
}
