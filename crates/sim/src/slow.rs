//! A store whose answers take their time and sometimes fail, so that other work comes in between.

use std::future::{poll_fn, ready};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tidelock_core::ids::{ChangelogId, ClientId, DocumentId, Epoch, History, Incarnation, Offset, Sequence};
use tidelock_server::TimeSource;
use tidelock_store::{
    BoxFuture, Capabilities, ChangePage, Changelog, ClientRecord, Commit, CommitOutcome, ConflictQuery, ConflictRecord,
    Document, Filter, ReadSet, Recorded, Segment, SnapshotPage, Store, StoreError, SymbolPage, Trace,
};
use tokio::sync::broadcast;

use crate::journal::Journal;
use crate::node::Ground;
use crate::random::Random;
use crate::site::Access;
use crate::time::VirtualTime;

/// A node's access to the store. What is asked happens at once and in order; the answer comes later.
pub(crate) struct SlowStore {
    access: Access,
    journal: Arc<Journal>,
    time: Arc<VirtualTime>,
    state: Mutex<State>,
}

struct State {
    random: Random,
    delay_ms_max: u64,
    /// Calls that fail from here on.
    failing: u64,
    /// What is to happen between the next commit and its answer.
    trap: Trap,
}

/// Whether the node is to die between a commit and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trap {
    /// No.
    Unset,
    /// At the next commit.
    Set,
    /// The commit is made, and nobody was told.
    Sprung,
}

impl SlowStore {
    pub(crate) fn new(access: Access, ground: Ground, seed: u64, delay_ms_max: u64) -> Self {
        let Ground { journal, time } = ground;
        let state = Mutex::new(State { random: Random::new(seed), delay_ms_max, failing: 0, trap: Trap::Unset });
        Self { access, journal, time, state }
    }

    /// The next calls fail; some of them after they did what was asked.
    pub(crate) fn fail(&self, calls: u64) {
        self.state().failing = calls;
    }

    /// The next commit springs the trap.
    pub(crate) fn set_trap(&self, trap: Trap) {
        self.state().trap = trap;
    }

    /// Whether a commit sprang the trap.
    pub(crate) fn trap(&self) -> Trap {
        self.state().trap
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn commit_now(&self, commit: Commit) -> Result<CommitOutcome, StoreError> {
        let outcome = self.access.store.commit(commit.clone()).await?;
        if let CommitOutcome::Committed(offset) = outcome {
            self.journal.enter(commit, offset);
            let mut state = self.state();
            if state.trap == Trap::Set {
                state.trap = Trap::Sprung;
            }
        }
        Ok(outcome)
    }

    /// Carries out a call.
    async fn answer<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let (delay_ms, fails, before) = {
            let mut state = self.state();
            let most = state.delay_ms_max;
            let delay_ms = state.random.below(most + 1);
            let fails = state.failing > 0;
            state.failing = state.failing.saturating_sub(1);
            (delay_ms, fails, fails && state.random.chance(500))
        };
        let failed = || StoreError::Unavailable("injected".to_owned());
        let answer = match (before, self.access.threaded) {
            (true, _) => Err(failed()),
            (false, true) => wait_for(call),
            (false, false) => call.await,
        };
        let at_ms = self.time.now_ms() + delay_ms;
        poll_fn(|context| self.time.poll_until(at_ms, context)).await;
        if fails { Err(failed()) } else { answer }
    }
}

impl Store for SlowStore {
    fn capabilities(&self) -> Capabilities {
        self.access.store.capabilities()
    }

    fn epoch(&self) -> Epoch {
        self.access.store.epoch()
    }

    fn read<'a>(&'a self, ids: &'a [DocumentId]) -> BoxFuture<'a, Result<ReadSet, StoreError>> {
        Box::pin(self.answer(self.access.store.read(ids)))
    }

    fn traces<'a>(&'a self, ids: &'a [DocumentId]) -> BoxFuture<'a, Result<Vec<Trace>, StoreError>> {
        Box::pin(self.answer(self.access.store.traces(ids)))
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<CommitOutcome, StoreError>> {
        Box::pin(self.answer(self.commit_now(commit)))
    }

    fn client(&self, client: ClientId, incarnation: Incarnation) -> BoxFuture<'_, Result<ClientRecord, StoreError>> {
        Box::pin(self.answer(self.access.store.client(client, incarnation)))
    }

    fn outcomes(
        &self,
        client: ClientId,
        incarnation: Incarnation,
        after: Sequence,
    ) -> BoxFuture<'_, Result<Vec<Recorded>, StoreError>> {
        Box::pin(self.answer(self.access.store.outcomes(client, incarnation, after)))
    }

    fn scan<'a>(
        &'a self,
        collection: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Document)>, StoreError>> {
        Box::pin(self.answer(self.access.store.scan(collection, after, limit)))
    }

    fn conflicts<'a>(&'a self, query: &'a ConflictQuery) -> BoxFuture<'a, Result<Vec<ConflictRecord>, StoreError>> {
        Box::pin(self.answer(self.access.store.conflicts(query)))
    }
}

impl Changelog for SlowStore {
    fn id(&self) -> ChangelogId {
        self.access.view.as_ref().map_or_else(|| self.access.changelog.id(), |(_, changelog)| *changelog)
    }

    fn head(&self) -> Offset {
        self.access.changelog.head()
    }

    fn floor(&self) -> Offset {
        self.access.changelog.floor()
    }

    fn history(&self) -> Option<History> {
        self.access.changelog.history()
    }

    fn holds(&self, history: History, offset: Offset) -> bool {
        self.access.changelog.holds(history, offset)
    }

    fn changes<'a>(
        &'a self,
        from: Offset,
        filter: &'a Filter,
        bytes_max: usize,
    ) -> BoxFuture<'a, Result<ChangePage, StoreError>> {
        Box::pin(self.answer(self.access.changelog.changes(from, filter, bytes_max)))
    }

    fn catch_up<'a>(&'a self, filter: &'a Filter) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.answer(self.access.changelog.catch_up(filter)))
    }

    fn snapshot<'a>(
        &'a self,
        after: Option<&'a DocumentId>,
        filter: &'a Filter,
        bytes_max: usize,
    ) -> BoxFuture<'a, Result<SnapshotPage, StoreError>> {
        Box::pin(self.answer(self.access.changelog.snapshot(after, filter, bytes_max)))
    }

    fn symbols<'a>(&'a self, filter: &'a Filter, count: u32) -> BoxFuture<'a, Result<SymbolPage, StoreError>> {
        let Some((store, changelog)) = &self.access.view else {
            return Box::pin(self.answer(self.access.changelog.symbols(filter, count)));
        };
        Box::pin(self.answer(ready(Ok(store.symbols_of(*changelog, filter, count)))))
    }

    fn items<'a>(&'a self, items: &'a [u64]) -> BoxFuture<'a, Result<Vec<DocumentId>, StoreError>> {
        let Some((store, changelog)) = &self.access.view else {
            return Box::pin(self.answer(self.access.changelog.items(items)));
        };
        Box::pin(self.answer(ready(Ok(store.items_of(*changelog, items)))))
    }

    fn purge(&self, before: Offset) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.answer(self.access.changelog.purge(before)))
    }

    fn recall<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(self.answer(self.access.changelog.recall(name)))
    }

    fn remember<'a>(&'a self, name: &'a str, note: Vec<u8>) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.answer(self.access.changelog.remember(name, note)))
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<Segment>> {
        self.access.changelog.subscribe()
    }
}

/// Waits for a future that other threads carry out.
pub(crate) fn wait_for<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
