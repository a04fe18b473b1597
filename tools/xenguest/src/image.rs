//! [`PvImage`]: kernel, initrd and layout, read and checked before a domain exists.
use crate::kernel_file::KernelFile;
use crate::{Error, Result};
use loader::notes::PV_FEATURES;
use loader::{Kernel, PvKind, PvLayout, PvRequest};
use std::fs::File;
use std::path::{Path, PathBuf};

/// What is to be started.
#[derive(Clone, Debug)]
pub struct PvParams {
    /// Kernel file: bzImage or ELF.
    pub kernel: PathBuf,
    /// Initrd file.
    pub ramdisk: Option<PathBuf>,
    /// Kernel command line, at most 1023 bytes.
    pub cmdline: String,
    /// Pages the domain starts with.
    pub memory_pages: u64,
    /// Vcpus.
    pub vcpus: u32,
}

/// A checked image. The initrd stays on disk until it is copied into the domain.
pub struct PvImage {
    pub(crate) params: PvParams,
    pub(crate) kernel: KernelFile,
    pub(crate) ramdisk: Option<File>,
    /// Where everything will lie.
    pub layout: PvLayout,
}

impl PvImage {
    /// Reads the kernel, opens the initrd and lays both out.
    pub fn load(params: &PvParams) -> Result<PvImage> {
        if params.cmdline.len() >= xen_abi::start_info::MAX_GUEST_CMDLINE {
            let cause = format!(
                "{} bytes, and a kernel takes at most 1023",
                params.cmdline.len()
            );
            return Err(Error::new("checking the", "kernel command line", cause)
                .hint("shorten `extra` or `root`"));
        }
        let kernel = KernelFile::read(&params.kernel)?;
        pv_notes(params, &kernel.kernel)?;
        let (ramdisk, initrd_len) = open_ramdisk(params)?;
        let request = PvRequest {
            kind: PvKind::DomU,
            nr_pages: params.memory_pages,
            initrd_len,
        };
        let layout = PvLayout::new(&kernel.kernel, &request).map_err(|e| {
            let hint = match &e {
                loader::LoadError::TooFewPages { .. } => {
                    Some("raise `memory` or take a smaller initrd")
                }
                loader::LoadError::NoXenNotes => {
                    Some("use a kernel with CONFIG_XEN_PV, or set `type = \"pvh\"`")
                }
                _ => None,
            };
            Error {
                hint,
                ..Error::new("laying out", params.kernel.display(), e)
            }
        })?;
        Ok(PvImage {
            params: params.clone(),
            kernel,
            ramdisk,
            layout,
        })
    }
}

/// Whether the kernel can be a PV guest's here.
fn pv_notes(params: &PvParams, kernel: &Kernel<'_>) -> Result<()> {
    let fail = |e: loader::LoadError| Error::new("reading the kernel", params.kernel.display(), e);
    if !kernel.notes.is_pv() {
        let hint = "use a kernel with CONFIG_XEN_PV, or set `type = \"pvh\"`";
        return Err(fail(loader::LoadError::NoXenNotes).hint(hint));
    }
    kernel.notes.check_required(PV_FEATURES).map_err(fail)
}

/// Opens the initrd, if there is to be one; says how long it is.
pub(crate) fn open_ramdisk(params: &PvParams) -> Result<(Option<File>, u64)> {
    match &params.ramdisk {
        Some(path) => {
            let (file, len) = open("opening the initrd", path)?;
            Ok((Some(file), len))
        }
        None => Ok((None, 0)),
    }
}

pub(crate) fn open(step: &'static str, path: &Path) -> Result<(File, u64)> {
    let fail = |e: &dyn std::fmt::Display| Error::new(step, path.display(), e);
    let file = File::open(path).map_err(|e| fail(&e))?;
    let meta = file.metadata().map_err(|e| fail(&e))?;
    if !meta.is_file() {
        return Err(fail(&"not a regular file"));
    }
    if meta.len() == 0 {
        return Err(fail(&"the file is empty"));
    }
    Ok((file, meta.len()))
}
