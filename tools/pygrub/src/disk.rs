//! [`Volume`]: a part of the guest's disk with a file system that can be read; [`volumes`] finds them.
//!
//! The disk is a guest's: whatever is on it may have been put there to do harm. It is only ever read, by code without `unsafe`;
//! files are taken up to a size, and `main` bounds memory and time.

use crate::Result;
use ext4_view::{Ext4, Ext4Read, Path};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Size of a sector in partition tables.
const SECTOR: u64 = 512;
/// Most logical partitions that are looked for.
const MOST_LOGICAL: usize = 64;
/// Largest boot menu.
const MOST_TEXT: u64 = 1 << 20;
/// Largest kernel or initrd.
const MOST_FILE: u64 = 1 << 30;

/// A readable file system and where it was found.
pub struct Volume {
    /// "partition 1", "the whole disk".
    pub place: String,
    fs: Ext4,
}

/// What is on a disk: volumes in the order in which they are to be tried, and remarks on what was passed over.
#[derive(Default)]
pub struct Found {
    pub volumes: Vec<Volume>,
    pub passed_over: Vec<String>,
}

/// A disk from some byte on.
struct Window {
    disk: Arc<File>,
    start: u64,
}

impl Ext4Read for Window {
    fn read(
        &mut self,
        start: u64,
        dst: &mut [u8],
    ) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync + 'static>> {
        let at = self.start.checked_add(start).ok_or("beyond the disk")?;
        Ok(self.disk.read_exact_at(dst, at)?)
    }
}

/// Everything on `disk` that can be read: at `offset` if one is given, else by its partition table, else the disk as a whole.
pub fn volumes(disk: File, offset: Option<u64>) -> Result<Found> {
    let disk = Arc::new(disk);
    let mut found = Found::default();
    if let Some(start) = offset {
        found.look(&disk, start, format!("offset {start}"));
        return Ok(found);
    }
    let mut first = [0; SECTOR as usize];
    disk.read_exact_at(&mut first, 0)
        .map_err(|e| format!("reading its first sector: {e}"))?;
    let parts = partitions(&disk, &first);
    // A file system's own boot sector may look like a table.
    if let Ok(fs) = load(&disk, 0) {
        let place = "the whole disk".into();
        found.volumes.push(Volume { place, fs });
    } else if parts.is_empty() {
        found.look(&disk, 0, "the whole disk".into());
    }
    for part in parts {
        found.look(&disk, part.start, format!("partition {}", part.number));
    }
    Ok(found)
}

fn load(disk: &Arc<File>, start: u64) -> std::result::Result<Ext4, ext4_view::Ext4Error> {
    Ext4::load(Box::new(Window {
        disk: disk.clone(),
        start,
    }))
}

impl Found {
    fn look(&mut self, disk: &Arc<File>, start: u64, place: String) {
        match load(disk, start) {
            Ok(fs) => self.volumes.push(Volume { place, fs }),
            Err(error) => {
                let what = match kind(disk, start) {
                    Some(kind) => format!("{kind}, which this does not read"),
                    None => format!("no ext2, ext3 or ext4 file system ({error})"),
                };
                self.passed_over.push(format!("{place}: {what}"));
            }
        }
    }
}

/// What else is there, by its magic number.
fn kind(disk: &File, start: u64) -> Option<&'static str> {
    const MAGIC: &[(u64, &[u8], &str)] = &[
        (0, b"XFSB", "an XFS file system"),
        (0x10040, b"_BHRfS_M", "a btrfs file system"),
        (0x218, b"LVM2", "an LVM physical volume"),
        (0, b"LUKS", "an encrypted volume (LUKS)"),
        (0xff6, b"SWAPSPACE2", "swap space"),
        (0x52, b"FAT32", "a FAT file system"),
        (0x36, b"FAT1", "a FAT file system"),
        (0x8001, b"CD001", "an ISO 9660 file system"),
        (0, b"QFI\xfb", "a qcow2 image"),
    ];
    let is = |(at, magic, _): &&(u64, &[u8], &str)| {
        let mut bytes = vec![0; magic.len()];
        let at = start.checked_add(*at);
        at.is_some_and(|at| disk.read_exact_at(&mut bytes, at).is_ok()) && bytes == *magic
    };
    MAGIC.iter().find(is).map(|m| m.2)
}

#[derive(Debug, PartialEq, Eq)]
struct Partition {
    number: usize,
    start: u64,
    active: bool,
}

