//! The task that goes through whole collections: after the feed lost something, and from time to time, for not every platform tells
//! of everything. On its way it forgets what is past its horizon.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::select;
use tidelock_core::ids::{DocumentId, MutationId, SessionId, Version};
use tokio::sync::Notify;

use super::ClusterStore;
use super::clients::{client_id, client_row};
use super::conflicts::conflict_ms;
use super::epoch::Look;
use super::intent::{Piece, is_piece, piece_head, record_put};
use super::limits::{ATTEMPTS_MAX, COMPARED_AT_ONCE_MAX};
use super::meta::{IntentName, IntentRow, Meta, Moved, unseal};
use crate::error::StoreError;
use crate::platform::{Entry, Platform, PlatformError, PutContent, PutIf, PutOutcome, Token, system};

/// The journal's note that every collection was gone through once.
const NOTE: &str = "cluster:complete";

/// Collections that are to be gone through.
#[derive(Debug, Default)]
pub(super) struct Scans {
    all: Vec<String>,
    /// With a number that is another one when it was asked for again.
    wanted: Mutex<BTreeMap<String, u64>>,
    woken: Notify,
}

impl Scans {
    pub(super) fn new(all: Vec<String>) -> Self {
        Self { all, ..Self::default() }
    }

    pub(super) fn request(&self, collection: String) {
        *self.wanted().entry(collection).or_default() += 1;
        self.woken.notify_one();
    }

    pub(super) fn request_all(&self) {
        for collection in &self.all {
            self.request(collection.clone());
        }
    }

    /// Whether nothing is to be gone through.
    pub(super) fn is_done(&self) -> bool {
        self.wanted().is_empty()
    }

    fn first(&self) -> Option<(String, u64)> {
        self.wanted().first_key_value().map(|(collection, number)| (collection.clone(), *number))
    }

    fn finish(&self, collection: &str, number: u64) {
        let mut wanted = self.wanted();
        if wanted.get(collection) == Some(&number) {
            wanted.remove(collection);
        }
    }

