//! Debug keys: `xl debug-keys`, or typed after Ctrl-A three times. One table.

use crate::host::HOST;
use crate::{percpu, power, schedule, smp, time, tlb};
use core::sync::atomic::Ordering;
use domain::Host;

/// Key, what it does, how.
const KEYS: &[(u8, &str, fn())] = &[
    (b'h', "show this help", help),
    (b'm', "memory", memory),
    (b'q', "domains and vcpus", domains),
    (b'r', "run queues", run_queues),
    (b't', "time", show_time),
    (b'R', "reboot the machine", || power::machine_reset()),
];

/// Carries out one key.
pub fn handle(key: u8) {
    match KEYS.iter().find(|(k, ..)| *k == key) {
        Some((_, what, run)) => {
            log::info!("'{}' pressed -> {what}", char::from(key));
            run();
        }
        None => log::info!(
            "'{}' pressed: no such debug key; 'h' lists them",
            char::from(key).escape_default()
        ),
    }
}

fn help() {
    for (key, what, _) in KEYS {
        log::info!(" {}  {what}", char::from(*key));
    }
}

fn memory() {
    let (free, total) = HOST.with_heap(|h| (h.free_pages(), h.total_pages()));
    log::info!("{free} pages free of {total}; TLB clock {}", tlb::clock());
}

fn domains() {
    for dom in HOST.domains().all() {
        log::info!(
            "{}: {} pages, pauses {}, dying {}, dead {}, shutdown {:?}, dirty cpus {:#x}, ports {}",
            dom.id,
            dom.tot_pages.load(Ordering::Relaxed),
            dom.pause_count.load(Ordering::Relaxed),
            dom.is_dying(),
            dom.dead.load(Ordering::Relaxed),
            dom.shutdown_state(),
            dom.dirty_cpus.load(Ordering::Relaxed),
            dom.events.read().in_use(),
        );
        for v in dom.vcpus.iter() {
            let word = v
                .info
                .get()
                .and_then(|(mfn, at)| HOST.shared_u64(mfn, at))
                .map_or(0, |w| w.load(Ordering::Relaxed));
            log::info!(
                "  {}{}: flags {:#x} pauses {} running {} cpu {} event word {word:#x} timer {} rip {:#x}",
                dom.id,
                v.id,
                v.flags.load(Ordering::Relaxed),
                v.pause_count.load(Ordering::Relaxed),
                v.running.load(Ordering::Relaxed),
                v.cpu.load(Ordering::Relaxed),
                v.timer_ns.load(Ordering::Relaxed),
                v.pv.lock().regs.rip,
            );
        }
    }
}

fn run_queues() {
    log::info!(
        "CPU {} reports; {} CPUs",
        percpu::cpu_id(),
        smp::cpu_count()
    );
    for cpu in 0..smp::cpu_count() {
        log::info!(
            " CPU {cpu}: idle for {} ms",
            schedule::idle_ns(cpu) / 1_000_000
        );
    }
}

fn show_time() {
    log::info!(
        "{} ns since boot, TSC {} Hz",
        time::now_ns(),
        time::tsc_hz()
    );
    crate::timers::dump();
}
