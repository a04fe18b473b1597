//! The scheduler's hands: run queues behind locks, vcpu switches, idling, and vcpu timers. The policy is the `sched`
//! crate's; state moves are `arch::x86::pv::context`'s.
//!
//! A vcpu's `Entity` is either parked in `Vcpu::parked` or in one run queue. Blocked and paused vcpus leave their queue
//! lazily: the scheduler parks whoever it picks and finds not runnable.

use crate::arch::x86::entry::cpuinfo::current;
use crate::arch::x86::irq::vectors;
use crate::arch::x86::mm;
use crate::arch::x86::pv::{self, context};
use crate::host::HOST;
use crate::hvm::vendor;
use crate::percpu::{self, MAX_CPUS};
use crate::{smp, time, timers};
use alloc::sync::Arc;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use domain::{Domain, Host, Mutex, PF_BLOCKED, PF_DOWN, PF_POLLING, Vcpu};
use sched::{Choice, CpuView, Enqueue, Key, Params, Preempt, Prev, RunQueue, VirtualClock};
use spin::Once;
use x86_64::instructions::interrupts;

static QUEUES: [Once<Mutex<RunQueue>>; MAX_CPUS] = [const { Once::new() }; MAX_CPUS];
static CLOCK: Once<Arc<VirtualClock>> = Once::new();
/// This CPU should choose anew before it returns to a guest.
static WANTED: [AtomicBool; MAX_CPUS] = [const { AtomicBool::new(false) }; MAX_CPUS];
/// The running vcpu asked to give way.
static YIELD: [AtomicBool; MAX_CPUS] = [const { AtomicBool::new(false) }; MAX_CPUS];
/// End of the running slice in nanoseconds since boot.
static SLICE_END: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(u64::MAX) }; MAX_CPUS];
/// Nanoseconds spent idle, and since when if now (0 = not idle).
static IDLE_NS: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
static IDLE_SINCE: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// The domain whose vcpu is loaded on each CPU, kept alive by this reference.
struct Loaded(UnsafeCell<[Option<Arc<Domain>>; MAX_CPUS]>);
// SAFETY: each CPU touches only its own element.
unsafe impl Sync for Loaded {}
static LOADED: Loaded = Loaded(UnsafeCell::new([const { None }; MAX_CPUS]));

fn cell<T>(array: &'static [T; MAX_CPUS], cpu: u32) -> &'static T {
    // CPU numbers are below MAX_CPUS by construction; the modulo keeps the bound checkable.
    &array[cpu as usize % MAX_CPUS]
}

/// CPU `cpu`'s run queue.
fn queue(cpu: u32) -> &'static Mutex<RunQueue> {
    cell(&QUEUES, cpu).call_once(|| {
        let clock = CLOCK.call_once(Arc::default).clone();
        Mutex::new(RunQueue::new(cpu, Params::default(), clock))
    })
}

/// Should this CPU choose anew?
#[inline]
pub fn wanted() -> bool {
    wanted_on(percpu::cpu_id())
}

/// The same for a caller that knows which CPU this is.
#[inline]
pub fn wanted_on(cpu: u32) -> bool {
    cell(&WANTED, cpu).load(Ordering::Acquire)
}

/// This CPU should choose anew before it returns to the guest.
pub fn request() {
    cell(&WANTED, percpu::cpu_id()).store(true, Ordering::Release);
}

/// The running vcpu gives way.
pub fn request_yield() {
    cell(&YIELD, percpu::cpu_id()).store(true, Ordering::Release);
    request();
}

fn request_on(cpu: u32) {
    cell(&WANTED, cpu).store(true, Ordering::Release);
    if cpu != percpu::cpu_id() {
        smp::send_ipi(cpu, vectors::KICK);
    }
}

fn views() -> ([CpuView; MAX_CPUS], usize) {
    let n = smp::cpu_count() as usize;
    let blank = CpuView {
        cpu: 0,
        online: false,
        idle: false,
        queued: 0,
        load: 0,
        head_vruntime: u64::MAX,
    };
    let mut all = [blank; MAX_CPUS];
    for (cpu, slot) in all.iter_mut().enumerate().take(n) {
        *slot = queue(cpu as u32).lock().view();
    }
    (all, n)
}

/// Makes room in every queue for one more vcpu, so that scheduling never allocates.
pub fn make_room(vcpus: usize) {
    for cpu in 0..smp::cpu_count() {
        queue(cpu).lock().reserve(vcpus);
    }
}

