//! Core dumps of domains: on request, and when a domain crashes whose configuration wants one.
use crate::{DomainConfig, Error, Host, Result};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use xen_abi::DomId;

impl Host<'_> {
    /// Writes the core of a domain to a file; returns its number of pages. A failure leaves no file.
    pub fn dump_core(&self, dom: DomId, file: &Path) -> Result<u64> {
        let info = self.info(dom)?;
        let shown = file.display();
        // It holds all that the guest knows.
        let mut out = std::fs::File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(file)
            .map_err(|e| Error::new(format!("writing the core of {dom} to {shown}: {e}")))?;
        // A domain that runs goes on meanwhile: who wants pages and registers of one moment pauses it first.
        self.hv.dump_core(&info, &mut out).map_err(|e| {
            // Half a core is none.
            let _ = std::fs::remove_file(file);
            Error::new(format!("{e} (to {shown})"))
        })
    }

    /// The core of a domain that ended, under the host's dump directory.
    pub(crate) fn dump_ended(&self, dom: DomId, config: &DomainConfig) -> Result<PathBuf> {
        let dir = self.state_dir.join("dump");
        let make = std::fs::create_dir_all(&dir);
        make.map_err(|e| Error::new(format!("making {}: {e}", dir.display())))?;
        let file = dir.join(config.name.replace('/', "_"));
        self.dump_core(dom, &file)?;
        Ok(file)
    }
}
