//! The store in memory, shared by all nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidelock_core::ids::{ChangelogId, Epoch, Offset};
use tidelock_store::{Changelog, MemoryStore, Store};

use super::{Access, Opened, Opening, Site};
use crate::node::ready;
use crate::random::Random;

/// One memory store.
pub(super) struct MemorySite {
    store: Arc<MemoryStore>,
    /// By node.
    changelogs: BTreeMap<usize, ChangelogId>,
}

impl MemorySite {
    pub(super) fn new() -> Self {
        Self { store: Arc::new(MemoryStore::new(Epoch(7), ChangelogId(11))), changelogs: BTreeMap::new() }
    }
}

impl Site for MemorySite {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn nodes_max(&self) -> u64 {
        3
    }

    fn open(&mut self, node: usize, anew: bool, seed: u64) -> Opening {
        let changelog = self.changelogs.entry(node).or_insert(ChangelogId(seed));
        if anew {
            *changelog = ChangelogId(seed);
        }
        let (store, changelog) = (Arc::clone(&self.store), *changelog);
        Box::new(move || {
            let access = Access {
                store: Arc::clone(&store) as _,
                changelog: Arc::clone(&store) as _,
                view: Some((Arc::clone(&store), changelog)),
                threaded: false,
            };
            Box::pin(async move { Ok(Opened { access, task: None, complete: None }) })
        })
    }

    fn ended(&mut self, _node: usize) {}

    fn documents(&self, collection: &str) -> Vec<(String, Vec<u8>)> {
        let found = ready(self.store.scan(collection, None, usize::MAX)).expect("the memory store answers");
        found.into_iter().map(|(key, document)| (key, document.body.to_vec())).collect()
    }

    fn forget_tombstones(&mut self, random: &mut Random) {
        self.store.purge_tombstones(Offset(random.below(self.store.head().0 + 1)));
    }
}
