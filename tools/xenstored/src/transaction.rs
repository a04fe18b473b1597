//! [`Transaction`]: works on a snapshot, remembers what it looked at, and is replayed onto the tree of the
//! day when it commits. Transactions that touched different nodes never conflict, and those that only read
//! never fail: they saw one consistent moment.
use crate::access::{Caller, Limits};
use crate::edit::{Aspects, Change, Edit, Recorder};
use crate::tree::{Node, Tree};
use std::collections::HashMap;
use xenstore::{Path, XsError};

/// What a transaction depended on.
#[derive(Debug, Default)]
pub struct Seen(HashMap<Path, Aspects>);

impl Recorder for Seen {
    fn saw(&mut self, path: &Path, aspects: Aspects) {
        let entry = self.0.entry(path.clone()).or_default();
        entry.value |= aspects.value;
        entry.children |= aspects.children;
    }
}

impl Seen {
    /// Would everything looked at look the same in `now` as it did in `base`?
    fn still_true(&self, base: &Tree, now: &Tree) -> bool {
        self.0
            .iter()
            .all(|(path, aspects)| match (base.get(path), now.get(path)) {
                (None, None) => true,
                (Some(a), Some(b)) => same(a, b, *aspects),
                _ => false,
            })
    }
}

fn same(a: &Node, b: &Node, aspects: Aspects) -> bool {
    a.perms_gen == b.perms_gen
        && (!aspects.value || a.value_gen == b.value_gen)
        && (!aspects.children || a.children_gen == b.children_gen)
}

/// An open transaction.
#[derive(Debug)]
pub struct Transaction {
    base: Tree,
    work: Tree,
    seen: Seen,
    edits: Vec<Edit>,
}

impl Transaction {
    /// Start from `tree` as it is now.
    pub fn new(tree: &Tree) -> Transaction {
        let (base, work) = (tree.clone(), tree.clone());
        Transaction {
            base,
            work,
            seen: Seen::default(),
            edits: Vec::new(),
        }
    }

    /// The tree as the transaction sees it, and where to record what is looked at.
    pub fn view(&mut self) -> (&Tree, &mut Seen) {
        (&self.work, &mut self.seen)
    }

    /// Nodes looked at plus changes made: what the quota counts.
    pub fn cost(&self) -> usize {
        self.seen.0.len().max(self.edits.len())
    }

    /// Carry out an edit, visible to this transaction only.
    pub fn edit(&mut self, edit: Edit, caller: &Caller, limits: &Limits) -> Result<(), XsError> {
        edit.apply(&mut self.work, caller, limits, &mut self.seen)?;
        self.edits.push(edit);
        Ok(())
    }

