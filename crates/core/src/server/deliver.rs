//! Frames of changes, snapshots and purges from what was read.

use std::collections::BTreeMap;

use super::batch::{Batch, Fate, FrameKey, change_of, is_tombstone, leave_of, same_of};
use super::effect::Effect;
use super::pump::Group;
use super::record::{ChangePage, ChangeRecord, SnapshotPage};
use super::session::{Session, State};
use super::subscription::PurgeStep;
use crate::ids::{DocumentId, Offset, SubscriptionId};
use crate::planted::{self, Bug};
use crate::prelude::*;
use crate::version::ItemHasher;
use crate::wire::{Change, Changes, Purge, ServerFrame, Snapshot, pack};

/// Room in a frame for everything but its items.
const FRAME_HEADER_BYTES: usize = 64 << 10;

impl Session {
    pub(super) fn deliver_changes(&mut self, group: &Group, page: &ChangePage) {
        let State::Open(open) = &mut self.state else { return };
        let to = group.cap.map_or(page.to, |cap| cap.min(page.to));
        // A page that was not the last was read when the head was beyond it already.
        let head = if page.last { page.to } else { Offset(page.to.0.saturating_add(1)) };
        open.head = open.head.max(head);
        let last = page.last && to == page.to && to >= open.head;
        let filter = open.group_filter(&group.ids);
        let mut changes = Vec::new();
        for record in page.records.iter().filter(|record| record.offset > group.covered && record.offset <= to) {
            let Some(number) = open.numbers.get(&record.id.collection) else { continue };
            match open.fate(record, &filter) {
                Fate::Skip => {}
                Fate::Tell => changes.push(change_of(record, record.offset, *number)),
                Fate::Leave => changes.push(leave_of(record, *number)),
            }
        }
        if changes.is_empty() && open.all_confirmed(&group.ids) {
            open.advance(&group.ids, None, to, false);
            return;
        }
        self.send_changes(group, to, last, changes);
    }

    /// Sends a range of changes, in several frames when it is larger than one.
    pub(super) fn send_changes(&mut self, group: &Group, to: Offset, last: bool, changes: Vec<Change>) {
        let chunk_bytes_max = self.chunk_bytes_max();
        let State::Open(open) = &mut self.state else { return };
        open.snapshot_turn = true;
        let changelog = open.changelog;
        open.advance(&group.ids, Some(to), to, last);
        self.delivered += changes.len() as u64;
        let mut chunks = chunked(changes, chunk_bytes_max);
        let final_chunk = chunks.pop().unwrap_or_default();
        let frame = |changes: &[Change], more: bool| {
            ServerFrame::Changes(Changes {
                changelog,
                subscriptions: group.ids.clone(),
                from: group.told,
                to,
                last: last && !more,
                changes: pack(changes),
                more,
            })
        };
        for chunk in chunks {
            self.send_charged(&frame(&chunk, !planted::has(Bug::GroupTorn)));
        }
        self.send_charged(&frame(&final_chunk, false));
    }

    /// Hands a batch on as it is, when every subscription stands right before it. Otherwise the changelog is read.
    pub(super) fn deliver_batch(&mut self, since: Offset, batch: &Batch, known_head: Offset) -> bool {
        let State::Open(open) = &mut self.state else { return true };
        let ready = open.loading.is_none()
            && open.credit > 0
            && open.subscriptions.values().all(|one| one.is_live() && one.confirmed && one.purge.is_none());
        let Some(group) = open.lowest_group() else { return false };
        if !ready || group.cap.is_some() || group.covered < since || known_head > batch.to {
            return false;
        }
        if group.covered >= batch.to {
            return true;
        }
        let filter = open.group_filter(&group.ids);
        let fates: Vec<Fate> = batch
            .records
            .iter()
            .map(|record| if record.offset > group.covered { open.fate(record, &filter) } else { Fate::Skip })
            .collect();
        if fates.iter().all(|fate| *fate == Fate::Skip) {
            open.advance(&group.ids, None, batch.to, false);
            return true;
        }
        let frame_bytes_max = self.config.limits.frame_bytes_max as usize;
        if batch.bytes() > frame_bytes_max.saturating_sub(FRAME_HEADER_BYTES) {
            return false;
        }
        self.delivered += fates.iter().filter(|fate| **fate != Fate::Skip).count() as u64;
        let key = FrameKey {
            changelog: open.changelog,
            subscriptions: group.ids.clone(),
            from: group.told,
            to: batch.to,
            last: true,
            fates,
        };
        let frame = batch.frame(key, &open.numbers);
        open.credit -= i64::try_from(frame.frame.len()).unwrap_or(i64::MAX);
        open.advance(&group.ids, Some(batch.to), batch.to, true);
        self.effects.push_back(Effect::Send(frame));
        true
    }

