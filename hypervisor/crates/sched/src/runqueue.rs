//! [`RunQueue`]: one CPU's vcpus, ordered by virtual runtime, and the choice of who runs.
use crate::{CpuView, Entity, Key, NEVER, VirtualClock};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The policy's numbers, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Params {
    /// How long one runs while others wait.
    pub slice: u64,
    /// How long one runs at least before a woken one may displace it.
    pub ratelimit: u64,
    /// How far a woken vcpu must be behind the running one to displace it.
    pub margin: u64,
    /// How far behind the queue's virtual time a sleeper may be when it wakes.
    pub sleeper_credit: u64,
    /// How far ahead of the queue's virtual time an entering vcpu may be.
    pub max_lead: u64,
    /// How far behind our own work another CPU's waiting vcpu must be before we take it over.
    pub balance: u64,
}

impl Default for Params {
    fn default() -> Params {
        Params {
            slice: 10_000_000,
            ratelimit: 1_000_000,
            margin: 1_000_000,
            sleeper_credit: 5_000_000,
            max_lead: 40_000_000,
            balance: 8_000_000,
        }
    }
}

/// Why a vcpu enters a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Enqueue {
    /// It was blocked, paused, or is new.
    Wake,
    /// It comes from another CPU's queue.
    Migrate,
}

/// What becomes of the vcpu that ran until now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Prev {
    /// It still wants to run.
    Runnable,
    /// It gives way to the others once (`SCHEDOP_yield`).
    Yield,
    /// It may not run any more: [`RunQueue::schedule`] hands it back.
    Stop,
}

/// What the CPU does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choice {
    /// Who runs; `None`: idle.
    pub next: Option<Key>,
    /// When to schedule again at the latest; [`NEVER`] when idle without anyone throttled.
    pub until_ns: u64,
    /// The vcpu that ran, if it was stopped: keep it with the vcpu.
    pub parked: Option<Entity>,
}

/// Should the running vcpu give way?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Preempt {
    /// It goes on.
    No,
    /// Now: make the CPU reschedule.
    Now,
    /// At this time: shorten the CPU's timer.
    At(u64),
}

/// The vcpu that runs.
#[derive(Clone, Copy, Debug)]
struct Current {
    entity: Entity,
    /// Since when it runs without a break.
    since: u64,
    /// Up to when it has been charged.
    charged: u64,
}

/// The vcpus of one CPU.
#[derive(Debug)]
pub struct RunQueue {
    cpu: u32,
    params: Params,
    clock: Arc<VirtualClock>,
    current: Option<Current>,
    /// Waiting, sorted by falling virtual runtime: the next one is the last.
    ready: Vec<Entity>,
    /// Out of budget.
    throttled: Vec<Entity>,
    /// The queue's virtual time; never falls.
    vtime: u64,
}

impl RunQueue {
    /// An empty queue for `cpu`; all queues share one `clock`.
    pub fn new(cpu: u32, params: Params, clock: Arc<VirtualClock>) -> RunQueue {
        RunQueue {
            cpu,
            params,
            clock,
            current: None,
            ready: Vec::new(),
            throttled: Vec::new(),
            vtime: 0,
        }
    }

    /// Makes room so that no later operation allocates while at most `n` vcpus exist on the host.
    pub fn reserve(&mut self, n: usize) {
        self.ready.reserve(n.saturating_sub(self.ready.len()));
        self.throttled
            .reserve(n.saturating_sub(self.throttled.len()));
    }

    /// Sets [`Params::ratelimit`].
    pub fn set_ratelimit(&mut self, ns: u64) {
        self.params.ratelimit = ns;
    }

    /// The CPU it belongs to.
    pub fn cpu(&self) -> u32 {
        self.cpu
    }

    /// Who runs.
    pub fn current(&self) -> Option<Key> {
        self.current.as_ref().map(|c| c.entity.key)
    }

