//! [`Options`]: the command line, as Xen's `pygrub` has it and as `xl` and libvirt call it.

use crate::{Format, Result};
use lexopt::prelude::*;
use std::path::PathBuf;

/// What `--help` prints.
pub const HELP: &str = "\
pygrub [options] DISK      finds the kernel that a guest's own boot menu names: GRUB 2, GRUB legacy, extlinux; on ext2, ext3 or ext4
  -q --quiet               no menu: the menu's own default
  -i --interactive         a menu, if there is a terminal (this is the default)
  -l --list-entries        lists the entries and ends
  -n --not-really          says what it would boot, and copies nothing
     --entry=ENTRY         a number from 0, a title or a name instead of the menu's default; no menu
     --kernel=PATH         a kernel on the guest's disk instead of a menu entry
     --ramdisk=PATH        an initrd on the guest's disk, with --kernel or instead of the entry's
     --args=WORDS          more words for the kernel
     --offset=BYTES        where on the disk the file system is
     --output=FILE         where to say what was found (standard output)
     --output-format=sxp|simple|simple0   how (sxp)
     --output-directory=DIR               where to put copies of kernel and initrd (/run/xen/pygrub)
";

/// A parsed command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub quiet: bool,
    pub list: bool,
    pub dry: bool,
    pub entry: Option<String>,
    pub kernel: Option<String>,
    pub ramdisk: Option<String>,
    pub args: String,
    pub offset: Option<u64>,
    pub output: Option<PathBuf>,
    pub format: Format,
    pub directory: Option<PathBuf>,
    pub disk: PathBuf,
}

impl Options {
    /// `None` when help was asked for.
    pub fn parse<I>(words: I) -> Result<Option<Options>>
    where
        I: IntoIterator,
        I::Item: Into<std::ffi::OsString>,
    {
        let mut o = Options::default();
        let mut disk = None;
        let mut parser = lexopt::Parser::from_iter(words);
        while let Some(arg) = parser.next()? {
            match arg {
                Short('h') | Long("help") => return Ok(None),
                Short('q') | Long("quiet") => o.quiet = true,
                Short('i') | Long("interactive") => o.quiet = false,
                Short('l') | Long("list-entries") => o.list = true,
                Short('n') | Long("not-really") => o.dry = true,
                // Others' options: nothing to do for them here.
                Long("debug" | "isconfig") => {}
                Long("runas") => drop(parser.value()?),
                Long("entry") => o.entry = Some(parser.value()?.string()?),
                Long("kernel") => o.kernel = Some(parser.value()?.string()?),
                Long("ramdisk") => o.ramdisk = Some(parser.value()?.string()?),
                Long("args") => o.args = parser.value()?.string()?,
                Long("offset") => o.offset = Some(parser.value()?.parse()?),
                Long("output") => o.output = Some(parser.value()?.into()).filter(|p| p != "-"),
                Long("output-format") => o.format = Format::named(&parser.value()?.string()?)?,
                Long("output-directory") => o.directory = Some(parser.value()?.into()),
                Value(path) if disk.is_none() => disk = Some(path.into()),
                other => return Err(other.unexpected().into()),
            }
        }
        o.disk = disk.ok_or("no disk was named; see pygrub --help")?;
        Ok(Some(o))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_xl_calls_it() {
        let words = [
            "pygrub",
            "--args=root=/dev/xvda1 ro",
            "--output=/run/xen/bootloader.1.out",
            "--output-format=simple0",
            "--output-directory=/run/xen/bootloader.1.d",
            "-q",
            "/dev/vg0/guest",
        ];
        let o = Options::parse(words).unwrap().unwrap();
        assert_eq!(o.args, "root=/dev/xvda1 ro");
        assert_eq!(o.format, Format::Simple0);
        assert!(o.quiet && o.disk.ends_with("guest") && o.directory.is_some());
    }

    #[test]
    fn what_is_wrong() {
        for bad in [
            &["pygrub"][..],
            &["p", "--wat", "d"],
            &["p", "a", "b"],
            &["p", "--output-format=x", "d"],
        ] {
            assert!(Options::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Options::parse(["p", "--help"]).unwrap().is_none());
    }
}
