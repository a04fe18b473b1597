//! Requests about nodes, inside and outside transactions.
use super::{Request, Server, ok};
use crate::edit::{self, Edit, Recorder};
use crate::transaction::Transaction;
use crate::tree::Tree;
use std::sync::Arc;
use xenstore::perms::parse_number;
use xenstore::{Path, Perm, XsError, wire};

impl Server {
    /// Look at the tree as the request's transaction, if any, sees it.
    fn view<T>(
        &mut self,
        r: &Request<'_>,
        look: impl FnOnce(&Tree, &mut dyn Recorder) -> Result<T, XsError>,
    ) -> Result<T, XsError> {
        if r.tx == 0 {
            return look(&self.tree, &mut ());
        }
        let limits = self.limits;
        let t = self.transaction(r)?;
        if !r.caller.privileged() && t.cost() >= limits.transaction_nodes {
            return Err(XsError::ENOSPC);
        }
        let (tree, seen) = t.view();
        look(tree, seen)
    }

    fn transaction(&mut self, r: &Request<'_>) -> Result<&mut Transaction, XsError> {
        let conn = self.conns.get_mut(&r.conn).ok_or(XsError::ENOENT)?;
        conn.transactions.get_mut(&r.tx).ok_or(XsError::ENOENT)
    }

    fn edit(&mut self, r: &Request<'_>, edit: Edit) -> Result<Vec<u8>, XsError> {
        let limits = self.limits;
        if r.tx == 0 {
            let change = edit.apply(&mut self.tree, &r.caller, &limits, &mut ())?;
            if let Some(change) = change {
                self.fire(&change);
            }
        } else {
            let t = self.transaction(r)?;
            if !r.caller.privileged() && t.cost() >= limits.transaction_nodes {
                return Err(XsError::ENOSPC);
            }
            t.edit(edit, &r.caller, &limits)?;
        }
        ok()
    }

    pub(super) fn read(&mut self, r: &Request<'_>) -> Result<Vec<u8>, XsError> {
        let path = r.path(r.only()?)?;
        self.view(r, |tree, seen| edit::read(tree, &r.caller, &path, seen))
            .map(|v| v.to_vec())
    }

    pub(super) fn directory(&mut self, r: &Request<'_>) -> Result<Vec<u8>, XsError> {
        let path = r.path(r.only()?)?;
        let names = self
            .view(r, |tree, seen| {
                edit::directory(tree, &r.caller, &path, seen)
            })?
            .0;
        Ok(names)
    }

    /// Reply: the list's generation, then whole names from the offset on, then an empty name at the end.
    pub(super) fn directory_part(&mut self, r: &Request<'_>) -> Result<Vec<u8>, XsError> {
        let [path, offset] = r.args.as_slice() else {
            return Err(XsError::EINVAL);
        };
        let (path, offset): (_, usize) = (r.path(path)?, parse_number(offset)?);
        let (names, generation) = self.view(r, |tree, seen| {
            edit::directory(tree, &r.caller, &path, seen)
        })?;
        let mut reply = wire::join(&[generation.to_string()]);
        let rest = names.get(offset..).unwrap_or_default();
        let room = wire::PAYLOAD_MAX - reply.len();
        if rest.len() < room {
            reply.extend(rest);
            reply.push(0);
        } else {
            let cut = rest[..room]
                .iter()
                .rposition(|b| *b == 0)
                .map_or(0, |i| i + 1);
            reply.extend(&rest[..cut]);
        }
        Ok(reply)
    }

    pub(super) fn get_perms(&mut self, r: &Request<'_>) -> Result<Vec<u8>, XsError> {
        let raw = r.only()?;
        let perms = if raw.starts_with(b"@") {
            let path = Path::parse_watch(raw, r.caller.domid)?;
            if !r.caller.privileged() {
                return Err(XsError::EACCES);
            }
            self.perms_of_special(&path)
        } else {
            let path = r.path(raw)?;
            self.view(r, |tree, seen| edit::perms(tree, &r.caller, &path, seen))?
        };
        let list: Vec<String> = perms.iter().map(Perm::to_string).collect();
        Ok(wire::join(&list))
    }

    pub(super) fn perms_of_special(&self, path: &Path) -> Arc<[Perm]> {
        self.special_perms
            .get(path)
            .cloned()
            .unwrap_or_else(|| [Perm::none(0)].into())
    }

    pub(super) fn set_perms(&mut self, r: &Request<'_>) -> Result<Vec<u8>, XsError> {
        let (raw, list) = r.args.split_first().ok_or(XsError::EINVAL)?;
        let perms: Arc<[Perm]> = Perm::parse_list(list.iter().copied())?.into();
        if raw.starts_with(b"@") {
            let path = Path::parse_watch(raw, r.caller.domid)?;
            if !r.caller.privileged() {
                return Err(XsError::EACCES);
            }
            self.special_perms.insert(path, perms);
            return ok();
        }
        let path = r.path(raw)?;
        self.edit(r, Edit::SetPerms(path, perms))
    }

    pub(super) fn write(&mut self, r: &Request<'_>) -> Result<Vec<u8>, XsError> {
        let cut = r.body.iter().position(|b| *b == 0).ok_or(XsError::EINVAL)?;
        let path = r.path(&r.body[..cut])?;
        self.edit(r, Edit::Write(path, r.body[cut + 1..].into()))
    }

    pub(super) fn mkdir(&mut self, r: &Request<'_>) -> Result<Vec<u8>, XsError> {
        let path = r.path(r.only()?)?;
        self.edit(r, Edit::Mkdir(path))
    }

    pub(super) fn rm(&mut self, r: &Request<'_>) -> Result<Vec<u8>, XsError> {
        let path = r.path(r.only()?)?;
        self.edit(r, Edit::Rm(path))
    }

    pub(super) fn transaction_start(&mut self, r: &Request<'_>) -> Result<Vec<u8>, XsError> {
        let limits = self.limits;
        let conn = self.conns.get_mut(&r.conn).ok_or(XsError::ENOENT)?;
        if r.tx != 0 {
            return Err(XsError::EBUSY);
        }
        if !r.caller.privileged() && conn.transactions.len() >= limits.transactions {
            return Err(XsError::ENOSPC);
        }
        while conn.next_tx == 0 || conn.transactions.contains_key(&conn.next_tx) {
            conn.next_tx = conn.next_tx.wrapping_add(1);
        }
        let id = conn.next_tx;
        conn.next_tx = id.wrapping_add(1);
        conn.transactions.insert(id, Transaction::new(&self.tree));
        Ok(wire::join(&[id.to_string()]))
    }

    pub(super) fn transaction_end(&mut self, r: &Request<'_>) -> Result<Vec<u8>, XsError> {
        let commit = match r.only()? {
            b"T" => true,
            b"F" => false,
            _ => return Err(XsError::EINVAL),
        };
        let limits = self.limits;
        let conn = self.conns.get_mut(&r.conn).ok_or(XsError::ENOENT)?;
        let t = conn.transactions.remove(&r.tx).ok_or(XsError::ENOENT)?;
        if commit {
            for change in t.commit(&mut self.tree, &r.caller, &limits)? {
                self.fire(&change);
            }
        }
        ok()
    }
}
