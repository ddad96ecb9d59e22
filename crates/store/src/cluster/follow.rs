//! The task that follows the feed.
//!
//! A state goes from the feed into the journal when its order tells that it is later than what was taken in; it is dropped when it is
//! not, and its document is read where nobody can tell. A document of an intent that is not done is put off until it is: its creator
//! is at work, and if it is not, this node finishes the intent after some patience. The position is remembered once everything that it
//! covers is in the journal.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use tidelock_core::ids::{DocumentId, SessionId};
use tidelock_core::planted::{self, Bug};

use super::ClusterStore;
use super::epoch::Look;
use super::intent::is_piece;
use super::known::Age;
use super::limits::{EVENTS_AT_ONCE_MAX, POSITIONS_WAITING_MAX};
use super::meta::{IntentName, IntentRow, Stage, unseal};
use super::take::{NotTaken, Unfinished};
use crate::error::StoreError;
use crate::platform::{Entry, FeedEvent, Platform, Position, system};

/// The journal's note of the position.
const NOTE: &str = "cluster:feed";

/// How far the task is.
#[derive(Default)]
pub(super) struct Following {
    /// Documents that wait for an intent, with the number of the first.
    put_off: BTreeMap<IntentName, (u64, BTreeSet<DocumentId>)>,
    /// Of what was put off last.
    number: u64,
    /// Positions that cover what is put off, each with the number up to which it does.
    positions: VecDeque<(u64, Position)>,
    tended_ms: u64,
}

impl Following {
    fn put_off(&mut self, intent: IntentName, id: DocumentId) {
        self.number += 1;
        let number = self.number;
        self.put_off.entry(intent).or_insert_with(|| (number, BTreeSet::new())).1.insert(id);
    }

    fn reach(&mut self, position: Position) {
        let full = self.positions.len() >= POSITIONS_WAITING_MAX;
        if self.positions.back().is_some_and(|(number, _)| full || *number == self.number) {
            self.positions.pop_back();
        }
        self.positions.push_back((self.number, position));
    }

    /// The last position that covers nothing that is put off.
    fn safe(&mut self) -> Option<Position> {
        let first = self.put_off.values().map(|(number, _)| *number).min().unwrap_or(u64::MAX);
        let mut safe = None;
        while self.positions.front().is_some_and(|(number, _)| *number < first) {
            safe = self.positions.pop_front().map(|(_, position)| position);
        }
        safe
    }
}

impl<P: Platform> ClusterStore<P> {
    /// Follows the feed for ever.
    pub(super) async fn follow_forever(&self) {
        let mut attempt = 0;
        loop {
            let before = self.host.now_ms();
            if self.follow().await.is_err() {
                // One that worked for a while broke just now; one that did not is not asked all the time.
                let worked = self.host.now_ms().saturating_sub(before) > super::limits::BACKOFF_MS_MAX;
                attempt = if worked { 0 } else { attempt + 1 };
            }
            self.backoff(attempt).await;
        }
    }

    async fn follow(&self) -> Result<(), StoreError> {
        let mut collections = self.options.collections.clone();
        collections.extend([system::INTENTS, system::CONFLICTS, system::STATE].map(str::to_owned));
        let from = self.journal.recall(NOTE).await?.map(Position);
        let mut feed = self.platform.feed(&collections, from.as_ref()).await?;
        let mut following = Following::default();
        loop {
            let pause = self.host.sleep(self.options.patience_ms);
            let first = match select(feed.next(), pause).await {
                Either::Left((event, _)) => Some(event?),
                Either::Right(_) => None,
            };
            let mut events: Vec<FeedEvent> = first.into_iter().collect();
            while !events.is_empty() && events.len() < EVENTS_AT_ONCE_MAX {
                let Some(event) = feed.next().now_or_never() else { break };
                events.push(event?);
            }
            self.hear(&mut following, events).await?;
            self.tend(&mut following).await?;
            if self.scans.is_done()
                && let Some(position) = following.safe()
            {
                self.journal.remember(NOTE, position.0.clone()).await?;
                feed.acknowledge(&position).await?;
            }
        }
    }

    async fn hear(&self, following: &mut Following, events: Vec<FeedEvent>) -> Result<(), StoreError> {
        let mut documents: BTreeMap<DocumentId, Option<Entry>> = BTreeMap::new();
        let mut intents: Vec<(DocumentId, Option<Entry>)> = Vec::new();
        let mut reached = None;
        for event in events {
            match event {
                FeedEvent::Changed(id, entry) if id.collection == system::INTENTS => intents.push((id, entry)),
                FeedEvent::Changed(id, _) if id.collection == system::STATE => self.look_at_epoch(Look::Read).await?,
                FeedEvent::Changed(id, entry) => drop(documents.insert(id, entry)),
                FeedEvent::Position(position) => reached = Some(position),
                FeedEvent::CaughtUp => {}
                FeedEvent::Lost(_) if planted::has(Bug::LostUnscanned) => {}
                FeedEvent::Lost(Some(collection)) => self.scans.request(collection),
                FeedEvent::Lost(None) => self.scans.request_all(),
                FeedEvent::RolledBack(name) => {
                    self.known.forget();
                    self.clients.forget();
                    self.look_at_epoch(Look::RolledBack(&name)).await?;
                }
            }
        }
        for (id, entry) in intents {
            self.hear_of_intent(following, id, entry).await?;
        }
        self.take_in(following, documents).await?;
        if let Some(position) = reached {
            following.reach(position);
        }
        Ok(())
    }

