//! What to send next: purges at once, everything else while there is credit.

use std::sync::Arc;

use super::batch::{Fate, is_tombstone};
use super::effect::{Effect, Refusal, Sought};
use super::filter::Filter;
use super::record::{ChangePage, ChangeRecord, SnapshotPage};
use super::session::{OpenSession, Session, State};
use super::subscription::PurgeStep;
use crate::ids::{DocumentId, Offset, SubscriptionId};
use crate::prelude::*;

/// A page on its way from the changelog.
#[derive(Debug)]
pub(super) struct Loading {
    ticket: u64,
    work: Load,
}

/// What a page is for.
#[derive(Clone, Debug)]
pub(super) enum Load {
    Purge(SubscriptionId),
    Gain(SubscriptionId),
    Snapshot(SubscriptionId),
    Changes(Group),
    /// Symbols up to this index.
    Symbols(SubscriptionId, u32),
    Documents(SubscriptionId, Sought),
}

/// Live subscriptions that stand at one place.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) ids: Vec<SubscriptionId>,
    pub(super) told: Offset,
    pub(super) covered: Offset,
    /// Where the next group stands: changes beyond it are served to both together.
    pub(super) cap: Option<Offset>,
}

/// The next thing to do once there is credit.
enum Work {
    Load(Load),
    /// Everything was sent; say so.
    Confirm(Group),
}

impl Session {
    /// Starts what can be started.
    pub(super) fn pump(&mut self, now_ms: u64) {
        loop {
            let State::Open(open) = &mut self.state else { return };
            if open.loading.is_some() {
                return;
            }
            let restarted = open.restart_below_floor();
            if !restarted.is_empty() {
                self.send_restarts(restarted);
                continue;
            }
            if let Some(id) = open.subscriptions.values().find(|one| one.purge.is_some()).map(|one| one.id) {
                return self.load(Load::Purge(id));
            }
            let Some(work) = open.next_work() else {
                open.stalled_since_ms = None;
                return;
            };
            if open.credit <= 0 {
                open.stalled_since_ms.get_or_insert(now_ms);
                return;
            }
            open.stalled_since_ms = None;
            match work {
                Work::Load(load) => return self.load(load),
                Work::Confirm(group) => self.send_changes(&group, group.covered, true, Vec::new()),
            }
        }
    }

    fn load(&mut self, work: Load) {
        let bytes_max = self.config.page_bytes_max;
        let State::Open(open) = &mut self.state else { return };
        open.ticket += 1;
        let ticket = open.ticket;
        let effect = open.load_effect(&work, ticket, bytes_max);
        open.loading = Some(Loading { ticket, work });
        self.effects.extend(effect);
    }

    /// Takes the load that an answer belongs to; `None` for one that is not wanted any more.
    pub(super) fn loaded(&mut self, now_ms: u64, ticket: u64) -> Option<Load> {
        if !self.still_open(now_ms) {
            return None;
        }
        let State::Open(open) = &mut self.state else { return None };
        open.loading.take_if(|loading| loading.ticket == ticket).map(|loading| loading.work)
    }

    /// The answer to [`Effect::LoadChanges`].
    pub fn handle_changes(&mut self, now_ms: u64, ticket: u64, answer: Result<ChangePage, Refusal>) {
        let Some(work) = self.loaded(now_ms, ticket) else { return };
        let page = match answer {
            Ok(page) => page,
            Err(refusal) => return self.fail(&refusal),
        };
        let State::Open(open) = &mut self.state else { return };
        open.floor = open.floor.max(page.floor);
        match work {
            // Read from below the floor: tombstones are missing, the pump starts the subscriptions over.
            Load::Changes(group) if group.covered < open.floor => {}
            Load::Changes(group) => self.deliver_changes(&group, &page),
            Load::Purge(id) => {
                let next = (!page.last).then_some(PurgeStep::Recent { from: page.to });
                self.deliver_purge(id, page.to, &page.records, next);
            }
            Load::Gain(_) | Load::Snapshot(_) | Load::Symbols(..) | Load::Documents(..) => {}
        }
        self.pump(now_ms);
    }

