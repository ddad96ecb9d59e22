//! The suite of all stores.

use std::sync::Arc;

use super::host::{TestHost, Time};
use super::platform::{Cluster, TestPlatform};
use crate::cluster::{ClusterOptions, ClusterStore};
use crate::conformance::{self, NotedRules, Noting};
use crate::memory::MemoryStore;
<<<<<<< HEAD
=======
use crate::store::Trace;
use crate::store::{
    BoxFuture, Capabilities, ClientRecord, Commit, CommitOutcome, ConflictQuery, ConflictRecord, Document, ReadSet,
    Recorded, Store,
};
>>>>>>> epochs

fn noting(time: &Arc<Time>, together: bool, ordered: bool) -> Noting<TestPlatform> {
    let rules = Arc::new(NotedRules::default());
    let host = Arc::new(TestHost(Arc::clone(time)));
    let rulebook: Arc<NotedRules> = Arc::clone(&rules);
    let platform = Cluster::new(together, ordered).node();
    let journal = Arc::new(MemoryStore::default());
    let store = time.run(ClusterStore::open(platform, journal, rulebook, host, ClusterOptions::default())).unwrap();
    Noting { store, rules }
}

#[test]
fn conforms_with_intents() {
    let time = Time::new(1);
    time.run(conformance::run(|| noting(&time, false, true)));
}

#[test]
fn conforms_with_steps_together() {
    let time = Time::new(2);
    time.run(conformance::run(|| noting(&time, true, false)));
}

#[test]
fn does_what_the_model_does() {
    let time = Time::new(3);
    for together in [false, true] {
        // The conflict log of a cluster is numbered by time, and known to be complete only later.
        conformance::run_model_without_conflicts(|| noting(&time, together, true), |future| time.run(future), 150);
    }
}
<<<<<<< HEAD
=======

impl Store for Noting {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    fn epoch(&self) -> Epoch {
        self.store.epoch()
    }

    fn read<'a>(&'a self, ids: &'a [DocumentId]) -> BoxFuture<'a, Result<ReadSet, StoreError>> {
        self.store.read(ids)
    }

    fn traces<'a>(&'a self, ids: &'a [DocumentId]) -> BoxFuture<'a, Result<Vec<Trace>, StoreError>> {
        self.store.traces(ids)
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<CommitOutcome, StoreError>> {
        for write in &commit.writes {
            if let Some(body) = &write.body {
                self.book.note(&write.id, body, write.version, &write.channels);
            }
        }
        self.store.commit(commit)
    }

    fn client(&self, client: ClientId, incarnation: Incarnation) -> BoxFuture<'_, Result<ClientRecord, StoreError>> {
        self.store.client(client, incarnation)
    }

    fn outcomes(
        &self,
        client: ClientId,
        incarnation: Incarnation,
        after: Sequence,
    ) -> BoxFuture<'_, Result<Vec<Recorded>, StoreError>> {
        self.store.outcomes(client, incarnation, after)
    }

    fn scan<'a>(
        &'a self,
        collection: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Document)>, StoreError>> {
        self.store.scan(collection, after, limit)
    }

    fn conflicts<'a>(&'a self, query: &'a ConflictQuery) -> BoxFuture<'a, Result<Vec<ConflictRecord>, StoreError>> {
        self.store.conflicts(query)
    }
}

impl Changelog for Noting {
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
>>>>>>> epochs
