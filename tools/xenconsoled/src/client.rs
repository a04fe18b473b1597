//! [`attach`]: the user's terminal on one side, a domain's console tty on the other.
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use xenstore::{Client, Store};

/// Ctrl-], what leaves the console unless the user chose another key.
pub const DEFAULT_ESCAPE: u8 = 0x1d;

/// Why [`attach`] returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detached {
    /// The user pressed the escape key or closed the input.
    ByUser,
    /// The console went away, usually with its domain.
    ConsoleGone,
}

/// Store path of console `num` of a domain: number 0 of a PV console has a place of its own.
pub fn console_path(domid: u16, num: u32) -> String {
    match num {
        0 => format!("/local/domain/{domid}/console"),
        n => format!("/local/domain/{domid}/device/console/{n}"),
    }
}

/// Wait until the console daemon has published the tty of a console. `None` when `timeout` passes first.
pub fn wait_for_tty(
    store: &Client,
    domid: u16,
    num: u32,
    timeout: Duration,
) -> xenstore::Result<Option<PathBuf>> {
    let node = format!("{}/tty", console_path(domid, num));
    store.wait_for(&node, timeout, |s| {
        Ok(s.read_opt(&node)?
            .filter(|tty| !tty.is_empty())
            .map(PathBuf::from))
    })
}

/// Restores the terminal's settings when the console is left, however that happens.
struct RawTerminal<'a>(BorrowedFd<'a>, Option<Termios>);

impl<'a> RawTerminal<'a> {
    fn enter(fd: BorrowedFd<'a>) -> io::Result<Self> {
        if !isatty(fd) {
            return Ok(RawTerminal(fd, None));
        }
        let before = tcgetattr(fd)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(fd, OptionalActions::Now, &raw)?;
        Ok(RawTerminal(fd, Some(before)))
    }
}

impl Drop for RawTerminal<'_> {
    fn drop(&mut self) {
        if let Some(before) = &self.1 {
            // Nothing to do about a terminal that is gone.
            let _ = tcsetattr(self.0, OptionalActions::Now, before);
        }
    }
}

/// Show the console at `tty` on standard output and send it standard input, until `escape` is typed,
/// the input ends or the console goes away.
pub fn attach(tty: &Path, escape: u8) -> io::Result<Detached> {
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let mut console = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(rustix::fs::OFlags::NOCTTY.bits() as i32)
        .open(tty)?;
    if isatty(&console) {
        let mut settings = tcgetattr(&console)?;
        settings.make_raw();
        tcsetattr(&console, OptionalActions::Now, &settings)?;
    }
    let _raw = RawTerminal::enter(stdin.as_fd())?;
    pump(&mut console, stdin.as_fd(), &mut stdout.lock(), escape)
}

fn pump(
    console: &mut std::fs::File,
    input: BorrowedFd<'_>,
    output: &mut impl Write,
    escape: u8,
) -> io::Result<Detached> {
    let mut buf = [0; 4096];
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(console.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(input, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => drop(other?),
        }
        let (from_console, from_user) = (fds[0].revents(), fds[1].revents());
        if !from_console.is_empty() {
            match console.read(&mut buf) {
                // EIO: the daemon closed its end of the pty.
                Ok(0) | Err(_) => return Ok(Detached::ConsoleGone),
                Ok(n) => output.write_all(&buf[..n]).and_then(|()| output.flush())?,
            }
        }
        if !from_user.is_empty() {
            let n = match rustix::io::read(input, &mut buf) {
                Ok(0) | Err(_) => return Ok(Detached::ByUser),
                Ok(n) => n,
            };
            let cut = buf[..n].iter().position(|b| *b == escape);
            console.write_all(&buf[..cut.unwrap_or(n)])?;
            if cut.is_some() {
                return Ok(Detached::ByUser);
            }
        }
    }
}
