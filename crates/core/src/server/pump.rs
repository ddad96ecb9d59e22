//! What to send next: purges at once, everything else while there is credit.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::batch::{Batch, Fate, FrameKey, encode_leave, encode_record, encode_same, is_tombstone};
use super::effect::{Effect, Refusal};
use super::filter::Filter;
use super::record::{ChangePage, ChangeRecord, SnapshotPage};
use super::session::{OpenSession, Session, State};
use super::subscription::PurgeStep;
use crate::ids::{DocumentId, Offset, SubscriptionId};
use crate::version::ItemHasher;
use crate::wire::{Changes, Purge, ServerFrame, Snapshot, pack};

/// Room in a frame for everything but its items.
const FRAME_HEADER_BYTES: usize = 64 << 10;

/// A page on its way from the changelog.
#[derive(Debug)]
pub(super) struct Loading {
    ticket: u64,
    work: Load,
}

/// What a page is for.
#[derive(Clone, Debug)]
enum Load {
    Purge(SubscriptionId),
    Gain(SubscriptionId),
    Snapshot(SubscriptionId),
    Changes(Group),
}

/// Live subscriptions that stand at one place.
#[derive(Clone, Debug)]
struct Group {
    ids: Vec<SubscriptionId>,
    told: Offset,
    covered: Offset,
    /// Where the next group stands: changes beyond it are served to both together.
    cap: Option<Offset>,
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
            open.restart_below_floor();
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
    fn loaded(&mut self, now_ms: u64, ticket: u64) -> Option<Load> {
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
        match work {
            Load::Changes(group) => self.deliver_changes(&group, page),
            Load::Purge(id) => {
                let next = (!page.last).then_some(PurgeStep::Recent { from: page.to });
                self.deliver_purge(id, &page.records, next);
            }
            Load::Gain(_) | Load::Snapshot(_) => {}
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
        match work {
            Load::Snapshot(id) => self.deliver_snapshot(id, &page),
            Load::Gain(id) => self.deliver_gain(id, &page),
            Load::Purge(id) => {
                let recent = self.recent_from(id).map(|from| PurgeStep::Recent { from });
                let next = page.through.map(|through| PurgeStep::Live { after: Some(through) }).or(recent);
                self.deliver_purge(id, &page.records, next);
            }
            Load::Changes(_) => {}
        }
        self.pump(now_ms);
    }

    fn deliver_changes(&mut self, group: &Group, page: ChangePage) {
        let State::Open(open) = &mut self.state else { return };
        let to = group.cap.map_or(page.to, |cap| cap.min(page.to));
        // A page that was not the last was read when the head was beyond it already.
        let head = if page.last { page.to } else { Offset(page.to.0.saturating_add(1)) };
        open.head = open.head.max(head);
        let last = page.last && to == page.to && to >= open.head;
        let filter = open.group_filter(&group.ids);
        let mut items = Vec::new();
        for record in page.records.iter().filter(|record| record.offset > group.covered && record.offset <= to) {
            let Some(number) = open.numbers.get(&record.id.collection) else { continue };
            match open.fate(record, &filter) {
                Fate::Skip => {}
                Fate::Tell => items.push(encode_record(record, *number)),
                Fate::Leave => items.push(encode_leave(record, *number)),
            }
        }
        if items.is_empty() && open.all_confirmed(&group.ids) {
            open.advance(&group.ids, None, to, false);
            return;
        }
        self.send_changes(group, to, last, items);
    }

    /// Sends a range of changes, in several frames when it is larger than one.
    fn send_changes(&mut self, group: &Group, to: Offset, last: bool, items: Vec<Vec<u8>>) {
        let chunk_bytes_max = self.chunk_bytes_max();
        let State::Open(open) = &mut self.state else { return };
        open.snapshot_turn = true;
        let changelog = open.changelog;
        open.advance(&group.ids, Some(to), to, last);
        let mut chunks = chunked(items, chunk_bytes_max);
        let final_chunk = chunks.pop().unwrap_or_default();
        let frame = |items: Vec<u8>, more: bool| {
            ServerFrame::Changes(Changes {
                changelog,
                subscriptions: group.ids.clone(),
                from: group.told,
                to,
                last: last && !more,
                changes: pack(items),
                more,
            })
        };
        for chunk in chunks {
            self.send_charged(&frame(chunk, true));
        }
        self.send_charged(&frame(final_chunk, false));
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
        if batch.encoded_len() > (self.config.limits.frame_bytes_max as usize).saturating_sub(FRAME_HEADER_BYTES) {
            return false;
        }
        let key = FrameKey {
            changelog: open.changelog,
            subscriptions: group.ids.clone(),
            from: group.told,
            to: batch.to,
            last: true,
            fates,
        };
        let frame = batch.frame(key, &open.numbers);
        open.credit -= i64::try_from(frame.len()).unwrap_or(i64::MAX);
        open.advance(&group.ids, Some(batch.to), batch.to, true);
        self.effects.push_back(Effect::Send(frame));
        true
    }

    fn deliver_snapshot(&mut self, id: SubscriptionId, page: &SnapshotPage) {
        let chunk_bytes_max = self.chunk_bytes_max();
        let State::Open(open) = &mut self.state else { return };
        open.snapshot_turn = false;
        let (changelog, numbers) = (open.changelog, &open.numbers);
        let Some(subscription) = open.subscriptions.get_mut(&id) else { return };
        let channels = subscription.labels_held();
        let Some(snapshot) = &mut subscription.snapshot else { return };
        let offset = *snapshot.offset.get_or_insert(page.offset);
        let hasher = ItemHasher::new(changelog);
        let mut frames = Vec::new();
        let mut items = Vec::new();
        let mut after = snapshot.after.take();
        let frame = |after: Option<DocumentId>, through: Option<DocumentId>, items: Vec<u8>| {
            let (after, through) = (after.map(pair), through.map(pair));
            let channels = channels.clone();
            Snapshot { changelog, subscription: id, offset, after, through, changes: pack(items), channels }
        };
        for record in page.records.iter().filter(|one| subscription.filter.matches(&one.id.collection, &one.channels)) {
            let Some(number) = numbers.get(&record.id.collection) else { continue };
            let hash = hasher.hash(&record.id.collection, &record.id.key, record.version);
            let known = snapshot.have.binary_search(&hash).is_ok();
            items.extend(if known { encode_same(record, *number) } else { encode_record(record, *number) });
            if items.len() > chunk_bytes_max {
                let through = Some(record.id.clone());
                frames.push(frame(after.take(), through.clone(), std::mem::take(&mut items)));
                after = through;
            }
        }
        frames.push(frame(after, page.through.clone(), items));
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

    /// Documents of gained channels: newer than the cursor, which they leave where it is.
    fn deliver_gain(&mut self, id: SubscriptionId, page: &SnapshotPage) {
        let chunk_bytes_max = self.chunk_bytes_max();
        let State::Open(open) = &mut self.state else { return };
        let (changelog, numbers) = (open.changelog, &open.numbers);
        let Some(subscription) = open.subscriptions.get_mut(&id) else { return };
        let items = page
            .records
            .iter()
            .filter(|record| subscription.filter.matches(&record.id.collection, &record.channels))
            .filter_map(|record| Some(encode_record(record, *numbers.get(&record.id.collection)?)))
            .collect();
        match (&page.through, &mut subscription.gain) {
            (Some(through), Some(gain)) => gain.after = Some(through.clone()),
            (None, _) => subscription.gain = None,
            (Some(_), None) => {}
        }
        let finished = subscription.gain.is_none();
        let (told, channels) = (subscription.told, subscription.labels_held());
        for chunk in chunked(items, chunk_bytes_max) {
            self.send_charged(&ServerFrame::Changes(Changes {
                changelog,
                subscriptions: vec![id],
                from: told,
                to: told,
                last: false,
                changes: pack(chunk),
                more: false,
            }));
        }
        if finished {
            self.send(&ServerFrame::Purge(Purge { subscription: id, documents: Vec::new(), channels }));
        }
    }

    /// Names documents of lost channels that no other subscription covers. Costs no credit: it must not wait.
    fn deliver_purge(&mut self, id: SubscriptionId, records: &[ChangeRecord], next: Option<PurgeStep>) {
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
            self.send(&ServerFrame::Purge(Purge { subscription: id, documents, channels }));
        }
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

    fn send_charged(&mut self, frame: &ServerFrame) {
        let len = self.send(frame);
        if let State::Open(open) = &mut self.state {
            open.credit -= i64::try_from(len).unwrap_or(i64::MAX);
        }
    }

    /// Bytes of items after which a frame is full: one more item of any size still fits.
    fn chunk_bytes_max(&self) -> usize {
        let limits = &self.config.limits;
        let item_bytes_max = limits.document_bytes_max as usize + limits.key_bytes_max as usize;
        (limits.frame_bytes_max as usize).saturating_sub(item_bytes_max + FRAME_HEADER_BYTES).max(1)
    }
}

impl OpenSession {
    fn next_work(&self) -> Option<Work> {
        if let Some(gaining) = self.subscriptions.values().find(|one| one.gain.is_some()) {
            return Some(Work::Load(Load::Gain(gaining.id)));
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
        let snapshot = |after: &Option<DocumentId>, filter: &Arc<Filter>| Effect::LoadSnapshot {
            ticket,
            after: after.clone(),
            filter: Arc::clone(filter),
            bytes_max,
        };
        Some(match work {
            Load::Purge(id) => {
                let purge = self.subscriptions.get(id)?.purge.as_ref()?;
                match &purge.step {
                    PurgeStep::Live { after } => snapshot(after, &purge.lost),
                    PurgeStep::Recent { from } => {
                        Effect::LoadChanges { ticket, from: *from, filter: Arc::clone(&purge.lost), bytes_max }
                    }
                }
            }
            Load::Gain(id) => {
                let gain = self.subscriptions.get(id)?.gain.as_ref()?;
                snapshot(&gain.after, &gain.filter)
            }
            Load::Snapshot(id) => {
                let subscription = self.subscriptions.get(id)?;
                snapshot(&subscription.snapshot.as_ref()?.after, &subscription.filter)
            }
            Load::Changes(group) => Effect::LoadChanges {
                ticket,
                from: group.covered,
                filter: self.group_filter(&group.ids),
                bytes_max,
            },
        })
    }

    /// The live subscriptions with the lowest cursor.
    fn lowest_group(&self) -> Option<Group> {
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

    fn group_filter(&self, ids: &[SubscriptionId]) -> Arc<Filter> {
        let mut filters = ids.iter().filter_map(|id| self.subscriptions.get(id)).map(|one| &one.filter);
        let Some(first) = filters.next() else { return Arc::default() };
        let mut union = Arc::clone(first);
        for filter in filters {
            Arc::make_mut(&mut union).extend(filter);
        }
        union
    }

    fn fate(&self, record: &ChangeRecord, group: &Filter) -> Fate {
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

    fn all_confirmed(&self, ids: &[SubscriptionId]) -> bool {
        ids.iter().filter_map(|id| self.subscriptions.get(id)).all(|one| one.confirmed)
    }

    fn advance(&mut self, ids: &[SubscriptionId], told: Option<Offset>, covered: Offset, confirmed: bool) {
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

    /// Changes cannot follow from below the floor: the tombstones in between are gone.
    fn restart_below_floor(&mut self) {
        let floor = self.floor;
        for subscription in self.subscriptions.values_mut().filter(|one| !one.ending) {
            let stands_at = match &subscription.snapshot {
                Some(snapshot) => snapshot.offset,
                None => Some(subscription.covered),
            };
            if stands_at.is_some_and(|offset| offset < floor) {
                subscription.restart_snapshot(Vec::new());
            }
        }
    }
}

fn pair(id: DocumentId) -> (String, String) {
    (id.collection, id.key)
}

/// Joins items into chunks of about `bytes_max` bytes; none for no items.
fn chunked(items: Vec<Vec<u8>>, bytes_max: usize) -> Vec<Vec<u8>> {
    let mut chunks: Vec<Vec<u8>> = Vec::new();
    for item in items {
        match chunks.last_mut() {
            Some(chunk) if chunk.len() <= bytes_max => chunk.extend(item),
            _ => chunks.push(item),
        }
    }
    chunks
}
