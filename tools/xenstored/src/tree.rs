//! [`Tree`]: persistent, so that a transaction's snapshot is one pointer. Cloning shares everything;
//! changing copies only the path from the root to the change, and that only if it is shared.
use rpds::{HashTrieMapSync, RedBlackTreeMapSync};
use std::sync::Arc;
use xenstore::{Path, Perm};

type Children = RedBlackTreeMapSync<Arc<str>, Arc<Node>>;

/// A node. Each generation is the tree's clock at the last change of its aspect.
#[derive(Clone, Debug)]
pub struct Node {
    /// The value.
    pub value: Arc<[u8]>,
    /// Owner first.
    pub perms: Arc<[Perm]>,
    children: Children,
    child_bytes: usize,
    /// Generation of `value`.
    pub value_gen: u64,
    /// Generation of `perms` and of the node's existence.
    pub perms_gen: u64,
    /// Generation of the set of children (not of what is below them).
    pub children_gen: u64,
}

impl Node {
    fn new(value: Arc<[u8]>, perms: Arc<[Perm]>, clock: u64) -> Node {
        Node {
            value,
            perms,
            children: Children::new_sync(),
            child_bytes: 0,
            value_gen: clock,
            perms_gen: clock,
            children_gen: clock,
        }
    }
    /// The domain that owns the node.
    pub fn owner(&self) -> u16 {
        self.perms.first().map_or(0, |p| p.domid)
    }
    /// Names of the children, sorted.
    pub fn children(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.children.iter().map(|(name, node)| (&**name, &**node))
    }
    /// The child called `name`.
    pub fn child(&self, name: &str) -> Option<&Node> {
        self.children.get(name).map(|n| &**n)
    }
    /// Bytes that the node takes of its owner's allowance: value, permissions, names of children.
    pub fn size(&self) -> usize {
        self.value.len() + self.perms.len() * size_of::<Perm>() + self.child_bytes
    }
}

/// The whole store at one moment.
#[derive(Clone, Debug)]
pub struct Tree {
    root: Arc<Node>,
    clock: u64,
    owned: HashTrieMapSync<u16, usize>,
    nodes: usize,
}

impl Tree {
    /// Only the root, owned by domain 0 and closed to others.
    pub fn new() -> Tree {
        let root = Node::new([].into(), [Perm::none(0)].into(), 1);
        let owned = HashTrieMapSync::new_sync().insert(0, 1);
        Tree {
            root: Arc::new(root),
            clock: 1,
            owned,
            nodes: 1,
        }
    }

    /// Number that grows with every change.
    pub fn clock(&self) -> u64 {
        self.clock
    }
    /// Nodes in all.
    pub fn len(&self) -> usize {
        self.nodes
    }
    /// Never: there is always a root.
    pub fn is_empty(&self) -> bool {
        false
    }
    /// Nodes that `domid` owns.
    pub fn owned_by(&self, domid: u16) -> usize {
        self.owned.get(&domid).copied().unwrap_or(0)
    }
    /// The root.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The node at `path`.
    pub fn get(&self, path: &Path) -> Option<&Node> {
        path.parts().try_fold(&*self.root, |n, name| n.child(name))
    }

    /// The deepest existing node on the way to `path`, and whether that is `path` itself.
    pub fn nearest(&self, path: &Path) -> (&Node, bool) {
        let mut at = &*self.root;
        for name in path.parts() {
            match at.child(name) {
                Some(next) => at = next,
                None => return (at, false),
            }
        }
        (at, true)
    }

    /// Replace the value of an existing node; false if there is none.
    pub fn set_value(&mut self, path: &Path, value: Arc<[u8]>) -> bool {
        self.update(path, |n, clock| (n.value, n.value_gen) = (value, clock))
    }

    /// Replace the permissions of an existing node; false if there is none.
    pub fn set_perms(&mut self, path: &Path, perms: Arc<[Perm]>) -> bool {
        let Some(before) = self.get(path).map(Node::owner) else {
            return false;
        };
        let after = perms.first().map_or(0, |p| p.domid);
        self.count(before, -1);
        self.count(after, 1);
        self.update(path, |n, clock| (n.perms, n.perms_gen) = (perms, clock))
    }

    /// Add a childless node; false if it exists or its parent does not.
    pub fn insert(&mut self, path: &Path, value: Arc<[u8]>, perms: Arc<[Perm]>) -> bool {
        let Some(parent) = path.parent() else {
            return false;
        };
        if self
            .get(&parent)
            .is_none_or(|n| n.child(path.name()).is_some())
        {
            return false;
        }
        let node = Node::new(value, perms, self.clock + 1);
        self.count(node.owner(), 1);
        self.nodes += 1;
        self.update(&parent, |n, clock| {
            n.children_gen = clock;
            n.child_bytes += path.name().len() + 1;
            n.children.insert_mut(path.name().into(), Arc::new(node));
        })
    }

