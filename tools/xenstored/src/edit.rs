//! Reads and [`Edit`]s of a tree with the permission and quota checks of a [`Caller`].
//!
//! Everything looked at is reported to a [`Recorder`], from which transactions detect conflicts. Every edit
//! yields the [`Change`] that watches are told about.
use crate::access::{Caller, Limits};
use crate::tree::{Node, Tree};
use std::sync::Arc;
use xenstore::{Access, Path, Perm, XsError};

/// Aspects of a node that an operation depended on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Aspects {
    /// Its value.
    pub value: bool,
    /// The set of its children.
    pub children: bool,
}

/// Told about every node an operation depended on (existence and permissions always count).
pub trait Recorder {
    /// `path` was looked at, whether it exists or not.
    fn saw(&mut self, path: &Path, aspects: Aspects);
}

/// Outside a transaction nobody needs to know.
impl Recorder for () {
    fn saw(&mut self, _: &Path, _: Aspects) {}
}

/// A change as a client asks for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Edit {
    /// Set a value, creating the node and its parents.
    Write(Path, Arc<[u8]>),
    /// Create an empty node and its parents, unless it exists.
    Mkdir(Path),
    /// Remove a node and all below it.
    Rm(Path),
    /// Replace permissions.
    SetPerms(Path, Arc<[Perm]>),
}

/// A change that happened.
#[derive(Clone, Debug)]
pub struct Change {
    /// Where.
    pub path: Path,
    /// What was removed there, with all below it.
    pub removed: Option<Arc<Node>>,
    /// Permissions before, where they were replaced.
    pub perms_before: Option<Arc<[Perm]>>,
}

const VALUE: Aspects = Aspects {
    value: true,
    children: false,
};
const CHILDREN: Aspects = Aspects {
    value: false,
    children: true,
};
const PERMS: Aspects = Aspects {
    value: false,
    children: false,
};

/// A node that `caller` may access as `want`, or the error that gives away no more than he may know.
pub fn lookup<'t>(
    tree: &'t Tree,
    caller: &Caller,
    path: &Path,
    want: Access,
    aspects: Aspects,
    seen: &mut dyn Recorder,
) -> Result<&'t Node, XsError> {
    seen.saw(path, aspects);
    let (node, exact) = tree.nearest(path);
    match (caller.access(&node.perms).covers(want), exact) {
        (true, true) => Ok(node),
        (true, false) => Err(XsError::ENOENT),
        (false, _) => Err(XsError::EACCES),
    }
}

/// A node's value.
pub fn read(
    tree: &Tree,
    caller: &Caller,
    path: &Path,
    seen: &mut dyn Recorder,
) -> Result<Arc<[u8]>, XsError> {
    lookup(tree, caller, path, Access::READ, VALUE, seen).map(|n| n.value.clone())
}

/// Names of a node's children, NUL after each, and the generation of that list.
pub fn directory(
    tree: &Tree,
    caller: &Caller,
    path: &Path,
    seen: &mut dyn Recorder,
) -> Result<(Vec<u8>, u64), XsError> {
    let node = lookup(tree, caller, path, Access::READ, CHILDREN, seen)?;
    let mut names = Vec::new();
    for (name, _) in node.children() {
        names.extend(name.as_bytes());
        names.push(0);
    }
    Ok((names, node.children_gen))
}

/// A node's permissions.
pub fn perms(
    tree: &Tree,
    caller: &Caller,
    path: &Path,
    seen: &mut dyn Recorder,
) -> Result<Arc<[Perm]>, XsError> {
    lookup(tree, caller, path, Access::READ, PERMS, seen).map(|n| n.perms.clone())
}

impl Edit {
    /// Carry the edit out. `None`: permitted, and nothing had to change. On error nothing has changed.
    pub fn apply(
        &self,
        tree: &mut Tree,
        caller: &Caller,
        limits: &Limits,
        seen: &mut dyn Recorder,
    ) -> Result<Option<Change>, XsError> {
        match self {
            Edit::Write(path, value) => write(tree, caller, limits, path, value, seen).map(Some),
            Edit::Mkdir(path) => mkdir(tree, caller, limits, path, seen),
            Edit::Rm(path) => rm(tree, caller, path, seen),
            Edit::SetPerms(path, perms) => {
                set_perms(tree, caller, limits, path, perms, seen).map(Some)
            }
        }
    }
}

