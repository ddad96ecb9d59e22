//! The store in memory, shared by all nodes.

use std::sync::Arc;

use tidelock_core::ids::{ChangelogId, Epoch, Offset};
use tidelock_store::{Changelog, MemoryStore, Store};

use super::{Access, Opened, Opening, Site};
use crate::node::{Life, ready};
use crate::random::Random;

/// One memory store.
pub(super) struct MemorySite {
    store: Arc<MemoryStore>,
}

impl MemorySite {
    pub(super) fn new() -> Self {
        Self { store: Arc::new(MemoryStore::new(Epoch(7), ChangelogId(11))) }
    }
}

impl Site for MemorySite {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn nodes_max(&self) -> u64 {
        3
    }

    fn is_in_one_order(&self) -> bool {
        true
    }

    fn open(&mut self, _node: usize, life: Life) -> Opening {
        let store = Arc::clone(&self.store);
        Box::new(move |_| {
            let access = Access {
                store: Arc::clone(&store) as _,
                changelog: Arc::clone(&store) as _,
                view: Some((Arc::clone(&store), life.changelog)),
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

    fn forget_tombstones(&mut self, random: &mut Random) -> bool {
        self.store.purge_tombstones(Offset(random.below(self.store.head().0 + 1)));
        true
    }
}
