//! What is done to a living domain: shutting down, renaming, resizing.
use crate::{Error, Host, Result, StoreContext, nodes};
use xen_abi::DomId;
use xenctrl::{DomainInfo, ShutdownReason};

impl Host<'_> {
    /// What the hypervisor says about a domain that must exist.
    pub fn info(&self, dom: DomId) -> Result<DomainInfo> {
        self.hv
            .domain_info(dom)?
            .ok_or_else(|| Error::NoSuchDomain(dom.0.to_string()))
    }

    /// Asks a guest to act on `word`: `poweroff`, `reboot`, `halt`.
    pub fn control(&self, dom: DomId, word: &str) -> Result<()> {
        self.info(dom)?;
        let path = format!("{}/control/shutdown", nodes::dom_path(dom));
        self.xs
            .write(&path, word)
            .during(|| format!("asking {dom} to {word}"))
    }

    /// How a domain ended: `None` while it has not; `Some(None)` when it is gone without a trace.
    pub fn ended(&self, dom: DomId) -> Result<Option<Option<ShutdownReason>>> {
        Ok(match self.hv.domain_info(dom)? {
            None => Some(None),
            Some(i) => match i.state.shutdown {
                // A suspended guest comes back.
                Some(ShutdownReason::Suspend) => None,
                Some(r) => Some(Some(r)),
                None if i.state.dying => Some(None),
                None => None,
            },
        })
    }

    /// Gives a domain another name.
    pub fn rename(&self, dom: DomId, name: &str) -> Result<()> {
        if name.is_empty() || name.contains('/') {
            return Err(Error::new(format!("\"{name}\" cannot be a domain's name")));
        }
        for d in self.hv.domains()? {
            if d.domid != dom && self.name(d.domid)?.as_deref() == Some(name) {
                return Err(Error::new(format!(
                    "a domain named \"{name}\" already exists, as {}",
                    d.domid
                )));
            }
        }
        let base = nodes::dom_path(dom);
        let mut write = |s: &dyn xenstore::Store| {
            s.write(&format!("{base}/name"), name)?;
            match s.read_opt(&format!("{base}/vm"))? {
                Some(vm) => s.write(&format!("{vm}/name"), name),
                None => Ok(()),
            }
        };
        self.xs
            .atomically(&mut write)
            .during(|| format!("renaming {dom}"))
    }

    /// Sets a domain's memory target, KiB; its balloon driver follows.
    pub fn set_memory_target(&self, dom: DomId, kib: u64) -> Result<()> {
        let info = self.info(dom)?;
        let base = nodes::dom_path(dom);
        let max = self
            .xs
            .read_opt(&format!("{base}/memory/static-max"))
            .during(|| format!("reading the limit of {dom}"))?;
        if let Some(max) = max.and_then(|m| m.trim().parse::<u64>().ok())
            && kib > max
        {
            let message = format!(
                "{} MiB is more than {dom} may have, which is {} MiB",
                kib / 1024,
                max / 1024
            );
            return Err(Error::new(message).hint("raise the limit with xl mem-max"));
        }
        if dom == DomId::DOM0 && kib < 128 * 1024 {
            return Err(Error::new(format!(
                "{} MiB is less than dom0 can live with (128 MiB)",
                kib / 1024
            )));
        }
        let grows = (kib / 4).saturating_sub(info.tot_pages);
        let phys = self.hv.physinfo()?;
        if grows > phys.free_pages {
            return Err(Error::new(format!(
                "{dom} would need {} MiB more, and {} MiB are free",
                grows / 256,
                phys.free_pages / 256
            )));
        }
        self.hv.max_mem(
            dom,
            kib.max(info.tot_pages * 4) + crate::create::MAXMEM_SLACK,
        )?;
        self.xs
            .write(&format!("{base}/memory/target"), &kib.to_string())
            .during(|| format!("setting the memory target of {dom}"))
    }

    /// Sets the most memory a domain may be given, KiB.
    pub fn set_memory_limit(&self, dom: DomId, kib: u64) -> Result<()> {
        let info = self.info(dom)?;
        if kib < info.tot_pages * 4 {
            let message = format!(
                "{} MiB is less than {dom} has, {} MiB",
                kib / 1024,
                info.tot_pages / 256
            );
            return Err(Error::new(message).hint("shrink it with xl mem-set first"));
        }
        self.hv.max_mem(dom, kib + crate::create::MAXMEM_SLACK)?;
        let path = format!("{}/memory/static-max", nodes::dom_path(dom));
        self.xs
            .write(&path, &kib.to_string())
            .during(|| format!("setting the memory limit of {dom}"))
    }

    /// Asks a guest to have the first `count` of its vcpus online.
    pub fn set_vcpus(&self, dom: DomId, count: u32) -> Result<()> {
        let info = self.info(dom)?;
        let has = info.max_vcpu_id.map_or(0, |m| m + 1);
        if count == 0 || count > has {
            return Err(Error::new(format!(
                "{dom} can have 1 to {has} vcpus, not {count}"
            )));
        }
        let base = nodes::dom_path(dom);
        let mut write = |s: &dyn xenstore::Store| {
            (0..has).try_for_each(|v| {
                let state = if v < count { "online" } else { "offline" };
                s.write(&format!("{base}/cpu/{v}/availability"), state)
            })
        };
        self.xs
            .atomically(&mut write)
            .during(|| format!("setting the vcpus of {dom}"))
    }
}
