//! A cluster store under the suite of all stores, which decides versions and channels freely.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tidelock_core::ids::{ChangelogId, DocumentId, Offset};
use tidelock_core::server::{ChangePage, Filter, SnapshotPage, SymbolPage};
use tidelock_core::version;
use tidelock_core::wire::DocumentChange;
use tokio::sync::broadcast;

use crate::changelog::{Changelog, Segment};
use crate::cluster::{ClusterStore, Described, Met, Remerged, Rulebook};
use crate::error::StoreError;
use crate::platform::Platform;
use crate::store::{BoxFuture, Commit, CommitOutcome, Store};

/// What was noted of contents: their versions and channels.
#[derive(Default)]
pub struct NotedRules(Mutex<BTreeMap<(DocumentId, Vec<u8>), Described>>);

impl NotedRules {
    fn note(&self, id: &DocumentId, body: &[u8], described: Described) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((id.clone(), body.to_vec()), described);
    }
}

impl Rulebook for NotedRules {
    fn revision(&self) -> u64 {
        0
    }

    fn describe(&self, id: &DocumentId, content: &[u8]) -> Result<Described, String> {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(described) = noted.get(&(id.clone(), content.to_vec())) {
            return Ok(described.clone());
        }
        // A record of the store's own.
        let version = version::of_body(content).map_err(|error| error.to_string())?;
        Ok(Described { version, channels: Vec::new() })
    }

    fn depends_on_state(&self, _id: &DocumentId) -> bool {
        false
    }

    fn merge(&self, _current: Option<Met<'_>>, _change: &DocumentChange, _edited_ms: u64) -> Option<Remerged> {
        None
    }
}

/// A cluster store that notes what is committed, for its rules.
pub struct Noting<P: Platform> {
    /// The store.
    pub store: Arc<ClusterStore<P>>,
    /// Its rules.
    pub rules: Arc<NotedRules>,
}

impl<P: Platform> Store for Noting<P> {
    crate::forward_store! { store: capabilities epoch read traces client outcomes scan conflicts }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<CommitOutcome, StoreError>> {
        for write in &commit.writes {
            if let Some(body) = &write.body {
                let described = Described { version: write.version, channels: write.channels.clone() };
                self.rules.note(&write.id, body, described);
            }
        }
        self.store.commit(commit)
    }
}

impl<P: Platform> Changelog for Noting<P> {
    fn id(&self) -> ChangelogId {
        self.store.id()
    }

    fn head(&self) -> Offset {
        self.store.head()
    }

    fn floor(&self) -> Offset {
        self.store.floor()
    }

    fn changes<'a>(
        &'a self,
        from: Offset,
        filter: &'a Filter,
        bytes_max: usize,
    ) -> BoxFuture<'a, Result<ChangePage, StoreError>> {
        self.store.changes(from, filter, bytes_max)
    }

    fn catch_up<'a>(&'a self, filter: &'a Filter) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.catch_up(filter)
    }

    fn snapshot<'a>(
        &'a self,
        after: Option<&'a DocumentId>,
        filter: &'a Filter,
        bytes_max: usize,
    ) -> BoxFuture<'a, Result<SnapshotPage, StoreError>> {
        self.store.snapshot(after, filter, bytes_max)
    }

    fn symbols<'a>(&'a self, filter: &'a Filter, count: u32) -> BoxFuture<'a, Result<SymbolPage, StoreError>> {
        self.store.symbols(filter, count)
    }

    fn items<'a>(&'a self, items: &'a [u64]) -> BoxFuture<'a, Result<Vec<DocumentId>, StoreError>> {
        self.store.items(items)
    }

    fn purge(&self, before: Offset) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.store.purge(before)
    }

    fn recall<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, StoreError>> {
        self.store.recall(name)
    }

    fn remember<'a>(&'a self, name: &'a str, note: Vec<u8>) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.remember(name, note)
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<Segment>> {
        self.store.subscribe()
    }
}
