//! Writes cpio archives in the "newc" format that Linux unpacks as an initrd (kernel: Documentation/driver-api/early-userspace/buffer-format.rst).

use crate::{Context, Result};
use std::collections::BTreeSet;
use std::path::Path;

const DIR: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHAR: u32 = 0o020_000;

/// An archive being built in memory. Parent directories are added as needed; the first entry of a name wins.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    names: BTreeSet<String>,
}

impl Archive {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether `name` is in already.
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains(name.trim_matches('/'))
    }

    /// Adds a directory with mode 755.
    pub fn dir(&mut self, name: &str) {
        if let Some(name) = self.claim(name) {
            self.entry(&name, DIR | 0o755, (0, 0), &[]);
        }
    }

    /// Adds a file with the given permissions and contents.
    pub fn file(&mut self, name: &str, perm: u32, data: &[u8]) {
        if let Some(name) = self.claim(name) {
            self.entry(&name, FILE | perm, (0, 0), data);
        }
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, name: &str, to: &str) {
        if let Some(name) = self.claim(name) {
            self.entry(&name, LINK | 0o777, (0, 0), to.as_bytes());
        }
    }

    /// Adds a character device.
    pub fn chardev(&mut self, name: &str, major: u32, minor: u32) {
        if let Some(name) = self.claim(name) {
            self.entry(&name, CHAR | 0o600, (major, minor), &[]);
        }
    }

    /// Adds a copy of a host file (links are followed), keeping whether it is executable.
    pub fn copy(&mut self, name: &str, from: &Path) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let data = std::fs::read(from).context(from.display())?;
        let mode = std::fs::metadata(from)
            .context(from.display())?
            .permissions()
            .mode();
        self.file(name, if mode & 0o111 == 0 { 0o644 } else { 0o755 }, &data);
        Ok(())
    }

    /// The finished archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    /// Takes a name, having made its parents; None when it exists.
    fn claim(&mut self, name: &str) -> Option<String> {
        let name = name.trim_matches('/');
        if let Some((parent, _)) = name.rsplit_once('/') {
            self.dir(parent);
        }
        self.names.insert(name.to_owned()).then(|| name.to_owned())
    }

    fn entry(&mut self, name: &str, mode: u32, dev: (u32, u32), data: &[u8]) {
        let inode = self.names.len();
        let (size, namesize) = (data.len(), name.len() + 1);
        let header = format!(
            "070701{inode:08x}{mode:08x}{z:08x}{z:08x}{one:08x}{z:08x}{size:08x}{z:08x}{z:08x}{:08x}{:08x}{namesize:08x}{z:08x}",
            dev.0,
            dev.1,
            z = 0,
            one = 1,
        );
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_once_and_before_their_children() {
        let mut a = Archive::new();
        a.file("/usr/bin/a", 0o755, b"x");
        a.file("usr/bin/b", 0o644, b"yy");
        a.file("usr/bin/a", 0o644, b"ignored");
        let names: Vec<String> = list(&a.finish());
        assert_eq!(
            names,
            ["usr", "usr/bin", "usr/bin/a", "usr/bin/b", "TRAILER!!!"]
        );
    }

    fn list(bytes: &[u8]) -> Vec<String> {
        let field = |at: usize, n: usize| {
            usize::from_str_radix(
                std::str::from_utf8(&bytes[at + n * 8 + 6..at + n * 8 + 14]).unwrap(),
                16,
            )
            .unwrap()
        };
        let (mut at, mut out) = (0, vec![]);
        while at < bytes.len() {
            assert_eq!(&bytes[at..at + 6], b"070701");
            let (size, namesize) = (field(at, 6), field(at, 11));
            out.push(String::from_utf8(bytes[at + 110..at + 110 + namesize - 1].to_vec()).unwrap());
            at = (at + 110 + namesize).next_multiple_of(4);
            at = (at + size).next_multiple_of(4);
        }
        out
    }
}
