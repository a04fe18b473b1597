//! [`Store`]: typed requests over anything that carries one request and its reply.
use crate::perms::{Perm, parse_number};
use crate::{Error, Op, Result, XsError, wire};

/// Something that answers XenStore requests: a [`crate::Client`], a [`crate::Tx`], or a test double.
pub trait Store {
    /// Send one request, wait for its reply's payload.
    fn request(&self, op: Op, body: &[u8]) -> Result<Vec<u8>>;

    /// A node's value. `ENOENT` if there is none.
    fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.request(Op::READ, &wire::join(&[path]))
    }

    /// A node's value as text (lossy).
    fn read_string(&self, path: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.read(path)?).into_owned())
    }

    /// A node's value as text, `None` if the node does not exist.
    fn read_opt(&self, path: &str) -> Result<Option<String>> {
        match self.read_string(path) {
            Ok(v) => Ok(Some(v)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// A node's value parsed, `None` if the node does not exist or does not parse.
    fn read_parsed<T: std::str::FromStr>(&self, path: &str) -> Result<Option<T>>
    where
        Self: Sized,
    {
        Ok(self.read_opt(path)?.and_then(|s| s.trim().parse().ok()))
    }

    /// Does the node exist?
    fn exists(&self, path: &str) -> Result<bool> {
        match self.read(path) {
            Ok(_) => Ok(true),
            Err(e) if e.is_not_found() => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Write a value, creating the node and its parents.
    fn write(&self, path: &str, value: &str) -> Result<()> {
        self.write_bytes(path, value.as_bytes())
    }

    /// Write raw bytes, creating the node and its parents.
    fn write_bytes(&self, path: &str, value: &[u8]) -> Result<()> {
        let mut body = wire::join(&[path]);
        body.extend(value);
        self.request(Op::WRITE, &body).map(drop)
    }

    /// Create an empty node; nothing happens if it exists.
    fn mkdir(&self, path: &str) -> Result<()> {
        self.request(Op::MKDIR, &wire::join(&[path])).map(drop)
    }

    /// Remove a node and all below it. `ENOENT` only if its parent does not exist either.
    fn rm(&self, path: &str) -> Result<()> {
        self.request(Op::RM, &wire::join(&[path])).map(drop)
    }

    /// Names of a node's children, however many.
    fn directory(&self, path: &str) -> Result<Vec<String>> {
        match self.request(Op::DIRECTORY, &wire::join(&[path])) {
            Ok(body) => Ok(names(&body)),
            Err(Error::Store(XsError::E2BIG)) => directory_in_parts(self, path),
            Err(e) => Err(e),
        }
    }

    /// A node's permissions, owner first.
    fn perms(&self, path: &str) -> Result<Vec<Perm>> {
        let body = self.request(Op::GET_PERMS, &wire::join(&[path]))?;
        Perm::parse_list(wire::split(&body)).map_err(|_| Error::Protocol("malformed permissions"))
    }

    /// Replace a node's permissions, owner first.
    fn set_perms(&self, path: &str, perms: &[Perm]) -> Result<()> {
        let mut parts = vec![path.to_string()];
        parts.extend(perms.iter().map(Perm::to_string));
        self.request(Op::SET_PERMS, &wire::join(&parts)).map(drop)
    }

    /// Tell the server about a new domain: the frame of its ring page and the port it left open for us.
    fn introduce(&self, domid: u16, gfn: u64, port: u32) -> Result<()> {
        let parts = [domid.to_string(), gfn.to_string(), port.to_string()];
        self.request(Op::INTRODUCE, &wire::join(&parts)).map(drop)
    }

    /// Tell the server a domain is gone.
    fn release(&self, domid: u16) -> Result<()> {
        self.request(Op::RELEASE, &wire::join(&[domid.to_string()]))
            .map(drop)
    }

    /// Tell the server a suspended domain runs again.
    fn resume(&self, domid: u16) -> Result<()> {
        self.request(Op::RESUME, &wire::join(&[domid.to_string()]))
            .map(drop)
    }

    /// Give `domid` (a device model's domain) the rights of `target`.
    fn set_target(&self, domid: u16, target: u16) -> Result<()> {
        let parts = [domid.to_string(), target.to_string()];
        self.request(Op::SET_TARGET, &wire::join(&parts)).map(drop)
    }

    /// Has the domain been introduced and not released?
    fn is_introduced(&self, domid: u16) -> Result<bool> {
        let r = self.request(Op::IS_DOMAIN_INTRODUCED, &wire::join(&[domid.to_string()]))?;
        Ok(r.starts_with(b"T"))
    }

    /// Base path of a domain.
    fn domain_path(&self, domid: u16) -> Result<String> {
        let r = self.request(Op::GET_DOMAIN_PATH, &wire::join(&[domid.to_string()]))?;
        Ok(names(&r).pop().unwrap_or_default())
    }

    /// A server control command and its arguments; the answer as text.
    fn control(&self, args: &[&str]) -> Result<String> {
        let r = self.request(Op::CONTROL, &wire::join(args))?;
        Ok(String::from_utf8_lossy(r.strip_suffix(&[0]).unwrap_or(&r)).into_owned())
    }
}

fn names(body: &[u8]) -> Vec<String> {
    wire::split(body)
        .map(|s| String::from_utf8_lossy(s).into_owned())
        .collect()
}

/// DIRECTORY_PART replies carry the directory's generation; a change in between means starting over.
fn directory_in_parts<S: Store + ?Sized>(store: &S, path: &str) -> Result<Vec<String>> {
    'restart: loop {
        let (mut all, mut generation) = (Vec::new(), None);
        loop {
            let at = all.len().to_string();
            let body = store.request(Op::DIRECTORY_PART, &wire::join(&[path, &at]))?;
            let cut = body.iter().position(|b| *b == 0);
            let cut = cut.ok_or(Error::Protocol("directory part without a generation"))?;
            let seen = parse_number::<u64>(&body[..cut])
                .map_err(|_| Error::Protocol("malformed generation"))?;
            if *generation.get_or_insert(seen) != seen {
                continue 'restart;
            }
            let part = &body[cut + 1..];
            match part {
                [] => return Err(Error::Protocol("empty directory part")),
                // An empty name ends the list.
                [0] => return Ok(names(&all)),
                [head @ .., 0, 0] => {
                    all.extend(head);
                    all.push(0);
                    return Ok(names(&all));
                }
                _ => all.extend(part),
            }
        }
    }
}
