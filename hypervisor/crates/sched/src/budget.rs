//! Caps: a budget of CPU time per period. What is overdrawn is taken from the following periods.

/// Length of a budget period.
pub(crate) const PERIOD_NS: u64 = 30_000_000;

/// One vcpu's budget.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Budget {
    /// Hundredths of a percent of one CPU, 0: unlimited.
    cap: u32,
    /// Number of the period `used` belongs to.
    period: u64,
    /// Nanoseconds used of that period's budget, what earlier ones overdrew included.
    used: u64,
}

impl Budget {
    pub(crate) fn set_cap(&mut self, cap: u32) {
        self.cap = cap;
    }

    pub(crate) fn cap(&self) -> u32 {
        self.cap
    }

    fn quota(&self) -> u64 {
        PERIOD_NS / 10_000 * u64::from(self.cap)
    }

    /// Brings the account to the period of `now`.
    fn refill(&mut self, now: u64) {
        let period = now / PERIOD_NS;
        let passed = period.saturating_sub(self.period);
        if passed > 0 {
            self.used = self
                .used
                .saturating_sub(self.quota().saturating_mul(passed));
            self.period = period;
        }
    }

    pub(crate) fn charge(&mut self, ran: u64, now: u64) {
        if self.cap != 0 {
            self.used = self.used.saturating_add(ran);
            self.refill(now);
        }
    }

    /// Nanoseconds that may be run from `now` on; `u64::MAX` without a cap.
    pub(crate) fn left(&mut self, now: u64) -> u64 {
        if self.cap == 0 {
            return u64::MAX;
        }
        self.refill(now);
        self.quota().saturating_sub(self.used)
    }

    /// When a vcpu without budget gets some again.
    pub(crate) fn release_at(&self) -> u64 {
        let quota = self.quota().max(1);
        let periods = self.used / quota;
        self.period
            .saturating_add(periods.max(1))
            .saturating_mul(PERIOD_NS)
    }
}
