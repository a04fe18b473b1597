//! Whole machines in virtual time: proportional shares, bounded waiting, caps, affinity.
mod support;
use proptest::prelude::*;
use sched::CpuMask;
use support::{HOG, Habit, MS, Machine, SEC};

fn near(got: u64, want: u64, slack: u64) {
    assert!(
        got.abs_diff(want) <= slack,
        "got {got}, want {want} ± {slack}"
    );
}

#[test]
fn equal_vcpus_share_one_cpu_equally() {
    let mut m = Machine::new(1);
    (1..=4).for_each(|n| m.add(n, HOG, |_| {}));
    m.run(4 * SEC);
    (1..=4).for_each(|n| near(m.percent(n, 4 * SEC), 25, 1));
}

#[test]
fn weights_are_proportions() {
    let mut m = Machine::new(1);
    for (n, weight) in [(1, 64), (2, 256), (3, 512)] {
        m.add(n, HOG, |e| e.weight = weight);
    }
    m.run(13 * SEC);
    for (n, percent) in [(1, 8), (2, 31), (3, 62)] {
        near(m.percent(n, 13 * SEC), percent, 1);
    }
}

#[test]
fn three_vcpus_on_two_cpus_rotate() {
    let mut m = Machine::new(2);
    (1..=3).for_each(|n| m.add(n, HOG, |_| {}));
    m.run(6 * SEC);
    (1..=3).for_each(|n| near(m.percent(n, 6 * SEC), 66, 3));
}

#[test]
fn many_vcpus_on_four_cpus_are_fair() {
    let mut m = Machine::new(4);
    (1..=10).for_each(|n| m.add(n, HOG, |_| {}));
    m.run(10 * SEC);
    (1..=10).for_each(|n| near(m.percent(n, 10 * SEC), 40, 3));
}

#[test]
fn a_cpu_that_was_idle_for_long_takes_its_share() {
    let mut m = Machine::new(2);
    m.add(1, HOG, |_| {});
    m.run(100 * SEC);
    (2..=4).for_each(|n| m.add(n, HOG, |_| {}));
    m.run(4 * SEC);
    (2..=4).for_each(|n| near(m.percent(n, 4 * SEC), 50, 4));
}

#[test]
fn an_interactive_vcpu_gets_in_within_the_rate_limit() {
    let mut m = Machine::new(1);
    (1..=4).for_each(|n| m.add(n, HOG, |_| {}));
    m.add(
        9,
        Habit {
            run: MS / 2,
            sleep: 20 * MS,
        },
        |_| {},
    );
    m.run(SEC);
    m.forget_waits();
    m.run(9 * SEC);
    assert!(
        m.longest_wait(9) <= 2 * MS,
        "waited {} us",
        m.longest_wait(9) / 1000
    );
    near(m.ran(9) * 1000 / (10 * SEC), 24, 2);
}

#[test]
fn sleeping_earns_no_more_than_the_credit() {
    let mut m = Machine::new(1);
    m.add(1, HOG, |_| {});
    m.add(
        2,
        Habit {
            run: 2 * SEC,
            sleep: 10 * SEC,
        },
        |_| {},
    );
    // It runs for 4 s beside the other and wakes again at 14 s.
    m.run(14 * SEC + 50 * MS);
    let before = m.ran(1);
    m.run(2 * SEC);
    near((m.ran(1) - before) * 100 / (2 * SEC), 50, 2);
}

#[test]
fn caps_hold_even_on_an_idle_machine() {
    let mut m = Machine::new(2);
    m.add(1, HOG, |e| e.set_cap(2500));
    m.add(2, HOG, |e| e.set_cap(6000));
    m.run(6 * SEC);
    near(m.percent(1, 6 * SEC), 25, 1);
    near(m.percent(2, 6 * SEC), 60, 1);
}

#[test]
fn a_cap_leaves_the_rest_to_others() {
    let mut m = Machine::new(1);
    m.add(1, HOG, |e| e.set_cap(1000));
    m.add(2, HOG, |_| {});
    m.run(6 * SEC);
    near(m.percent(1, 6 * SEC), 10, 1);
    near(m.percent(2, 6 * SEC), 90, 1);
}

#[test]
fn pinned_vcpus_stay_and_the_others_make_room() {
    let mut m = Machine::new(2);
    (1..=2).for_each(|n| m.add(n, HOG, |e| e.hard = CpuMask::one(0)));
    m.add(3, HOG, |_| {});
    m.run(4 * SEC);
    near(m.percent(1, 4 * SEC), 50, 4);
    near(m.percent(2, 4 * SEC), 50, 4);
    near(m.percent(3, 4 * SEC), 100, 4);
}

#[test]
fn a_lone_vcpu_costs_few_interrupts() {
    let mut m = Machine::new(4);
    m.add(1, HOG, |_| {});
    m.run(SEC);
    assert!(m.switches <= 110, "{} times", m.switches);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// Whatever the mix, CPUs do not idle while someone waits, and nobody starves.
    #[test]
    fn no_one_starves(
        cpus in 1u32..5,
        hogs in prop::collection::vec(64u16..1024, 1..10),
        sleepers in prop::collection::vec((1u64..20, 1u64..40), 0..8),
    ) {
        let mut m = Machine::new(cpus);
        let total_weight: u64 = hogs.iter().map(|&w| u64::from(w)).sum();
        for (n, &weight) in hogs.iter().enumerate() {
            m.add(n as u16, HOG, |e| e.weight = weight);
        }
        for (n, &(run, sleep)) in sleepers.iter().enumerate() {
            m.add(100 + n as u16, Habit { run: run * MS, sleep: sleep * MS }, |_| {});
        }
        m.run(3 * SEC);
        let all: u64 = (0..hogs.len()).map(|n| m.ran(n as u16)).sum::<u64>()
            + (0..sleepers.len()).map(|n| m.ran(100 + n as u16)).sum::<u64>();
        let busy = u64::from(cpus).min(hogs.len() as u64);
        prop_assert!(all >= busy * 3 * SEC * 99 / 100, "CPUs idled: {all}");
        for (n, &weight) in hogs.iter().enumerate() {
            // A share as if every sleeper were a hog of default weight too, and half of that for granularity.
            let all_weight = total_weight + 256 * sleepers.len() as u64;
            let share = (3 * SEC * u64::from(cpus) * u64::from(weight) / all_weight).min(3 * SEC);
            prop_assert!(m.ran(n as u16) >= share / 2, "vcpu {n}: {} of {share}", m.ran(n as u16));
        }
        for n in 0..sleepers.len() {
            let wait = m.longest_wait(100 + n as u16);
            prop_assert!(wait <= 400 * MS, "sleeper {n} waited {} ms", wait / MS);
        }
    }
}