/// See [`domain::Host::kick`].
pub fn kick(v: &Vcpu) {
    if !v.runnable() {
        return;
    }
    let parked = v.parked.lock().take();
    match parked {
        Some(mut entity) => {
            entity.hard = sched::CpuMask(v.allowed.load(Ordering::Acquire));
            entity.soft = sched::CpuMask(v.soft_affinity.load(Ordering::Relaxed));
            let (all, n) = views();
            let cpu = sched::place(&entity, all.get(..n).unwrap_or(&[])).unwrap_or(0);
            let now = time::now_ns();
            set_runstate(v, 1, now);
            let preempt = {
                let mut q = queue(cpu).lock();
                q.insert(entity, Enqueue::Wake, now);
                preemption(&q, now)
            };
            act(cpu, preempt);
        }
        None => nudge(v),
    }
}

/// What it means for a CPU that something in its queue has changed; for [`act`], once the queue is free.
fn preemption(q: &RunQueue, now: u64) -> Preempt {
    let preempt = q.should_preempt(now);
    if let Preempt::At(at) = preempt {
        // Under the queue's lock, as in `schedule_here`, which would undo it otherwise.
        cell(&SLICE_END, q.cpu()).fetch_min(at, Ordering::AcqRel);
    }
    preempt
}

fn act(cpu: u32, preempt: Preempt) {
    match preempt {
        Preempt::Now => request_on(cpu),
        Preempt::At(_) if cpu == percpu::cpu_id() => timers::rearm(),
        Preempt::At(_) => smp::send_ipi(cpu, vectors::KICK),
        Preempt::No => {}
    }
}

/// Makes the CPU that runs `v`, if another one, pass through its exit path.
fn nudge(v: &Vcpu) {
    let cpu = v.cpu.load(Ordering::Acquire);
    if v.running.load(Ordering::SeqCst) && cpu != percpu::cpu_id() {
        smp::send_ipi(cpu, vectors::KICK);
    }
}

/// See [`domain::Host::preempt`].
pub fn preempt(v: &Vcpu) {
    if v.running.load(Ordering::SeqCst) {
        request_on(v.cpu.load(Ordering::Acquire));
    }
}

/// See [`domain::Host::wait_descheduled`].
pub fn wait_descheduled(v: &Vcpu) {
    if current().is_some_and(|(_, me)| core::ptr::eq(me, v)) {
        return;
    }
    while v.running.load(Ordering::SeqCst) && !v.runnable() {
        domain::relax();
    }
}

/// Waits until a vcpu that was stopped is off its CPU. `false`: the caller's vcpu has been stopped as well, and whoever waits for
/// that one must not be waited for.
pub fn wait_for_stop(v: &Vcpu) -> bool {
    let me = current().map(|(_, me)| me);
    while v.running.load(Ordering::SeqCst) && !v.runnable() {
        if me.is_some_and(|me| !me.runnable()) {
            return false;
        }
        domain::relax();
    }
    true
}

/// Takes a domain's vcpus out of all queues.
pub fn retire(dom: &Domain) {
    for v in dom.vcpus.iter() {
        if v.parked.lock().take().is_some() {
            continue;
        }
        let key = Key {
            dom: dom.id,
            vcpu: v.id,
        };
        for cpu in 0..smp::cpu_count() {
            if queue(cpu).lock().remove(key).is_some() {
                break;
            }
        }
    }
}

/// Attempts to find a vcpu that is between a queue and its parking place. It is there for microseconds.
const REFILE_TRIES: u32 = 100_000;

/// A vcpu's affinity or weight changed: files it anew.
pub fn refile(dom: &Domain, v: &Vcpu) {
    let online = dom.online_vcpus().max(1);
    let weight = dom.weight.load(Ordering::Relaxed).clamp(1, 65535) as u16;
    let cap = match dom.cap.load(Ordering::Relaxed) {
        0 => 0,
        percent => (percent.saturating_mul(100) / online).max(1),
    };
    let change = |e: &mut sched::Entity| {
        e.hard = sched::CpuMask(v.allowed.load(Ordering::Acquire));
        e.soft = sched::CpuMask(v.soft_affinity.load(Ordering::Relaxed));
        e.weight = weight;
        e.set_cap(cap);
    };
    for _ in 0..REFILE_TRIES {
        if try_refile(v, change) || dom.is_dying() {
            return;
        }
        domain::relax();
    }
}

/// `false`: the vcpu is on its way from one place to another.
fn try_refile(v: &Vcpu, change: impl Fn(&mut sched::Entity)) -> bool {
    if let Some(e) = v.parked.lock().as_mut() {
        change(e);
        return true;
    }
    let key = Key {
        dom: v.dom,
        vcpu: v.id,
    };
    let now = time::now_ns();
    for cpu in 0..smp::cpu_count() {
        let mut q = queue(cpu).lock();
        if !q.update(key, now, &change) {
            continue;
        }
        let preempt = preemption(&q, now);
        if v.allowed.load(Ordering::Acquire) & (1 << cpu) == 0 {
            let waiting = q.remove(key);
            drop(q);
            match waiting {
                Some(entity) => {
                    *v.parked.lock() = Some(entity);
                    kick(v);
                }
                // It runs there: its CPU parks it and places it anew.
                None => request_on(cpu),
            }
        } else {
            drop(q);
            act(cpu, preempt);
        }
        return true;
    }
    false
}

