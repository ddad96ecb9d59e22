//! A store whose answers take their time and sometimes fail, so that other work comes in between.

use std::future::{poll_fn, ready};
use std::sync::{Arc, Mutex, PoisonError};

use tidelock_core::ids::{ChangelogId, ClientId, DocumentId, Epoch, History, Incarnation, Offset, Sequence};
use tidelock_server::TimeSource;
use tidelock_store::{
    BoxFuture, Capabilities, ChangePage, Changelog, ClientRecord, Commit, CommitOutcome, ConflictQuery, ConflictRecord,
    Document, Filter, MemoryStore, ReadSet, Recorded, Segment, SnapshotPage, Store, StoreError, SymbolPage, Trace,
};
use tokio::sync::broadcast;

use crate::random::Random;
use crate::time::VirtualTime;

/// A node's access to the store. What is asked happens at once and in order; the answer comes later.
pub(crate) struct SlowStore {
    store: Arc<MemoryStore>,
    /// The node's own changelog.
    changelog: ChangelogId,
    time: Arc<VirtualTime>,
    state: Mutex<State>,
}

struct State {
    random: Random,
    delay_ms_max: u64,
    /// Calls that fail from here on.
    failing: u64,
}

impl SlowStore {
    pub(crate) fn new(
        store: Arc<MemoryStore>,
        changelog: ChangelogId,
        time: Arc<VirtualTime>,
        seed: u64,
        delay_ms_max: u64,
    ) -> Self {
        let state = Mutex::new(State { random: Random::new(seed), delay_ms_max, failing: 0 });
        Self { store, changelog, time, state }
    }

    /// The next calls fail; some of them after they did what was asked.
    pub(crate) fn fail(&self, calls: u64) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).failing = calls;
    }

    /// Carries out a call.
    async fn answer<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let (delay_ms, fails, before) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let most = state.delay_ms_max;
            let delay_ms = state.random.below(most + 1);
            let fails = state.failing > 0;
            state.failing = state.failing.saturating_sub(1);
            (delay_ms, fails, fails && state.random.chance(500))
        };
        let failed = || StoreError::Unavailable("injected".to_owned());
        let answer = if before { Err(failed()) } else { call.await };
        let at_ms = self.time.now_ms() + delay_ms;
        poll_fn(|context| self.time.poll_until(at_ms, context)).await;
        if fails { Err(failed()) } else { answer }
    }
}

impl Store for SlowStore {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    fn epoch(&self) -> Epoch {
        self.store.epoch()
    }

    fn read<'a>(&'a self, ids: &'a [DocumentId]) -> BoxFuture<'a, Result<ReadSet, StoreError>> {
        Box::pin(self.answer(self.store.read(ids)))
    }

    fn traces<'a>(&'a self, ids: &'a [DocumentId]) -> BoxFuture<'a, Result<Vec<Trace>, StoreError>> {
        Box::pin(self.answer(self.store.traces(ids)))
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<CommitOutcome, StoreError>> {
        Box::pin(self.answer(self.store.commit(commit)))
    }

    fn client(&self, client: ClientId, incarnation: Incarnation) -> BoxFuture<'_, Result<ClientRecord, StoreError>> {
        Box::pin(self.answer(self.store.client(client, incarnation)))
    }

    fn outcomes(
        &self,
        client: ClientId,
        incarnation: Incarnation,
        after: Sequence,
    ) -> BoxFuture<'_, Result<Vec<Recorded>, StoreError>> {
        Box::pin(self.answer(self.store.outcomes(client, incarnation, after)))
    }

    fn scan<'a>(
        &'a self,
        collection: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Document)>, StoreError>> {
        Box::pin(self.answer(self.store.scan(collection, after, limit)))
    }

    fn conflicts<'a>(&'a self, query: &'a ConflictQuery) -> BoxFuture<'a, Result<Vec<ConflictRecord>, StoreError>> {
        Box::pin(self.answer(self.store.conflicts(query)))
    }
}

impl Changelog for SlowStore {
    fn id(&self) -> ChangelogId {
        self.changelog
    }

    fn head(&self) -> Offset {
        self.store.head()
    }

    fn floor(&self) -> Offset {
        self.store.floor()
    }

    fn history(&self) -> Option<History> {
        self.store.history()
    }

    fn holds(&self, history: History, offset: Offset) -> bool {
        self.store.holds(history, offset)
    }

    fn changes<'a>(
        &'a self,
        from: Offset,
        filter: &'a Filter,
        bytes_max: usize,
    ) -> BoxFuture<'a, Result<ChangePage, StoreError>> {
        Box::pin(self.answer(self.store.changes(from, filter, bytes_max)))
    }

    fn snapshot<'a>(
        &'a self,
        after: Option<&'a DocumentId>,
        filter: &'a Filter,
        bytes_max: usize,
    ) -> BoxFuture<'a, Result<SnapshotPage, StoreError>> {
        Box::pin(self.answer(self.store.snapshot(after, filter, bytes_max)))
    }

    fn symbols<'a>(&'a self, filter: &'a Filter, count: u32) -> BoxFuture<'a, Result<SymbolPage, StoreError>> {
        let page = self.store.symbols_of(self.changelog, filter, count);
        Box::pin(self.answer(ready(Ok(page))))
    }

    fn items<'a>(&'a self, items: &'a [u64]) -> BoxFuture<'a, Result<Vec<DocumentId>, StoreError>> {
        let documents = self.store.items_of(self.changelog, items);
        Box::pin(self.answer(ready(Ok(documents))))
    }

    fn purge(&self, before: Offset) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.answer(self.store.purge(before)))
    }

    fn recall<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(self.answer(self.store.recall(name)))
    }

    fn remember<'a>(&'a self, name: &'a str, note: Vec<u8>) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.answer(self.store.remember(name, note)))
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<Segment>> {
        self.store.subscribe()
    }
}
