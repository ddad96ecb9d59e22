//! Subscriptions that begin, change and end, and what else moves the pump.

use std::sync::Arc;

use super::batch::Batch;
use super::effect::{Effect, Refusal};
use super::filter::Filter;
use super::reconcile::ReconcilePhase;
use super::session::{Session, State};
use super::subscription::{SnapshotPhase, Subscription};
use crate::ids::{DocumentId, Offset, SubscriptionId};
use crate::prelude::*;
use crate::wire::{Cursor, ErrorCode, Subscribe};

/// Most subscriptions of one session.
const SUBSCRIPTIONS_MAX: usize = 64;

impl Session {
    pub(super) fn subscribe(&mut self, now_ms: u64, subscribe: Subscribe) {
        let channels_max = self.config.limits.channels_max as usize;
        let State::Open(open) = &mut self.state else { return };
        let named = subscribe.collections.len() + subscribe.channels.as_ref().map_or(0, Vec::len);
        if named > channels_max || subscribe.held.len() > channels_max {
            let message = format!("a subscription that names more than {channels_max} channels");
            return self.fail(&Refusal::new(ErrorCode::TooLarge, message));
        }
        let Some(have) = item_hashes(&subscribe.have) else {
            return self.fail(&Refusal::new(ErrorCode::Protocol, "`have` is not a list of 8-byte hashes"));
        };
        let previous = open.subscriptions.remove(&subscribe.id);
        let subscription = begin(&open.grant.filter, open, previous.as_deref(), subscribe, have);
        let restarted = subscription.restarting.then_some(subscription.id);
        open.subscriptions.insert(subscription.id, Box::new(subscription));
        open.loading = None;
        self.send_restarts(restarted.into_iter().collect());
        let State::Open(open) = &mut self.state else { return };
        let labels: usize = open.subscriptions.values().map(|one| one.filter.labels_count()).sum();
        if open.subscriptions.len() > SUBSCRIPTIONS_MAX || labels > channels_max {
            let message = format!("more than {SUBSCRIPTIONS_MAX} subscriptions or {channels_max} channels");
            return self.fail(&Refusal::new(ErrorCode::TooLarge, message));
        }
        self.watch();
        self.pump(now_ms);
    }

    pub(super) fn unsubscribe(&mut self, now_ms: u64, id: SubscriptionId) {
        let State::Open(open) = &mut self.state else { return };
        let Some(subscription) = open.subscriptions.get_mut(&id) else {
            return self.fail(&Refusal::new(ErrorCode::Protocol, format!("no subscription {id}")));
        };
        subscription.ending = true;
        subscription.gain = None;
        let everything = (*subscription.filter).clone();
        subscription.owe_purge(everything);
        open.loading = None;
        self.watch();
        self.pump(now_ms);
    }

    /// The client may be sent more.
    pub(super) fn credit(&mut self, now_ms: u64, bytes: u32) {
        let State::Open(open) = &mut self.state else { return };
        // A sum beyond any window means the same as the largest window.
        open.credit = (open.credit + i64::from(bytes)).min(i64::from(u32::MAX));
        self.pump(now_ms);
    }

    /// Tells the host what to watch from here on; pages under way were read by another filter and are dropped.
    pub(super) fn watch(&mut self) {
        let State::Open(open) = &mut self.state else { return };
        open.loading = None;
        let watched = open.watched();
        self.effects.push_back(Effect::Watch(watched));
    }

    /// Where the changelog stands. Called after [`Effect::Watch`], and whenever a batch was not handed over.
    pub fn handle_head(&mut self, now_ms: u64, head: Offset, floor: Offset) {
        if let State::Open(open) = &mut self.state {
            open.head = open.head.max(head);
            open.floor = open.floor.max(floor);
            if self.still_open(now_ms) {
                self.pump(now_ms);
            }
        }
    }

