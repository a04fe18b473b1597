//! Progress of something long: each step on a line of its own with the time since the start.

use std::time::{Duration, Instant};

/// A list of steps being worked through.
pub struct Steps {
    start: Instant,
    step: Instant,
}

impl Default for Steps {
    fn default() -> Self {
        Self::new()
    }
}

impl Steps {
    /// Starts the clock.
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            step: Instant::now(),
        }
    }

    /// Starts the clock again.
    pub fn restart(&mut self) {
        *self = Self::new();
    }

    /// Time since the clock started.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Says what is being done now.
    pub fn begin(&mut self, what: &str) {
        self.step = Instant::now();
        println!("[{:6.1}s] {what} ...", self.elapsed().as_secs_f32());
    }

    /// Says what was reached, and how long the step took.
    pub fn done(&mut self, what: &str) {
        let took = self.step.elapsed().as_secs_f32();
        println!(
            "[{:6.1}s] {what} (+{took:.1} s)",
            self.elapsed().as_secs_f32()
        );
        self.step = Instant::now();
    }
}
