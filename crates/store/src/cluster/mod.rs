//! A store over a key-value cluster: everything that turns a [`Platform`] into a [`Store`], written once.
//!
//! | module | what it does |
//! |---|---|
//! | `host` | what the node gives: time, chance, rules, a journal |
//! | `meta` | what is kept with a document, and the records |
//! | `take`, `ingest` | reads documents and takes them into the journal |
//! | `commit`, `clients` | commits mutations exactly once |
//! | `intent`, `finish` | mutations of many documents, whole or not at all |
//! | `conflicts` | the conflict log |
//! | `follow`, `sweep`, `scans`, `epoch` | the tasks: the feed, scans and horizons, the identity of the data |
//!
//! The platform decides everything; the node's journal is a view of it that may be thrown away. What is committed is on the platform
//! before it is in the journal, and nothing else than what a journal held tells clients of changes.

mod clients;
mod commit;
mod conflicts;
mod epoch;
mod finish;
mod follow;
mod host;
mod ingest;
mod intent;
mod known;
pub(crate) mod limits;
mod locks;
mod machine;
mod meta;
mod scans;
mod sweep;
mod take;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join3;
use tidelock_core::ids::{ChangelogId, ClientId, DocumentId, Epoch, Incarnation, Offset, Sequence};
use tidelock_core::server::{ChangePage, Filter, SnapshotPage, SymbolPage};
use tokio::sync::{broadcast, watch};

pub use host::{Described, Host, Journal, Met, Remerged, Rulebook};
pub use machine::Machine;

use self::clients::{client_id, client_row};
use crate::changelog::{Changelog, Segment};
use crate::error::StoreError;
use crate::platform::{Platform, PlatformError, system};
use crate::seldom::Seldom;
use crate::store::{
    BoxFuture, Capabilities, ClientRecord, Commit, CommitOutcome, ConflictQuery, ConflictRecord, Document, ReadSet,
    Recorded, Store, Trace,
};

/// How a cluster store works. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterOptions {
    /// The application's collections.
    pub collections: Vec<String>,
    /// How long others wait for the creator of an intent that is not committed before they abort it.
    pub lease_ms: u64,
    /// How long others wait for the creator of a committed intent before they finish it, where nothing depends on it.
    pub patience_ms: u64,
    /// About how often every collection is gone through, for what the feed did not tell.
    pub scan_every_ms: u64,
    /// How often the record of the epoch beats: a backup that is restored is noticed when it is older than that.
    pub beat_every_ms: u64,
    /// How long a tombstone is kept on the platform.
    pub tombstones_kept_ms: u64,
    /// How long an entry of the conflict log is kept.
    pub conflicts_kept_ms: u64,
    /// How long an intent is kept once it is settled: a node that lags longer may publish its documents apart.
    pub intents_kept_ms: u64,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
        Self {
            collections: Vec::new(),
            lease_ms: 5_000,
            patience_ms: 500,
            scan_every_ms: DAY_MS / 24,
            beat_every_ms: 60_000,
            tombstones_kept_ms: 90 * DAY_MS,
            conflicts_kept_ms: 90 * DAY_MS,
            intents_kept_ms: DAY_MS / 24,
        }
    }
}

/// A database on a cluster, as one node sees it.
pub struct ClusterStore<P: Platform> {
    platform: P,
    journal: Arc<dyn Journal>,
    rulebook: Arc<dyn Rulebook>,
    host: Arc<dyn Host>,
    options: ClusterOptions,
    locks: locks::Locks,
    known: known::Known,
    clients: clients::Clients,
    intents: intent::Intents,
    scans: scans::Scans,
    epoch: AtomicU64,
    /// Held by who looks at the record of the epoch: what one of them found is in force before the next one looks.
    epoch_look: tokio::sync::Mutex<()>,
    /// Contents that cannot be read.
    passed_over: Seldom,
    /// Whether the journal has everything that was there when it was made, or opened after a long time.
    complete: watch::Sender<bool>,
}

