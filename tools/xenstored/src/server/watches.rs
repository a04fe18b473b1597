//! Watches: registering them, and telling them what happened.
use super::{Outgoing, Request, Server, ok};
use crate::access::Caller;
use crate::edit::Change;
use crate::tree::Node;
use crate::watch::{Watch, WatchId};
use xenstore::{Op, Path, Perm, XsError, path, wire};

impl Server {
    pub(super) fn watch(&mut self, r: &Request<'_>) -> Result<Vec<u8>, XsError> {
        let [raw, token] = r.args.as_slice() else {
            return Err(XsError::EINVAL);
        };
        let path = Path::parse_watch(raw, r.caller.domid)?;
        let relative = !raw.starts_with(b"/") && !path.is_special();
        let strip = if relative {
            path::home(r.caller.domid).len() + 1
        } else {
            0
        };
        let limits = self.limits;
        let conn = self.conns.get_mut(&r.conn).ok_or(XsError::ENOENT)?;
        if !r.caller.privileged() && conn.watches.len() >= limits.watches {
            return Err(XsError::ENOSPC);
        }
        let watch = Watch {
            conn: r.conn,
            path: path.clone(),
            token: (*token).into(),
            strip,
        };
        let id = self.watches.add(watch).ok_or(XsError::EEXIST)?;
        conn.watches.push(id);
        // Fires once at once, so that nobody has to look before watching.
        self.send_event(id, &path);
        ok()
    }

    pub(super) fn unwatch(&mut self, r: &Request<'_>) -> Result<Vec<u8>, XsError> {
        let [raw, token] = r.args.as_slice() else {
            return Err(XsError::EINVAL);
        };
        let path = Path::parse_watch(raw, r.caller.domid)?;
        let id = self
            .watches
            .find(r.conn, &path, token)
            .ok_or(XsError::ENOENT)?;
        self.watches.remove(id);
        if let Some(conn) = self.conns.get_mut(&r.conn) {
            conn.watches.retain(|w| *w != id);
        }
        ok()
    }

    pub(super) fn reset_watches(&mut self, r: &Request<'_>) -> Result<Vec<u8>, XsError> {
        self.reset(r.conn);
        ok()
    }

    pub(super) fn send_event(&mut self, id: WatchId, path: &Path) {
        let Some(w) = self.watches.get(id) else {
            return;
        };
        let shown = path.as_str().get(w.strip..).unwrap_or_default();
        let body = wire::join(&[shown.as_bytes(), &w.token]);
        // A path and a token that do not fit one message cannot be told; both were the watcher's choice.
        if body.len() <= wire::PAYLOAD_MAX {
            let bytes = wire::encode(Op::WATCH_EVENT, 0, 0, &body);
            self.outbox.push(Outgoing {
                conn: w.conn,
                bytes,
                event: true,
            });
        }
    }

    fn watcher(&self, id: WatchId) -> Option<Caller> {
        let w = self.watches.get(id)?;
        self.conns.get(&w.conn).map(|c| c.caller)
    }

    /// Tell everybody who watches `change` and may know of it: who could read the node before or can now, or
    /// can list the directory it is in.
    pub(super) fn fire(&mut self, change: &Change) {
        let path = &change.path;
        let parent = path
            .parent()
            .and_then(|p| self.tree.get(&p))
            .map(|n| n.perms.clone());
        let now = self.tree.get(path).map(|n| n.perms.clone());
        let gone = change.removed.as_ref().map(|n| n.perms.clone());
        let lists = [now, gone, change.perms_before.clone(), parent];
        for id in self.watches.at_or_above(path) {
            if self
                .watcher(id)
                .is_some_and(|c| lists.iter().flatten().any(|p| may_read(&c, p)))
            {
                self.send_event(id, path);
            }
        }
        let Some(removed) = &change.removed else {
            return;
        };
        for id in self.watches.below(path) {
            let Some(w) = self.watches.get(id) else {
                continue;
            };
            let (Some(caller), below) = (self.watcher(id), w.path.clone()) else {
                continue;
            };
            if may_see_removed(removed, path, &below, &caller) {
                self.send_event(id, &below);
            }
        }
    }

    /// Tell everybody who watches the special name and may know of it.
    pub(super) fn fire_special(&mut self, name: &str) {
        let Ok(path) = Path::parse_watch(name.as_bytes(), 0) else {
            return;
        };
        let perms = self.perms_of_special(&path);
        for id in self.watches.exactly(&path) {
            if self.watcher(id).is_some_and(|c| may_read(&c, &perms)) {
                self.send_event(id, &path);
            }
        }
    }
}

fn may_read(caller: &Caller, perms: &[Perm]) -> bool {
    caller.access(perms).read
}

/// Was there a node at `below`, under `top` which was removed at `path`, that `caller` could know of?
fn may_see_removed(top: &Node, path: &Path, below: &Path, caller: &Caller) -> bool {
    let (mut parent, mut at) = (top, top);
    for name in below.parts().skip(path.parts().count()) {
        match at.child(name) {
            Some(next) => (parent, at) = (at, next),
            None => return false,
        }
    }
    may_read(caller, &at.perms) || may_read(caller, &parent.perms)
}
