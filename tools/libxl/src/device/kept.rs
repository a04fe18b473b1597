//! What a change of devices means for the domain's next start: the kept configuration changes with them.
use crate::cfg::{self, Diagnostics};
use crate::{Disk, DomainConfig, Host, Result, Uuid, Vif, userdata};
use xen_abi::DomId;

impl Host<'_> {
    /// Changes what is kept of a domain's configuration; nothing if nothing is kept.
    pub(crate) fn change_config(
        &self,
        dom: DomId,
        change: impl FnOnce(&DomainConfig) -> DomainConfig,
    ) -> Result<()> {
        let Some(config) = self.saved_config(dom)? else {
            return Ok(());
        };
        let uuid = Uuid(self.info(dom)?.handle);
        self.store_userdata(dom, uuid, userdata::XL, &change(&config).source)
    }
}

impl DomainConfig {
    /// The same domain with another disk `number`, or without.
    pub(crate) fn with_disk(&self, number: u32, disk: Option<&Disk>) -> DomainConfig {
        let mut disks = self.disks.clone();
        disks.retain(|d| d.vdev.number != number);
        disks.extend(disk.cloned());
        let specs = disks.iter().map(Disk::spec);
        let source = self.source_with_list("disk", specs);
        DomainConfig {
            disks,
            source,
            ..self.clone()
        }
    }

    /// The same domain with these interfaces.
    pub(crate) fn with_vifs(&self, vifs: Vec<Vif>) -> DomainConfig {
        let source = self.source_with_list("vif", vifs.iter().map(Vif::spec));
        DomainConfig {
            vifs,
            source,
            ..self.clone()
        }
    }

    /// The source with another list of strings.
    pub(crate) fn source_with_list(
        &self,
        key: &str,
        items: impl Iterator<Item = String>,
    ) -> String {
        let mut diags = Diagnostics::default();
        let mut kept = cfg::parse("kept configuration", &self.source, &mut diags);
        kept.settings.retain(|s| s.key != key);
        let list: Vec<String> = items.map(|i| format!("{i:?}")).collect();
        let changed = format!("{key} = [ {} ]", list.join(", "));
        kept.merge(cfg::parse_argument(&changed, &mut diags), &mut diags);
        kept.to_text()
    }
}
