//! [`Bootloader`]: the program that finds a guest's kernel on the guest's own disk, such as `pygrub`.
//!
//! The protocol is that of `xl.cfg`'s key `bootloader`: the program runs on a terminal of its own, which is the guest's console until
//! it ends; it is told a fifo and a directory, leaves the kernel and the initrd in the directory and says so on the fifo.
//! [`Boot::run`] is the whole of it; [`crate::create`] calls it between the domain's first nodes and its image.
use crate::{Disk, DomainConfig, Error, Format, Result};
use pty_process::Size;
use pty_process::blocking::{Command, Pty, open};
use rustix::fs::{FileType, Mode, OFlags, mknodat};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// Where programs without a slash in their name are looked for before `$PATH`; of versioned directories the last.
const DIRECTORIES: &[&str] = &["/usr/lib/xen/bin", "/usr/libexec/xen/bin"];
const VERSIONED: (&str, &str) = ("/usr/lib", "xen-4.");
/// How long it may run without a byte in either direction: a menu that nobody answers.
const IDLE: Duration = Duration::from_secs(600);
/// How long what it started may keep the terminal once it is gone.
const DRAIN: Duration = Duration::from_millis(200);
/// Most that it may say on the fifo: two paths and a command line.
const MAX_RESULT: usize = 16 << 10;
/// How much of its last output is kept for an error message.
const TAIL: usize = 2 << 10;
const TICK: rustix::time::Timespec = rustix::time::Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Keys `bootloader` and `bootloader_args`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootloader {
    /// Name or path.
    pub program: String,
    /// Further arguments.
    pub args: Vec<String>,
}

/// What it found; files in `dir`, if they are there, go with it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub kernel: PathBuf,
    pub ramdisk: Option<PathBuf>,
    pub args: Option<String>,
}

/// A boot loader about to be run; what could be checked has been.
#[derive(Debug)]
pub(crate) struct Boot<'a> {
    program: PathBuf,
    config: &'a DomainConfig,
    disk: &'a Disk,
}

/// The fifo and the directory, removed when it is dropped.
pub(crate) struct Place {
    fifo: PathBuf,
    dir: PathBuf,
}

