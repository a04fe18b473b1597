//! Just enough ELF64 to find which shared libraries a program needs (`DT_NEEDED`), so that an initrd gets them all, and to leave
//! out of the hypervisor what a boot loader has no use for.

use crate::{Context, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;

/// What a dynamic ELF file asks for.
#[derive(Debug, Default, PartialEq)]
pub struct Needs {
    /// Path of the dynamic loader, if any.
    pub interp: Option<String>,
    /// Sonames of needed libraries.
    pub libs: Vec<String>,
}

struct Elf<'a>(&'a [u8]);

impl Elf<'_> {
    fn int(&self, at: usize, size: usize) -> Option<u64> {
        let bytes = self.0.get(at..at.checked_add(size)?)?;
        Some(bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    fn usize(&self, at: usize, size: usize) -> Option<usize> {
        usize::try_from(self.int(at, size)?).ok()
    }

    fn str(&self, at: usize) -> Option<String> {
        let tail = self.0.get(at..)?;
        let end = tail.iter().position(|b| *b == 0)?;
        Some(String::from_utf8_lossy(&tail[..end]).into_owned())
    }

    /// (type, file offset, virtual address, size in file) of each program header.
    fn segments(&self) -> Option<Vec<(u32, usize, u64, usize)>> {
        let (at, size, count) = (self.usize(32, 8)?, self.usize(54, 2)?, self.usize(56, 2)?);
        (0..count)
            .map(|i| {
                let at = at + i * size;
                Some((
                    self.int(at, 4)? as u32,
                    self.usize(at + 8, 8)?,
                    self.int(at + 16, 8)?,
                    self.usize(at + 32, 8)?,
                ))
            })
            .collect()
    }

    fn needs(&self) -> Option<Needs> {
        let segments = self.segments()?;
        let to_file = |addr: u64| {
            segments
                .iter()
                .find(|s| s.0 == PT_LOAD && addr >= s.2 && addr < s.2 + s.3 as u64)
                .map(|s| s.1 + (addr - s.2) as usize)
        };
        let mut needs = Needs::default();
        for &(kind, offset, _, size) in &segments {
            if kind == PT_INTERP {
                needs.interp = self.str(offset);
            } else if kind == PT_DYNAMIC {
                let tags: Vec<(u64, u64)> = (0..size / 16)
                    .map(|i| {
                        Some((
                            self.int(offset + i * 16, 8)?,
                            self.int(offset + i * 16 + 8, 8)?,
                        ))
                    })
                    .collect::<Option<_>>()?;
                let strtab = to_file(tags.iter().find(|t| t.0 == DT_STRTAB)?.1)?;
                needs.libs = tags
                    .iter()
                    .filter(|t| t.0 == DT_NEEDED)
                    .map(|t| self.str(strtab + t.1 as usize))
                    .collect::<Option<_>>()?;
            }
        }
        Some(needs)
    }
}

/// What the file at `path` needs; None when it is not ELF (a script, say).
pub fn needs(path: &Path) -> Result<Option<Needs>> {
    let bytes = std::fs::read(path).context(path.display())?;
    if !bytes.starts_with(b"\x7fELF\x02") {
        return Ok(None);
    }
    Elf(&bytes)
        .needs()
        .map(Some)
        .context(format!("{}: damaged ELF file", path.display()))
}

/// The segments of a program and nothing behind them: no section is left, nor the table that names them.
///
/// GRUB 2.06 loads the sections that segments do not cover (`.symtab`, say) to the lowest memory that is free. With UEFI firmware
/// that may be address 0, to which the firmware reads nothing: "failure reading sector".
pub fn without_sections(mut file: Vec<u8>) -> Result<Vec<u8>> {
    let segments = Elf(&file).segments().context("damaged ELF header")?;
    let end = segments.iter().map(|s| s.1 + s.3).max();
    file.truncate(end.context("a program without segments")?);
    let header = file.get_mut(..64).context("segments without the header")?;
    for field in [40..48, 60..64] {
        header[field].fill(0); // e_shoff; e_shnum and e_shstrndx
    }
    Ok(file)
}

/// All libraries that `programs` need, transitively, as soname to file, looked for in `dirs` in order.
/// Dynamic loaders appear under their absolute path.
pub fn closure(programs: &[PathBuf], dirs: &[PathBuf]) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut queue: Vec<PathBuf> = programs.to_vec();
    while let Some(file) = queue.pop() {
        let Some(needs) = needs(&file)? else { continue };
        if let Some(interp) = needs.interp {
            found
                .entry(interp.clone())
                .or_insert_with(|| PathBuf::from(interp));
        }
        for lib in needs.libs {
            if found.contains_key(&lib) {
                continue;
            }
            let path = dirs
                .iter()
                .map(|d| d.join(&lib))
                .find(|p| p.exists())
                .context(format!(
                    "{}: needs {lib}, which is in none of the library directories",
                    file.display()
                ))?;
            queue.push(path.clone());
            found.insert(lib, path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_has_the_same_segments_and_no_sections() -> Result<()> {
        let this = std::fs::read(std::env::current_exe()?)?;
        let left = without_sections(this.clone())?;
        assert!(left.len() < this.len());
        assert_eq!(Elf(&left).segments(), Elf(&this).segments());
        for &(_, offset, _, size) in &Elf(&this).segments().context("segments")? {
            let kept = 64.max(offset)..offset + size; // The header has changed.
            assert_eq!(left.get(kept.clone()), this.get(kept));
        }
        assert_eq!(Elf(&left).int(40, 8), Some(0));
        assert_eq!(Elf(&left).int(60, 4), Some(0));
        Ok(())
    }

    #[test]
    fn damaged_files_are_refused() {
        assert!(without_sections(Vec::new()).is_err());
        assert!(without_sections(b"\x7fELF\x02".repeat(30)).is_err());
    }
}
