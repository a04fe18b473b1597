//! [`Budget`]: how much a domain may print and how often it may ring, per period. What is above it waits in
//! the domain's own ring, and its bell stays switched off, so a flood costs nobody else anything.
use std::time::{Duration, Instant};

/// Length of a period.
const PERIOD: Duration = Duration::from_millis(200);
/// Bytes per period.
const BYTES: usize = 128 << 10;
/// Bells per period.
const BELLS: usize = 60;

/// What is left of the current period's allowance.
#[derive(Debug)]
pub struct Budget {
    ends: Instant,
    bytes: usize,
    bells: usize,
}

impl Budget {
    /// A whole allowance, from `now` on.
    pub fn new(now: Instant) -> Budget {
        Budget {
            ends: now + PERIOD,
            bytes: BYTES,
            bells: BELLS,
        }
    }

    fn renew(&mut self, now: Instant) {
        if now >= self.ends {
            *self = Budget::new(now);
        }
    }

    /// Bytes that may be taken now.
    pub fn bytes(&mut self, now: Instant) -> usize {
        self.renew(now);
        self.bytes
    }

    /// Account for `n` bytes.
    pub fn spend(&mut self, n: usize) {
        self.bytes = self.bytes.saturating_sub(n);
    }

    /// Account for a bell.
    pub fn rang(&mut self, now: Instant) {
        self.renew(now);
        self.bells = self.bells.saturating_sub(1);
    }

    /// When there is an allowance again; `None` if there is one now.
    pub fn exhausted_until(&mut self, now: Instant) -> Option<Instant> {
        self.renew(now);
        (self.bytes == 0 || self.bells == 0).then_some(self.ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_waits_for_the_next_period() {
        let now = Instant::now();
        let mut b = Budget::new(now);
        b.spend(BYTES - 1);
        assert_eq!((b.bytes(now), b.exhausted_until(now)), (1, None));
        b.spend(2048);
        assert_eq!(b.exhausted_until(now), Some(now + PERIOD));
        assert_eq!(b.exhausted_until(now + PERIOD), None);
        assert_eq!(b.bytes(now + PERIOD), BYTES);
    }

    #[test]
    fn bells_without_output_are_counted_too() {
        let now = Instant::now();
        let mut b = Budget::new(now);
        (0..BELLS).for_each(|_| b.rang(now));
        assert!(b.exhausted_until(now).is_some());
    }
}