    fn wanted(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Platform> ClusterStore<P> {
    /// Goes through collections when it is asked to and from time to time, for ever.
    pub(super) async fn sweep_forever(&self) {
        let mut attempt = 0;
        let mut due_ms = self.next_sweep_ms();
        loop {
            if self.host.now_ms() >= due_ms {
                self.scans.request_all();
                due_ms = self.next_sweep_ms();
            }
            let Some((collection, number)) = self.scans.first() else {
                let pause_ms = due_ms.saturating_sub(self.host.now_ms());
                select(Box::pin(self.scans.woken.notified()), self.host.sleep(pause_ms)).await;
                continue;
            };
            let swept = match self.sweep(&collection).await {
                Ok(()) => {
                    self.scans.finish(&collection, number);
                    self.note_complete().await
                }
                Err(error) => Err(error),
            };
            attempt = if swept.is_ok() { 0 } else { attempt + 1 };
            if attempt > 0 {
                self.backoff(attempt).await;
            }
        }
    }

    /// Nodes go at different times.
    fn next_sweep_ms(&self) -> u64 {
        let every_ms = self.options.scan_every_ms.max(1);
        self.host.now_ms().saturating_add(every_ms / 2 + self.host.random() % every_ms)
    }

    async fn note_complete(&self) -> Result<(), StoreError> {
        if !self.scans.is_done() || *self.complete.borrow() {
            return Ok(());
        }
        self.journal.remember(NOTE, vec![1]).await?;
        self.complete.send_replace(true);
        Ok(())
    }

    /// Whether every collection was gone through once; if not, all are to be. Intents are in any case: what was to be settled may have
    /// been forgotten with the process.
    pub(super) async fn recall_complete(&self) -> Result<(), StoreError> {
        self.scans.request(system::INTENTS.to_owned());
        if self.journal.recall(NOTE).await?.is_some() {
            self.complete.send_replace(true);
        } else {
            self.scans.request_all();
        }
        Ok(())
    }

    async fn sweep(&self, collection: &str) -> Result<(), StoreError> {
        if collection == system::STATE {
            return self.look_at_epoch(Look::Read).await;
        }
        let mut scan = self.platform.scan(collection).await?;
        let mut present = HashSet::new();
        loop {
            let page = scan.next().await?;
            if page.is_empty() {
                break;
            }
            for (key, entry) in &page {
                if entry.content.is_some() || entry.unreadable.is_some() {
                    present.insert(hash(key));
                }
            }
            if collection == system::INTENTS {
                self.sweep_intents(page).await?;
            } else {
                self.sweep_documents(collection, page).await?;
            }
        }
        if collection == system::INTENTS { Ok(()) } else { self.sweep_absent(collection, &present).await }
    }

    /// Takes in what the journal has otherwise, and forgets what is past its horizon.
    async fn sweep_documents(&self, collection: &str, page: Vec<(String, Entry)>) -> Result<(), StoreError> {
        let now_ms = self.host.now_ms();
        for page in page.chunks(COMPARED_AT_ONCE_MAX) {
            let ids: Vec<DocumentId> = page.iter().map(|(key, _)| DocumentId::new(collection, key)).collect();
            let held = self.journal.read(&ids).await?.documents;
            let mut differing = BTreeSet::new();
            for ((id, (key, entry)), held) in ids.into_iter().zip(page).zip(held) {
                let expired = |at_ms: u64| at_ms.saturating_add(self.options.conflicts_kept_ms) <= now_ms;
                if collection == system::CONFLICTS && entry.content.is_some() && conflict_ms(key).is_some_and(expired) {
                    self.erase(id, entry.token.clone()).await?;
                    continue;
                }
                if entry.content.is_none() && entry.unreadable.is_none() {
                    self.sweep_tombstone(&id, entry).await?;
                }
                if self.version_of(&id, entry) != Some(held.map_or(Version::ABSENT, |held| held.version)) {
                    differing.insert(id);
                }
            }
            if !differing.is_empty() {
                let mut taken = self.take(differing).await?;
                self.ingest(&mut taken, SessionId(0), &[]).await?;
            }
        }
        Ok(())
    }

    /// The version of an entry; `None` when no document can be made of it.
    fn version_of(&self, id: &DocumentId, entry: &Entry) -> Option<Version> {
        match (&entry.content, &entry.unreadable) {
            (_, Some(_)) => None,
            (None, None) => Some(Version::ABSENT),
            (Some(content), None) => {
                let known = self.known.version(id, &entry.token);
                known.or_else(|| self.describe(id, content).map(|described| described.version))
            }
        }
    }

    /// Reads what the journal has and the scan does not: it may have come while the scan went on.
    async fn sweep_absent(&self, collection: &str, present: &HashSet<u64>) -> Result<(), StoreError> {
        let mut after: Option<String> = None;
        loop {
            let page = self.journal.scan(collection, after.as_deref(), COMPARED_AT_ONCE_MAX).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            let absent = page.iter().filter(|(key, _)| !present.contains(&hash(key)));
            let absent: BTreeSet<DocumentId> = absent.map(|(key, _)| DocumentId::new(collection, key)).collect();
            if !absent.is_empty() {
                let mut taken = self.take(absent).await?;
                self.ingest(&mut taken, SessionId(0), &[]).await?;
            }
        }
    }

    /// Dates a tombstone of a foreign delete, and forgets one that is past the horizon. What it has seen of mutations that are not
    /// finished goes to the records of their clients first: one that is repeated must not create the document again.
    async fn sweep_tombstone(&self, id: &DocumentId, entry: &Entry) -> Result<(), StoreError> {
        let Some(meta) = entry.meta.as_deref().and_then(Meta::read) else { return Ok(()) };
        let now_ms = self.host.now_ms();
        let Some(deleted_ms) = meta.deleted_ms else {
            let meta = Meta { deleted_ms: Some(now_ms), ..meta };
            let put = PutIf {
                id: id.clone(),
                token: entry.token.clone(),
                content: PutContent::Keep,
                meta: Some(meta.write()),
            };
            return self.try_put(put).await;
        };
        if deleted_ms.saturating_add(self.options.tombstones_kept_ms) > now_ms {
            return Ok(());
        }
        if let Some(mark) = &meta.mark
            && self.is_live(mark, 0).await?
        {
            return Ok(());
        }
        for seen in &meta.seen {
            self.move_seen(id, *seen).await?;
        }
        let (id, token) = (id.clone(), entry.token.clone());
        self.try_put(PutIf { id, token, content: PutContent::Keep, meta: None }).await
    }

    /// Notes in a client's record that a document has seen a mutation, unless the record has passed it.
    async fn move_seen(&self, id: &DocumentId, seen: MutationId) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS_MAX {
            let state = self.get_one(client_id(seen.client, seen.incarnation)).await?;
            let mut row = client_row(&state)?;
            if row.finished >= seen.sequence || row.has_moved(id, seen.sequence) {
                return Ok(());
            }
            row.moved.push(Moved { id: id.clone(), sequence: seen.sequence });
            match self.platform.put_if(&[record_put(state.id, state.token, &row)]).await {
                Ok(PutOutcome::Done(_)) => return Ok(()),
                Ok(PutOutcome::Mismatch | PutOutcome::NotTogether) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Unavailable("a client's record changes too often".to_owned()))
    }

    /// Meets intents that are not settled, and forgets those that were long ago.
    async fn sweep_intents(&self, page: Vec<(String, Entry)>) -> Result<(), StoreError> {
        let now_ms = self.host.now_ms();
        let is_old = |at_ms: u64| at_ms.saturating_add(self.options.intents_kept_ms) <= now_ms;
        for (key, entry) in page {
            let Some(content) = &entry.content else { continue };
            let id = DocumentId::new(system::INTENTS, &key);
            if is_piece(&key) {
                let old = unseal::<Piece>(content).is_none_or(|piece| is_old(piece.at_ms));
                if old && !self.is_needed(&key).await? {
                    self.erase(id, entry.token).await?;
                }
                continue;
            }
            match unseal::<IntentRow>(content) {
                Some(row) if row.is_live() => {
                    self.intents.meet(&IntentName { key, attempt: row.attempt }, now_ms);
                }
                Some(row) if is_old(row.at_ms) => self.erase(id, entry.token).await?,
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    /// Whether a piece belongs to an intent that is there.
    async fn is_needed(&self, piece: &str) -> Result<bool, StoreError> {
        let Some((head, owner)) = piece_head(piece) else { return Ok(false) };
        let (row, _) = self.intent_row(head).await?;
        Ok(row.is_some_and(|row| row.owner == owner))
    }

    /// Removes a record, when it is still as it was.
    async fn erase(&self, id: DocumentId, token: Token) -> Result<(), StoreError> {
        self.try_put(PutIf { id, token, content: PutContent::Delete, meta: None }).await
    }

    /// Another sweep does what this one could not.
    async fn try_put(&self, put: PutIf) -> Result<(), StoreError> {
        match self.platform.put_if(&[put]).await {
            Ok(_) | Err(PlatformError::Unavailable(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
