//! The store in one SQLite file: document store, compacted changelog, client records and conflict log in one transaction.
//!
//! One thread writes: it takes the commits that wait, checks and writes each inside one transaction, flushes once, publishes one
//! segment and answers all. A few threads read, each with a connection of its own; a read sees every commit that was answered
//! before it began. The file is in WAL mode with `synchronous=FULL`: an answered commit survives the loss of power as far as the
//! medium honours a flush.
//!
//! | module | purpose |
//! |---|---|
//! | `open`, `schema`, `meta`, `history` | lock, checks, on-disk versions, identities |
//! | `writer`, `group`, `purge` | the writing thread and its transactions |
//! | `documents` | what was written lately, so that the file need not be asked |
//! | `readers`, `queries`, `changes`, `snapshot` | the reading threads and what they read |
//! | `symbols` | what the documents come to, for reconciliation |
//! | `backup` | copies of a database in use |

mod backup;
mod changes;
mod documents;
mod error;
mod group;
mod history;
mod meta;
mod open;
mod purge;
mod queries;
mod readers;

mod rows;
mod schema;
mod snapshot;
mod symbols;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::fs::File;
use std::future::ready;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use tidelock_core::ids::{ChangelogId, ClientId, DocumentId, Epoch, History, Incarnation, Offset, Sequence};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{broadcast, mpsc, oneshot};

use self::documents::Documents;
use self::error::stopped;
use self::group::Position;
use self::history::Histories;
use self::readers::{Ended, Readers};
use self::symbols::Symbols;
use self::writer::{Command, Shared, Writer};
use crate::error::StoreError;
use crate::limits::{CLIENTS_REMEMBERED_MAX, CONFLICTS_KEPT_DEFAULT, SEGMENTS_BUFFERED_MAX, WRITES_QUEUED_MAX};
use crate::recent::Recent;
use crate::store::{
    BoxFuture, Capabilities, ClientRecord, Commit, CommitOutcome, ConflictQuery, ConflictRecord, Document, ReadSet,
    Recorded, Store, Trace,
};
use crate::{ChangePage, Changelog, Filter, Segment, SnapshotPage, SymbolPage};

/// How to open an embedded store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddedOptions {
    /// Reading threads, at least 1.
    pub readers: usize,
    /// Entries of the conflict log to keep; the oldest go first.
    pub conflicts_kept: u64,
    /// Page cache of each connection, and as much again for the documents written lately, in bytes.
    pub cache_bytes: u32,
    /// Size beyond which the file must not grow, in bytes: commits that need more are answered [`StoreError::Full`].
    pub size_bytes_max: Option<u64>,
    /// Identities of a file that is created here, or that is a backup; `None` draws them, as servers must. A file that has some keeps them. What clients
    /// compute depends on the changelog's, so that a simulation repeats itself only when it chooses them.
    pub identity: Option<(Epoch, ChangelogId)>,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            readers: 2,
            conflicts_kept: CONFLICTS_KEPT_DEFAULT,
            cache_bytes: 32 << 20,
            size_bytes_max: None,
            identity: None,
        }
    }
}

/// A database in one SQLite file. Dropping it finishes what is queued and joins the threads; [`close`](Self::close) does so without
/// blocking.
pub struct EmbeddedStore {
    path: PathBuf,
    epoch: Epoch,
    changelog: ChangelogId,
    histories: Histories,
    shared: Arc<Shared>,
    /// `None` while dropping.
    running: Option<Running>,
    /// The writer's is the last.
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Keeps other servers out as long as a thread may use the file.
    lock: Mutex<Option<File>>,
}

struct Running {
    readers: Readers,
    writer: mpsc::Sender<Command>,
    writer_ended: Ended,
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore").field("path", &self.path).field("head", &self.head()).finish_non_exhaustive()
    }
}

impl EmbeddedStore {
    /// Opens the database at `path`, creating it when there is no file.
    ///
    /// A file of another program or of a later version is [`StoreError::Corrupt`] and stays untouched; a database that another
    /// server has open, or a directory that does not exist, is [`StoreError::Unavailable`].
    pub fn open(path: &Path, options: EmbeddedOptions) -> Result<Self, StoreError> {
        let lock = open::lock(path)?;
        let (mut connection, identity) = open::writer(path, &options)?;
        let histories = Histories::begin(&mut connection, identity.head)?;
        let readers: Result<Vec<_>, _> = (0..options.readers.max(1)).map(|_| open::reader(path, &options)).collect();
        let (segments, _) = broadcast::channel(SEGMENTS_BUFFERED_MAX);
        let shared = Arc::new(Shared {
            head: AtomicU64::new(identity.head.0),
            floor: AtomicU64::new(identity.floor.0),
            segments,
            documents: Documents::new(options.cache_bytes as usize, identity.head),
            symbols: Symbols::default(),
        });
        let no_thread = |error| StoreError::Unavailable(format!("cannot start a thread: {error}"));
        let (readers, mut threads) = Readers::start(readers?).map_err(no_thread)?;
        let (commands, queue) = mpsc::channel(WRITES_QUEUED_MAX);
        let writer = Writer {
            connection,
            queue,
            position: Position { head: identity.head, conflict: identity.conflict },
            tails: Recent::new(CLIENTS_REMEMBERED_MAX),
            shared: shared.clone(),
            conflicts_kept: options.conflicts_kept,
            purges: VecDeque::new(),
        };
        let (running, writer_ended) = Ended::channel();
        let write = move || {
            writer.run();
            drop(running);
        };
        threads.push(thread::Builder::new().name("tidelock-write".into()).spawn(write).map_err(no_thread)?);
        Ok(Self {
            path: path.to_owned(),
            epoch: identity.epoch,
            changelog: identity.changelog,
            histories,
            shared,
            running: Some(Running { readers, writer: commands, writer_ended }),
            threads: Mutex::new(threads),
            lock: Mutex::new(Some(lock)),
        })
    }

