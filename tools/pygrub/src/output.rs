//! [`Chosen`]: what was found, put where the caller wants it and said in one of three formats.

use crate::disk::Volume;
use crate::menu::Entry;
use crate::{Format, Result};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Kernel and initrd as files of this host's (or, not really, of the guest's), and the kernel's words.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    pub kernel: PathBuf,
    pub ramdisk: Option<PathBuf>,
    pub args: String,
}

impl Chosen {
    /// Names of an entry's files on the guest's disk.
    pub fn named(entry: &Entry) -> Chosen {
        Chosen {
            kernel: entry.kernel.clone().into(),
            ramdisk: (!entry.initrds.is_empty()).then(|| entry.initrds.join(" ").into()),
            args: entry.args.clone(),
        }
    }

    /// Copies an entry's files into `dir`; several initrds become one. Nothing is left there if it fails.
    pub fn copied(entry: &Entry, volume: &Volume, dir: &Path) -> Result<Chosen> {
        let mut copies = Copies(Vec::new());
        let kernel = copies.make(
            dir,
            "boot_kernel",
            volume,
            std::slice::from_ref(&entry.kernel),
        )?;
        let ramdisk = match &entry.initrds[..] {
            [] => None,
            files => Some(copies.make(dir, "boot_ramdisk", volume, files)?),
        };
        copies.0.clear();
        let args = entry.args.clone();
        Ok(Chosen {
            kernel,
            ramdisk,
            args,
        })
    }

    /// In words, as the caller reads them.
    pub fn say(&self, format: Format) -> String {
        let kernel = self.kernel.display();
        let ramdisk = self.ramdisk.as_ref().map(|r| r.display().to_string());
        if format == Format::Sxp {
            let ramdisk = ramdisk
                .map(|r| format!("(ramdisk {r})"))
                .unwrap_or_default();
            let args = self.args.replace('\\', "\\\\").replace('"', "\\\"");
            let args = if args.is_empty() {
                args
            } else {
                format!("(args \"{args}\")")
            };
            return format!("linux (kernel {kernel}){ramdisk}{args}");
        }
        let end = if format == Format::Simple { '\n' } else { '\0' };
        let mut out = format!("kernel {kernel}{end}");
        if let Some(r) = ramdisk {
            out += &format!("ramdisk {r}{end}");
        }
        // Ends of lines in it would be ends of entries.
        let args = self.args.replace(['\n', '\0'], " ");
        if !args.is_empty() {
            out += &format!("args {args}{end}");
        }
        out
    }
}

/// Files made so far, removed if not all could be made.
struct Copies(Vec<PathBuf>);

impl Drop for Copies {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Copies {
    fn make(&mut self, dir: &Path, name: &str, from: &Volume, files: &[String]) -> Result<PathBuf> {
        let (path, mut file) = create(dir, name)?;
        self.0.push(path.clone());
        for (n, part) in files.iter().enumerate() {
            let size = from.copy(part, &mut file)?;
            if n + 1 < files.len() {
                // Archives of an initrd begin at a multiple of four.
                file.write_all(&[0; 3][..(size.next_multiple_of(4) - size) as usize])?;
            }
        }
        Ok(path)
    }
}

/// A new file that only its owner reads; never one that is there.
fn create(dir: &Path, name: &str) -> Result<(PathBuf, File)> {
    let mut last = None;
    for n in 0..100 {
        let path = match n {
            0 => dir.join(name),
            n => dir.join(format!("{name}.{}.{n}", std::process::id())),
        };
        let mut options = OpenOptions::new();
        match options.write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => last = Some(e),
            Err(e) => return Err(format!("making {}: {e}", path.display()).into()),
        }
    }
    let why = last.map_or_else(String::new, |e| e.to_string());
    Err(format!("making {} in {}: {why}", name, dir.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_formats() {
        let all = Chosen {
            kernel: "/k".into(),
            ramdisk: Some("/r".into()),
            args: "a \"b\"".into(),
        };
        assert_eq!(
            all.say(Format::Simple),
            "kernel /k\nramdisk /r\nargs a \"b\"\n"
        );
        assert_eq!(
            all.say(Format::Simple0),
            "kernel /k\0ramdisk /r\0args a \"b\"\0"
        );
        assert_eq!(
            all.say(Format::Sxp),
            "linux (kernel /k)(ramdisk /r)(args \"a \\\"b\\\"\")"
        );
        let only = Chosen {
            kernel: "/k".into(),
            ..Chosen::default()
        };
        assert_eq!(only.say(Format::Simple0), "kernel /k\0");
        assert_eq!(only.say(Format::Sxp), "linux (kernel /k)");
    }
}
