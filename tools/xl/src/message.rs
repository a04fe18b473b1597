//! How messages reach the user: `say!`, with the time and the process id where `-T` wants them; [`Progress`] of
//! what takes long, on one line of a terminal or (`-t`) of anything.
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// `-T`. For the whole process, since so is standard error.
static STAMPED: AtomicBool = AtomicBool::new(false);
/// `-t`.
static ONE_LINE: AtomicBool = AtomicBool::new(false);
/// Percents from one line of progress to the next.
const STEP: u64 = 5;

/// Writes a line to standard error, formatted as `format!` does.
macro_rules! say {
    ($($arg:tt)*) => { $crate::message::say(format_args!($($arg)*)) };
}

/// Messages have the time and the process id from now on.
pub fn stamp() {
    STAMPED.store(true, Ordering::Relaxed);
}

/// Whether they have.
pub fn stamped() -> bool {
    STAMPED.load(Ordering::Relaxed)
}

/// Progress takes one line from now on, wherever it goes.
pub fn one_line() {
    ONE_LINE.store(true, Ordering::Relaxed);
}

/// Whether it does.
pub fn is_one_line() -> bool {
    ONE_LINE.load(Ordering::Relaxed) || io::stderr().is_terminal()
}

/// See `say!`.
pub fn say(message: fmt::Arguments<'_>) {
    let stamp = match stamped() {
        true => stamp_of(&jiff::Zoned::now(), std::process::id()),
        false => String::new(),
    };
    // Nobody may be listening any more, which is no reason to stop.
    let _ = writeln!(io::stderr(), "{stamp}{message}");
}

fn stamp_of(now: &jiff::Zoned, pid: u32) -> String {
    format!("{} [{pid}] ", now.strftime("%Y-%m-%d %H:%M:%S %Z"))
}

/// A writer that tells how much of `total` bytes has gone through it.
pub struct Progress<'a> {
    out: &'a mut dyn Write,
    what: &'static str,
    done: u64,
    total: u64,
    /// The last percentage that was told.
    told: Option<u64>,
    one_line: bool,
}

impl<'a> Progress<'a> {
    /// Nothing has gone through it yet.
    pub fn new(out: &'a mut dyn Write, what: &'static str, total: u64) -> Progress<'a> {
        Progress {
            out,
            what,
            done: 0,
            total: total.max(1),
            told: None,
            one_line: is_one_line(),
        }
    }

    /// All that there is has.
    pub fn finish(mut self) {
        self.done = self.total;
        self.tell();
    }

    fn tell(&mut self) {
        let Some(text) = self.next() else { return };
        if !self.one_line {
            say(format_args!("{text}"));
            return;
        }
        let end = if self.done >= self.total { "\n" } else { "" };
        let mut err = io::stderr();
        let _ = write!(err, "\r{text}{end}").and_then(|()| err.flush());
    }

    /// What is to be told now, if anything.
    fn next(&mut self) -> Option<String> {
        let done = self.done.min(self.total);
        let percent = done * 100 / self.total;
        let due = match self.told {
            None => true,
            Some(told) => percent >= told + STEP || (percent == 100 && told < 100),
        };
        if !due {
            return None;
        }
        self.told = Some(percent);
        let (done, total) = (done >> 10, self.total >> 10);
        Some(format!(
            "xl: {}: {done}/{total} KiB  {percent:>3}%",
            self.what
        ))
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        // What says why it ended early begins a line of its own.
        if self.one_line && self.told.is_some_and(|told| told < 100) {
            let _ = writeln!(io::stderr());
        }
    }
}

impl Write for Progress<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.done += n as u64;
        self.tell();
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_have_date_and_process() {
        let at = jiff::Timestamp::from_second(1_709_618_828).unwrap();
        let at = at.to_zoned(jiff::tz::TimeZone::UTC);
        assert_eq!(stamp_of(&at, 7), "2024-03-05 06:07:08 UTC [7] ");
    }

    #[test]
    fn progress_is_told_in_steps_and_at_its_end() {
        let mut out = Vec::new();
        let mut p = Progress::new(&mut out, "Saving", 100 << 10);
        assert_eq!(p.next().unwrap(), "xl: Saving: 0/100 KiB    0%");
        p.done = 4 << 10;
        assert!(p.next().is_none());
        p.done = 5 << 10;
        assert_eq!(p.next().unwrap(), "xl: Saving: 5/100 KiB    5%");
        // More than was expected is not more than all.
        p.done = 300 << 10;
        assert_eq!(p.next().unwrap(), "xl: Saving: 100/100 KiB  100%");
        assert!(p.next().is_none());
    }
}