impl<P: Platform> ClusterStore<P> {
    /// Opens a node's view of the database that `platform` holds. Somebody has to [`run`](Self::run) it.
    pub async fn open(
        platform: P,
        journal: Arc<dyn Journal>,
        rulebook: Arc<dyn Rulebook>,
        host: Arc<dyn Host>,
        options: ClusterOptions,
    ) -> Result<Arc<Self>, StoreError> {
        let mut swept = options.collections.clone();
        swept.extend([system::INTENTS, system::CONFLICTS, system::STATE].map(str::to_owned));
        let store = Self {
            platform,
            journal,
            rulebook,
            host,
            options,
            locks: locks::Locks::default(),
            known: known::Known::default(),
            clients: clients::Clients::default(),
            intents: intent::Intents::default(),
            scans: scans::Scans::new(swept),
            epoch: AtomicU64::new(0),
            epoch_look: tokio::sync::Mutex::default(),
            passed_over: Seldom::default(),
            complete: watch::Sender::new(false),
        };
        if store.is_outdated().await? {
            // Documents of a group that nobody names any more would be shown one after the other.
            store.note_incomplete().await?;
        }
        store.look_at_epoch(epoch::Look::Read).await?;
        store.recall_complete().await?;
        Ok(Arc::new(store))
    }

    /// Keeps the journal up with the platform, for ever.
    pub async fn run(self: Arc<Self>) {
        join3(self.follow_forever(), self.sweep_forever(), self.beat_forever()).await;
    }

    /// Resolves once the journal has everything that was on the platform when it was made, or opened after a long time. Before that it must
    /// not serve: what it lacks would count as deleted, and mutations of long ago would be shown in part.
    pub async fn complete(&self) {
        // The sender lives as long as the store.
        let _ = self.complete.subscribe().wait_for(|complete| *complete).await;
    }

    async fn beat_forever(&self) {
        loop {
            // What does not work now works later.
            let _ = self.look_at_epoch(epoch::Look::Beat).await;
            let every_ms = self.options.beat_every_ms.max(1);
            self.host.sleep(every_ms / 2 + self.host.random() % every_ms).await;
        }
    }
}

impl From<PlatformError> for StoreError {
    fn from(error: PlatformError) -> Self {
        let text = error.to_string();
        match error {
            PlatformError::Unavailable(_) => StoreError::Unavailable(text),
            PlatformError::Full(_) => StoreError::Full(text),
            PlatformError::Refused(_) => StoreError::Corrupt(text),
        }
    }
}

/// `filter` without the collections that hold records.
fn visible(filter: &Filter) -> Filter {
    let collections = filter.collections.iter().filter(|(name, _)| !name.starts_with(system::PREFIX));
    Filter { collections: collections.map(|(name, set)| (name.clone(), set.clone())).collect() }
}

fn refuse_system<'a>(mut ids: impl Iterator<Item = &'a DocumentId>) -> Result<(), StoreError> {
    match ids.find(|id| id.collection.starts_with(system::PREFIX)) {
        Some(id) => Err(StoreError::Corrupt(format!("{} is not a collection of documents", id.collection))),
        None => Ok(()),
    }
}

impl<P: Platform> Store for ClusterStore<P> {
    fn capabilities(&self) -> Capabilities {
        let platform = self.platform.capabilities();
        Capabilities {
            name: platform.name,
            foreign_writers: true,
            key_bytes_max: platform.key_bytes_max,
            document_bytes_max: platform.content_bytes_max,
            depth_max: platform.depth_max,
        }
    }

    fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::SeqCst))
    }

    fn read<'a>(&'a self, ids: &'a [DocumentId]) -> BoxFuture<'a, Result<ReadSet, StoreError>> {
        Box::pin(async move {
            refuse_system(ids.iter())?;
            let (documents, offset) = self.read_documents(ids).await?;
            Ok(ReadSet { documents, offset })
        })
    }

    fn traces<'a>(&'a self, ids: &'a [DocumentId]) -> BoxFuture<'a, Result<Vec<Trace>, StoreError>> {
        Box::pin(async move {
            refuse_system(ids.iter())?;
            Ok(self.get(ids).await?.iter().map(take::State::trace).collect())
        })
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<CommitOutcome, StoreError>> {
        Box::pin(async move {
            refuse_system(commit.writes.iter().map(|write| &write.id).chain(&commit.named))?;
            self.commit_now(commit).await
        })
    }

    fn client(&self, client: ClientId, incarnation: Incarnation) -> BoxFuture<'_, Result<ClientRecord, StoreError>> {
        Box::pin(async move {
            // A mutation that is under way may take long: it is answered when its client repeats it.
            let row = client_row(&self.get_one(client_id(client, incarnation)).await?)?;
            Ok(ClientRecord { finished: row.finished })
        })
    }

    fn outcomes(
        &self,
        client: ClientId,
        incarnation: Incarnation,
        after: Sequence,
    ) -> BoxFuture<'_, Result<Vec<Recorded>, StoreError>> {
        Box::pin(async move {
            let row = client_row(&self.get_one(client_id(client, incarnation)).await?)?;
            let kept = row.kept.iter().filter(|kept| kept.sequence > after);
            Ok(kept.map(|kept| self.recorded(kept)).collect())
        })
    }

    fn scan<'a>(
        &'a self,
        collection: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Document)>, StoreError>> {
        if collection.starts_with(system::PREFIX) {
            return Box::pin(async { Ok(Vec::new()) });
        }
        self.journal.scan(collection, after, limit)
    }

    fn conflicts<'a>(&'a self, query: &'a ConflictQuery) -> BoxFuture<'a, Result<Vec<ConflictRecord>, StoreError>> {
        Box::pin(self.query_conflicts(query))
    }
}

impl<P: Platform> Changelog for ClusterStore<P> {
    fn id(&self) -> ChangelogId {
        self.journal.id()
    }

    fn head(&self) -> Offset {
        self.journal.head()
    }

    fn floor(&self) -> Offset {
        self.journal.floor()
    }

    fn changes<'a>(
        &'a self,
        from: Offset,
        filter: &'a Filter,
        bytes_max: usize,
    ) -> BoxFuture<'a, Result<ChangePage, StoreError>> {
        Box::pin(async move { self.journal.changes(from, &visible(filter), bytes_max).await })
    }

    fn catch_up<'a>(&'a self, filter: &'a Filter) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.catch_up_with(filter).await })
    }

    fn snapshot<'a>(
        &'a self,
        after: Option<&'a DocumentId>,
        filter: &'a Filter,
        bytes_max: usize,
    ) -> BoxFuture<'a, Result<SnapshotPage, StoreError>> {
        Box::pin(async move { self.journal.snapshot(after, &visible(filter), bytes_max).await })
    }

    fn symbols<'a>(&'a self, filter: &'a Filter, count: u32) -> BoxFuture<'a, Result<SymbolPage, StoreError>> {
        Box::pin(async move { self.journal.symbols(&visible(filter), count).await })
    }

    fn items<'a>(&'a self, items: &'a [u64]) -> BoxFuture<'a, Result<Vec<DocumentId>, StoreError>> {
        Box::pin(async move {
            let mut ids = self.journal.items(items).await?;
            ids.retain(|id| !id.collection.starts_with(system::PREFIX));
            Ok(ids)
        })
    }

    fn purge(&self, before: Offset) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.journal.purge(before)
    }

    fn recall<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, StoreError>> {
        self.journal.recall(name)
    }

    fn remember<'a>(&'a self, name: &'a str, note: Vec<u8>) -> BoxFuture<'a, Result<(), StoreError>> {
        self.journal.remember(name, note)
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<Segment>> {
        self.journal.subscribe()
    }
}