    /// The answer to [`Effect::LoadSnapshot`].
    pub fn handle_snapshot(&mut self, now_ms: u64, ticket: u64, answer: Result<SnapshotPage, Refusal>) {
        let Some(work) = self.loaded(now_ms, ticket) else { return };
        let page = match answer {
            Ok(page) => page,
            Err(refusal) => return self.fail(&refusal),
        };
        let State::Open(open) = &mut self.state else { return };
        open.floor = open.floor.max(page.floor);
        // The client is caught up once it has what the page shows of its own and of other documents.
        open.head = open.head.max(page.offset);
        match work {
            Load::Snapshot(id) => self.deliver_snapshot(id, &page),
            Load::Gain(id) => self.deliver_gain(id, &page),
            Load::Purge(id) => {
                let recent = self.recent_from(id).map(|from| PurgeStep::Recent { from });
                let next = page.through.map(|through| PurgeStep::Live { after: Some(through) }).or(recent);
                self.deliver_purge(id, page.offset, &page.records, next);
            }
            Load::Changes(_) | Load::Symbols(..) | Load::Documents(..) => {}
        }
        self.pump(now_ms);
    }

    /// From where documents that left the lost channels are looked for; `None` when the client holds nothing older.
    fn recent_from(&self, id: SubscriptionId) -> Option<Offset> {
        let State::Open(open) = &self.state else { return None };
        let subscription = open.subscriptions.get(&id)?;
        let from = match &subscription.snapshot {
            Some(snapshot) => snapshot.offset?,
            None => subscription.told,
        };
        (from >= open.floor).then_some(from)
    }

    /// Lets the client's cursor follow what was left out, so that a later session does not read it again.
    pub(super) fn tell_position(&mut self, now_ms: u64) {
        let State::Open(open) = &mut self.state else { return };
        if let Some(group) = open.lowest_group()
            && open.loading.is_none()
            && open.credit > 0
            && group.covered > group.told
        {
            let last = group.covered >= open.head;
            self.send_changes(&group, group.covered, last, Vec::new());
        }
        self.pump(now_ms);
    }
}

impl OpenSession {
    fn next_work(&self) -> Option<Work> {
        if let Some(gaining) = self.subscriptions.values().find(|one| one.gain.is_some()) {
            return Some(Work::Load(Load::Gain(gaining.id)));
        }
        if let Some(load) = self.reconcile_load() {
            return Some(Work::Load(load));
        }
        let snapshot = self.subscriptions.values().find(|one| one.snapshot.is_some() && !one.ending).map(|one| one.id);
        let changes = self.lowest_group().filter(|group| group.covered < self.head);
        match (snapshot, changes) {
            (Some(id), None) => Some(Work::Load(Load::Snapshot(id))),
            (Some(id), Some(_)) if self.snapshot_turn => Some(Work::Load(Load::Snapshot(id))),
            (_, Some(group)) => Some(Work::Load(Load::Changes(group))),
            (None, None) => self.unconfirmed_group().map(Work::Confirm),
        }
    }

