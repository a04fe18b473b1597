//! [`RunState`]: may a vcpu run? Blocked, paused and offline are independent reasons against it.

/// Why a vcpu may or may not run. Guarded by the lock that guards the vcpu's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunState {
    /// Brought up (`VCPUOP_up`).
    pub online: bool,
    /// Waits for an event or a time-out (`SCHEDOP_block`, `SCHEDOP_poll`).
    pub blocked: bool,
    /// Reasons to hold it that are counted: domain pauses, vcpu pauses, the toolstack.
    pub pauses: u32,
}

/// What a change of the state means for the run queues.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Transition {
    /// Nothing to do.
    None,
    /// It may run now: place and insert it.
    Start,
    /// It may no longer run: take it off its queue, or make its CPU reschedule.
    Stop,
}

impl Default for RunState {
    /// Offline, as a new vcpu is.
    fn default() -> RunState {
        RunState {
            online: false,
            blocked: false,
            pauses: 0,
        }
    }
}

impl RunState {
    /// True if it wants a CPU.
    pub fn runnable(&self) -> bool {
        self.online && !self.blocked && self.pauses == 0
    }

    fn change(&mut self, f: impl FnOnce(&mut RunState)) -> Transition {
        let before = self.runnable();
        f(self);
        match (before, self.runnable()) {
            (false, true) => Transition::Start,
            (true, false) => Transition::Stop,
            _ => Transition::None,
        }
    }

    /// It waits.
    pub fn block(&mut self) -> Transition {
        self.change(|s| s.blocked = true)
    }

    /// What it waited for happened.
    pub fn wake(&mut self) -> Transition {
        self.change(|s| s.blocked = false)
    }

    /// One more reason to hold it.
    pub fn pause(&mut self) -> Transition {
        self.change(|s| s.pauses = s.pauses.saturating_add(1))
    }

    /// One reason less; ignored if there is none.
    pub fn unpause(&mut self) -> Transition {
        self.change(|s| s.pauses = s.pauses.saturating_sub(1))
    }

    /// `VCPUOP_up` and `VCPUOP_down`.
    pub fn set_online(&mut self, online: bool) -> Transition {
        self.change(|s| s.online = online)
    }
}