    pub(super) fn deliver_snapshot(&mut self, id: SubscriptionId, page: &SnapshotPage) {
        let chunk_bytes_max = self.chunk_bytes_max();
        let State::Open(open) = &mut self.state else { return };
        open.snapshot_turn = false;
        let (changelog, numbers) = (open.changelog, &open.numbers);
        let Some(subscription) = open.subscriptions.get_mut(&id) else { return };
        let channels = subscription.labels_held();
        let Some(snapshot) = &mut subscription.snapshot else { return };
        snapshot.caught_up = true;
        let offset = *snapshot.offset.get_or_insert(page.offset);
        let hasher = ItemHasher::new(changelog);
        let mut frames = Vec::new();
        let mut changes = Vec::new();
        let mut bytes = 0;
        let mut after = snapshot.after.take();
        let frame = |after: Option<DocumentId>, through: Option<DocumentId>, changes: &[Change]| {
            let (after, through) = (after.map(pair), through.map(pair));
            let channels = channels.clone();
            Snapshot { changelog, subscription: id, offset, after, through, changes: pack(changes), channels }
        };
        for record in page.records.iter().filter(|one| subscription.filter.matches(&one.id.collection, &one.channels)) {
            let Some(number) = numbers.get(&record.id.collection) else { continue };
            let hash = hasher.hash(&record.id.collection, &record.id.key, record.version);
            let known = snapshot.have.binary_search(&hash).is_ok();
            // As of the page, not of its last change: the client compares it with the offsets of its results.
            let change = if known { same_of } else { change_of }(record, page.offset, *number);
            bytes += change.bytes();
            changes.push(change);
            self.delivered += 1;
            if bytes > chunk_bytes_max {
                let through = Some(record.id.clone());
                frames.push(frame(after.take(), through.clone(), &changes));
                changes.clear();
                bytes = 0;
                after = through;
            }
        }
        frames.push(frame(after, page.through.clone(), &changes));
        snapshot.after.clone_from(&page.through);
        if page.through.is_none() {
            subscription.snapshot = None;
            subscription.told = offset;
            subscription.covered = offset;
        }
        for frame in frames {
            self.send_charged(&ServerFrame::Snapshot(frame));
        }
    }

    /// Documents of gained channels, as of the cursor or later; the cursor stays where it is.
    pub(super) fn deliver_gain(&mut self, id: SubscriptionId, page: &SnapshotPage) {
        let chunk_bytes_max = self.chunk_bytes_max();
        let State::Open(open) = &mut self.state else { return };
        let (changelog, numbers) = (open.changelog, &open.numbers);
        let Some(subscription) = open.subscriptions.get_mut(&id) else { return };
        let first = subscription.gain.as_mut().is_some_and(|gain| !std::mem::replace(&mut gain.told, true));
        let in_part = first.then(|| subscription.labels_held());
        let changes: Vec<Change> = page
            .records
            .iter()
            .filter(|record| subscription.filter.matches(&record.id.collection, &record.channels))
            .filter_map(|record| Some(change_of(record, page.offset, *numbers.get(&record.id.collection)?)))
            .collect();
        match (&page.through, &mut subscription.gain) {
            (Some(through), Some(gain)) => gain.after = Some(through.clone()),
            (None, _) => subscription.gain = None,
            (Some(_), None) => {}
        }
        self.delivered += changes.len() as u64;
        let finished = subscription.gain.is_none();
        let (told, channels) = (subscription.told, subscription.labels_held());
        let offset = page.offset;
        if let Some(channels) = in_part.filter(|_| !changes.is_empty() || !finished) {
            // Before the first of them: should they be lost again before all have come, those that have come have to go.
            self.send(&ServerFrame::Purge(Purge { subscription: id, documents: Vec::new(), channels, offset }));
        }
        for chunk in chunked(changes, chunk_bytes_max) {
            self.send_charged(&ServerFrame::Changes(Changes {
                changelog,
                subscriptions: vec![id],
                from: told,
                to: told,
                last: false,
                changes: pack(&chunk),
                more: false,
            }));
        }
        if finished {
            self.send(&ServerFrame::Purge(Purge { subscription: id, documents: Vec::new(), channels, offset }));
        }
    }