/// See [`domain::Host::pool_changed`].
pub fn set_ratelimit(cpu: u32, us: u32) {
    queue(cpu).lock().set_ratelimit(u64::from(us) * 1000);
}

/// Time a vcpu has run.
pub fn runtime_ns(v: &Vcpu) -> u64 {
    let mut state = *v.runstate.lock();
    let (current, now) = (state.state, time::now_ns());
    state.enter(current, now);
    state.time_ns[0]
}

/// Time a CPU has idled.
pub fn idle_ns(cpu: u32) -> u64 {
    let since = cell(&IDLE_SINCE, cpu).load(Ordering::Relaxed);
    let running = if since == 0 {
        0
    } else {
        time::now_ns().saturating_sub(since)
    };
    cell(&IDLE_NS, cpu).load(Ordering::Relaxed) + running
}

/// When this CPU's slice ends.
pub fn slice_end() -> u64 {
    cell(&SLICE_END, percpu::cpu_id()).load(Ordering::Acquire)
}

/// When CPU `cpu`'s slice ends, for the debug key.
pub fn slice_end_of(cpu: u32) -> u64 {
    cell(&SLICE_END, cpu).load(Ordering::Relaxed)
}

fn set_runstate(v: &Vcpu, state: u32, now: u64) {
    v.runstate.lock().enter(state, now);
}

/// Takes work from busier CPUs into this CPU's queue.
fn balance(cpu: u32, now: u64) {
    let (all, n) = views();
    let views = all.get(..n).unwrap_or(&[]);
    let mut tried = sched::CpuMask(0);
    while let Some(victim) = sched::busiest(cpu, tried, views) {
        tried = sched::CpuMask(tried.0 | 1 << victim);
        let (low, high) = (cpu.min(victim), cpu.max(victim));
        let mut a = queue(low).lock();
        let mut b = queue(high).lock();
        let (mine, theirs) = if low == cpu {
            (&mut *a, &mut *b)
        } else {
            (&mut *b, &mut *a)
        };
        if mine.steal(theirs, now).is_some() {
            return;
        }
    }
}

/// Lets this CPU's queue choose, and notes when the slice ends.
fn schedule_here(cpu: u32, now: u64, prev: Prev) -> Choice {
    let mut q = queue(cpu).lock();
    let choice = q.schedule(now, prev);
    cell(&SLICE_END, cpu).store(choice.until_ns, Ordering::Release);
    choice
}

fn choose(cpu: u32, now: u64, prev: Prev) -> Choice {
    if smp::cpu_count() > 1 && slice_end() <= now {
        // Also when busy: who is alone here would get a whole CPU while others share one.
        balance(cpu, now);
    }
    let mut choice = schedule_here(cpu, now, prev);
    if choice.next.is_none() {
        balance(cpu, now);
        let again = schedule_here(cpu, now, Prev::Runnable);
        choice = Choice {
            parked: choice.parked,
            ..again
        };
    }
    choice
}

/// Chooses who runs and switches to it; idles until there is somebody. On return a vcpu is loaded on this CPU.
pub fn run() {
    let cpu = percpu::cpu_id();
    loop {
        cell(&WANTED, cpu).store(false, Ordering::SeqCst);
        let now = time::now_ns();
        let prev = current();
        let what = match prev {
            Some((_, v)) if !may_stay(v, cpu) => Prev::Stop,
            Some(_) if cell(&YIELD, cpu).swap(false, Ordering::AcqRel) => Prev::Yield,
            _ => Prev::Runnable,
        };
        let choice = choose(cpu, now, what);
        let same = matches!((prev, choice.next), (Some((d, v)), Some(k)) if d.id == k.dom && v.id == k.vcpu);
        if !same {
            if let Some((dom, v)) = prev {
                unload(dom, v, choice.parked, now);
            }
            let Some(key) = choice.next else {
                idle(cpu);
                continue;
            };
            if !load(cpu, key, now) {
                request();
                continue;
            }
        }
        timers::rearm();
        return;
    }
}

/// May the running vcpu go on here?
fn may_stay(v: &Vcpu, cpu: u32) -> bool {
    v.runnable() && v.allowed.load(Ordering::Acquire) & (1 << cpu) != 0
}

