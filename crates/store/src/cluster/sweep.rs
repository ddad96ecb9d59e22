//! The task that goes through whole collections: after the feed lost something, and from time to time, for not every platform tells
//! of everything. On its way it forgets what is past its horizon.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::select;
use tidelock_core::ids::{DocumentId, SessionId, Version};
use tidelock_core::planted::{self, Bug};
use tidelock_core::server::Filter;
use tokio::sync::{Notify, watch};

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

/// Collections that are to be gone through.
#[derive(Debug, Default)]
pub(super) struct Scans {
    all: Vec<String>,
    walks: Mutex<BTreeMap<String, Walks>>,
    woken: Notify,
    /// How many walks have ended.
    ended: watch::Sender<u64>,
    /// When records of intents were first met as they are, by a hash of record and state.
    ages: Mutex<HashMap<u64, u64>>,
}

/// Walks through one collection. They are numbered: one that begins after a request serves it, and all requests before.
#[derive(Clone, Copy, Debug, Default)]
struct Walks {
    /// The last that was asked for.
    asked: u64,
    /// The last that was asked for because something is missing: until it is done, no position of the feed is safe.
    missing: u64,
    /// The last that is done.
    done: u64,
    /// The last that failed.
    failed: u64,
    /// When the last one ended, done or failed, counted in walks through any collection.
    turn: u64,
}

impl Scans {
    pub(super) fn new(all: Vec<String>) -> Self {
        Self { all, ..Self::default() }
    }

    /// Something may be missing in a collection.
    pub(super) fn request(&self, collection: String) {
        let mut walks = self.walks();
        let walks = walks.entry(collection).or_default();
        walks.asked += 1;
        walks.missing = walks.asked;
        self.woken.notify_one();
    }

    /// A collection is to be gone through, though nothing tells that something is missing. The number of the walk.
    fn ask(&self, collection: &str) -> u64 {
        let mut walks = self.walks();
        let walks = walks.entry(collection.to_owned()).or_default();
        walks.asked += 1;
        self.woken.notify_one();
        walks.asked
    }

    fn ask_all(&self) {
        for collection in &self.all {
            self.ask(collection);
        }
    }

    pub(super) fn request_all(&self) {
        for collection in &self.all {
            self.request(collection.clone());
        }
    }

    /// Waits for walks through collections that begin after this was called. Whether they are done; `false` when they fail, and `gives_up`.
    async fn walk(&self, collections: impl Iterator<Item = &String>, gives_up: impl Fn() -> bool) -> bool {
        let mut ended = self.ended.subscribe();
        let asked: Vec<(&String, u64)> = collections.map(|collection| (collection, self.ask(collection))).collect();
        let all_or_any = |is: fn(&Walks, u64) -> bool, all: bool| {
            let walks = self.walks();
            let mut asked =
                asked.iter().map(|(collection, number)| walks.get(*collection).is_some_and(|one| is(one, *number)));
            if all { asked.all(|is| is) } else { asked.any(|is| is) }
        };
        let are_done = || all_or_any(|walks, number| walks.done >= number, true);
        let has_failed = || all_or_any(|walks, number| walks.failed >= number && walks.done < number, false);
        // The sender lives as long as the scans.
        let _ = ended.wait_for(|_| are_done() || has_failed() && gives_up()).await;
        are_done()
    }

    /// Whether nothing is missing.
    pub(super) fn is_done(&self) -> bool {
        self.walks().values().all(|walks| walks.done >= walks.missing)
    }

    /// The next walk to begin: through the collection that had none for longest.
    fn first(&self) -> Option<(String, u64)> {
        let walks = self.walks();
        let wanted = walks.iter().filter(|(_, walks)| walks.done < walks.asked);
        wanted.min_by_key(|(_, walks)| walks.turn).map(|(collection, walks)| (collection.clone(), walks.asked))
    }

    /// A walk has ended: done, or to be begun again after the others.
    fn ended(&self, collection: &str, number: u64, done: bool) {
        let turn = self.ended.borrow().wrapping_add(1);
        if let Some(walks) = self.walks().get_mut(collection) {
            walks.turn = turn;
            if done {
                walks.done = number;
            } else {
                walks.failed = number;
            }
        }
        self.ended.send_replace(turn);
    }

    fn ages(&self) -> MutexGuard<'_, HashMap<u64, u64>> {
        self.ages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn walks(&self) -> MutexGuard<'_, BTreeMap<String, Walks>> {
        self.walks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// A walk that was under way when somebody asked may have passed what he asks for.
    #[test]
    fn a_walk_serves_those_who_asked_before_it_began() {
        let (scans, names) = (Scans::default(), ["a".to_owned(), "b".to_owned()]);
        scans.request("a".to_owned());
        let (_, under_way) = scans.first().unwrap();
        let mut asked = Box::pin(scans.walk(names.iter(), || true));
        assert_eq!((&mut asked).now_or_never(), None);
        scans.ended("a", under_way, true);
        assert!(scans.is_done(), "nothing is missing");
        for name in ["b", "a"] {
            assert_eq!((&mut asked).now_or_never(), None);
            let (next, number) = scans.first().unwrap();
            assert_eq!(next, name, "the one that had no walk for longest");
            scans.ended(&next, number, true);
        }
        assert_eq!(asked.now_or_never(), Some(true));
        assert_eq!(scans.first(), None);
    }

    /// All walks together may take longer than the time between two rounds.
    #[test]
    fn a_round_that_is_due_makes_nothing_missing() {
        let scans = Scans::new(["a", "b"].map(str::to_owned).to_vec());
        scans.request_all();
        for rest in [1, 0] {
            assert!(!scans.is_done());
            let (next, number) = scans.first().unwrap();
            scans.ask_all();
            scans.ended(&next, number, true);
            assert_eq!(scans.is_done(), rest == 0);
        }
        assert!(scans.first().is_some(), "the round comes all the same");
    }

    /// A collection that cannot be gone through holds the others up no more than once.
    #[test]
    fn a_walk_that_failed_comes_after_the_others() {
        let (scans, names) = (Scans::default(), ["b".to_owned()]);
        scans.request("a".to_owned());
        let mut asked = Box::pin(scans.walk(names.iter(), || true));
        assert_eq!((&mut asked).now_or_never(), None);
        for (name, done) in [("a", false), ("b", true), ("a", false)] {
            let (next, number) = scans.first().unwrap();
            assert_eq!(next, name);
            scans.ended(&next, number, done);
        }
        assert_eq!(asked.now_or_never(), Some(true));
        assert!(!scans.is_done(), "something is missing in a");
    }

    /// Whoever needs a walk is not kept waiting by walks that fail, once he has waited for long enough.
    #[test]
    fn a_walk_that_fails_is_waited_for_so_long() {
        let (scans, names) = (Scans::default(), ["a".to_owned(), "b".to_owned()]);
        let is_late = std::cell::Cell::new(false);
        scans.request("a".to_owned());
        let (_, under_way) = scans.first().unwrap();
        let mut asked = Box::pin(scans.walk(names.iter(), || is_late.get()));
        assert_eq!((&mut asked).now_or_never(), None);
        is_late.set(true);
        scans.ended("a", under_way, false);
        assert_eq!((&mut asked).now_or_never(), None, "that one began before it was asked for");
        is_late.set(false);
        for (name, late, answer) in
            [("b", false, None), ("a", false, None), ("b", false, None), ("a", true, Some(false))]
        {
            let (next, number) = scans.first().unwrap();
            assert_eq!(next, name);
            is_late.set(late);
            scans.ended(&next, number, false);
            assert_eq!((&mut asked).now_or_never(), answer);
        }
    }
}
