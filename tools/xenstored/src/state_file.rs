//! [`StateFile`]: where a daemon leaves its state for the one that follows it. Meant for a file system in
//! memory: it is written often and means nothing after a reboot.
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Shortest time between two writes.
const INTERVAL: Duration = Duration::from_millis(100);
/// Writing may take this fraction of the daemon's time.
const SHARE: u32 = 20;

/// The file, and when it is to be written next.
pub struct StateFile {
    path: PathBuf,
    written: (u64, u64),
    not_before: Instant,
    failed: bool,
}

/// Distinguishes this boot from all others.
fn boot_id() -> Vec<u8> {
    fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

impl StateFile {
    /// A state kept at `path`.
    pub fn new(path: PathBuf) -> StateFile {
        StateFile {
            path,
            written: (0, 0),
            not_before: Instant::now(),
            failed: false,
        }
    }

    /// What the daemon before us left during this boot.
    pub fn load(&self) -> Option<Vec<u8>> {
        let all = fs::read(&self.path).ok()?;
        all.strip_prefix(boot_id().as_slice()).map(<[u8]>::to_vec)
    }

    /// When to call [`StateFile::store`] for a state of this epoch; `None` if it is stored.
    pub fn due(&self, epoch: (u64, u64)) -> Option<Instant> {
        (epoch != self.written).then_some(self.not_before)
    }

    /// Write the state, all of it or nothing.
    pub fn store(&mut self, epoch: (u64, u64), state: impl FnOnce() -> Vec<u8>) {
        let start = Instant::now();
        if let Err(e) = self.write(&state())
            && !std::mem::replace(&mut self.failed, true)
        {
            eprintln!(
                "xenstored: {}: {e}: a restart will find an old store",
                self.path.display()
            );
        }
        self.written = epoch;
        let now = Instant::now();
        self.not_before = now + INTERVAL.max((now - start) * SHARE);
    }

    fn write(&self, state: &[u8]) -> io::Result<()> {
        let part = self.path.with_extension("part");
        let mut f = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&part)?;
        f.write_all(&boot_id())?;
        f.write_all(state)?;
        fs::rename(part, &self.path)
    }
}
