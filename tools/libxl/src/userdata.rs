//! Configurations of running domains, kept as files beside the xenstore: `userdata-d.<domid>.<uuid>.<kind>`.
use crate::{Error, Host, Result, Uuid};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use xen_abi::DomId;

/// Text in xl's grammar that makes the domain again.
pub const XL: &str = "xl";
/// The same for its next start, if that is to be made from something else than the domain as it is then.
pub const UPDATE: &str = "xl-update";

impl Host<'_> {
    fn userdata_path(&self, dom: DomId, uuid: Uuid, kind: &str) -> PathBuf {
        self.state_dir
            .join(format!("userdata-d.{}.{uuid}.{kind}", dom.0))
    }

    /// Keeps text with a domain.
    pub fn store_userdata(&self, dom: DomId, uuid: Uuid, kind: &str, text: &str) -> Result<()> {
        let path = self.userdata_path(dom, uuid, kind);
        let fail = |e| {
            Error::new(format!(
                "keeping the configuration in {}: {e}",
                path.display()
            ))
        };
        std::fs::create_dir_all(&self.state_dir).map_err(fail)?;
        let fresh = path.with_extension("new");
        // It may hold passwords.
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)
            .and_then(|mut f| f.write_all(text.as_bytes()))
            .and_then(|()| std::fs::rename(&fresh, &path))
            .map_err(fail)
    }

    /// What was kept.
    pub fn load_userdata(&self, dom: DomId, uuid: Uuid, kind: &str) -> Option<String> {
        std::fs::read_to_string(self.userdata_path(dom, uuid, kind)).ok()
    }

    /// Forgets everything kept with a domain's id.
    pub fn forget_userdata(&self, dom: DomId) {
        self.forget(&format!("userdata-d.{}.", dom.0));
    }

    /// Forgets what was kept under a UUID that the domain no longer has.
    pub(crate) fn forget_userdata_of(&self, dom: DomId, uuid: Uuid) {
        self.forget(&format!("userdata-d.{}.{uuid}.", dom.0));
    }

    fn forget(&self, prefix: &str) {
        let Ok(entries) = std::fs::read_dir(&self.state_dir) else {
            return;
        };
        for e in entries.flatten() {
            if e.file_name().to_string_lossy().starts_with(prefix) {
                // A file that cannot be removed is found by its id and uuid only, and neither comes back soon.
                let _ = std::fs::remove_file(e.path());
            }
        }
    }
}