fn changed(path: &Path) -> Change {
    Change {
        path: path.clone(),
        removed: None,
        perms_before: None,
    }
}

fn write(
    tree: &mut Tree,
    caller: &Caller,
    limits: &Limits,
    path: &Path,
    value: &Arc<[u8]>,
    seen: &mut dyn Recorder,
) -> Result<Change, XsError> {
    match lookup(tree, caller, path, Access::WRITE, VALUE, seen) {
        Ok(node) => {
            let size = node.size() - node.value.len() + value.len();
            if !caller.privileged() && size > limits.node_size {
                return Err(XsError::ENOSPC);
            }
            tree.set_value(path, value.clone());
        }
        Err(XsError::ENOENT) => create(tree, caller, limits, path, value)?,
        Err(e) => return Err(e),
    }
    Ok(changed(path))
}

fn mkdir(
    tree: &mut Tree,
    caller: &Caller,
    limits: &Limits,
    path: &Path,
    seen: &mut dyn Recorder,
) -> Result<Option<Change>, XsError> {
    match lookup(tree, caller, path, Access::WRITE, PERMS, seen) {
        Ok(_) => Ok(None),
        Err(XsError::ENOENT) => {
            create(tree, caller, limits, path, &[].into()).map(|()| Some(changed(path)))
        }
        Err(e) => Err(e),
    }
}

/// Create `path` and what is missing above it. New nodes inherit their parent's permissions; those an
/// unprivileged caller makes are his. The caller may write to the nearest existing node.
fn create(
    tree: &mut Tree,
    caller: &Caller,
    limits: &Limits,
    path: &Path,
    value: &Arc<[u8]>,
) -> Result<(), XsError> {
    let (nearest, _) = tree.nearest(path);
    let mut perms = nearest.perms.clone();
    let mut missing = vec![path.clone()];
    while let Some(parent) = missing.last().and_then(Path::parent) {
        if tree.get(&parent).is_some() {
            break;
        }
        missing.push(parent);
    }
    if !caller.privileged() {
        let mut own = perms.to_vec();
        if let Some(first) = own.first_mut() {
            first.domid = caller.domid;
        }
        perms = own.into();
        let top_name = missing.last().map_or(0, |p| p.name().len() + 1);
        let node_bytes = value.len() + perms.len() * size_of::<Perm>();
        if tree.owned_by(caller.domid) + missing.len() > limits.nodes
            || nearest.size() + top_name > limits.node_size
            || node_bytes > limits.node_size
        {
            return Err(XsError::ENOSPC);
        }
    }
    while let Some(next) = missing.pop() {
        let value = if missing.is_empty() {
            value.clone()
        } else {
            [].into()
        };
        tree.insert(&next, value, perms.clone());
    }
    Ok(())
}

fn rm(
    tree: &mut Tree,
    caller: &Caller,
    path: &Path,
    seen: &mut dyn Recorder,
) -> Result<Option<Change>, XsError> {
    let Some(parent) = path.parent() else {
        return Err(XsError::EINVAL);
    };
    match lookup(tree, caller, path, Access::WRITE, VALUE, seen) {
        Ok(_) => {}
        // Nothing to remove is success where there could have been something.
        Err(XsError::ENOENT) if tree.get(&parent).is_some() => {
            seen.saw(&parent, PERMS);
            return Ok(None);
        }
        Err(e) => return Err(e),
    }
    let removed = tree.remove(path);
    Ok(Some(Change {
        removed,
        ..changed(path)
    }))
}

fn set_perms(
    tree: &mut Tree,
    caller: &Caller,
    limits: &Limits,
    path: &Path,
    perms: &Arc<[Perm]>,
    seen: &mut dyn Recorder,
) -> Result<Change, XsError> {
    let node = lookup(tree, caller, path, Access::WRITE, PERMS, seen)?;
    if !caller.owns(&node.perms) {
        return Err(XsError::EACCES);
    }
    if !caller.privileged() {
        if perms.first().map(|p| p.domid) != Some(node.owner()) {
            return Err(XsError::EPERM);
        }
        if perms.len() > limits.perms {
            return Err(XsError::ENOSPC);
        }
    }
    let before = node.perms.clone();
    tree.set_perms(path, perms.clone());
    Ok(Change {
        perms_before: Some(before),
        ..changed(path)
    })
}