    /// Names documents of lost channels that no other subscription covers. Costs no credit: it must not wait.
    /// They were read at `offset`.
    pub(super) fn deliver_purge(
        &mut self,
        id: SubscriptionId,
        offset: Offset,
        records: &[ChangeRecord],
        next: Option<PurgeStep>,
    ) {
        let chunk_bytes_max = self.chunk_bytes_max();
        let State::Open(open) = &mut self.state else { return };
        let mut chunks = Vec::new();
        let mut documents: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        let mut bytes = 0;
        for record in records {
            let covered = !is_tombstone(record) && open.covers(&record.id.collection, &record.channels);
            let Some(number) = open.numbers.get(&record.id.collection).filter(|_| !covered) else { continue };
            documents.entry(*number).or_default().push(record.id.key.clone());
            bytes += record.id.key.len() + 8;
            if bytes > chunk_bytes_max {
                chunks.push(std::mem::take(&mut documents));
                bytes = 0;
            }
        }
        let finished = next.is_none();
        if finished || !documents.is_empty() {
            chunks.push(documents);
        }
        let Some(subscription) = open.subscriptions.get_mut(&id) else { return };
        if let Some(gain) = &mut subscription.gain {
            gain.told = true;
        }
        let unfinished = subscription.labels_held();
        match (next, &mut subscription.purge) {
            (Some(next), Some(purge)) => purge.step = next,
            _ => subscription.purge = None,
        }
        let held = subscription.labels_held();
        if finished && subscription.ending {
            open.subscriptions.remove(&id);
        }
        let count = chunks.len();
        for (index, chunk) in chunks.into_iter().enumerate() {
            let channels = if finished && index + 1 == count { held.clone() } else { unfinished.clone() };
            let documents = chunk.into_iter().collect();
            self.send(&ServerFrame::Purge(Purge { subscription: id, documents, channels, offset }));
        }
    }

    pub(super) fn send_charged(&mut self, frame: &ServerFrame) {
        let len = self.send(frame);
        if let State::Open(open) = &mut self.state {
            open.credit -= i64::try_from(len).unwrap_or(i64::MAX);
        }
    }

    /// Bytes of changes or symbols after which a frame is full: one more of any size still fits.
    pub(super) fn chunk_bytes_max(&self) -> usize {
        let limits = &self.config.limits;
        let item_bytes_max = limits.document_bytes_max as usize + limits.key_bytes_max as usize;
        (limits.frame_bytes_max as usize).saturating_sub(item_bytes_max + FRAME_HEADER_BYTES).max(1)
    }
}

fn pair(id: DocumentId) -> (String, String) {
    (id.collection, id.key)
}

/// Cuts changes into chunks of about `bytes_max` bytes; none for no changes.
pub(super) fn chunked(changes: Vec<Change>, bytes_max: usize) -> Vec<Vec<Change>> {
    let mut chunks: Vec<Vec<Change>> = Vec::new();
    let mut bytes = 0;
    for change in changes {
        let size = change.bytes();
        match chunks.last_mut() {
            Some(chunk) if bytes <= bytes_max => {
                bytes += size;
                chunk.push(change);
            }
            _ => {
                bytes = size;
                chunks.push(vec![change]);
            }
        }
    }
    chunks
}