    fn load_effect(&self, work: &Load, ticket: u64, bytes_max: usize) -> Option<Effect> {
        let snapshot = |after: &Option<DocumentId>, filter: &Arc<Filter>, catches_up| Effect::LoadSnapshot {
            ticket,
            after: after.clone(),
            filter: Arc::clone(filter),
            bytes_max,
            catches_up,
        };
        Some(match work {
            Load::Purge(id) => {
                let purge = self.subscriptions.get(id)?.purge.as_ref()?;
                match &purge.step {
                    PurgeStep::Live { after } => snapshot(after, &purge.lost, false),
                    PurgeStep::Recent { from } => {
                        Effect::LoadChanges { ticket, from: *from, filter: Arc::clone(&purge.lost), bytes_max }
                    }
                }
            }
            Load::Gain(id) => {
                let gain = self.subscriptions.get(id)?.gain.as_ref()?;
                snapshot(&gain.after, &gain.filter, false)
            }
            Load::Snapshot(id) => {
                let subscription = self.subscriptions.get(id)?;
                let phase = subscription.snapshot.as_ref()?;
                snapshot(&phase.after, &subscription.filter, !phase.caught_up)
            }
            Load::Changes(group) => {
                Effect::LoadChanges { ticket, from: group.covered, filter: self.group_filter(&group.ids), bytes_max }
            }
            Load::Symbols(..) | Load::Documents(..) => return self.reconcile_effect(work, ticket),
        })
    }

    /// The live subscriptions with the lowest cursor.
    pub(super) fn lowest_group(&self) -> Option<Group> {
        let live = || self.subscriptions.values().filter(|one| one.is_live());
        let (covered, told) = live().map(|one| (one.covered, one.told)).min()?;
        let ids = live().filter(|one| (one.covered, one.told) == (covered, told)).map(|one| one.id).collect();
        let cap = live().map(|one| one.covered).filter(|other| *other > covered).min();
        Some(Group { ids, told, covered, cap })
    }

    fn unconfirmed_group(&self) -> Option<Group> {
        let one = self.subscriptions.values().find(|one| one.is_live() && !one.confirmed)?;
        Some(Group { ids: vec![one.id], told: one.told, covered: one.covered, cap: None })
    }

    pub(super) fn group_filter(&self, ids: &[SubscriptionId]) -> Arc<Filter> {
        let mut filters = ids.iter().filter_map(|id| self.subscriptions.get(id)).map(|one| &one.filter);
        let Some(first) = filters.next() else { return Arc::default() };
        let mut union = Arc::clone(first);
        for filter in filters {
            Arc::make_mut(&mut union).extend(filter);
        }
        union
    }

    pub(super) fn fate(&self, record: &ChangeRecord, group: &Filter) -> Fate {
        let collection = &record.id.collection;
        let own = record.session == self.id;
        let inside = group.matches(collection, &record.channels);
        let tombstone = is_tombstone(record);
        if own || !(inside || group.matches(collection, &record.left)) {
            Fate::Skip
        } else if inside || tombstone {
            Fate::Tell
        } else if self.covers(collection, &record.channels) {
            Fate::Skip
        } else {
            Fate::Leave
        }
    }

    pub(super) fn all_confirmed(&self, ids: &[SubscriptionId]) -> bool {
        ids.iter().filter_map(|id| self.subscriptions.get(id)).all(|one| one.confirmed)
    }

    pub(super) fn advance(&mut self, ids: &[SubscriptionId], told: Option<Offset>, covered: Offset, confirmed: bool) {
        for id in ids {
            if let Some(subscription) = self.subscriptions.get_mut(id) {
                subscription.told = told.unwrap_or(subscription.told);
                subscription.covered = covered;
                if told.is_some() {
                    // A client that was told less than everything is told when it has everything.
                    subscription.confirmed = confirmed;
                }
            }
        }
    }

    /// Changes cannot follow from below the floor: the tombstones in between are gone. The subscriptions that begin anew.
    fn restart_below_floor(&mut self) -> Vec<SubscriptionId> {
        let floor = self.floor;
        let mut restarted = Vec::new();
        for subscription in self.subscriptions.values_mut().filter(|one| !one.ending && !one.restarting) {
            let stands_at = match (&subscription.snapshot, &subscription.reconcile) {
                (Some(snapshot), _) => snapshot.offset,
                (None, Some(phase)) => phase.offset,
                (None, None) => Some(subscription.covered),
            };
            if stands_at.is_some_and(|offset| offset < floor) {
                subscription.restart();
                restarted.push(subscription.id);
            }
        }
        restarted
    }
}
