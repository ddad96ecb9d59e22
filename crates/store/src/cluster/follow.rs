//! The task that follows the feed.
//!
//! A state goes from the feed into the journal when its order tells that it is later than what was taken in; it is dropped when it is
//! not, and its document is read where nobody can tell. A document of an intent that is not done is put off until it is: its creator
//! is at work, and if it is not, this node finishes the intent after some patience. So is one that others of this node are at work on for
//! long: the feed waits for nothing that a write has to come to an end for. The position is remembered once everything that it covers is
//! in the journal.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::pin;

use futures_util::future::{Either, pending, select};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tidelock_core::ids::{DocumentId, SessionId};
use tidelock_core::planted::{self, Bug};

use super::ClusterStore;
use super::epoch::Look;
use super::intent::is_piece;
use super::known::Age;
use super::limits::{EVENTS_AT_ONCE_MAX, FEED_WAITS_MS_MAX, HELPED_AT_ONCE_MAX, POSITIONS_WAITING_MAX};
use super::meta::{IntentName, IntentRow, Stage, unseal};
use super::take::{NotTaken, Unfinished};
use crate::error::StoreError;
use crate::platform::{Entry, FeedEvent, Platform, Position, system};
use crate::store::BoxFuture;

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
    /// Intents that are being helped to their end.
    helped: BTreeSet<IntentName>,
    /// Documents that others of this node work on, with the number of the first, and when they are looked at again.
    busy: BTreeSet<DocumentId>,
    busy_number: u64,
    busy_ms: u64,
}

/// Why documents cannot be taken in now.
enum Held {
    /// An intent is in the way, and these documents have their parts of it.
    Intent(IntentName, BTreeSet<DocumentId>),
    /// Others of this node work on some of them, or on some of their groups.
    Busy,
}

/// Intents that are helped to their end, and whether they came to it.
type Helping<'a> = FuturesUnordered<BoxFuture<'a, (IntentName, bool)>>;

/// The next that ends; never, when there is none.
async fn next_helped(helping: &mut Helping<'_>) -> (IntentName, bool) {
    match helping.next().await {
        Some(helped) => helped,
        None => pending().await,
    }
}

impl Following {
    fn put_off(&mut self, intent: IntentName, id: DocumentId) {
        self.number += 1;
        let number = self.number;
        self.put_off.entry(intent).or_insert_with(|| (number, BTreeSet::new())).1.insert(id);
    }

    fn put_off_busy(&mut self, ids: impl Iterator<Item = DocumentId>, now_ms: u64) {
        self.number += 1;
        if self.busy.is_empty() {
            self.busy_number = self.number;
        }
        self.busy.extend(ids);
        self.busy_ms = now_ms.saturating_add(FEED_WAITS_MS_MAX);
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
        let busy = (!self.busy.is_empty()).then_some(self.busy_number);
        let first = self.put_off.values().map(|(number, _)| *number).chain(busy).min().unwrap_or(u64::MAX);
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
        let mut helping = Helping::new();
        loop {
            let pause_ms = if following.busy.is_empty() { self.options.patience_ms } else { FEED_WAITS_MS_MAX };
            let pause = self.host.sleep(pause_ms);
            // Help first: a feed that always has something must not hold it up.
            let first = match select(pin!(next_helped(&mut helping)), select(feed.next(), pause)).await {
                Either::Left(((name, is_settled), _)) => {
                    self.helped(&mut following, &name, is_settled).await?;
                    None
                }
                Either::Right((Either::Left((event, _)), _)) => Some(event?),
                Either::Right((Either::Right(_), _)) => None,
            };
            let mut events: Vec<FeedEvent> = first.into_iter().collect();
            while !events.is_empty() && events.len() < EVENTS_AT_ONCE_MAX {
                let Some(event) = feed.next().now_or_never() else { break };
                events.push(event?);
            }
            self.hear(&mut following, events).await?;
            if !following.busy.is_empty() && self.host.now_ms() >= following.busy_ms {
                let ids = std::mem::take(&mut following.busy);
                self.take_in(&mut following, ids.into_iter().map(|id| (id, None)).collect()).await?;
            }
            self.tend(&mut following, &mut helping);
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
            let (intent, holders) = match self.try_take_in(&documents, FEED_WAITS_MS_MAX).await? {
                None => return Ok(()),
                Some(Held::Intent(intent, holders)) => (intent, holders),
                Some(Held::Busy) => {
                    let (busy, rest): (BTreeMap<_, _>, _) =
                        documents.into_iter().partition(|(id, _)| !self.locks.is_free(id));
                    documents = rest;
                    if busy.is_empty() {
                        return self.take_in_one_by_one(following, documents).await;
                    }
                    following.put_off_busy(busy.into_keys(), self.host.now_ms());
                    continue;
                }
            };
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
            match self.try_take_in(&one, 0).await? {
                None => {}
                Some(Held::Intent(intent, _)) => {
                    self.intents.meet(&intent, self.host.now_ms());
                    following.put_off(intent, id);
                }
                Some(Held::Busy) => following.put_off_busy([id].into_iter(), self.host.now_ms()),
            }
        }
        Ok(())
    }

    /// Takes documents in together; what is in the way. Others may be at work on them for so long.
    async fn try_take_in(
        &self,
        documents: &BTreeMap<DocumentId, Option<Entry>>,
        wait_ms: u64,
    ) -> Result<Option<Held>, StoreError> {
        let ids = documents.keys().cloned().collect();
        let Some(mut guard) = self.locks.lock_within(ids, self.host.sleep(wait_ms)).await else {
            return Ok(Some(Held::Busy));
        };
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
            Err(NotTaken::Unfinished(intent, holders)) => Ok(Some(Held::Intent(intent, holders))),
            Err(NotTaken::Busy) => Ok(Some(Held::Busy)),
            Err(NotTaken::Failed(error)) => Err(error),
        }
    }

    /// Begins to bring intents to their end whose creators do not. The feed goes on meanwhile: it may take as long as the platform takes no
    /// writes.
    fn tend<'a>(&'a self, following: &mut Following, helping: &mut Helping<'a>) {
        let now_ms = self.host.now_ms();
        let patience_ms = self.options.patience_ms;
        if now_ms < following.tended_ms.saturating_add(patience_ms) {
            return;
        }
        following.tended_ms = now_ms;
        // Spread, so that not every node does it at once.
        let patience_ms = patience_ms + self.host.random() % patience_ms.max(1);
        for name in self.intents.met_until(now_ms.saturating_sub(patience_ms)) {
            if following.helped.len() >= HELPED_AT_ONCE_MAX {
                break;
            }
            if following.helped.insert(name.clone()) {
                helping.push(Box::pin(async move {
                    // One that cannot be settled now is met again.
                    let is_settled = self.help(&name).await.unwrap_or(false);
                    (name, is_settled)
                }));
            }
        }
    }

    /// Help for an intent has ended.
    async fn helped(&self, following: &mut Following, name: &IntentName, is_settled: bool) -> Result<(), StoreError> {
        following.helped.remove(name);
        if !is_settled {
            return Ok(());
        }
        self.intents.settled(name);
        let ids = following.put_off.remove(name).map(|(_, ids)| ids).unwrap_or_default();
        self.take_in(following, ids.into_iter().map(|id| (id, None)).collect()).await
    }
}
