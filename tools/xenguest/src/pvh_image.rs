//! [`PvhImage`]: kernel, initrd, ACPI tables and layout of a PVH guest, read and checked before a domain exists.
use crate::image::open_ramdisk;
use crate::kernel_file::KernelFile;
use crate::{Error, PvParams, Result, acpi};
use loader::pvh::ACPI_START;
use loader::{LoadError, PvhLayout, PvhRequest};
use std::fs::File;

/// A checked image. The initrd stays on disk until it is copied into the domain.
pub struct PvhImage {
    pub(crate) params: PvParams,
    pub(crate) kernel: KernelFile,
    pub(crate) ramdisk: Option<File>,
    /// ACPI tables; empty if the guest is to have none.
    pub(crate) acpi: Vec<u8>,
    /// Where everything will lie.
    pub layout: PvhLayout,
}

impl PvhImage {
    /// Reads the kernel, opens the initrd and lays both out. Without `acpi` the guest has one vcpu for all it knows.
    pub fn load(params: &PvParams, acpi: bool) -> Result<PvhImage> {
        let kernel = KernelFile::read(&params.kernel)?;
        let (ramdisk, initrd_len) = open_ramdisk(params)?;
        let acpi = match acpi {
            true => acpi::tables(ACPI_START, params.vcpus),
            false => vec![],
        };
        let request = PvhRequest {
            nr_pages: params.memory_pages,
            initrd_len,
            cmdline: params.cmdline.as_bytes(),
            acpi_len: acpi.len() as u64,
            flags: 0,
        };
        let layout = PvhLayout::new(&kernel.kernel, &request).map_err(|e| {
            let hint = match &e {
                LoadError::TooFewPages { .. } => Some("raise `memory` or take a smaller initrd"),
                LoadError::TooLarge { .. } => Some("shorten `extra` or `root`"),
                LoadError::NoPvhEntry if kernel.kernel.notes.is_pv() => {
                    Some("use a kernel with CONFIG_PVH, or set `type = \"pv\"`")
                }
                LoadError::NoPvhEntry => Some("use a kernel with CONFIG_PVH"),
                _ => None,
            };
            Error {
                hint,
                ..Error::new("laying out", params.kernel.display(), e)
            }
        })?;
        Ok(PvhImage {
            params: params.clone(),
            kernel,
            ramdisk,
            acpi,
            layout,
        })
    }
}
