//! The list of all domains: [`Registry`].
use crate::{Domain, Mutex, RwLock};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use xen_abi::DomId;

/// All domains by id. Looking one up takes a read lock and a reference count.
pub struct Registry {
    map: RwLock<BTreeMap<DomId, Arc<Domain>>>,
    /// The CPU pools. Locked before anything else; [`crate::pool`] works on them.
    pub pools: Mutex<sched::Pools>,
}

impl Registry {
    /// No domains.
    pub const fn new() -> Registry {
        Registry {
            map: RwLock::new(BTreeMap::new()),
            pools: Mutex::new(sched::Pools::new()),
        }
    }

    /// The domain `id`.
    pub fn get(&self, id: DomId) -> Option<Arc<Domain>> {
        self.map.read().get(&id).cloned()
    }

    /// The first domain with an id of at least `id`, for listing.
    pub fn at_or_after(&self, id: DomId) -> Option<Arc<Domain>> {
        self.map.read().range(id..).next().map(|(_, d)| d.clone())
    }

    /// Adds a domain; `false` if its id is taken.
    pub fn insert(&self, dom: Arc<Domain>) -> bool {
        let mut map = self.map.write();
        if map.contains_key(&dom.id) {
            return false;
        }
        map.insert(dom.id, dom);
        true
    }

    /// Forgets a domain.
    pub fn remove(&self, id: DomId) -> Option<Arc<Domain>> {
        self.map.write().remove(&id)
    }

    /// All domains, lowest id first.
    pub fn all(&self) -> Vec<Arc<Domain>> {
        self.map.read().values().cloned().collect()
    }

    /// A free id after `last`, wrapping around below the reserved ones; `None` when all are taken.
    pub fn free_id(&self, last: DomId) -> Option<DomId> {
        let map = self.map.read();
        let limit = DomId::FIRST_RESERVED.0;
        (1..limit)
            .map(|i| {
                DomId(((u32::from(last.0) + u32::from(i) - 1) % (u32::from(limit) - 1)) as u16 + 1)
            })
            .find(|id| !map.contains_key(id))
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}