    /// Remove a node with all below it and return it. The root stays.
    pub fn remove(&mut self, path: &Path) -> Option<Arc<Node>> {
        let parent = path.parent()?;
        let gone = self.get(&parent)?.children.get(path.name())?.clone();
        let mut stack = vec![&*gone];
        while let Some(n) = stack.pop() {
            self.count(n.owner(), -1);
            self.nodes -= 1;
            stack.extend(n.children().map(|(_, c)| c));
        }
        self.update(&parent, |n, clock| {
            n.children_gen = clock;
            n.child_bytes -= path.name().len() + 1;
            n.children.remove_mut(path.name());
        });
        Some(gone)
    }

    fn count(&mut self, domid: u16, by: isize) {
        match self.owned_by(domid).saturating_add_signed(by) {
            0 => drop(self.owned.remove_mut(&domid)),
            n => self.owned.insert_mut(domid, n),
        }
    }

    fn update(&mut self, path: &Path, change: impl FnOnce(&mut Node, u64)) -> bool {
        let mut at = &mut self.root;
        for name in path.parts() {
            match Arc::make_mut(at).children.get_mut(name) {
                Some(next) => at = next,
                None => return false,
            }
        }
        self.clock += 1;
        change(Arc::make_mut(at), self.clock);
        true
    }

    /// Recount everything; describes the first disagreement.
    pub fn check(&self) -> Result<(), String> {
        let (mut nodes, mut owned) = (0, std::collections::HashMap::<u16, usize>::new());
        let mut stack = vec![&*self.root];
        while let Some(n) = stack.pop() {
            nodes += 1;
            *owned.entry(n.owner()).or_default() += 1;
            let names: usize = n.children().map(|(name, _)| name.len() + 1).sum();
            if names != n.child_bytes {
                return Err(format!(
                    "names take {names} bytes, accounted {}",
                    n.child_bytes
                ));
            }
            stack.extend(n.children().map(|(_, c)| c));
        }
        if nodes != self.nodes {
            return Err(format!("{nodes} nodes, accounted {}", self.nodes));
        }
        for (domid, n) in self.owned.iter() {
            if owned.remove(domid) != Some(*n) {
                return Err(format!("domain {domid} is accounted {n} nodes wrongly"));
            }
        }
        owned
            .keys()
            .next()
            .map_or(Ok(()), |d| Err(format!("domain {d} is not accounted")))
    }

    /// Every node with its path, parents first.
    pub fn walk(&self) -> Vec<(Path, &Node)> {
        let (mut out, mut stack) = (Vec::new(), vec![(Path::root(), &*self.root)]);
        while let Some((path, node)) = stack.pop() {
            stack.extend(node.children().map(|(name, c)| (path.child(name), c)));
            out.push((path, node));
        }
        out
    }
}

impl Default for Tree {
    fn default() -> Self {
        Tree::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(s: &str) -> Path {
        Path::parse(s.as_bytes(), 0).unwrap()
    }
    fn owner(domid: u16) -> Arc<[Perm]> {
        [Perm::none(domid)].into()
    }

    #[test]
    fn a_snapshot_does_not_see_later_changes() {
        let mut t = Tree::new();
        assert!(t.insert(&p("/a"), b"1"[..].into(), owner(0)));
        let snapshot = t.clone();
        assert!(t.set_value(&p("/a"), b"2"[..].into()));
        assert!(t.insert(&p("/a/b"), b""[..].into(), owner(5)));
        assert_eq!(&*snapshot.get(&p("/a")).unwrap().value, b"1");
        assert!(snapshot.get(&p("/a/b")).is_none());
        assert_eq!((snapshot.owned_by(5), t.owned_by(5)), (0, 1));
        t.check().unwrap();
        snapshot.check().unwrap();
    }

    #[test]
    fn removing_takes_the_subtree_and_its_accounts() {
        let mut t = Tree::new();
        for (path, dom) in [("/a", 0), ("/a/b", 1), ("/a/b/c", 2)] {
            assert!(t.insert(&p(path), b""[..].into(), owner(dom)));
        }
        assert!(t.remove(&p("/a/b")).is_some());
        assert_eq!((t.len(), t.owned_by(1), t.owned_by(2)), (2, 0, 0));
        assert!(t.remove(&p("/a/b")).is_none());
        assert!(t.remove(&Path::root()).is_none());
        t.check().unwrap();
    }

    #[test]
    fn nodes_need_a_parent_and_are_inserted_once() {
        let mut t = Tree::new();
        assert!(!t.insert(&p("/a/b"), b""[..].into(), owner(0)));
        assert!(t.insert(&p("/a"), b""[..].into(), owner(0)));
        assert!(!t.insert(&p("/a"), b""[..].into(), owner(0)));
    }
}