/// Saves the vcpu that ran until now; parks it if it left the queue, and wakes it again if a wake-up came too early
/// to find it parked.
fn unload(dom: &Arc<Domain>, v: &Vcpu, parked: Option<sched::Entity>, now: u64) {
    let cpu = percpu::cpu_id();
    take_off(v);
    let flags = v.flags.load(Ordering::SeqCst);
    let state = match flags {
        f if f & PF_DOWN != 0 => 3,
        f if f & (PF_BLOCKED | PF_POLLING) != 0 => 2,
        _ if v.runnable() => 1,
        _ => 3,
    };
    set_runstate(v, state, now);
    // Even if another vcpu of the domain is next: should that one turn out not to run, this CPU would stay on page
    // tables that nobody knows to be in use, and whoever destroys the domain frees them.
    leave_address_space();
    dom.dirty_cpus.fetch_and(!(1 << cpu), Ordering::AcqRel);
    v.running.store(false, Ordering::SeqCst);
    if let Some(entity) = parked {
        *v.parked.lock() = Some(entity);
        kick(v);
    }
    // SAFETY: this CPU's own element; nothing refers to the loaded domain any more (`context::save` cleared it).
    // Dropping may free the domain, so it is taken out first.
    let old = unsafe { (*LOADED.0.get())[cpu as usize % MAX_CPUS].take() };
    drop(old);
}

/// Takes a vcpu's state off this CPU.
fn take_off(v: &Vcpu) {
    match v.hvm {
        Some(_) => vendor::save(v),
        None => context::save(v),
    }
}

/// Puts a vcpu's state onto this CPU.
fn put_on(dom: &'static Arc<Domain>, v: &'static Vcpu) {
    match v.hvm {
        Some(_) => vendor::load(dom, v),
        None => context::load(dom, v),
    }
}

/// Loads the hypervisor's own root: no guest's page tables are in use on this CPU afterwards.
fn leave_address_space() {
    crate::tlb::load_idle_root(mm::idle_l4());
}

/// Loads vcpu `key`. `false`: it may not run after all, and has been parked.
fn load(cpu: u32, key: Key, now: u64) -> bool {
    let Some(dom) = HOST.domains().get(key.dom) else {
        let _ = queue(cpu).lock().schedule(now, Prev::Stop);
        return false;
    };
    // SAFETY: this CPU's own element; the reference handed on below lives in it until `unload` clears it, after
    // everything that refers to it.
    let dom: &'static Arc<Domain> =
        unsafe { (*LOADED.0.get())[cpu as usize % MAX_CPUS].insert(dom) };
    let Some(v) = dom.vcpu(key.vcpu) else {
        return false;
    };
    // Its registers may still be on their way to memory on the CPU that ran it last.
    while v.running.load(Ordering::SeqCst) {
        domain::relax();
    }
    v.cpu.store(cpu, Ordering::Release);
    v.running.store(true, Ordering::SeqCst);
    if !may_stay(v, cpu) {
        let choice = queue(cpu).lock().schedule(now, Prev::Stop);
        v.running.store(false, Ordering::SeqCst);
        if let Some(entity) = choice.parked {
            *v.parked.lock() = Some(entity);
        }
        kick(v);
        return false;
    }
    if v.hvm.is_none() {
        crate::tlb::guest_here();
    }
    dom.dirty_cpus.fetch_or(1 << cpu, Ordering::AcqRel);
    set_runstate(v, 0, now);
    put_on(dom, v);
    crate::guest_time::arrive(dom, v);
    true
}

/// Halts until this CPU has something to do.
fn idle(cpu: u32) {
    cell(&IDLE_SINCE, cpu).store(time::now_ns().max(1), Ordering::Relaxed);
    timers::rearm();
    while !cell(&WANTED, cpu).load(Ordering::Acquire) {
        // STI takes effect after HLT has begun: an interrupt cannot slip in between.
        interrupts::enable_and_hlt();
        interrupts::disable();
    }
    let since = cell(&IDLE_SINCE, cpu).swap(0, Ordering::Relaxed);
    cell(&IDLE_NS, cpu).fetch_add(time::now_ns().saturating_sub(since), Ordering::Relaxed);
}

/// What a CPU does once it is up: runs vcpus for ever.
pub fn ap_idle(_cpu: u32) -> ! {
    interrupts::disable();
    let info = pv::info();
    info.vcpu = core::ptr::null();
    info.dom = core::ptr::null();
    info.upcall = &raw const context::IDLE_UPCALL[0];
    pv::init_cpu();
    leave_address_space();
    request();
    pv::exit::to_guest();
    // SAFETY: `to_guest` has loaded a vcpu, whose frame is this CPU's guest frame.
    unsafe { crate::arch::x86::entry::symbols::resume_guest_at(&raw const pv::info().regs) }
}