/// The partitions of a disk, active ones first.
fn partitions(disk: &Arc<File>, first: &[u8; SECTOR as usize]) -> Vec<Partition> {
    let mut parts = dos_partitions(disk, first);
    if parts.is_empty()
        && entries(first).iter().any(|e| e.kind == 0xee)
        && let Ok(file) = disk.try_clone()
        && let Ok(table) = gpt::GptConfig::new().writable(false).open_from_device(file)
    {
        let starts = table.partitions().iter().filter(|(_, p)| p.is_used());
        parts = starts
            .filter_map(|(number, p)| {
                Some(Partition {
                    number: *number as usize,
                    start: p.bytes_start(*table.logical_block_size()).ok()?,
                    active: false,
                })
            })
            .collect();
    }
    parts.sort_by_key(|p| !p.active);
    parts
}

/// One of the four entries of a DOS partition table.
struct Entry {
    active: bool,
    kind: u8,
    start: u64,
}

fn entries(sector: &[u8; SECTOR as usize]) -> Vec<Entry> {
    if sector[510..] != [0x55, 0xaa] {
        return Vec::new();
    }
    let entry = |e: &[u8]| Entry {
        active: e[0] == 0x80,
        kind: e[4],
        start: u64::from(u32::from_le_bytes([e[8], e[9], e[10], e[11]])) * SECTOR,
    };
    sector[446..510].chunks_exact(16).map(entry).collect()
}

/// Whether an entry is the head of a chain of logical partitions.
fn is_extended(entry: &Entry) -> bool {
    matches!(entry.kind, 0x05 | 0x0f | 0x85)
}

fn dos_partitions(disk: &File, first: &[u8; SECTOR as usize]) -> Vec<Partition> {
    let mut parts = Vec::new();
    let mut chain = None;
    for (n, entry) in entries(first).into_iter().enumerate() {
        match entry.kind {
            // Empty; or the whole of it is described by a GPT.
            0 | 0xee => {}
            _ if is_extended(&entry) => chain = Some(entry.start),
            _ => parts.push(Partition {
                number: n + 1,
                start: entry.start,
                active: entry.active,
            }),
        }
    }
    let Some(base) = chain else { return parts };
    let mut at = base;
    // A chain may lead back to itself.
    for n in 0..MOST_LOGICAL {
        let mut sector = [0; SECTOR as usize];
        if disk.read_exact_at(&mut sector, at).is_err() {
            break;
        }
        let entries = entries(&sector);
        let [part, next, ..] = &entries[..] else {
            break;
        };
        if part.kind != 0 {
            parts.push(Partition {
                number: 5 + n,
                start: at.saturating_add(part.start),
                active: part.active,
            });
        }
        if !is_extended(next) {
            break;
        }
        at = base.saturating_add(next.start);
    }
    parts
}

impl Volume {
    /// The text of a file; `None` if it is not there or is no such file.
    pub fn text(&self, path: &str) -> Option<String> {
        let meta = self.fs.metadata(Path::try_from(path).ok()?).ok()?;
        if meta.is_dir() || meta.len() > MOST_TEXT {
            return None;
        }
        let bytes = self.fs.read(Path::try_from(path).ok()?).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Names of the files in a directory, sorted; none if there is no such directory.
    pub fn list(&self, path: &str) -> Vec<String> {
        let Some(dir) = Path::try_from(path)
            .ok()
            .and_then(|p| self.fs.read_dir(p).ok())
        else {
            return Vec::new();
        };
        let mut names: Vec<String> = dir
            .take(4096)
            .filter_map(|e| Some(e.ok()?.file_name().as_str().ok()?.to_owned()))
            .collect();
        names.sort();
        names
    }

    /// Copies a file of the guest's; returns its size.
    pub fn copy(&self, path: &str, to: &mut File) -> Result<u64> {
        let failed = |what: &dyn std::fmt::Display| format!("{path} on {}: {what}", self.place);
        let name = Path::try_from(path).map_err(|e| failed(&e))?;
        let mut file = self.fs.open(name).map_err(|e| failed(&e))?;
        let size = file.metadata().len();
        if size > MOST_FILE {
            return Err(failed(&"larger than 1 GiB").into());
        }
        let mut part = vec![0; 64 << 10];
        loop {
            match file.read_bytes(&mut part).map_err(|e| failed(&e))? {
                0 => return Ok(size),
                n => to
                    .write_all(&part[..n])
                    .map_err(|e| format!("copying {path} out of the disk: {e}"))?,
            }
        }
    }
}
