//! The server's state as bytes, so that a daemon that was killed can go on where it stopped: the store, the
//! domains, and the watches that domains (this one's kernel above all) rely on. Connections of local
//! processes and open transactions are not kept: those clients see their connection end.
//!
//! Records of a kind byte, a count byte and that many length-prefixed fields.
use super::{Host, Server};
use crate::watch::Watch;
use std::sync::Arc;
use xenstore::perms::parse_number;
use xenstore::{Path, Perm, XsError, wire};

const MAGIC: &[u8] = b"xenstored 1\n";
const NODE: u8 = b'n';
const SPECIAL: u8 = b's';
const DOMAIN: u8 = b'd';
const TARGET: u8 = b't';
const WATCH: u8 = b'w';
/// Ends the state, so that a torn file is recognised.
const END: u8 = b'.';

fn put(out: &mut Vec<u8>, kind: u8, fields: &[&[u8]]) {
    out.extend([kind, fields.len() as u8]);
    for f in fields {
        out.extend((f.len() as u32).to_le_bytes());
        out.extend(*f);
    }
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<Record<'a>> {
    let (head, mut tail) = rest.split_first_chunk::<2>()?;
    let mut fields = Vec::new();
    for _ in 0..head[1] {
        let (len, t) = tail.split_first_chunk::<4>()?;
        let (field, t) = t.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        fields.push(field);
        tail = t;
    }
    *rest = tail;
    Some((head[0], fields))
}

fn perms_text(perms: &[Perm]) -> Vec<u8> {
    wire::join(&perms.iter().map(Perm::to_string).collect::<Vec<_>>())
}

fn perms(text: &[u8]) -> Result<Arc<[Perm]>, XsError> {
    Perm::parse_list(wire::split(text)).map(Into::into)
}

impl Server {
    /// Changes whenever what [`Server::save`] would say may have changed.
    pub fn epoch(&self) -> (u64, u64) {
        (self.tree.clock(), self.touched)
    }

    /// Everything worth keeping.
    pub fn save(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for (path, node) in self.tree.walk() {
            put(
                &mut out,
                NODE,
                &[
                    path.as_str().as_bytes(),
                    &node.value,
                    &perms_text(&node.perms),
                ],
            );
        }
        for (path, list) in &self.special_perms {
            put(
                &mut out,
                SPECIAL,
                &[path.as_str().as_bytes(), &perms_text(list)],
            );
        }
        for (id, d) in &self.domains {
            let numbers = [u64::from(*id), d.gfn, d.port.into(), d.shutdown.into()];
            let text = numbers.map(|n| n.to_string());
            put(&mut out, DOMAIN, &text.each_ref().map(String::as_bytes));
        }
        for (id, target) in &self.targets {
            put(
                &mut out,
                TARGET,
                &[id.to_string().as_bytes(), target.to_string().as_bytes()],
            );
        }
        for (id, d) in &self.domains {
            let ids = self.conns.get(&d.conn).map_or(&[][..], |c| &c.watches);
            for w in ids.iter().filter_map(|w| self.watches.get(*w)) {
                let (dom, strip) = (id.to_string(), w.strip.to_string());
                let path = w.path.as_str().as_bytes();
                put(
                    &mut out,
                    WATCH,
                    &[dom.as_bytes(), path, strip.as_bytes(), &w.token],
                );
            }
        }
        put(&mut out, END, &[]);
        out
    }

    /// Take over a saved state; domains that cannot be served any more are left out. To be called on a new
    /// server. Every restored watch fires, since what happened meanwhile was not told.
    pub fn restore(&mut self, host: &mut dyn Host, saved: &[u8]) -> Result<(), XsError> {
        let records = parse(saved).ok_or(XsError::EINVAL)?;
        for (kind, fields) in &records {
            self.restore_one(host, *kind, fields)?;
        }
        Ok(())
    }

    fn restore_one(&mut self, host: &mut dyn Host, kind: u8, f: &[&[u8]]) -> Result<(), XsError> {
        match (kind, f) {
            (NODE, [path, value, list]) => {
                let (path, list) = (Path::parse(path, 0)?, perms(list)?);
                if !self.tree.insert(&path, (*value).into(), list.clone()) {
                    self.tree.set_value(&path, (*value).into());
                    self.tree.set_perms(&path, list);
                }
            }
            (SPECIAL, [path, list]) => {
                self.special_perms
                    .insert(Path::parse_watch(path, 0)?, perms(list)?);
            }
            // Our own kernel is connected already, through a port that only it knows.
            (DOMAIN, [b"0", ..]) => {}
            (DOMAIN, [id, gfn, port, shutdown]) => {
                let id = parse_number(id)?;
                if self
                    .connect(host, id, parse_number(gfn)?, parse_number(port)?)
                    .is_err()
                {
                    // It went meanwhile.
                    self.disown(id);
                } else if let Some(d) = self.domains.get_mut(&id) {
                    d.shutdown = *shutdown == b"1";
                }
            }
            (TARGET, [id, target]) => {
                let (id, target) = (parse_number(id)?, parse_number(target)?);
                if let Some(d) = self.domains.get(&id) {
                    self.targets.insert(id, target);
                    if let Some(c) = self.conns.get_mut(&d.conn) {
                        c.caller.target = Some(target);
                    }
                }
            }
            (WATCH, [id, path, strip, token]) => {
                self.restore_watch(parse_number(id)?, path, parse_number(strip)?, token)?;
            }
            (END, []) => {}
            _ => return Err(XsError::EINVAL),
        }
        Ok(())
    }

    fn restore_watch(
        &mut self,
        domid: u16,
        path: &[u8],
        strip: usize,
        token: &[u8],
    ) -> Result<(), XsError> {
        let path = Path::parse_watch(path, 0)?;
        let Some(conn) = self.connection_of(domid) else {
            return Ok(());
        };
        let watch = Watch {
            conn,
            path: path.clone(),
            token: token.into(),
            strip,
        };
        if let Some(id) = self.watches.add(watch) {
            if let Some(c) = self.conns.get_mut(&conn) {
                c.watches.push(id);
            }
            self.send_event(id, &path);
        }
        Ok(())
    }
}

type Record<'a> = (u8, Vec<&'a [u8]>);

/// All records, if the state is whole.
fn parse(saved: &[u8]) -> Option<Vec<Record<'_>>> {
    let mut rest = saved.strip_prefix(MAGIC)?;
    let mut records = Vec::new();
    while !rest.is_empty() {
        records.push(take(&mut rest)?);
    }
    records
        .last()
        .is_some_and(|r| r.0 == END)
        .then_some(records)
}