    /// Nothing that [`Effect::Watch`] named was committed after `since` up to `head`.
    pub fn handle_quiet(&mut self, since: Offset, head: Offset) {
        let State::Open(open) = &mut self.state else { return };
        open.head = open.head.max(head);
        for subscription in open.subscriptions.values_mut() {
            if subscription.is_live() && subscription.confirmed && subscription.covered >= since {
                subscription.covered = subscription.covered.max(head);
            }
        }
    }

    /// A group of commits. Nothing that [`Effect::Watch`] named was committed after `since` but what this batch holds.
    pub fn handle_batch(&mut self, now_ms: u64, since: Offset, batch: &Batch) {
        let State::Open(open) = &mut self.state else { return };
        let known_head = open.head;
        open.head = open.head.max(batch.to);
        if !self.still_open(now_ms) {
            return;
        }
        if !self.deliver_batch(since, batch, known_head) {
            self.pump(now_ms);
        }
    }
}

/// The subscription as it begins: with the changes after a cursor, with a snapshot, with symbols; or it has to begin anew, because
/// the cursor is of no use and the client did not say what it has.
fn begin(
    allowed: &Arc<Filter>,
    open: &super::session::OpenSession,
    previous: Option<&Subscription>,
    subscribe: Subscribe,
    have: Vec<u64>,
) -> Subscription {
    let mut collections = subscribe.collections;
    collections.retain(|collection| open.numbers.contains_key(collection));
    let filter = allowed.narrowed(&collections, subscribe.channels.as_deref());
    let (held, in_part) = Filter::held(&subscribe.held);
    let mut lost = held.without(&filter);
    lost.extend(&in_part.without(&filter));
    let mut known = Filter::clone(allowed);
    if let Some(previous) = previous {
        lost.extend(&previous.filter.without(&filter));
        known.extend(&previous.filter);
        if let Some(purge) = &previous.purge {
            lost.extend(&purge.lost);
            known.extend(&purge.lost);
        }
    }
    // Naming the documents of a channel that the identity may not read would tell their keys to whoever claims to have held it.
    let nameable = lost.without(&known).is_empty();
    let named_cursor = subscribe.cursor.is_some();
    let cursor = subscribe.cursor.filter(|cursor| usable(cursor, open) && nameable);
    let gained = filter.without(&held);
    let told = cursor.as_ref().map_or(Offset(0), |cursor| cursor.offset);
    let follows = cursor.is_some();
    let after = cursor.and_then(|cursor| cursor.snapshot).map(|(collection, key)| DocumentId { collection, key });
    let reconcile = subscribe.reconcile.filter(|_| !named_cursor).map(ReconcilePhase::new);
    let anew = !named_cursor && reconcile.is_none();
    let caught_up = have.is_empty() || open.newcomer;
    let offset = follows.then_some(told);
    let snapshot = (after.is_some() || anew).then_some(SnapshotPhase { offset, after, have, caught_up });
    let mut subscription = Subscription {
        id: subscribe.id,
        collections,
        channels: subscribe.channels,
        // Whoever wants all that may be read shares it: idle sessions are many.
        filter: if filter == **allowed { Arc::clone(allowed) } else { filter.into() },
        told,
        covered: told,
        confirmed: false,
        snapshot,
        reconcile,
        restarting: named_cursor && !follows,
        purge: None,
        gain: None,
        ending: false,
    };
    if follows {
        subscription.owe_purge(lost);
        subscription.owe_gain(gained);
    }
    subscription
}

/// Whether changes can follow from a cursor.
fn usable(cursor: &Cursor, open: &super::session::OpenSession) -> bool {
    cursor.changelog == open.changelog && cursor.offset >= open.floor && cursor.offset <= open.head
}

/// Splits concatenated big-endian hashes, sorted.
fn item_hashes(bytes: &[u8]) -> Option<Vec<u64>> {
    let (chunks, rest) = bytes.as_chunks::<8>();
    let mut hashes: Vec<u64> = chunks.iter().map(|chunk| u64::from_be_bytes(*chunk)).collect();
    hashes.sort_unstable();
    rest.is_empty().then_some(hashes)
}
