//! `xen_version`: what the hypervisor says about itself.
use crate::{Error, Result, Xenctrl};
use xen_abi::Errno;

/// All of it.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct XenVersion {
    pub major: u32,
    pub minor: u32,
    pub extra: String,
    pub compiler: String,
    pub compile_by: String,
    pub compile_domain: String,
    pub compile_date: String,
    pub capabilities: String,
    pub changeset: String,
    /// Lowest address of the hypervisor's part of a PV guest's address space.
    pub virt_start: u64,
    pub pagesize: u32,
    pub command_line: String,
    /// Hexadecimal, empty if there is none.
    pub build_id: String,
}

impl Xenctrl {
    /// Asks for everything.
    pub fn version(&self) -> Result<XenVersion> {
        Err(Error::new(
            "asking the hypervisor for its version",
            Errno::ENOSYS,
        ))
    }
}