    /// Make the edits part of `tree`, all or none. `EAGAIN` if what was looked at has changed since.
    pub fn commit(
        self,
        tree: &mut Tree,
        caller: &Caller,
        limits: &Limits,
    ) -> Result<Vec<Change>, XsError> {
        if self.edits.is_empty() {
            return Ok(Vec::new());
        }
        if !self.seen.still_true(&self.base, tree) {
            return Err(XsError::EAGAIN);
        }
        let mut next = tree.clone();
        let mut changes = Vec::new();
        for edit in &self.edits {
            changes.extend(edit.apply(&mut next, caller, limits, &mut ())?);
        }
        *tree = next;
        Ok(changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edit;

    const ME: Caller = Caller::DOM0;

    fn p(s: &str) -> Path {
        Path::parse(s.as_bytes(), 0).unwrap()
    }
    fn write(path: &str, v: &str) -> Edit {
        Edit::Write(p(path), v.as_bytes().into())
    }
    fn now(tree: &mut Tree, e: Edit) {
        e.apply(tree, &ME, &Limits::default(), &mut ()).unwrap();
    }
    fn within(t: &mut Transaction, e: Edit) {
        t.edit(e, &ME, &Limits::default()).unwrap();
    }
    fn commit(t: Transaction, tree: &mut Tree) -> Result<usize, XsError> {
        t.commit(tree, &ME, &Limits::default()).map(|c| c.len())
    }
    fn read(t: &mut Transaction, path: &str) -> Result<Vec<u8>, XsError> {
        let (tree, seen) = t.view();
        edit::read(tree, &ME, &p(path), seen).map(|v| v.to_vec())
    }

    #[test]
    fn nothing_shows_before_the_commit_and_all_after_it() {
        let mut tree = Tree::new();
        let mut t = Transaction::new(&tree);
        within(&mut t, write("/a/b", "1"));
        assert_eq!(read(&mut t, "/a/b").unwrap(), b"1");
        assert!(tree.get(&p("/a")).is_none());
        assert_eq!(commit(t, &mut tree), Ok(1));
        assert_eq!(&*tree.get(&p("/a/b")).unwrap().value, b"1");
    }

    #[test]
    fn disjoint_subtrees_do_not_conflict() {
        let mut tree = Tree::new();
        now(&mut tree, Edit::Mkdir(p("/local/domain")));
        let (mut a, mut b) = (Transaction::new(&tree), Transaction::new(&tree));
        within(&mut a, write("/local/domain/1/name", "a"));
        within(&mut b, write("/local/domain/2/name", "b"));
        assert!(commit(a, &mut tree).is_ok());
        assert!(commit(b, &mut tree).is_ok());
        assert_eq!(tree.get(&p("/local/domain")).unwrap().children().count(), 2);
        tree.check().unwrap();
    }

    #[test]
    fn a_value_read_and_changed_meanwhile_is_a_conflict() {
        let mut tree = Tree::new();
        now(&mut tree, write("/n", "1"));
        let mut t = Transaction::new(&tree);
        read(&mut t, "/n").unwrap();
        within(&mut t, write("/m", "2"));
        now(&mut tree, write("/n", "x"));
        assert_eq!(commit(t, &mut tree), Err(XsError::EAGAIN));
        assert!(tree.get(&p("/m")).is_none());
    }

    #[test]
    fn a_node_found_missing_and_created_meanwhile_is_a_conflict() {
        let mut tree = Tree::new();
        let mut t = Transaction::new(&tree);
        assert_eq!(read(&mut t, "/n"), Err(XsError::ENOENT));
        within(&mut t, write("/m", "2"));
        now(&mut tree, write("/n", "x"));
        assert_eq!(commit(t, &mut tree), Err(XsError::EAGAIN));
    }

    #[test]
    fn two_writers_of_one_node_conflict() {
        let mut tree = Tree::new();
        let (mut a, mut b) = (Transaction::new(&tree), Transaction::new(&tree));
        within(&mut a, write("/n", "a"));
        within(&mut b, write("/n", "b"));
        assert!(commit(a, &mut tree).is_ok());
        assert_eq!(commit(b, &mut tree), Err(XsError::EAGAIN));
    }

    #[test]
    fn a_listed_directory_that_gained_a_child_is_a_conflict() {
        let mut tree = Tree::new();
        now(&mut tree, Edit::Mkdir(p("/d")));
        let mut t = Transaction::new(&tree);
        let (view, seen) = t.view();
        edit::directory(view, &ME, &p("/d"), seen).unwrap();
        within(&mut t, write("/x", ""));
        now(&mut tree, write("/d/new", ""));
        assert_eq!(commit(t, &mut tree), Err(XsError::EAGAIN));
    }

    #[test]
    fn readers_see_one_moment_and_never_fail() {
        let mut tree = Tree::new();
        now(&mut tree, write("/n", "1"));
        let mut t = Transaction::new(&tree);
        now(&mut tree, write("/n", "2"));
        assert_eq!(read(&mut t, "/n").unwrap(), b"1");
        now(&mut tree, Edit::Rm(p("/n")));
        assert_eq!(read(&mut t, "/n").unwrap(), b"1");
        assert_eq!(commit(t, &mut tree), Ok(0));
    }
}