    async fn hear_of_intent(
        &self,
        following: &mut Following,
        id: DocumentId,
        entry: Option<Entry>,
    ) -> Result<(), StoreError> {
        if is_piece(&id.key) {
            return Ok(());
        }
        let row: Option<IntentRow> = match entry {
            Some(entry) => entry.content.and_then(|content| unseal(&content)),
            None => self.get_one(id.clone()).await?.body().and_then(|body| unseal(body)),
        };
        let Some(row) = row else { return Ok(()) };
        let name = IntentName { key: id.key, attempt: row.attempt };
        if row.is_live() {
            self.intents.meet(&name, self.host.now_ms());
            return Ok(());
        }
        self.intents.settled(&name);
        let mut ids = following.put_off.remove(&name).map(|(_, ids)| ids).unwrap_or_default();
        if row.stage == Stage::Done && !self.known.is_published(&name) {
            // Its pieces may be gone when it was done long ago.
            if let Ok(body) = self.intent_body(&name.key, &row).await {
                ids.extend(body.parts.into_iter().filter(super::meta::Part::is_written).map(|part| part.id));
            }
        }
        self.take_in(following, ids.into_iter().map(|id| (id, None)).collect()).await
    }

    /// Takes documents in; those of unfinished intents are put off.
    pub(super) async fn take_in(
        &self,
        following: &mut Following,
        documents: BTreeMap<DocumentId, Option<Entry>>,
    ) -> Result<(), StoreError> {
        let old = |id: &DocumentId, entry: &Option<Entry>| {
            entry.as_ref().is_some_and(|entry| self.known.age(id, entry) == Age::Old)
        };
        let mut documents: BTreeMap<_, _> = documents.into_iter().filter(|(id, entry)| !old(id, entry)).collect();
        while !documents.is_empty() {
            let Some((intent, holders)) = self.try_take_in(&documents).await? else { return Ok(()) };
            self.intents.meet(&intent, self.host.now_ms());
            let (held, rest) = documents.into_iter().partition(|(id, _)| holders.contains(id));
            documents = rest;
            let held: BTreeMap<DocumentId, Option<Entry>> = held;
            if held.is_empty() {
                return self.take_in_one_by_one(following, documents).await;
            }
            // The rest stays together: what was forgotten of their groups does not tear them then.
            for id in held.into_keys() {
                following.put_off(intent.clone(), id);
            }
        }
        Ok(())
    }

    /// Takes documents in of which some belong to a group with one that waits for an intent.
    async fn take_in_one_by_one(
        &self,
        following: &mut Following,
        documents: BTreeMap<DocumentId, Option<Entry>>,
    ) -> Result<(), StoreError> {
        for (id, entry) in documents {
            let one = BTreeMap::from([(id.clone(), entry)]);
            if let Some((intent, _)) = self.try_take_in(&one).await? {
                self.intents.meet(&intent, self.host.now_ms());
                following.put_off(intent, id);
            }
        }
        Ok(())
    }

    /// Takes documents in together; the intent that is in the way, and documents that have their parts of it.
    async fn try_take_in(
        &self,
        documents: &BTreeMap<DocumentId, Option<Entry>>,
    ) -> Result<Option<(IntentName, BTreeSet<DocumentId>)>, StoreError> {
        let mut guard = self.locks.lock(documents.keys().cloned().collect()).await;
        let mut given = BTreeMap::new();
        guard.retain(|id| {
            match documents.get(id).and_then(Option::as_ref).map(|entry| (self.known.age(id, entry), entry)) {
                Some((Age::Old, _)) => false,
                Some((Age::Later, entry)) => {
                    given.insert(id.clone(), entry.clone());
                    true
                }
                Some((Age::Unknown, _)) | None => true,
            }
        });
        match self.take_locked(guard, Unfinished::Report, given, BTreeSet::new()).await {
            Ok(mut taken) => {
                if planted::has(Bug::ForeignIgnored) {
                    taken.states.retain(|_, state| state.is_ours());
                }
                self.ingest(&mut taken, SessionId(0), &[]).await.map(|_| None)
            }
            Err(NotTaken::Unfinished(intent, holders)) => Ok(Some((intent, holders))),
            Err(NotTaken::Failed(error)) => Err(error),
        }
    }

    /// Brings intents to their end whose creators do not.
    async fn tend(&self, following: &mut Following) -> Result<(), StoreError> {
        let now_ms = self.host.now_ms();
        let patience_ms = self.options.patience_ms;
        if now_ms < following.tended_ms.saturating_add(patience_ms) {
            return Ok(());
        }
        following.tended_ms = now_ms;
        // Spread, so that not every node does it at once.
        let patience_ms = patience_ms + self.host.random() % patience_ms.max(1);
        for name in self.intents.met_until(now_ms.saturating_sub(patience_ms)) {
            // One that cannot be settled now is met again.
            if self.help(&name).await.unwrap_or(false) {
                self.intents.settled(&name);
                let ids = following.put_off.remove(&name).map(|(_, ids)| ids).unwrap_or_default();
                self.take_in(following, ids.into_iter().map(|id| (id, None)).collect()).await?;
            }
        }
        Ok(())
    }
}
