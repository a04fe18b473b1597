//! The store against a naive model: a sorted map, copied whole for every transaction.
mod common;

use proptest::prelude::*;
use std::collections::BTreeMap;
use xenstore::{Path, Perm};
use xenstored::access::{Caller, Limits};
use xenstored::edit::{self, Edit};
use xenstored::transaction::Transaction;
use xenstored::tree::Tree;

type Model = BTreeMap<String, (Vec<u8>, Vec<Perm>)>;

fn p(s: &str) -> Path {
    Path::parse(s.as_bytes(), 0).unwrap()
}

fn parent(path: &str) -> String {
    p(path).parent().unwrap().to_string()
}

/// The model's idea of an edit by dom0, which may do everything.
fn apply(m: &mut Model, e: &Edit) {
    let create = |m: &mut Model, path: &str| {
        let mut missing = vec![path.to_string()];
        while !m.contains_key(&parent(missing.last().unwrap())) {
            missing.push(parent(missing.last().unwrap()));
        }
        let perms = m[&parent(missing.last().unwrap())].1.clone();
        for n in missing {
            m.insert(n, (Vec::new(), perms.clone()));
        }
    };
    match e {
        Edit::Write(path, v) => {
            if !m.contains_key(path.as_str()) {
                create(m, path.as_str());
            }
            m.get_mut(path.as_str()).unwrap().0 = v.to_vec();
        }
        Edit::Mkdir(path) => {
            if !m.contains_key(path.as_str()) {
                create(m, path.as_str());
            }
        }
        Edit::Rm(path) => {
            let below = format!("{path}/");
            m.retain(|k, _| k != path.as_str() && !k.starts_with(&below));
        }
        Edit::SetPerms(path, perms) => {
            if let Some(n) = m.get_mut(path.as_str()) {
                n.1 = perms.to_vec();
            }
        }
    }
}

fn contents(t: &Tree) -> Model {
    let node = |n: &xenstored::tree::Node| (n.value.to_vec(), n.perms.to_vec());
    t.walk()
        .iter()
        .map(|(path, n)| (path.to_string(), node(n)))
        .collect()
}

fn path() -> impl Strategy<Value = Path> {
    prop::collection::vec("[ab]", 1..4).prop_map(|v| p(&format!("/{}", v.join("/"))))
}

fn edits() -> impl Strategy<Value = Edit> {
    prop_oneof![
        3 => (path(), any::<u8>()).prop_map(|(q, v)| Edit::Write(q, vec![v].into())),
        2 => path().prop_map(Edit::Mkdir),
        1 => path().prop_map(Edit::Rm),
        1 => (path(), 0u16..3).prop_map(|(q, d)| Edit::SetPerms(q, [Perm::read(d)].into())),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Now(Edit),
    Begin(usize),
    In(usize, Edit),
    Read(usize, Path),
    Commit(usize),
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => edits().prop_map(Step::Now),
        1 => (0usize..3).prop_map(Step::Begin),
        4 => (0usize..3, edits()).prop_map(|(i, e)| Step::In(i, e)),
        2 => (0usize..3, path()).prop_map(|(i, q)| Step::Read(i, q)),
        2 => (0usize..3).prop_map(Step::Commit),
    ]
}

struct Open {
    real: Transaction,
    snapshot: Model,
    edits: Vec<Edit>,
    reads: Vec<(Path, Option<Vec<u8>>)>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever commits, commits as if it had run alone at that moment: what it read is still true, and its
    /// edits give what they would give now. What did not touch anything that changed, does commit.
    #[test]
    fn transactions_are_serialisable(steps in prop::collection::vec(steps(), 1..60)) {
        let (me, limits) = (Caller::DOM0, Limits::default());
        let (mut tree, mut model) = (Tree::new(), Model::new());
        model.insert("/".into(), (Vec::new(), vec![Perm::none(0)]));
        let mut open: [Option<Open>; 3] = [None, None, None];
        for step in steps {
            match step {
                Step::Now(e) => {
                    if e.apply(&mut tree, &me, &limits, &mut ()).is_ok() {
                        apply(&mut model, &e);
                    }
                }
                Step::Begin(i) => {
                    let (edits, reads) = (Vec::new(), Vec::new());
                    let (real, snapshot) = (Transaction::new(&tree), model.clone());
                    open[i] = Some(Open { real, snapshot, edits, reads });
                }
                Step::In(i, e) => {
                    let Some(t) = &mut open[i] else { continue };
                    if t.real.edit(e.clone(), &me, &limits).is_ok() {
                        apply(&mut t.snapshot, &e);
                        t.edits.push(e);
                    }
                    prop_assert_eq!(&contents(t.real.view().0), &t.snapshot);
                }
                Step::Read(i, q) => {
                    let Some(t) = &mut open[i] else { continue };
                    let (view, seen) = t.real.view();
                    let got = edit::read(view, &me, &q, seen).ok().map(|v| v.to_vec());
                    prop_assert_eq!(&got, &t.snapshot.get(q.as_str()).map(|n| n.0.clone()));
                    if t.edits.is_empty() {
                        t.reads.push((q, got));
                    }
                }
                Step::Commit(i) => {
                    let Some(t) = open[i].take() else { continue };
                    let wrote = !t.edits.is_empty();
                    let done = t.real.commit(&mut tree, &me, &limits).is_ok();
                    prop_assert!(done || wrote, "a reader failed");
                    if done && wrote {
                        for (q, got) in t.reads {
                            prop_assert_eq!(&got, &model.get(q.as_str()).map(|n| n.0.clone()));
                        }
                        t.edits.iter().for_each(|e| apply(&mut model, e));
                    }
                }
            }
            prop_assert_eq!(tree.check(), Ok(()));
            prop_assert_eq!(&contents(&tree), &model);
        }
    }
}
