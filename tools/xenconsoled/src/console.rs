//! [`Console`]: one domain's ring on one side, a pty on the other, a log file along the way.
use crate::backlog::Backlog;
use crate::budget::Budget;
use crate::log::Log;
use crate::ring::{BadIndex, Ring};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Instant;

/// Output kept for a console unless its `limit` node says less, and at most, in bytes.
pub const DEFAULT_LIMIT: usize = 1 << 20;

/// A pty. Holding the other end open keeps it usable while nobody looks.
pub struct Pty {
    /// Our end, non-blocking.
    pub master: File,
    /// Name of the other end.
    pub name: String,
    slave: File,
}

impl Pty {
    /// A new pty in raw mode.
    pub fn open() -> io::Result<Pty> {
        let master: OwnedFd =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?.to_string_lossy().into_owned();
        let noctty = rustix::fs::OFlags::NOCTTY.bits() as i32;
        let slave = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(noctty)
            .open(&name)?;
        let mut settings = tcgetattr(&slave)?;
        settings.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &settings)?;
        rustix::io::ioctl_fionbio(&master, true)?;
        Ok(Pty {
            master: master.into(),
            name,
            slave,
        })
    }
}

/// What [`Console::pump`] did and needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pumped {
    /// Bytes moved through the ring: the domain wants to hear the bell.
    pub moved: bool,
    /// Output waits for the pty to take it.
    pub wants_write: bool,
    /// There is room for input.
    pub wants_read: bool,
}

/// A console being served.
pub struct Console {
    /// The ring; gone once the domain is, or when it broke the rules.
    pub ring: Option<Ring>,
    /// The user's side.
    pub pty: Pty,
    /// What it may print.
    pub budget: Budget,
    backlog: Backlog,
    log: Option<Log>,
}

impl Console {
    /// Serve `ring`, keeping at most `limit` bytes that nobody has read.
    pub fn new(ring: Ring, pty: Pty, limit: usize, log: Option<Log>) -> Console {
        let backlog = Backlog::new(limit.min(DEFAULT_LIMIT));
        Console {
            ring: Some(ring),
            pty,
            budget: Budget::new(Instant::now()),
            backlog,
            log,
        }
    }

    /// Move what can be moved in both directions. An error means that the ring cannot be served any more.
    pub fn pump(&mut self, now: Instant) -> Result<Pumped, BadIndex> {
        let mut moved = self.take_output(now)?;
        self.write_pty();
        moved |= self.take_input()?;
        let wants_read = match &self.ring {
            Some(ring) => ring.room()? > 0,
            None => false,
        };
        Ok(Pumped {
            moved,
            wants_read,
            wants_write: !self.backlog.is_empty(),
        })
    }

    fn take_output(&mut self, now: Instant) -> Result<bool, BadIndex> {
        let Some(ring) = &self.ring else {
            return Ok(false);
        };
        let (mut buf, mut moved) = ([0; 2048], false);
        loop {
            let allowed = self.budget.bytes(now).min(buf.len());
            let n = ring.take(&mut buf[..allowed])?;
            if n == 0 {
                return Ok(moved);
            }
            moved = true;
            self.budget.spend(n);
            self.backlog.push(&buf[..n]);
            if let Some(log) = &mut self.log {
                log.write(&buf[..n]);
            }
        }
    }

    fn write_pty(&mut self) {
        while !self.backlog.is_empty() {
            match self.pty.master.write(self.backlog.front()) {
                Ok(n) if n > 0 => self.backlog.consume(n),
                _ => break,
            }
        }
    }

    fn take_input(&mut self) -> Result<bool, BadIndex> {
        let Some(ring) = &self.ring else {
            return Ok(false);
        };
        let (mut buf, room) = ([0; 1024], ring.room()?);
        if room == 0 {
            return Ok(false);
        }
        match self.pty.master.read(&mut buf[..room]) {
            Ok(n) if n > 0 => ring.put(&buf[..n]).map(|_| true),
            _ => Ok(false),
        }
    }

    /// The domain is going: take its last words, then let go of the ring.
    pub fn finish(&mut self, now: Instant) {
        // One ring's worth at most, whatever its budget.
        self.budget = Budget::new(now);
        let _ = self.take_output(now);
        self.ring = None;
        self.write_pty();
    }

    /// Has all output been read by somebody?
    pub fn is_read(&self) -> bool {
        self.backlog.is_empty() && rustix::io::ioctl_fionread(&self.pty.slave).unwrap_or(0) == 0
    }
}
