//! [`Watches`]: ordered by path, so that finding who watches a change costs the depth of the path, not the
//! number of watches.
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use xenstore::Path;

/// Names a registered watch.
pub type WatchId = u64;

/// A registered watch.
#[derive(Clone, Debug)]
pub struct Watch {
    /// The connection that asked.
    pub conn: u64,
    /// What it watches.
    pub path: Path,
    /// What it wants to be told along with the path.
    pub token: Box<[u8]>,
    /// Bytes of an event's path to leave out, for watches on relative paths.
    pub strip: usize,
}

/// All watches.
#[derive(Default, Debug)]
pub struct Watches {
    by_path: BTreeMap<Path, Vec<WatchId>>,
    all: HashMap<WatchId, Watch>,
    next: WatchId,
}

impl Watches {
    /// The watch `id`, if it is still registered.
    pub fn get(&self, id: WatchId) -> Option<&Watch> {
        self.all.get(&id)
    }
    /// Watches in all.
    pub fn len(&self) -> usize {
        self.all.len()
    }
    /// No watch at all?
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Register; `None` if this connection has a watch of the same path and token.
    pub fn add(&mut self, watch: Watch) -> Option<WatchId> {
        if self.find(watch.conn, &watch.path, &watch.token).is_some() {
            return None;
        }
        self.next += 1;
        let id = self.next;
        self.by_path.entry(watch.path.clone()).or_default().push(id);
        self.all.insert(id, watch);
        Some(id)
    }

    /// The watch of this connection, path and token.
    pub fn find(&self, conn: u64, path: &Path, token: &[u8]) -> Option<WatchId> {
        self.exactly(path).into_iter().find(|id| {
            self.all
                .get(id)
                .is_some_and(|w| w.conn == conn && *w.token == *token)
        })
    }

    /// Forget a watch.
    pub fn remove(&mut self, id: WatchId) -> Option<Watch> {
        let watch = self.all.remove(&id)?;
        if let Some(list) = self.by_path.get_mut(&watch.path) {
            list.retain(|w| *w != id);
            if list.is_empty() {
                self.by_path.remove(&watch.path);
            }
        }
        Some(watch)
    }

    /// Watches of exactly this path.
    pub fn exactly(&self, path: &Path) -> Vec<WatchId> {
        self.by_path.get(path).cloned().unwrap_or_default()
    }

    /// Watches of this path and of all above it, from the root downwards.
    pub fn at_or_above(&self, path: &Path) -> Vec<WatchId> {
        let text = path.as_str();
        let ends = text
            .bytes()
            .enumerate()
            .filter(|(i, b)| *b == b'/' && *i > 0)
            .map(|(i, _)| i);
        let root = (!path.is_special() && !path.is_root()).then_some("/");
        let above = ends.map(|end| &text[..end]).filter(|_| !path.is_special());
        let prefixes = root.into_iter().chain(above).chain([text]);
        prefixes
            .filter_map(|p| self.by_path.get(p))
            .flatten()
            .copied()
            .collect()
    }

    /// Watches of nodes strictly below this path.
    pub fn below(&self, path: &Path) -> Vec<WatchId> {
        let prefix = if path.is_root() {
            "/".to_string()
        } else {
            format!("{path}/")
        };
        let from: (Bound<&str>, Bound<&str>) = (Bound::Excluded(&prefix), Bound::Unbounded);
        let range = self.by_path.range::<str, _>(from);
        range
            .take_while(|(p, _)| p.as_str().starts_with(&prefix))
            .flat_map(|(_, l)| l)
            .copied()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(s: &str) -> Path {
        Path::parse_watch(s.as_bytes(), 0).unwrap()
    }
    fn watch(path: &str, token: &str) -> Watch {
        Watch {
            conn: 1,
            path: p(path),
            token: token.as_bytes().into(),
            strip: 0,
        }
    }

    #[test]
    fn a_watch_covers_its_node_and_all_below() {
        let mut w = Watches::default();
        let root = w.add(watch("/", "t")).unwrap();
        let a = w.add(watch("/a", "t")).unwrap();
        let ab = w.add(watch("/a/b", "t")).unwrap();
        assert_eq!(w.at_or_above(&p("/a/b/c")), [root, a, ab]);
        assert_eq!(w.at_or_above(&p("/ab")), [root]);
        assert_eq!(w.below(&p("/a")), [ab]);
        assert_eq!(w.below(&p("/")), [a, ab]);
    }

    #[test]
    fn special_names_are_apart_from_nodes_called_like_them() {
        let mut w = Watches::default();
        let s = w.add(watch("@releaseDomain", "t")).unwrap();
        assert_eq!(w.at_or_above(&p("@releaseDomain")), [s]);
        assert!(w.at_or_above(&p("/@releaseDomain")).is_empty());
    }

    #[test]
    fn the_same_watch_twice_is_refused_and_removal_leaves_nothing() {
        let mut w = Watches::default();
        let a = w.add(watch("/a/b/c", "t")).unwrap();
        assert!(w.add(watch("/a/b/c", "t")).is_none());
        let b = w.add(watch("/a/b/c", "u")).unwrap();
        w.remove(a);
        assert_eq!(w.at_or_above(&p("/a/b/c")), [b]);
        w.remove(b);
        assert!(w.is_empty() && w.by_path.is_empty());
    }
}
