//! The store in memory, shared by all nodes.

use std::sync::Arc;

use tidelock_core::ids::{ChangelogId, Epoch, History, Offset};
use tidelock_store::{Changelog, ConflictQuery, MemoryCopy, MemoryStore, Store};

use super::{Access, Opened, Opening, Site};
use crate::node::{Life, ready};
use crate::random::Random;

/// One memory store.
pub(super) struct MemorySite {
    store: Arc<MemoryStore>,
    /// Copies of it, the oldest first.
    copies: Vec<MemoryCopy>,
}

impl MemorySite {
    pub(super) fn new() -> Self {
        let store = MemoryStore::open(MemoryCopy::default(), Epoch(7), ChangelogId(11), History(1));
        Self { store: Arc::new(store), copies: Vec::new() }
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

    fn copy(&mut self) {
        self.copies.push(self.store.copy());
    }

    /// A backup is restored, as another epoch; or the file of an earlier day is copied back, and nobody knows.
    fn restore(&mut self, random: &mut Random) -> bool {
        let Some(last) = (self.copies.len() as u64).checked_sub(1) else { return false };
        // Later copies are of a history that is gone.
        self.copies.truncate(usize::try_from(random.between(0, last)).unwrap_or(0) + 1);
        let copy = self.copies.last().cloned().unwrap_or_default();
        let epoch = if random.chance(500) { Epoch(random.any()) } else { self.store.epoch() };
        let (changelog, history) = (Changelog::id(&*self.store), History(random.any()));
        self.store = Arc::new(MemoryStore::open(copy, epoch, changelog, history));
        true
    }

    fn forget_copies(&mut self) {
        self.copies.clear();
    }

    fn set_aside(&self) -> Vec<Vec<u8>> {
        let query = ConflictQuery { limit: usize::MAX, ..ConflictQuery::default() };
        let log = ready(self.store.conflicts(&query)).expect("the memory store answers");
        log.into_iter().filter_map(|entry| entry.note.mine).collect()
    }

    fn forget_tombstones(&mut self, random: &mut Random) -> bool {
        self.store.purge_tombstones(Offset(random.below(self.store.head().0 + 1)));
        true
    }
}