    /// Changes the size beyond which the file must not grow, in bytes. It never becomes less than the present size.
    pub async fn limit_size(&self, size_bytes_max: Option<u64>) -> Result<(), StoreError> {
        self.ask(|reply| Command::LimitPages(open::pages(size_bytes_max), reply)).await
    }

    /// Writes a consistent, compact copy to `to`, which must not exist; commits and reads go on meanwhile. The copy is another
    /// [`Epoch`] and another changelog when it is opened.
    pub async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        let (from, to) = (self.path.clone(), to.to_owned());
        thread::Builder::new()
            .name("tidelock-backup".into())
            .spawn(move || {
                let _ = reply.send(backup::backup(&from, &to));
            })
            .map_err(|error| StoreError::Unavailable(format!("cannot start a thread: {error}")))?;
        answer.await.map_err(|_| stopped())?
    }

    /// Finishes what is queued, closes the file and releases the lock. Later calls are answered [`StoreError::Unavailable`].
    pub async fn close(&self) {
        if let Some(running) = &self.running {
            // The writer goes last: it moves the write-ahead log into the file when no other connection is open.
            running.readers.close().await;
            // Fails when the thread has ended already.
            let _ = running.writer.send(Command::Close).await;
            running.writer_ended.wait().await;
            // What is read from now on asks the readers, which say that the store is closed.
            self.shared.documents.clear();
        }
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Adds up the symbols of all documents, once; from then on they follow the commits.
    async fn add_up(&self) -> Result<(), StoreError> {
        let adding = self.shared.symbols.adding.lock().await;
        if self.shared.symbols.begin() {
            let changelog = self.changelog;
            let sketches = self.query(move |connection| symbols::scan(connection, changelog)).await;
            self.shared.symbols.finish(sketches)?;
        }
        drop(adding);
        Ok(())
    }

    fn running(&self) -> Result<&Running, StoreError> {
        self.running.as_ref().ok_or_else(stopped)
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Command,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.running()?.writer.send(command(reply)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    async fn query<T: Send + 'static>(
        &self,
        read: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.running()?.readers.run(read).await
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        // The threads end when their queue is closed and empty; the writer is the last of them, as in `close`.
        let threads = std::mem::take(self.threads.get_mut().unwrap_or_else(PoisonError::into_inner));
        let writer = self.running.take().map(|running| running.writer);
        let mut threads = threads.into_iter().rev();
        let writer_thread = threads.next();
        for thread in threads {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
        drop(writer);
        if let Some(thread) = writer_thread {
            let _ = thread.join();
        }
    }
}

impl Store for EmbeddedStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            key_bytes_max: 1 << 20,
            // SQLite's limit for a row is 10^9 bytes.
            document_bytes_max: 512 << 20,
            ..Capabilities::own("embedded")
        }
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn read<'a>(&'a self, ids: &'a [DocumentId]) -> BoxFuture<'a, Result<ReadSet, StoreError>> {
        // The head first: what is remembered then, and what is read then, is at least as new.
        let offset = self.head();
        if !ids.is_empty()
            && let Some(documents) = self.shared.documents.read(ids, offset)
        {
            return Box::pin(ready(self.running().map(|_| ReadSet { documents, offset })));
        }
        let ids = ids.to_vec();
        Box::pin(async move {
            let documents = self.query(move |connection| queries::read(connection, &ids)).await?;
            Ok(ReadSet { documents, offset })
        })
    }

    fn traces<'a>(&'a self, ids: &'a [DocumentId]) -> BoxFuture<'a, Result<Vec<Trace>, StoreError>> {
        let ids = ids.to_vec();
        Box::pin(self.query(move |connection| queries::traces(connection, &ids)))
    }

    /// Queues the commit at once, so that calls one after the other run in that order unless the queue is full; then the commit
    /// waits for room when the future is polled.
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<CommitOutcome, StoreError>> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Commit(Box::new(commit), reply);
        let queued = self.running().and_then(|running| match running.writer.try_send(command) {
            Ok(()) => Ok(None),
            Err(TrySendError::Full(command)) => Ok(Some((&running.writer, command))),
            Err(TrySendError::Closed(_)) => Err(stopped()),
        });
        Box::pin(async move {
            if let Some((writer, command)) = queued? {
                writer.send(command).await.map_err(|_| stopped())?;
            }
            answer.await.map_err(|_| stopped())?
        })
    }

    fn client(&self, client: ClientId, incarnation: Incarnation) -> BoxFuture<'_, Result<ClientRecord, StoreError>> {
        Box::pin(async move {
            let finished = self.query(move |connection| group::finished(connection, client, incarnation)).await?;
            Ok(ClientRecord { finished })
        })
    }

    fn outcomes(
        &self,
        client: ClientId,
        incarnation: Incarnation,
        after: Sequence,
    ) -> BoxFuture<'_, Result<Vec<Recorded>, StoreError>> {
        Box::pin(self.query(move |connection| group::outcomes(connection, client, incarnation, after, u32::MAX)))
    }

    fn scan<'a>(
        &'a self,
        collection: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Document)>, StoreError>> {
        let (collection, after) = (collection.to_owned(), after.map(str::to_owned));
        Box::pin(self.query(move |connection| queries::scan(connection, &collection, after.as_deref(), limit)))
    }

    fn conflicts<'a>(&'a self, query: &'a ConflictQuery) -> BoxFuture<'a, Result<Vec<ConflictRecord>, StoreError>> {
        let query = query.clone();
        Box::pin(self.query(move |connection| queries::conflicts(connection, &query)))
    }
}

