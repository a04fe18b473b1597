//! [`KernelFile`]: a guest's kernel, parsed and checked. What is not packed stays in its file until [`crate::memory`] copies it
//! into the domain: tens of megabytes that need not pass through memory of ours, page fault by page fault.
use crate::image::open;
use crate::memory::Content;
use crate::{Error, Result};
use loader::{Kernel, elf};
use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Largest kernel file that is read, and largest image it may unpack to.
const MAX_FILE: u64 = 512 << 20;
const MAX_UNPACKED: usize = 1 << 30;

/// A kernel and where its segments are.
pub(crate) struct KernelFile {
    /// What it says of itself. Its `image` has the segments' bytes only if `file` is none.
    pub(crate) kernel: Kernel<'static>,
    file: Option<(File, PathBuf)>,
}

impl KernelFile {
    /// Reads and checks the kernel at `path`.
    pub(crate) fn read(path: &Path) -> Result<KernelFile> {
        let fail = |e: &dyn std::fmt::Display| Error::new("reading the kernel", path.display(), e);
        let (file, len) = open("opening the kernel", path)?;
        if len > MAX_FILE {
            let why = format!("{} MiB, and no kernel has more than 512", len >> 20);
            return Err(fail(&why));
        }
        if let Some(outline) = read_outline(&file, len as usize).map_err(|e| fail(&e))? {
            let kernel = Kernel::from_vec(outline).map_err(|e| fail(&e))?;
            let file = Some((file, path.to_owned()));
            return Ok(KernelFile { kernel, file });
        }
        let data = read_range(&file, len as usize).map_err(|e| fail(&e))?;
        let payload = loader::kernel::payload(&data)
            .map_err(|e| fail(&e).hint("`kernel` must name a Linux vmlinuz or an ELF image"))?;
        let kernel =
            match loader::kernel::decompress(&payload, MAX_UNPACKED).map_err(|e| fail(&e))? {
                // An unpacked file need not be kept twice.
                Cow::Borrowed(part) if part.len() == data.len() => Kernel::from_vec(data),
                Cow::Borrowed(part) => Kernel::from_vec(part.to_vec()),
                Cow::Owned(image) => Kernel::from_vec(image),
            };
        let kernel = kernel.map_err(|e| fail(&e))?;
        Ok(KernelFile { kernel, file: None })
    }

    /// The bytes of load segment `index`.
    pub(crate) fn segment(&self, index: usize) -> Option<Content<'_>> {
        let Some((file, path)) = &self.file else {
            return self.kernel.segment_data(index).map(Content::Bytes);
        };
        let segment = self.kernel.elf.segments.get(index)?;
        Some(Content::File {
            file,
            path,
            position: segment.offset,
            len: segment.file_size,
        })
    }
}

fn read_range(file: &File, len: usize) -> io::Result<Vec<u8>> {
    let mut data = vec![0; len];
    file.read_exact_at(&mut data, 0)?;
    Ok(data)
}

/// An ELF file's headers and notes, everything else left zero (pages that are never touched); none if that does not do.
fn read_outline(file: &File, len: usize) -> io::Result<Option<Vec<u8>>> {
    if len <= elf::HEAD {
        return Ok(None);
    }
    let mut image = vec![0; len];
    file.read_exact_at(&mut image[..elf::HEAD], 0)?;
    for _ in 0..elf::OUTLINE_ROUNDS {
        let Some(parts) = elf::outline(&image) else {
            return Ok(None);
        };
        for part in parts {
            let at = part.start as u64;
            file.read_exact_at(&mut image[part], at)?;
        }
    }
    Ok(Some(image))
}
