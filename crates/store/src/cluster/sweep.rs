//! The task that goes through whole collections: after the feed lost something, and from time to time, for not every platform tells
//! of everything. On its way it forgets what is past its horizon.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use futures_util::future::select;
use tidelock_core::ids::{DocumentId, SessionId, Version};
use tidelock_core::planted::{self, Bug};
use tidelock_core::server::Filter;

use super::ClusterStore;
use super::clients::{client_id, client_row};
use super::conflicts::conflict_ms;
use super::epoch::Look;
use super::intent::{is_piece, piece_head, record_put};
use super::known::{Age, hash};
use super::limits::{ATTEMPTS_MAX, CATCH_UP_MS_MAX, COMPARED_AT_ONCE_MAX, RECORDS_AGED_MAX};
use super::locks::Guard;
use super::meta::{IntentName, IntentRow, Meta, Moved, Seen, unseal};
use crate::error::StoreError;
use crate::platform::{Entry, Platform, PlatformError, PutContent, PutIf, PutOutcome, Token, system};

/// The journal's note whether every collection was gone through once: a byte that is not 0.
const NOTE: &str = "cluster:complete";

impl<P: Platform> ClusterStore<P> {
    /// Goes through collections when it is asked to and from time to time, for ever.
    pub(super) async fn sweep_forever(&self) {
        let mut attempt = 0;
        let mut due_ms = self.next_sweep_ms();
        loop {
            if self.host.now_ms() >= due_ms {
                self.scans.ask_all();
                due_ms = self.next_sweep_ms();
            }
            let Some((collection, number)) = self.scans.first() else {
                let pause_ms = due_ms.saturating_sub(self.host.now_ms());
                select(Box::pin(self.scans.woken.notified()), self.host.sleep(pause_ms)).await;
                continue;
            };
            let swept = self.sweep(&collection).await;
            self.scans.ended(&collection, number, swept.is_ok());
            let swept = if swept.is_ok() { self.note_complete().await } else { swept };
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

    /// Notes that the journal is to be completed again before it serves.
    pub(super) async fn note_incomplete(&self) -> Result<(), StoreError> {
        self.journal.remember(NOTE, vec![0]).await
    }

    /// Whether every collection was gone through once: if so, the node serves. All of them are to be gone through in any case: nothing
    /// may tell of what was written while the node was away, and intents that were to be settled may have been forgotten with the
    /// process.
    pub(super) async fn recall_complete(&self) -> Result<(), StoreError> {
        self.scans.request(system::INTENTS.to_owned());
        if self.journal.recall(NOTE).await?.is_some_and(|note| note != [0]) {
            self.complete.send_replace(true);
            self.scans.ask_all();
        } else {
            self.scans.request_all();
        }
        Ok(())
    }

    /// Takes in everything that these collections hold at this moment. Those who ask meanwhile share the next walk. Where it cannot be known
    /// now, nobody waits for long: he is told to come back.
    pub(super) async fn catch_up_with(&self, filter: &Filter) -> Result<(), StoreError> {
        if planted::has(Bug::LagServed) {
            return Ok(());
        }
        // What an intent changes is taken in when its documents are.
        let collections = filter.collections.keys().filter(|name| self.options.collections.contains(name));
        let due_ms = self.host.now_ms().saturating_add(CATCH_UP_MS_MAX);
        if self.scans.walk(collections, || self.host.now_ms() >= due_ms).await {
            return Ok(());
        }
        Err(StoreError::Unavailable("what collections hold cannot be told now".to_owned()))
    }

    async fn sweep(&self, collection: &str) -> Result<(), StoreError> {
        if collection == system::STATE {
            return self.look_at_epoch(Look::Read).await;
        }
        if collection == system::INTENTS {
            return self.sweep_intents().await;
        }
        self.known.begin_walk();
        let walked = self.sweep_present(collection).await;
        self.known.end_walk();
        self.sweep_absent(collection, &walked?).await
    }

    /// Takes in what a collection holds; the hashes of its keys.
    async fn sweep_present(&self, collection: &str) -> Result<HashSet<u64>, StoreError> {
        let mut scan = self.platform.scan(collection).await?;
        let mut present = HashSet::new();
        loop {
            let page = scan.next().await?;
            if page.is_empty() {
                return Ok(present);
            }
            for (key, entry) in &page {
                if entry.content.is_some() || entry.unreadable.is_some() {
                    present.insert(hash(key));
                }
            }
            self.sweep_documents(collection, page).await?;
        }
    }

    /// Takes in what the journal has otherwise, and forgets what is past its horizon.
    async fn sweep_documents(&self, collection: &str, page: Vec<(String, Entry)>) -> Result<(), StoreError> {
        let now_ms = self.host.now_ms();
        for page in page.chunks(COMPARED_AT_ONCE_MAX) {
            let ids: Vec<DocumentId> = page.iter().map(|(key, _)| DocumentId::new(collection, key)).collect();
            let held = self.journal.read(&ids).await?.documents;
            let mut differing = BTreeMap::new();
            for ((id, (key, entry)), held) in ids.into_iter().zip(page).zip(held) {
                let expired = |at_ms: u64| at_ms.saturating_add(self.options.conflicts_kept_ms) <= now_ms;
                if collection == system::CONFLICTS && entry.content.is_some() && conflict_ms(key).is_some_and(expired) {
                    self.erase(id, entry.token.clone()).await?;
                    continue;
                }
                if entry.content.is_none() && entry.unreadable.is_none() {
                    self.sweep_tombstone(&id, entry).await?;
                }
                let is_new = held.is_none() && entry.content.is_some();
                let held = held.map_or(Version::ABSENT, |held| held.version);
                if is_new || self.version_of(&id, entry) != Some(held) {
                    differing.insert(id, entry);
                }
            }
            if !differing.is_empty() {
                self.take_in_walk(&differing).await?;
            }
        }
        Ok(())
    }

    /// Takes in what a walk has found. A document is read again where what was found may be earlier than what was taken in meanwhile.
    async fn take_in_walk(&self, found: &BTreeMap<DocumentId, &Entry>) -> Result<(), StoreError> {
        let given = |guard: &mut Guard<'_>| {
            let mut given = BTreeMap::new();
            guard.retain(|id| {
                let Some(entry) = found.get(id) else { return true };
                let age = self.known.age_in_walk(id, entry);
                if age == Age::Later {
                    given.insert(id.clone(), Entry::clone(entry));
                }
                age != Age::Old
            });
            given
        };
        let mut taken = self.take_with(found.keys().cloned().collect(), given).await?;
        self.ingest(&mut taken, SessionId(0), &[]).await?;
        // Before anybody else may take them in. Of those that are not as they were found, others may have taken in a later state.
        let as_found =
            |id: &&DocumentId| taken.state(id).map(|state| &state.token) == found.get(id).map(|entry| &entry.token);
        self.known.walked(found.keys().filter(as_found));
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

    /// Dates a tombstone of a foreign delete, or of a content that a crash has lost, and forgets one that is past the horizon. What it has
    /// seen of mutations that are not finished goes to the records of their clients first: one that is repeated must not create the document again.
    async fn sweep_tombstone(&self, id: &DocumentId, entry: &Entry) -> Result<(), StoreError> {
        let Some(meta) = entry.meta.as_deref().and_then(Meta::read) else { return Ok(()) };
        let now_ms = self.host.now_ms();
        let Some(deleted_ms) = meta.deleted_ms else {
            let meta = Meta { deleted_ms: Some(now_ms), ..meta.settled(Version::ABSENT) };
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
    async fn move_seen(&self, id: &DocumentId, seen: Seen) -> Result<(), StoreError> {
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

    /// Meets intents that are not settled, and forgets records that have been as they are for long. How long, this node's own clock
    /// says, from the walk on that first met them so: that of the node which wrote them may be days behind.
    async fn sweep_intents(&self) -> Result<(), StoreError> {
        let now_ms = self.host.now_ms();
        let before = self.scans.ages().clone();
        let mut ages = HashMap::new();
        let mut scan = self.platform.scan(system::INTENTS).await?;
        loop {
            let page = scan.next().await?;
            if page.is_empty() {
                break;
            }
            for (key, entry) in page {
                let Some(content) = &entry.content else { continue };
                let row = if is_piece(&key) { None } else { unseal::<IntentRow>(content) };
                if let Some(row) = row.filter(IntentRow::is_live) {
                    self.intents.meet(&IntentName { key, attempt: row.attempt }, now_ms);
                    continue;
                }
                let state = hash((&key, &entry.token.0));
                let met_ms = before.get(&state).copied().unwrap_or(now_ms);
                let is_old = met_ms.saturating_add(self.options.intents_kept_ms) <= now_ms;
                if is_old && !(is_piece(&key) && self.is_needed(&key).await?) {
                    self.erase(DocumentId::new(system::INTENTS, key), entry.token).await?;
                } else if ages.len() < RECORDS_AGED_MAX {
                    ages.insert(state, met_ms);
                }
            }
        }
        *self.scans.ages() = ages;
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
