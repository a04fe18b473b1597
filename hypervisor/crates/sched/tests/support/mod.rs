//! A machine of run queues and vcpus that follow a script of running and sleeping, in virtual time.
#![allow(dead_code)]
use sched::{
    CpuMask, CpuView, Enqueue, Entity, Key, NEVER, Params, Preempt, Prev, RunQueue, VirtualClock,
    busiest, place,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use xen_abi::{DomId, VcpuId};

pub const MS: u64 = 1_000_000;
pub const SEC: u64 = 1000 * MS;

pub fn key(n: u16) -> Key {
    Key {
        dom: DomId(n),
        vcpu: VcpuId(0),
    }
}

/// What a vcpu does: run so long, then sleep so long, for ever.
#[derive(Clone, Copy)]
pub struct Habit {
    pub run: u64,
    pub sleep: u64,
}

pub const HOG: Habit = Habit {
    run: NEVER,
    sleep: 0,
};

struct Vcpu {
    habit: Habit,
    /// Nanoseconds of running until it sleeps.
    left: u64,
    /// When it wakes; `NEVER` while it is runnable.
    wakes: u64,
    parked: Option<Entity>,
    woken_at: Option<u64>,
    longest_wait: u64,
    ran: u64,
}

struct Cpu {
    queue: RunQueue,
    timer: u64,
    /// Since when the current vcpu's time is not yet counted.
    counted: u64,
}

pub struct Machine {
    now: u64,
    cpus: Vec<Cpu>,
    vcpus: BTreeMap<Key, Vcpu>,
    pub switches: u64,
}

impl Machine {
    pub fn new(cpus: u32) -> Machine {
        let clock = Arc::new(VirtualClock::default());
        let cpu = |i| Cpu {
            queue: RunQueue::new(i, Params::default(), clock.clone()),
            timer: NEVER,
            counted: 0,
        };
        Machine {
            now: 0,
            cpus: (0..cpus).map(cpu).collect(),
            vcpus: BTreeMap::new(),
            switches: 0,
        }
    }

    pub fn add(&mut self, n: u16, habit: Habit, f: impl FnOnce(&mut Entity)) {
        let mut entity = Entity::new(key(n));
        f(&mut entity);
        let vcpu = Vcpu {
            habit,
            left: habit.run,
            wakes: self.now,
            parked: Some(entity),
            woken_at: None,
            longest_wait: 0,
            ran: 0,
        };
        self.vcpus.insert(key(n), vcpu);
    }

    fn views(&self) -> Vec<CpuView> {
        self.cpus.iter().map(|c| c.queue.view()).collect()
    }

    /// Counts what the current vcpu of `cpu` ran.
    fn count(&mut self, cpu: usize) {
        let now = self.now;
        let c = &mut self.cpus[cpu];
        if let Some(k) = c.queue.current() {
            let v = self.vcpus.get_mut(&k).unwrap();
            let ran = now - c.counted;
            v.ran += ran;
            v.left = if v.left == NEVER {
                NEVER
            } else {
                v.left.saturating_sub(ran)
            };
        }
        c.counted = now;
    }

    fn schedule(&mut self, cpu: usize) {
        let now = self.now;
        self.count(cpu);
        let prev = match self.cpus[cpu].queue.current() {
            Some(k) if self.vcpus[&k].left == 0 => Prev::Stop,
            _ => Prev::Runnable,
        };
        self.steal(cpu);
        let mut choice = self.cpus[cpu].queue.schedule(now, prev);
        if let Some(entity) = choice.parked {
            let v = self.vcpus.get_mut(&entity.key).unwrap();
            v.wakes = now + v.habit.sleep;
            v.left = v.habit.run;
            v.parked = Some(entity);
        }
        if choice.next.is_none() && self.steal(cpu) {
            choice = self.cpus[cpu].queue.schedule(now, Prev::Runnable);
        }
        self.switches += 1;
        self.cpus[cpu].timer = choice.until_ns;
        assert!(choice.until_ns > now, "a choice must last");
        if let Some(v) = choice.next.and_then(|k| self.vcpus.get_mut(&k)) {
            if let Some(woken) = v.woken_at.take() {
                v.longest_wait = v.longest_wait.max(now - woken);
            }
            if v.left != NEVER {
                self.cpus[cpu].timer = self.cpus[cpu].timer.min(now + v.left);
            }
        }
    }

    fn steal(&mut self, me: usize) -> bool {
        let mut tried = CpuMask(0);
        while let Some(victim) = busiest(me as u32, tried, &self.views()) {
            let v = victim as usize;
            let (low, high) = self.cpus.split_at_mut(me.max(v));
            let (mine, theirs) = if me < v {
                (&mut low[me], &mut high[0])
            } else {
                (&mut high[0], &mut low[v])
            };
            if mine.queue.steal(&mut theirs.queue, self.now).is_some() {
                return true;
            }
            tried.0 |= CpuMask::one(victim).0;
        }
        false
    }

    fn wake(&mut self, k: Key) {
        let v = self.vcpus.get_mut(&k).unwrap();
        v.wakes = NEVER;
        v.woken_at = Some(self.now);
        let entity = v.parked.take().unwrap();
        let cpu = place(&entity, &self.views()).unwrap() as usize;
        self.cpus[cpu].queue.insert(entity, Enqueue::Wake, self.now);
        match self.cpus[cpu].queue.should_preempt(self.now) {
            Preempt::Now => self.schedule(cpu),
            Preempt::At(at) => self.cpus[cpu].timer = self.cpus[cpu].timer.min(at),
            Preempt::No => {}
        }
    }

    pub fn run(&mut self, ns: u64) {
        let end = self.now + ns;
        loop {
            let waking = self.vcpus.iter().map(|(k, v)| (v.wakes, *k)).min();
            let timer = (0..self.cpus.len())
                .map(|i| (self.cpus[i].timer, i))
                .min()
                .unwrap();
            let next = timer.0.min(waking.map_or(NEVER, |w| w.0));
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            match waking {
                Some((at, k)) if at <= timer.0 => self.wake(k),
                _ => self.schedule(timer.1),
            }
        }
        self.now = end;
        for cpu in 0..self.cpus.len() {
            self.count(cpu);
        }
    }

    pub fn ran(&self, n: u16) -> u64 {
        self.vcpus[&key(n)].ran
    }
    /// Starts measuring waits afresh, after a warm-up.
    pub fn forget_waits(&mut self) {
        self.vcpus.values_mut().for_each(|v| v.longest_wait = 0);
    }
    pub fn longest_wait(&self, n: u16) -> u64 {
        self.vcpus[&key(n)].longest_wait
    }
    /// Percent of one CPU that vcpu `n` had of `total` nanoseconds.
    pub fn percent(&self, n: u16, total: u64) -> u64 {
        self.ran(n) * 100 / total
    }
}