impl Changelog for EmbeddedStore {
    fn id(&self) -> ChangelogId {
        self.changelog
    }

    fn head(&self) -> Offset {
        Offset(self.shared.head.load(Ordering::Acquire))
    }

    fn floor(&self) -> Offset {
        Offset(self.shared.floor.load(Ordering::Acquire))
    }

    fn history(&self) -> Option<History> {
        self.histories.present()
    }

    fn holds(&self, history: History, offset: Offset) -> bool {
        self.histories.holds(history, offset, self.head())
    }

    fn changes<'a>(
        &'a self,
        from: Offset,
        filter: &'a Filter,
        bytes_max: usize,
    ) -> BoxFuture<'a, Result<ChangePage, StoreError>> {
        let (head, filter) = (self.head(), filter.clone());
        Box::pin(async move {
            let read = move |connection: &rusqlite::Connection| changes::changes(connection, from, &filter, bytes_max);
            let page = self.query(read).await?;
            if from <= head {
                // A page may see a commit that the writer is about to announce: what is readable is the head.
                self.shared.head.fetch_max(page.to.0, Ordering::AcqRel);
            }
            Ok(page)
        })
    }

    fn snapshot<'a>(
        &'a self,
        after: Option<&'a DocumentId>,
        filter: &'a Filter,
        bytes_max: usize,
    ) -> BoxFuture<'a, Result<SnapshotPage, StoreError>> {
        let (after, filter) = (after.cloned(), filter.clone());
        Box::pin(async move {
            let read = move |connection: &rusqlite::Connection| {
                snapshot::snapshot(connection, after.as_ref(), &filter, bytes_max)
            };
            let page = self.query(read).await?;
            // As above.
            self.shared.head.fetch_max(page.offset.0, Ordering::AcqRel);
            Ok(page)
        })
    }

    fn purge(&self, before: Offset) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.ask(move |reply| Command::Purge(before, reply)))
    }

    fn recall<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, StoreError>> {
        let name = name.to_owned();
        Box::pin(self.query(move |connection| meta::recall(connection, &name)))
    }

    fn remember<'a>(&'a self, name: &'a str, note: Vec<u8>) -> BoxFuture<'a, Result<(), StoreError>> {
        let name = name.to_owned();
        Box::pin(self.ask(move |reply| Command::Remember(name, note, reply)))
    }

    fn symbols<'a>(&'a self, filter: &'a Filter, count: u32) -> BoxFuture<'a, Result<SymbolPage, StoreError>> {
        Box::pin(async move {
            self.add_up().await?;
            self.shared.symbols.read(|sketches| sketches.symbols(filter, count))
        })
    }

    fn items<'a>(&'a self, items: &'a [u64]) -> BoxFuture<'a, Result<Vec<DocumentId>, StoreError>> {
        Box::pin(async move {
            self.add_up().await?;
            let offset_of = |item: &u64| self.shared.symbols.read(|sketches| sketches.offset_of(*item));
            let offsets: Result<BTreeSet<Option<Offset>>, StoreError> = items.iter().map(offset_of).collect();
            let (offsets, changelog) = (offsets?, self.changelog);
            let items: BTreeSet<u64> = items.iter().copied().collect();
            let offsets = offsets.into_iter().flatten();
            self.query(move |connection| symbols::items(connection, changelog, offsets, &items)).await
        })
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<Segment>> {
        self.shared.segments.subscribe()
    }
}
