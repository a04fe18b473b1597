//! Removing a domain and every trace of it.
use crate::{Error, Host, Result, StoreContext, Uuid, device, nodes};
use xen_abi::DomId;

impl Host<'_> {
    /// Destroys a domain, also one that is half gone or was half built, and removes what is about it.
    pub fn destroy(&self, dom: DomId) -> Result<()> {
        if dom == DomId::DOM0 {
            return Err(Error::new("dom0 cannot be destroyed").hint("shut the host down instead"));
        }
        let info = self.hv.domain_info(dom)?;
        let known = self
            .xs
            .exists(&nodes::dom_path(dom))
            .during(|| format!("looking for {dom}"))?;
        if info.is_none() && !known {
            return Err(Error::NoSuchDomain(dom.0.to_string()));
        }
        self.wipe(dom, info.map(|i| Uuid(i.handle)))
    }

    /// Removes a domain from the hypervisor, the xenstore and the disk. Goes on where one of them fails, so that as
    /// much as possible is gone; the first failure is returned.
    pub(crate) fn wipe(&self, dom: DomId, uuid: Option<Uuid>) -> Result<()> {
        let mut first: Option<Error> = None;
        let mut note = |r: Result<()>| {
            if let Err(e) = r
                && first.is_none()
            {
                first = Some(e);
            }
        };
        // Paused first: a running guest would see its devices go.
        let _ = self.hv.pause_domain(dom);
        note(device::detach_all(self, dom));
        match self.hv.destroy_domain(dom) {
            Err(e) if !e.is_no_such_domain() => note(Err(e.into())),
            _ => {}
        }
        let erased = self.xs.atomically(&mut |s| nodes::erase(s, dom, uuid));
        note(erased.during(|| format!("removing the nodes of {dom}")));
        // It may never have been introduced, or have been released already.
        let _ = self.xs.release(dom.0);
        self.forget_userdata(dom);
        first.map_or(Ok(()), Err)
    }

    /// Removes the nodes of domains that the hypervisor does not know (any more).
    pub fn clean_stale(&self) -> Result<usize> {
        let listed =
            nodes::children(self.xs, "/local/domain").during(|| "listing domains' nodes".into())?;
        let alive: Vec<u16> = self.hv.domains()?.iter().map(|d| d.domid.0).collect();
        let stale: Vec<u16> = listed
            .iter()
            .filter_map(|n| n.parse().ok())
            .filter(|n| !alive.contains(n))
            .collect();
        for &d in &stale {
            self.wipe(DomId(d), None)?;
        }
        Ok(stale.len())
    }
}