    /// All its vcpus: running, waiting and throttled.
    pub fn iter(&self) -> impl Iterator<Item = &Entity> {
        let current = self.current.iter().map(|c| &c.entity);
        current.chain(&self.ready).chain(&self.throttled)
    }

    /// Vcpus that wait for this CPU and could run at once.
    pub fn queued(&self) -> usize {
        self.ready.len()
    }

    fn is_idle(&self) -> bool {
        self.current.is_none() && self.ready.is_empty()
    }

    /// What others may know of this CPU.
    pub fn view(&self) -> CpuView {
        CpuView {
            cpu: self.cpu,
            online: true,
            idle: self.is_idle(),
            queued: self.ready.len() as u32,
            load: self.iter().map(|e| u64::from(e.weight)).sum(),
            head_vruntime: self.ready.last().map_or(u64::MAX, |e| e.vruntime),
        }
    }

    /// Puts a vcpu in. Ask [`RunQueue::should_preempt`] afterwards.
    pub fn insert(&mut self, mut entity: Entity, why: Enqueue, now: u64) {
        self.account(now);
        if self.is_idle() {
            // Time stood still here while the others' went on.
            self.vtime = self.vtime.max(self.clock.get());
        }
        let floor = match why {
            Enqueue::Wake => self.vtime.saturating_sub(self.params.sleeper_credit),
            Enqueue::Migrate => self.vtime.saturating_sub(self.params.max_lead),
        };
        let ceiling = self.vtime.saturating_add(self.params.max_lead);
        entity.vruntime = entity.vruntime.clamp(floor, ceiling);
        self.enqueue(entity, now);
    }

    /// Files an entity by virtual runtime, or among the throttled.
    fn enqueue(&mut self, mut entity: Entity, now: u64) {
        if entity.budget.left(now) == 0 {
            self.throttled.push(entity);
            return;
        }
        let at = self
            .ready
            .partition_point(|e| (e.vruntime, e.key) > (entity.vruntime, entity.key));
        self.ready.insert(at, entity);
    }

    /// Takes a waiting vcpu out; `None` if it does not wait here (it may be running).
    pub fn remove(&mut self, key: Key) -> Option<Entity> {
        if let Some(i) = self.ready.iter().position(|e| e.key == key) {
            return Some(self.ready.remove(i));
        }
        let i = self.throttled.iter().position(|e| e.key == key)?;
        Some(self.throttled.swap_remove(i))
    }

    /// Changes weight, cap or affinity of a vcpu wherever it is on this CPU. False if it is not here.
    /// A running or waiting one that may not stay is moved by the caller.
    pub fn update(&mut self, key: Key, now: u64, f: impl FnOnce(&mut Entity)) -> bool {
        self.account(now);
        if let Some(current) = &mut self.current
            && current.entity.key == key
        {
            f(&mut current.entity);
            return true;
        }
        let Some(mut entity) = self.remove(key) else {
            return false;
        };
        f(&mut entity);
        self.enqueue(entity, now);
        true
    }

    /// Charges the running vcpu for its time up to `now`.
    pub fn account(&mut self, now: u64) {
        if let Some(current) = &mut self.current {
            let ran = now.saturating_sub(current.charged);
            current.entity.charge(ran, now);
            current.charged = current.charged.max(now);
        }
        self.advance();
    }

    /// Moves virtual time on to the lowest virtual runtime present.
    fn advance(&mut self) {
        let running = self.current.as_ref().map(|c| c.entity.vruntime);
        let waiting = self.ready.last().map(|e| e.vruntime);
        let lowest = match (running, waiting) {
            (Some(r), Some(w)) => r.min(w),
            (Some(v), None) | (None, Some(v)) => v,
            (None, None) => return,
        };
        self.vtime = self.vtime.max(lowest);
        self.clock.report(self.vtime);
    }