impl Drop for Place {
    fn drop(&mut self) {
        // Whatever cannot be removed lies below /run and goes with the next start.
        let _ = std::fs::remove_file(&self.fifo);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Place {
    /// `/run/xen/bootloader.N.out` and `.d` below `base`, fresh.
    pub(crate) fn new(base: &Path, id: u16) -> Result<Place> {
        let place = Place {
            fifo: base.join(format!("bootloader.{id}.out")),
            dir: base.join(format!("bootloader.{id}.d")),
        };
        let failed = |p: &Path, e: &dyn std::fmt::Display| {
            Error::new(format!("bootloader: making {}: {e}", p.display()))
        };
        let _ = std::fs::remove_file(&place.fifo);
        let _ = std::fs::remove_dir_all(&place.dir);
        std::fs::create_dir_all(base).map_err(|e| failed(base, &e))?;
        // mkdir fails if somebody was quicker: nothing of theirs is written into.
        std::fs::create_dir(&place.dir).map_err(|e| failed(&place.dir, &e))?;
        rustix::fs::chmod(&place.dir, Mode::RWXU).map_err(|e| failed(&place.dir, &e))?;
        mknodat(
            rustix::fs::CWD,
            &place.fifo,
            FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .map_err(|e| failed(&place.fifo, &e))?;
        Ok(place)
    }
}

/// The program that `name` means.
fn locate(name: &str) -> Option<PathBuf> {
    let runs =
        |p: &PathBuf| rustix::fs::access(p, rustix::fs::Access::EXEC_OK).is_ok() && p.is_file();
    if name.contains('/') {
        let path = PathBuf::from(name);
        if runs(&path) {
            return Some(path);
        }
        // Old configurations name places where pygrub was years ago.
        return path.ends_with("pygrub").then(|| locate("pygrub")).flatten();
    }
    let mut versioned: Vec<PathBuf> = std::fs::read_dir(VERSIONED.0)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().starts_with(VERSIONED.1))
        .map(|e| e.path().join("bin"))
        .collect();
    versioned.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    DIRECTORIES
        .iter()
        .map(PathBuf::from)
        .chain(versioned.into_iter().rev())
        .chain(std::env::split_paths(&path))
        .map(|d| d.join(name))
        .find(runs)
}

impl<'a> Boot<'a> {
    /// Finds the program and the disk of a configuration with a boot loader; `None` for one without.
    pub(crate) fn prepare(config: &'a DomainConfig) -> Result<Option<Boot<'a>>> {
        let Some(bootloader) = &config.bootloader else {
            return Ok(None);
        };
        let name = &bootloader.program;
        let disk = config.disks.first().ok_or_else(|| {
            Error::new(format!(
                "bootloader \"{name}\": the guest has no disk to find a kernel on"
            ))
            .hint("give it one with disk = [...], or name a kernel of this host with kernel = ...")
        })?;
        if let Some(script) = &disk.script {
            let message = format!(
                "bootloader \"{name}\" cannot read disk {} ({}): it is there only once the guest's devices are, made by \
                 script {script}",
                disk.vdev, disk.target
            );
            let hint = "put a disk without script first, or boot with kernel = ... or firmware = \"pvgrub64\"";
            return Err(Error::new(message).hint(hint));
        }
        if disk.format != Format::Raw {
            let message = format!(
                "bootloader \"{name}\" cannot read disk {} ({}): its format is {}",
                disk.vdev,
                disk.target,
                disk.format.name()
            );
            return Err(Error::new(message).hint(
                "it reads raw files and block devices; convert it with qemu-img convert -O raw",
            ));
        }
        let program = locate(name).ok_or_else(|| {
            let hint = match name.rsplit('/').next() {
                Some("pygrub") => "it comes with this package: install that again, or boot the guest with kernel = \
                                   \"/usr/lib/grub-xen/grub-x86_64-xen.bin\" of grub-xen-host instead",
                _ => "give its full path; it must be executable",
            };
            Error::new(format!("there is no bootloader \"{name}\" on this host")).hint(hint)
        })?;
        Ok(Some(Boot {
            program,
            config,
            disk,
        }))
    }

    /// Which program and which disk, as messages say it.
    pub(crate) fn what(&self) -> String {
        let (program, disk) = (self.program.display(), self.disk);
        format!(
            "bootloader {program} on disk {} ({})",
            disk.vdev, disk.target
        )
    }

    fn command(&self, place: &Place) -> Command {
        let c = self.config;
        let mut command = Command::new(&self.program).env("TERM", "vt100");
        if !c.kernel.as_os_str().is_empty() {
            command = command.arg(format!("--kernel={}", c.kernel.display()));
        }
        if let Some(r) = &c.ramdisk {
            command = command.arg(format!("--ramdisk={}", r.display()));
        }
        if !c.cmdline.is_empty() {
            command = command.arg(format!("--args={}", c.cmdline));
        }
        command
            .arg(format!("--output={}", place.fifo.display()))
            .arg("--output-format=simple0")
            .arg(format!("--output-directory={}", place.dir.display()))
            .args(c.bootloader.iter().flat_map(|b| &b.args))
            .arg(&self.disk.target)
    }

    /// Runs it to its end. `console` is told the path of the guest's console in the meantime; `alive` is asked now and then whether
    /// the domain still exists.
    pub(crate) fn run(
        &self,
        place: &Place,
        console: &mut dyn FnMut(&Path) -> Result<()>,
        alive: &mut dyn FnMut() -> bool,
    ) -> Result<Found> {
        let io = |step: &str, e: &dyn std::fmt::Display| {
            Error::new(format!("{}: {step}: {e}", self.what()))
        };
        let mut fifo = open_fifo(&place.fifo).map_err(|e| io("opening its fifo", &e))?;
        let shown = Terminal::open().map_err(|e| io("opening a terminal for its output", &e))?;
        console(&shown.path)?;
        let (pty, pts) = open().map_err(|e| io("opening a terminal", &e))?;
        pty.resize(Size::new(24, 80))
            .map_err(|e| io("opening a terminal", &e))?;
        let child = self
            .command(place)
            .spawn(pts)
            .map_err(|e| io("starting it", &e))?;
        let mut session = Session {
            child: Killed(child),
            pty,
            shown,
            tail: Vec::new(),
            result: Vec::new(),
            last: Instant::now(),
        };
        let status = session
            .serve(&mut fifo, alive)
            .map_err(|why| Error::new(format!("{}: {why}{}", self.what(), said(&session.tail))))?;
        if !status.success() {
            let message = format!("{} failed ({status}){}", self.what(), said(&session.tail));
            return Err(Error::new(message));
        }
        let found = parse(&session.result)
            .map_err(|why| Error::new(format!("{}: {why}{}", self.what(), said(&session.tail))))?;
        Ok(found)
    }
}

/// Both ends: the one for writing is held, so that the program's closing its own is no end of file.
fn open_fifo(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// The terminal on which others see the program: a raw one, kept open on both sides.
struct Terminal {
    master: OwnedFd,
    _slave: OwnedFd,
    path: PathBuf,
}

impl Terminal {
    fn open() -> std::io::Result<Terminal> {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let path = PathBuf::from(String::from_utf8_lossy(name.as_bytes()).into_owned());
        let slave = rustix::fs::open(
            &path,
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let mut settings = rustix::termios::tcgetattr(&slave)?;
        settings.make_raw();
        rustix::termios::tcsetattr(&slave, rustix::termios::OptionalActions::Now, &settings)?;
        rustix::io::ioctl_fionbio(&master, true)?;
        Ok(Terminal {
            master,
            _slave: slave,
            path,
        })
    }
}

/// A process that does not outlive this: killed with its group, since it leads one.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.0.id() as i32)
            && matches!(self.0.try_wait(), Ok(None))
        {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

struct Session {
    child: Killed,
    pty: Pty,
    shown: Terminal,
    tail: Vec<u8>,
    result: Vec<u8>,
    last: Instant,
}

impl Session {
    /// Carries bytes between the two terminals until the program has ended.
    fn serve(
        &mut self,
        fifo: &mut File,
        alive: &mut dyn FnMut() -> bool,
    ) -> std::result::Result<ExitStatus, String> {
        rustix::io::ioctl_fionbio(&self.pty, true).map_err(|e| e.to_string())?;
        let mut asked = Instant::now();
        let mut gone: Option<(ExitStatus, Instant)> = None;
        loop {
            // The order matters: what it said before it ended is read after its end is known.
            if gone.is_none() {
                let status = self.child.0.try_wait().map_err(|e| e.to_string())?;
                gone = status.map(|s| (s, Instant::now()));
            }
            let moved = self.carry();
            self.read_result(fifo)?;
            match gone {
                Some((status, at)) if !moved || at.elapsed() > DRAIN => return Ok(status),
                Some(_) => continue,
                None => {}
            }
            if self.last.elapsed() > IDLE {
                return Err(format!(
                    "nothing has happened for {} minutes",
                    IDLE.as_secs() / 60
                ));
            }
            if asked.elapsed() > Duration::from_secs(1) {
                asked = Instant::now();
                if !alive() {
                    return Err("the domain was destroyed meanwhile".into());
                }
            }
            if !moved {
                self.wait();
            }
        }
    }

    /// Sleeps until there is something to carry, for a tick at most.
    fn wait(&self) {
        use rustix::event::{PollFd, PollFlags, poll};
        let mut fds = [
            PollFd::new(&self.pty, PollFlags::IN),
            PollFd::new(&self.shown.master, PollFlags::IN),
        ];
        let _ = poll(&mut fds, Some(&TICK));
        if fds.iter().any(|f| f.revents().contains(PollFlags::HUP)) {
            // It has closed its terminal but lives: poll would return at once for ever.
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn carry(&mut self) -> bool {
        let mut moved = false;
        if let Some(bytes) = read(self.pty.as_fd()) {
            moved = true;
            // Nobody may be looking: what does not fit is dropped.
            let _ = rustix::io::write(&self.shown.master, &bytes);
            self.tail.extend(bytes);
            let excess = self.tail.len().saturating_sub(TAIL);
            self.tail.drain(..excess);
        }
        if let Some(bytes) = read(self.shown.master.as_fd()) {
            moved = true;
            let _ = rustix::io::write(&self.pty, &bytes);
        }
        if moved {
            self.last = Instant::now();
        }
        moved
    }

    fn read_result(&mut self, fifo: &mut File) -> std::result::Result<(), String> {
        let mut part = [0; 4096];
        while let Ok(n @ 1..) = fifo.read(&mut part) {
            self.result.extend(&part[..n]);
            if self.result.len() > MAX_RESULT {
                return Err(format!("its result is longer than {MAX_RESULT} bytes"));
            }
        }
        Ok(())
    }
}

/// What can be read now; `None` if nothing can (an end is EIO on a terminal's master).
fn read(fd: BorrowedFd) -> Option<Vec<u8>> {
    let mut part = [0; 4096];
    loop {
        match rustix::io::read(fd, &mut part) {
            Ok(n @ 1..) => return Some(part[..n].to_vec()),
            Err(Errno::INTR) => {}
            _ => return None,
        }
    }
}

/// The last line of a program's output, for an error message.
fn said(tail: &[u8]) -> String {
    let text = String::from_utf8_lossy(tail);
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() && c != '\n' { ' ' } else { c })
        .collect();
    match clean.lines().map(str::trim).rfind(|l| !l.is_empty()) {
        Some(line) => format!("; the last it said: {line}"),
        None => String::new(),
    }
}

/// Reads what it said on the fifo: entries `kernel PATH`, `ramdisk PATH`, `args WORDS`, ended by NUL or newline, or the older
/// `linux (kernel PATH)(ramdisk PATH)(args "WORDS")`.
fn parse(result: &[u8]) -> std::result::Result<Found, String> {
    let text = std::str::from_utf8(result).map_err(|_| "its result is not text".to_string())?;
    let mut found = Found::default();
    let mut take = |entry: &str| {
        let entry = entry.trim_start();
        let (key, value) = entry.split_once([' ', '\t']).unwrap_or((entry, ""));
        match key {
            "kernel" => found.kernel = value.into(),
            "ramdisk" if !value.is_empty() => found.ramdisk = Some(value.into()),
            "args" => found.args = Some(value.into()),
            // Of other systems: nothing here depends on it.
            _ => {}
        }
    };
    match text.trim_start().strip_prefix("linux ") {
        Some(list) if list.trim_start().starts_with('(') => parse_list(list, &mut take)?,
        _ => text
            .split(['\0', '\n'])
            .filter(|e| !e.is_empty())
            .for_each(take),
    }
    if found.kernel.as_os_str().is_empty() {
        return Err("it ended without naming a kernel".into());
    }
    Ok(found)
}

/// `(key value)(key "quoted value")`, backslashes quoting within quotes.
fn parse_list(list: &str, take: &mut dyn FnMut(&str)) -> std::result::Result<(), String> {
    let broken = || format!("its result cannot be understood: {}", list.trim());
    let mut chars = list.trim().chars();
    while let Some(c) = chars.next() {
        if c.is_whitespace() {
            continue;
        }
        if c != '(' {
            return Err(broken());
        }
        let (mut entry, mut quoted) = (String::new(), false);
        loop {
            match chars.next().ok_or_else(broken)? {
                '\\' if quoted => entry.push(chars.next().ok_or_else(broken)?),
                '"' | '\'' => quoted = !quoted,
                ')' if !quoted => break,
                other => entry.push(other),
            }
        }
        take(entry.trim_end());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
