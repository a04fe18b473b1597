//! [`Timer`]: one-shot, periodic and TSC-deadline (Intel SDM vol. 3, "APIC timer").
use crate::Now;

/// Nanoseconds per tick of the undivided clock: 100 MHz.
pub const TICK_NS: u64 = 10;
/// A periodic timer is not asked for more often.
const MIN_PERIOD_NS: u64 = 20_000;

/// When the timer wants to be looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deadline {
    /// Not armed.
    Never,
    /// At this time in nanoseconds.
    Ns(u64),
    /// At this value of the guest's TSC.
    Tsc(u64),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    OneShot,
    Periodic,
    TscDeadline,
    Reserved,
}

impl Mode {
    pub(crate) fn of(lvt: u32) -> Mode {
        match lvt >> 17 & 3 {
            0 => Mode::OneShot,
            1 => Mode::Periodic,
            2 => Mode::TscDeadline,
            _ => Mode::Reserved,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Timer {
    pub(crate) initial: u32,
    pub(crate) divide: u32,
    /// When the present period began; none: the counter stands at zero.
    start: Option<u64>,
    /// Earliest next expiry of a periodic timer.
    not_before: u64,
    /// Zero: not armed.
    pub(crate) tsc_deadline: u64,
}

impl Timer {
    pub(crate) const NEW: Timer = Timer {
        initial: 0,
        divide: 0,
        start: None,
        not_before: 0,
        tsc_deadline: 0,
    };

    pub(crate) fn tick_ns(&self) -> u64 {
        let code = (self.divide & 3) | (self.divide >> 1 & 4);
        TICK_NS << ((code + 1) & 7)
    }

    fn period(&self) -> u64 {
        u64::from(self.initial) * self.tick_ns()
    }

    pub(crate) fn start(&mut self, initial: u32, now: Now) {
        self.initial = initial;
        self.start = (initial != 0).then_some(now.ns);
        self.not_before = 0;
    }

    /// Sets the divider; the count goes on from where it is.
    pub(crate) fn set_divide(&mut self, mode: Mode, value: u32, now: Now) {
        let count = self.count(mode, now);
        self.divide = value & 0xb;
        if self.start.is_some() {
            let passed = u64::from(self.initial.saturating_sub(count)) * self.tick_ns();
            self.start = Some(now.ns.saturating_sub(passed));
        }
    }

    /// The mode has changed between count and deadline: disarms.
    pub(crate) fn disarm(&mut self) {
        self.start = None;
        self.tsc_deadline = 0;
    }

    pub(crate) fn count(&self, mode: Mode, now: Now) -> u32 {
        let Some(start) = self.start else { return 0 };
        let mut passed = now.ns.saturating_sub(start);
        match mode {
            Mode::Periodic => passed %= self.period().max(1),
            Mode::OneShot => passed = passed.min(self.period()),
            Mode::TscDeadline | Mode::Reserved => return 0,
        }
        let ticks = u32::try_from(passed / self.tick_ns()).unwrap_or(u32::MAX);
        self.initial.saturating_sub(ticks)
    }

    pub(crate) fn deadline(&self, mode: Mode) -> Deadline {
        match (mode, self.start) {
            (Mode::TscDeadline, _) if self.tsc_deadline != 0 => Deadline::Tsc(self.tsc_deadline),
            (Mode::OneShot | Mode::Periodic, Some(start)) => {
                Deadline::Ns(start.saturating_add(self.period()).max(self.not_before))
            }
            _ => Deadline::Never,
        }
    }

    /// Whether it has expired; periods missed count once.
    pub(crate) fn expire(&mut self, mode: Mode, now: Now) -> bool {
        let due = match self.deadline(mode) {
            Deadline::Never => false,
            Deadline::Ns(at) => at <= now.ns,
            Deadline::Tsc(at) => at <= now.tsc,
        };
        match mode {
            _ if !due => {}
            Mode::Periodic => {
                let start = self.start.unwrap_or(now.ns);
                let behind = now.ns.saturating_sub(start) % self.period().max(1);
                self.start = Some(now.ns - behind);
                self.not_before = now.ns.saturating_add(MIN_PERIOD_NS);
            }
            _ => self.disarm(),
        }
        due
    }
}
