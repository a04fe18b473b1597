//! Configurations of running domains, kept as files beside the xenstore: `userdata-d.<domid>.<uuid>.<kind>`.
use crate::{Error, Host, Result, Uuid};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use xen_abi::DomId;

/// Text in xl's grammar that makes the domain again.
pub const XL: &str = "xl";

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
        let prefix = format!("userdata-d.{}.", dom.0);
        let Ok(entries) = std::fs::read_dir(&self.state_dir) else {
            return;
        };
        for e in entries.flatten() {
            if e.file_name().to_string_lossy().starts_with(&prefix) {
                // A file that cannot be removed is found by its id and uuid only, and neither comes back soon.
                let _ = std::fs::remove_file(e.path());
            }
        }
    }

    /// The configuration a domain was made from.
    pub fn saved_config(&self, dom: DomId) -> Result<Option<crate::DomainConfig>> {
        let Some(info) = self.hv.domain_info(dom)? else {
            return Ok(None);
        };
        let Some(text) = self.load_userdata(dom, Uuid(info.handle), XL) else {
            return Ok(None);
        };
        let mut diags = crate::cfg::Diagnostics::default();
        let cfg = crate::cfg::parse("kept configuration", &text, &mut diags);
        crate::DomainConfig::from_cfg(&cfg, &mut diags).map(Some)
    }
}
