//! What has become of a domain's configuration while it ran: what may be changed of a running domain survives its reboot, being
//! saved and being moved. As with Xen's own toolstack that is name, memory, vcpus, weight and cap (and devices, which
//! [`crate::device`] keeps), and is not affinity and CPU pool, which are as configured again.
use crate::cfg::{self, Diagnostics};
use crate::{DomainConfig, Error, Host, Result, Uuid, nodes, userdata};
use xen_abi::DomId;
use xenctrl::DomainInfo;

impl Host<'_> {
    /// The configuration that makes a domain as it is now, with room for all the pages that it has.
    pub fn config_now(&self, dom: DomId) -> Result<DomainConfig> {
        self.retrieve(dom, self.info(dom)?.tot_pages * 4)
    }

    /// The configuration for a domain's next start: what `xl config-update` left for that, else the domain as it is now.
    /// If that cannot be found out, `config`, and `log` hears of it.
    pub(crate) fn next_config(
        &self,
        dom: DomId,
        config: &DomainConfig,
        log: &mut dyn FnMut(String),
    ) -> DomainConfig {
        let next = match self.kept(dom, userdata::UPDATE) {
            Ok(None) => self.retrieve(dom, 0),
            Ok(Some(updated)) => Ok(updated),
            Err(e) => Err(e),
        };
        next.unwrap_or_else(|e| {
            log(format!(
                "what was changed of {dom} while it ran is lost: {e}"
            ));
            config.clone()
        })
    }

    /// What is kept, with what has changed; with at least so much memory, KiB.
    fn retrieve(&self, dom: DomId, least: u64) -> Result<DomainConfig> {
        let Some(config) = self.saved_config(dom)? else {
            let message = format!("nothing is kept of the configuration of {dom}");
            return Err(Error::new(message).hint("name a configuration file"));
        };
        let info = self.info(dom)?;
        let name = self.name(dom)?.unwrap_or_else(|| config.name.clone());
        let target = self.target(dom).unwrap_or(config.memory_kib);
        let memory = target.max(least).div_ceil(1024);
        let limit = self.limit(dom).unwrap_or(config.maxmem_kib).div_ceil(1024);
        let vcpus = self.online(dom, &info).len().max(1);
        let mut now = vec![
            ("name", format!("{name:?}")),
            ("memory", memory.to_string()),
            ("maxmem", memory.max(limit).to_string()),
            ("vcpus", vcpus.to_string()),
            ("maxvcpus", config.max_vcpus.to_string()),
        ];
        // Not every scheduler has them.
        if let Ok(share) = self.hv.share(dom) {
            now.push(("cpu_weight", share.weight.to_string()));
            now.push(("cap", share.cap.to_string()));
        }
        let mut diags = Diagnostics::default();
        let mut cfg = cfg::parse("kept configuration", &config.source, &mut diags);
        cfg.settings
            .retain(|s| now.iter().all(|(key, _)| *key != s.key));
        for (key, value) in now {
            let setting = format!("{key} = {value}");
            cfg.merge(cfg::parse_argument(&setting, &mut diags), &mut diags);
        }
        DomainConfig::from_cfg(&cfg, &mut diags)
    }

    /// The configuration a domain was made from, with the changes of its devices.
    pub fn saved_config(&self, dom: DomId) -> Result<Option<DomainConfig>> {
        self.kept(dom, userdata::XL)
    }

    /// Keeps a configuration with a domain, in the place of the one it was made from.
    pub fn keep_config(&self, dom: DomId, config: &DomainConfig) -> Result<()> {
        self.store_userdata(dom, config.uuid, userdata::XL, &config.source)
    }

    fn kept(&self, dom: DomId, kind: &str) -> Result<Option<DomainConfig>> {
        let Some(info) = self.hv.domain_info(dom)? else {
            return Ok(None);
        };
        let Some(text) = self.load_userdata(dom, Uuid(info.handle), kind) else {
            return Ok(None);
        };
        let mut diags = Diagnostics::default();
        let cfg = cfg::parse("kept configuration", &text, &mut diags);
        DomainConfig::from_cfg(&cfg, &mut diags).map(Some)
    }

    /// Vcpus that the domain is asked to have online.
    pub(crate) fn online(&self, dom: DomId, info: &DomainInfo) -> Vec<u32> {
        let node = |v: &u32| {
            let path = format!("{}/cpu/{v}/availability", nodes::dom_path(dom));
            self.xs.read_opt(&path).ok().flatten().as_deref() == Some("online")
        };
        (0..info.max_vcpu_id.map_or(0, |m| m + 1))
            .filter(node)
            .collect()
    }

    /// The most memory that a domain may be given, KiB; `None` if nothing is said of it.
    pub(crate) fn limit(&self, dom: DomId) -> Option<u64> {
        let path = format!("{}/memory/static-max", nodes::dom_path(dom));
        self.xs.read_opt(&path).ok()??.trim().parse().ok()
    }
}