    /// Lets those whose budget was refilled wait for the CPU again.
    fn unthrottle(&mut self, now: u64) {
        let mut i = 0;
        while let Some(entity) = self.throttled.get_mut(i) {
            if entity.budget.left(now) == 0 {
                i += 1;
            } else {
                let mut entity = self.throttled.swap_remove(i);
                // It could not run for a while by its own limit: no claim on the others.
                entity.vruntime = entity.vruntime.max(self.vtime);
                self.enqueue(entity, now);
            }
        }
    }

    /// Chooses who runs from `now` on. At the end of a slice and when idle, try [`RunQueue::steal`] before (or
    /// once more after an idle choice, then schedule again). `prev` says what becomes of the one that ran.
    pub fn schedule(&mut self, now: u64, prev: Prev) -> Choice {
        self.account(now);
        self.unthrottle(now);
        let before = self.current.take();
        let mut parked = None;
        let mut continued = None;
        if let Some(Current {
            mut entity, since, ..
        }) = before
        {
            entity.last_cpu = self.cpu;
            continued = Some((entity.key, since));
            match prev {
                Prev::Stop => parked = Some(entity),
                Prev::Runnable => self.enqueue(entity, now),
                Prev::Yield => {
                    let behind = self
                        .ready
                        .last()
                        .map_or(0, |e| e.vruntime.saturating_add(1));
                    entity.vruntime = entity.vruntime.max(behind);
                    self.enqueue(entity, now);
                }
            }
        }
        let next = self.ready.pop().map(|mut entity| {
            entity.last_cpu = self.cpu;
            let since = match continued {
                Some((key, since)) if key == entity.key => since,
                _ => now,
            };
            self.current = Some(Current {
                entity,
                since,
                charged: now,
            });
            entity.key
        });
        self.advance();
        Choice {
            next,
            until_ns: self.until(now),
            parked,
        }
    }

    /// When this CPU has to choose again.
    fn until(&mut self, now: u64) -> u64 {
        let release = self.throttled.iter().map(|e| e.budget.release_at()).min();
        let slice = self.current.as_mut().map(|c| {
            // Alone, it is interrupted all the same, so that a CPU ahead of others notices.
            now.saturating_add(c.entity.budget.left(now).min(self.params.slice))
        });
        release.unwrap_or(NEVER).min(slice.unwrap_or(NEVER))
    }

    /// Should the running vcpu give way to one that entered?
    pub fn should_preempt(&self, now: u64) -> Preempt {
        let Some(waiting) = self.ready.last() else {
            // Who runs has a slice that ends in time; an idle CPU knows of no time.
            let release = match self.current {
                None => self.throttled.iter().map(|e| e.budget.release_at()).min(),
                Some(_) => None,
            };
            return release.map_or(Preempt::No, Preempt::At);
        };
        let Some(current) = &self.current else {
            return Preempt::Now;
        };
        let ran = now.saturating_sub(current.charged);
        let mut running = current.entity;
        running.charge(ran, now);
        if waiting.vruntime.saturating_add(self.params.margin) > running.vruntime {
            return Preempt::No;
        }
        match current.since.saturating_add(self.params.ratelimit) {
            earliest if earliest > now => Preempt::At(earliest),
            _ => Preempt::Now,
        }
    }

    /// Takes a waiting vcpu from `victim` if it may run here and this CPU is idle or clearly ahead.
    /// Both queues are locked by the caller, in order of CPU.
    pub fn steal(&mut self, victim: &mut RunQueue, now: u64) -> Option<Key> {
        self.account(now);
        let own = self.iter().map(|e| e.vruntime).min();
        let limit = match own {
            _ if self.is_idle() => u64::MAX,
            Some(own) => own.checked_sub(self.params.balance)?,
            None => u64::MAX,
        };
        let at = victim
            .ready
            .iter()
            .rposition(|e| e.vruntime <= limit && e.hard.has(self.cpu))?;
        let entity = victim.ready.remove(at);
        self.insert(entity, Enqueue::Migrate, now);
        Some(entity.key)
    }
}
