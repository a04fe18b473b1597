//! One run queue and the placement rules, step by step.
mod support;
use sched::*;
use std::sync::Arc;
use support::{MS, key};

fn queue() -> RunQueue {
    RunQueue::new(0, Params::default(), Arc::default())
}

#[test]
fn an_empty_queue_idles_for_ever() {
    let choice = queue().schedule(5, Prev::Runnable);
    assert_eq!(
        choice,
        Choice {
            next: None,
            until_ns: NEVER,
            parked: None
        }
    );
}

#[test]
fn a_stopped_vcpu_is_handed_back() {
    let mut q = queue();
    q.insert(Entity::new(key(1)), Enqueue::Wake, 0);
    assert_eq!(q.should_preempt(0), Preempt::Now);
    let choice = q.schedule(0, Prev::Runnable);
    assert_eq!((choice.next, choice.until_ns), (Some(key(1)), 10 * MS));
    assert_eq!(q.current(), Some(key(1)));
    assert!(q.remove(key(1)).is_none(), "it runs");
    let choice = q.schedule(3 * MS, Prev::Stop);
    assert_eq!(choice.next, None);
    let entity = choice.parked.unwrap();
    assert_eq!((entity.key, entity.ran_ns), (key(1), 3 * MS));
}

#[test]
fn yielding_lets_the_next_one_in() {
    let mut q = queue();
    (1..=3).for_each(|n| q.insert(Entity::new(key(n)), Enqueue::Wake, 0));
    let first = q.schedule(0, Prev::Runnable).next.unwrap();
    let second = q.schedule(10, Prev::Yield).next.unwrap();
    assert_ne!(first, second);
    let mut alone = queue();
    alone.insert(Entity::new(key(1)), Enqueue::Wake, 0);
    alone.schedule(0, Prev::Runnable);
    assert_eq!(alone.schedule(10, Prev::Yield).next, Some(key(1)));
}

#[test]
fn a_woken_vcpu_waits_for_the_rate_limit_only() {
    let mut q = queue();
    q.insert(Entity::new(key(1)), Enqueue::Wake, 0);
    q.schedule(0, Prev::Runnable);
    q.schedule(50 * MS, Prev::Runnable);
    q.insert(Entity::new(key(2)), Enqueue::Wake, 55 * MS);
    assert_eq!(q.should_preempt(55 * MS), Preempt::Now);
    assert_eq!(q.schedule(55 * MS, Prev::Runnable).next, Some(key(2)));
    q.insert(Entity::new(key(3)), Enqueue::Wake, 55 * MS + 10);
    assert_eq!(
        q.should_preempt(55 * MS + 10),
        Preempt::No,
        "both just woke"
    );
}

#[test]
fn an_idle_cpu_is_told_when_a_capped_vcpu_may_run_again() {
    let mut q = queue();
    let mut capped = Entity::new(key(1));
    capped.set_cap(1000);
    q.insert(capped, Enqueue::Wake, 0);
    q.schedule(0, Prev::Runnable);
    // It runs over its 3 ms, sleeps, and wakes in the same period.
    let capped = q.schedule(5 * MS, Prev::Stop).parked.unwrap();
    q.insert(capped, Enqueue::Wake, 6 * MS);
    assert_eq!(q.should_preempt(6 * MS), Preempt::At(30 * MS));
    // Without its cap it may at once.
    assert!(q.update(key(1), 7 * MS, |e| e.set_cap(0)));
    assert_eq!(q.should_preempt(7 * MS), Preempt::Now);
}

#[test]
fn changes_reach_a_vcpu_wherever_it_is() {
    let mut q = queue();
    (1..=2).for_each(|n| q.insert(Entity::new(key(n)), Enqueue::Wake, 0));
    q.schedule(0, Prev::Runnable);
    for n in 1..=2 {
        assert!(q.update(key(n), 5, |e| e.set_cap(40)));
    }
    assert!(!q.update(key(3), 5, |_| {}));
    assert!(q.iter().all(|e| e.cap() == 40));
    assert_eq!(q.view().load, 512);
}

#[test]
fn hostile_times_and_weights_do_no_harm() {
    let mut q = queue();
    for (n, weight) in [(1, 0), (2, u16::MAX)] {
        let mut e = Entity::new(key(n));
        e.weight = weight;
        e.set_cap(if n == 1 { 6_553_500 } else { 100 });
        q.insert(e, Enqueue::Wake, 0);
    }
    for now in [0, 10, 5, u64::MAX / 2, 7, u64::MAX, u64::MAX, 0] {
        q.schedule(now, Prev::Runnable);
        let _ = q.should_preempt(now);
    }
}

fn view(cpu: u32, idle: bool, load: u64) -> CpuView {
    CpuView {
        cpu,
        online: true,
        idle,
        queued: u32::from(!idle),
        load,
        head_vruntime: load,
    }
}

#[test]
fn a_woken_vcpu_goes_where_it_is_warm_and_free() {
    let cpus = [
        view(0, true, 0),
        view(1, true, 0),
        view(2, false, 256),
        view(3, false, 512),
    ];
    let mut e = Entity::new(key(1));
    e.last_cpu = 1;
    assert_eq!(place(&e, &cpus), Some(1), "its last one, idle");
    e.last_cpu = 3;
    assert_eq!(place(&e, &cpus), Some(0), "any idle one");
    e.hard = CpuMask(0b1100);
    assert_eq!(place(&e, &cpus), Some(2), "the least loaded it may use");
    e.hard = CpuMask(1 << 40);
    assert_eq!(place(&e, &cpus), Some(0), "an affinity to nothing is none");
    e.hard = CpuMask::ALL;
    e.soft = CpuMask::one(1);
    assert_eq!(place(&e, &cpus), Some(1), "soft affinity among the idle");
    assert_eq!(place(&e, &[]), None);
    assert_eq!(busiest(0, CpuMask(0), &cpus), Some(2));
    assert_eq!(busiest(0, CpuMask::one(2), &cpus), Some(3));
    assert_eq!(busiest(0, CpuMask(0b1100), &cpus), None);
}

#[test]
fn states_change_queues_only_when_it_matters() {
    let mut s = RunState::default();
    assert_eq!(s.wake(), Transition::None, "offline");
    assert_eq!(s.set_online(true), Transition::Start);
    assert_eq!(s.block(), Transition::Stop);
    assert_eq!(s.pause(), Transition::None);
    assert_eq!(s.wake(), Transition::None);
    assert_eq!(s.pause(), Transition::None);
    assert_eq!(s.unpause(), Transition::None);
    assert_eq!(s.unpause(), Transition::Start);
    assert_eq!(s.unpause(), Transition::None);
    assert_eq!(s.pause(), Transition::Stop);
}
