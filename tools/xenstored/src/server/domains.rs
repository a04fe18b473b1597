//! Requests about domains, and what happens when one goes.
use super::{
    ConnId, Domain, DomainState, Host, INTRODUCE_DOMAIN, RELEASE_DOMAIN, Request, Server, ok,
};
use crate::access::Caller;
use crate::edit::Edit;
use std::sync::Arc;
use xenstore::perms::parse_number;
use xenstore::{Path, Perm, XsError, path, wire};

/// First number that names no ordinary domain (`DOMID_FIRST_RESERVED`).
const FIRST_RESERVED: u16 = 0x7ff0;

fn domid(raw: &[u8]) -> Result<u16, XsError> {
    parse_number(raw)
        .ok()
        .filter(|d| *d < FIRST_RESERVED)
        .ok_or(XsError::EINVAL)
}

fn privileged(r: &Request<'_>) -> Result<(), XsError> {
    if r.caller.privileged() {
        Ok(())
    } else {
        Err(XsError::EACCES)
    }
}

impl Server {
    pub(super) fn introduce(
        &mut self,
        host: &mut dyn Host,
        r: &Request<'_>,
    ) -> Result<Vec<u8>, XsError> {
        privileged(r)?;
        let [dom, gfn, port] = r.args.as_slice() else {
            return Err(XsError::EINVAL);
        };
        self.connect(host, domid(dom)?, parse_number(gfn)?, parse_number(port)?)?;
        ok()
    }

    /// Serve a domain's ring. A domain that is known already gets a new one and starts over.
    pub fn connect(
        &mut self,
        host: &mut dyn Host,
        domid: u16,
        gfn: u64,
        port: u32,
    ) -> Result<(), XsError> {
        if let Some(known) = self.domains.get(&domid) {
            if (known.gfn, known.port) == (gfn, port) {
                return Ok(());
            }
            let old = known.conn;
            host.disconnect(old);
            self.close(old);
            self.domains.remove(&domid);
        }
        let conn = self.open(domid);
        if let Err(e) = host.connect(conn, domid, gfn, port) {
            self.close(conn);
            return Err(e);
        }
        self.domains.insert(
            domid,
            Domain {
                conn,
                gfn,
                port,
                shutdown: false,
            },
        );
        self.fire_special(INTRODUCE_DOMAIN);
        Ok(())
    }

    pub(super) fn release(
        &mut self,
        host: &mut dyn Host,
        r: &Request<'_>,
    ) -> Result<Vec<u8>, XsError> {
        privileged(r)?;
        let dom = domid(r.only()?)?;
        if dom == 0 {
            return Err(XsError::EINVAL);
        }
        if !self.domains.contains_key(&dom) {
            return Err(XsError::ENOENT);
        }
        self.drop_domain(host, dom);
        self.fire_special(RELEASE_DOMAIN);
        ok()
    }

    pub(super) fn resume(&mut self, r: &Request<'_>) -> Result<Vec<u8>, XsError> {
        privileged(r)?;
        let dom = domid(r.only()?)?;
        self.domains.get_mut(&dom).ok_or(XsError::ENOENT)?.shutdown = false;
        ok()
    }

    pub(super) fn set_target(&mut self, r: &Request<'_>) -> Result<Vec<u8>, XsError> {
        privileged(r)?;
        let [dom, target] = r.args.as_slice() else {
            return Err(XsError::EINVAL);
        };
        let (dom, target) = (domid(dom)?, domid(target)?);
        let conn = self.domains.get(&dom).ok_or(XsError::ENOENT)?.conn;
        if !self.domains.contains_key(&target) {
            return Err(XsError::ENOENT);
        }
        self.targets.insert(dom, target);
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.caller.target = Some(target);
        }
        ok()
    }

    pub(super) fn is_introduced(&mut self, r: &Request<'_>) -> Result<Vec<u8>, XsError> {
        let dom: u16 = parse_number(r.only()?)?;
        // Domain 0 is there by the fact that somebody asks.
        let known = dom == 0 || self.domains.contains_key(&dom);
        Ok(wire::join(&[if known { "T" } else { "F" }]))
    }

    pub(super) fn domain_path(&mut self, r: &Request<'_>) -> Result<Vec<u8>, XsError> {
        let dom: u16 = parse_number(r.only()?)?;
        Ok(wire::join(&[path::home(dom)]))
    }

    /// The hypervisor says that some domain changed its state: find out which.
    pub fn check_domains(&mut self, host: &mut dyn Host) {
        let ids: Vec<u16> = self.domains.keys().copied().filter(|d| *d != 0).collect();
        let mut news = false;
        for id in ids {
            match host.state(id) {
                DomainState::Alive => {}
                DomainState::Shutdown => {
                    let d = self.domains.get_mut(&id);
                    news |= d.is_some_and(|d| !std::mem::replace(&mut d.shutdown, true));
                }
                DomainState::Gone => {
                    self.drop_domain(host, id);
                    news = true;
                }
            }
        }
        if news {
            self.touched += 1;
            self.fire_special(RELEASE_DOMAIN);
        }
    }

    /// The connection that serves a domain's ring.
    pub fn connection_of(&self, domid: u16) -> Option<ConnId> {
        self.domains.get(&domid).map(|d| d.conn)
    }

    fn drop_domain(&mut self, host: &mut dyn Host, id: u16) {
        let Some(d) = self.domains.remove(&id) else {
            return;
        };
        host.disconnect(d.conn);
        self.close(d.conn);
        self.targets.remove(&id);
        let orphans: Vec<u16> = self
            .targets
            .iter()
            .filter(|(_, t)| **t == id)
            .map(|(d, _)| *d)
            .collect();
        for dm in orphans {
            self.targets.remove(&dm);
            if let Some(c) = self.connection_of(dm).and_then(|c| self.conns.get_mut(&c)) {
                c.caller.target = None;
            }
        }
        self.disown(id);
    }

    /// Nodes that a domain owned go with it, and so do its rights: its number will name another one.
    pub(super) fn disown(&mut self, id: u16) {
        let (mut gone, mut stripped) = (Vec::new(), Vec::new());
        for (path, node) in self.tree.walk() {
            if path.is_root() {
                continue;
            }
            if node.owner() == id {
                gone.push(path);
            } else if node.perms.iter().any(|p| p.domid == id) {
                let rest: Arc<[Perm]> = node
                    .perms
                    .iter()
                    .filter(|p| p.domid != id)
                    .copied()
                    .collect();
                stripped.push((path, rest));
            }
        }
        let limits = self.limits;
        for (path, perms) in stripped {
            self.tree.set_perms(&path, perms);
        }
        for path in gone {
            // A parent removed before may have taken it along.
            if self.tree.get(&path).is_some()
                && let Ok(Some(change)) =
                    Edit::Rm(path).apply(&mut self.tree, &Caller::DOM0, &limits, &mut ())
            {
                self.fire(&change);
            }
        }
        let special: Vec<Path> = self.special_perms.keys().cloned().collect();
        for path in special {
            if let Some(list) = self.special_perms.get_mut(&path) {
                *list = list
                    .iter()
                    .filter(|p| p.domid != id || p.domid == 0)
                    .copied()
                    .collect();
            }
        }
    }
}
