//! The store in memory: the model that the others are compared with, and the simulator's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidelock_core::ids::{
    ChangelogId, ClientId, DocumentId, Epoch, History, Incarnation, MutationId, Offset, Sequence, Version,
};
use tokio::sync::broadcast;

use tidelock_core::planted::{self, Bug};
use tidelock_core::server::{ChangePage, ChangeRecord, Filter, SnapshotPage, SymbolPage};

use crate::changelog::{Changelog, Former, Segment};
use crate::channels::{channels_of_conflict, concerns, left_after};
use crate::error::StoreError;
use crate::limits::{CONFLICTS_KEPT_DEFAULT, RECORD_BYTES_OVERHEAD, SEGMENTS_BUFFERED_MAX};
use crate::sketches::Sketches;
use crate::store::{
    BoxFuture, Capabilities, ClientRecord, Commit, CommitOutcome, ConflictQuery, ConflictRecord, Document, ReadSet,
    Recorded, Store, Trace, Write,
};

/// A database in memory. Deterministic: ordered maps, one mutex, every future is ready when first polled.
#[derive(Debug)]
pub struct MemoryStore {
    epoch: Epoch,
    changelog: ChangelogId,
    state: Mutex<State>,
    segments: broadcast::Sender<Arc<Segment>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// By the changelog identity that asked, from its first request on.
    sketches: BTreeMap<ChangelogId, Sketches>,
    head: Offset,
    floor: Offset,
    /// The latest state of each document, tombstones included, with its edit time.
    documents: BTreeMap<DocumentId, (Arc<ChangeRecord>, u64)>,
    /// Every entry of `documents` by its offset.
    by_offset: BTreeMap<Offset, BTreeSet<DocumentId>>,
    /// Recorded outcomes; the last of an incarnation is never pruned, its sequence is the finished one.
    outcomes: BTreeMap<(ClientId, Incarnation), BTreeMap<Sequence, Recorded>>,
    /// By rising number.
    conflicts: VecDeque<ConflictRecord>,
    conflict_number_last: u64,
    notes: BTreeMap<String, Vec<u8>>,
    /// Documents whose state was brought back.
    offered: BTreeSet<DocumentId>,
    /// Where each history ends but the last, which is the present one.
    histories: Vec<(History, Offset)>,
}

/// What a store held at a moment, as a copy of its file does.
#[derive(Clone, Debug, Default)]
pub struct MemoryCopy(State);

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(Epoch(1), ChangelogId(1))
    }
}

impl MemoryStore {
    /// An empty database with these identities.
    pub fn new(epoch: Epoch, changelog: ChangelogId) -> Self {
        let (segments, _) = broadcast::channel(SEGMENTS_BUFFERED_MAX);
        Self { epoch, changelog, state: Mutex::default(), segments }
    }

    /// A copy of what it holds.
    pub fn copy(&self) -> MemoryCopy {
        MemoryCopy(State { sketches: BTreeMap::new(), ..self.state().clone() })
    }

    /// Opens a copy. `history` begins there: nobody may have been told of it before.
    pub fn open(copy: MemoryCopy, epoch: Epoch, changelog: ChangelogId, history: History) -> Self {
        let store = Self::new(epoch, changelog);
        let mut state = copy.0;
        let head = state.head;
        if let Some((_, end)) = state.histories.last_mut() {
            *end = head;
        }
        state.histories.push((history, Offset(u64::MAX)));
        *store.state() = state;
        store
    }

    /// [`symbols`](Changelog::symbols) as a node gives them that serves this store under a changelog identity of its own.
    pub fn symbols_of(&self, changelog: ChangelogId, filter: &Filter, count: u32) -> SymbolPage {
        self.state().sketches(changelog).symbols(filter, count)
    }

    /// [`items`](Changelog::items) under the changelog identity of a node.
    pub fn items_of(&self, changelog: ChangelogId, items: &[u64]) -> Vec<DocumentId> {
        self.state().items(changelog, items)
    }

    /// Forgets tombstones and left channels at or below `before` (at most the head), and raises the floor to it.
    /// Returns how many tombstones went.
    pub fn purge_tombstones(&self, before: Offset) -> u64 {
        self.state().purge_tombstones(before)
    }

    /// A panic of another holder cannot leave the state torn: a commit checks everything before it changes anything.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn commit(&mut self, commit: Commit, segments: &broadcast::Sender<Arc<Segment>>) -> CommitOutcome {
        if let Some(refusal) = commit.mutation.and_then(|mutation| self.refuse_sequence(mutation, commit.jumps)) {
            return refusal;
        }
        let found = |write: &Write| self.documents.get(&write.id).map_or(Version::ABSENT, |(record, _)| record.version);
        let mismatched = commit.writes.iter().filter(|write| found(write) != write.expected);
        let mismatched: Vec<DocumentId> = mismatched.map(|write| write.id.clone()).collect();
        if !mismatched.is_empty() {
            return CommitOutcome::Mismatch(mismatched);
        }
        let from = self.head;
        if !commit.writes.iter().all(|write| self.stays(write)) {
            self.head = Offset(from.0 + 1);
        }
        self.log_conflicts(&commit);
        let (records, former) = self.write(&commit);
        let offset = self.head;
        if let Some(mutation) = commit.mutation {
            self.record(
                mutation,
                commit.acknowledged,
                Recorded { sequence: mutation.sequence, offset, outcome: commit.outcome },
            );
        }
        if !records.is_empty() {
            let segment = Arc::new(Segment { from, to: offset, records, former });
            for sketches in self.sketches.values_mut() {
                sketches.follow(&segment);
            }
            // Fails when nobody listens.
            let _ = segments.send(segment);
        }
        CommitOutcome::Committed(offset)
    }

    fn finished(&self, client: ClientId, incarnation: Incarnation) -> Sequence {
        let outcomes = self.outcomes.get(&(client, incarnation));
        outcomes.and_then(|outcomes| outcomes.last_key_value()).map_or(Sequence(0), |(sequence, _)| *sequence)
    }

    fn refuse_sequence(&self, mutation: MutationId, jumps: bool) -> Option<CommitOutcome> {
        let finished = self.finished(mutation.client, mutation.incarnation);
        if mutation.sequence <= finished && !planted::has(Bug::AppliedTwice) {
            let outcomes = self.outcomes.get(&(mutation.client, mutation.incarnation));
            let recorded = outcomes.and_then(|outcomes| outcomes.get(&mutation.sequence)).cloned();
            return Some(CommitOutcome::Repeated(recorded));
        }
        (!jumps && mutation.sequence > finished.next()).then_some(CommitOutcome::OutOfOrder(finished))
    }

    fn trace(&self, id: &DocumentId) -> Trace {
        match self.documents.get(id) {
            Some((record, _)) => match (record.body.is_none(), self.offered.contains(id)) {
                (false, false) => Trace::None,
                (false, true) => Trace::Offered,
                (true, false) => Trace::Buried,
                (true, true) => Trace::Withdrawn,
            },
            None => Trace::None,
        }
    }

    fn stays(&self, write: &Write) -> bool {
        write.leaves(self.documents.get(&write.id).map_or(&[], |(record, _)| &record.channels))
    }

    /// Stores the documents at the head.
    fn write(&mut self, commit: &Commit) -> (Vec<Arc<ChangeRecord>>, Vec<Former>) {
        let mut records = BTreeMap::new();
        for write in &commit.writes {
            if self.stays(write) {
                continue;
            }
            let before = self.documents.get(&write.id).map(|(record, _)| record.clone());
            let left =
                before.as_ref().map_or_else(Vec::new, |old| left_after(&old.channels, &old.left, &write.channels));
            let record = Arc::new(ChangeRecord {
                offset: self.head,
                id: write.id.clone(),
                version: if write.body.is_some() { write.version } else { Version::ABSENT },
                body: write.body.clone(),
                channels: write.channels.clone(),
                left,
                session: commit.session,
            });
            if let Some(old) = &before {
                self.unlist(old.offset, &write.id);
            }
            if write.trace.is_brought_back() {
                self.offered.insert(write.id.clone());
            }
            let former =
                before.map(|old| Former { version: old.version, channels: old.channels.clone() }).unwrap_or_default();
            self.by_offset.entry(self.head).or_default().insert(write.id.clone());
            self.documents.insert(write.id.clone(), (record.clone(), write.edited_ms));
            records.insert(write.id.clone(), (record, former));
        }
        records.into_values().unzip()
    }

    fn unlist(&mut self, offset: Offset, id: &DocumentId) {
        if let Some(ids) = self.by_offset.get_mut(&offset) {
            ids.remove(id);
            if ids.is_empty() {
                self.by_offset.remove(&offset);
            }
        }
    }

    /// Before the documents are written.
    fn log_conflicts(&mut self, commit: &Commit) {
        for note in &commit.conflicts {
            self.conflict_number_last += 1;
            let found = self.documents.get(&note.id).map(|(record, _)| record);
            let former = found.filter(|record| record.body.is_some()).map(|record| record.channels.as_slice());
            let write = commit.writes.iter().find(|write| write.id == note.id && !self.stays(write));
            let after = write.map(|write| &write.channels).or_else(|| found.map(|record| &record.channels));
            let channels = channels_of_conflict(former, after.cloned().unwrap_or_default());
            self.conflicts.push_back(ConflictRecord {
                number: self.conflict_number_last,
                at_ms: commit.now_ms,
                actor: commit.actor.clone(),
                mutation: commit.mutation,
                note: note.clone(),
                channels,
            });
        }
        let excess = self.conflicts.len().saturating_sub(usize::try_from(CONFLICTS_KEPT_DEFAULT).unwrap_or(usize::MAX));
        self.conflicts.drain(..excess);
    }

    fn record(&mut self, mutation: MutationId, acknowledged: Sequence, recorded: Recorded) {
        let outcomes = self.outcomes.entry((mutation.client, mutation.incarnation)).or_default();
        outcomes.retain(|sequence, _| *sequence > acknowledged);
        outcomes.insert(mutation.sequence, recorded);
    }

    fn purge_tombstones(&mut self, before: Offset) -> u64 {
        let before = before.min(self.head);
        if !planted::has(Bug::TombstonesEarly) {
            self.floor = self.floor.max(before);
        }
        let ids: Vec<DocumentId> = self.by_offset.range(..=before).flat_map(|(_, ids)| ids.iter().cloned()).collect();
        let mut purged = 0;
        for id in ids {
            let Some((record, _)) = self.documents.get_mut(&id) else { continue };
            if record.body.is_some() {
                Arc::make_mut(record).left.clear();
                continue;
            }
            let offset = record.offset;
            self.documents.remove(&id);
            self.offered.remove(&id);
            self.unlist(offset, &id);
            purged += 1;
        }
        purged
    }

    fn changes(&self, from: Offset, filter: &Filter, bytes_max: usize) -> ChangePage {
        let mut page = ChangePage { records: Vec::new(), to: from, last: false, floor: self.floor };
        let mut bytes = 0;
        for (offset, ids) in self.by_offset.range((Bound::Excluded(from), Bound::Unbounded)) {
            if page.to > from && bytes >= bytes_max {
                return page;
            }
            page.to = *offset;
            for (record, _) in ids.iter().filter_map(|id| self.documents.get(id)) {
                if concerns(filter, &record.id.collection, &record.channels, &record.left) {
                    bytes += record_bytes(record);
                    page.records.push(ChangeRecord::clone(record));
                }
            }
        }
        page.to = self.head.max(from);
        page.last = true;
        page
    }

    fn snapshot(&self, after: Option<&DocumentId>, filter: &Filter, bytes_max: usize) -> SnapshotPage {
        let mut page = SnapshotPage { records: Vec::new(), through: None, offset: self.head, floor: self.floor };
        let mut bytes = 0;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (id, (record, _)) in self.documents.range((start, Bound::Unbounded)) {
            if record.body.is_none() || !filter.matches(&id.collection, &record.channels) {
                continue;
            }
            if bytes >= bytes_max && !page.records.is_empty() {
                page.through = page.records.last().map(|record| record.id.clone());
                return page;
            }
            bytes += record_bytes(record);
            page.records.push(ChangeRecord::clone(record));
        }
        page
    }

    fn sketches(&mut self, changelog: ChangelogId) -> &Sketches {
        let Self { sketches, documents, head, .. } = self;
        sketches.entry(changelog).or_insert_with(|| {
            let mut sketches = Sketches::new(changelog);
            for (record, _) in documents.values().filter(|(record, _)| record.body.is_some()) {
                sketches.insert(&record.id, record.version, &record.channels, record.offset);
            }
            sketches.stand_at(*head);
            sketches
        })
    }

    fn items(&mut self, changelog: ChangelogId, items: &[u64]) -> Vec<DocumentId> {
        let wanted: BTreeSet<u64> = items.iter().copied().collect();
        let sketches = self.sketches(changelog);
        let offsets: BTreeSet<Offset> = items.iter().filter_map(|item| sketches.offset_of(*item)).collect();
        let sketches = self.sketches.get(&changelog);
        let ids = offsets.iter().filter_map(|offset| self.by_offset.get(offset)).flatten();
        let item = |id: &DocumentId| Some(sketches?.item(id, self.documents.get(id)?.0.version));
        ids.filter(|id| item(id).is_some_and(|item| wanted.contains(&item))).cloned().collect()
    }

    fn scan(&self, collection: &str, after: Option<&str>, limit: usize) -> Vec<(String, Document)> {
        let start = DocumentId::new(collection, after.unwrap_or_default());
        self.documents
            .range(start..)
            .take_while(|(id, _)| id.collection == collection)
            .filter(|(id, _)| after != Some(id.key.as_str()))
            .filter_map(|(id, entry)| Some((id.key.clone(), document(entry)?)))
            .take(limit)
            .collect()
    }

    fn conflicts(&self, query: &ConflictQuery) -> Vec<ConflictRecord> {
        let wanted = |record: &&ConflictRecord| {
            query.collection.as_ref().is_none_or(|collection| *collection == record.note.id.collection)
                && query.key.as_ref().is_none_or(|key| *key == record.note.id.key)
                && query.before.is_none_or(|before| record.number < before)
        };
        self.conflicts.iter().rev().filter(wanted).take(query.limit).cloned().collect()
    }
}

/// What a record counts against the limit of a page.
fn record_bytes(record: &ChangeRecord) -> usize {
    record.body.as_ref().map_or(0, |body| body.len()) + record.id.key.len() + RECORD_BYTES_OVERHEAD
}

fn document((record, edited_ms): &(Arc<ChangeRecord>, u64)) -> Option<Document> {
    Some(Document { version: record.version, body: record.body.clone()?, edited_ms: *edited_ms })
}

impl Store for MemoryStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities::own("memory")
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn read<'a>(&'a self, ids: &'a [DocumentId]) -> BoxFuture<'a, Result<ReadSet, StoreError>> {
        Box::pin(async move {
            let state = self.state();
            let documents = ids.iter().map(|id| state.documents.get(id).and_then(document)).collect();
            Ok(ReadSet { documents, offset: state.head })
        })
    }

    fn traces<'a>(&'a self, ids: &'a [DocumentId]) -> BoxFuture<'a, Result<Vec<Trace>, StoreError>> {
        Box::pin(async move {
            let state = self.state();
            Ok(ids.iter().map(|id| state.trace(id)).collect())
        })
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<CommitOutcome, StoreError>> {
        Box::pin(async move { Ok(self.state().commit(commit, &self.segments)) })
    }

    fn client(&self, client: ClientId, incarnation: Incarnation) -> BoxFuture<'_, Result<ClientRecord, StoreError>> {
        Box::pin(async move { Ok(ClientRecord { finished: self.state().finished(client, incarnation) }) })
    }

    fn outcomes(
        &self,
        client: ClientId,
        incarnation: Incarnation,
        after: Sequence,
    ) -> BoxFuture<'_, Result<Vec<Recorded>, StoreError>> {
        Box::pin(async move {
            let state = self.state();
            let outcomes = state.outcomes.get(&(client, incarnation));
            let later = outcomes.map(|outcomes| outcomes.range((Bound::Excluded(after), Bound::Unbounded)));
            Ok(later.into_iter().flatten().map(|(_, recorded)| recorded.clone()).collect())
        })
    }

    fn scan<'a>(
        &'a self,
        collection: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Document)>, StoreError>> {
        Box::pin(async move { Ok(self.state().scan(collection, after, limit)) })
    }

    fn conflicts<'a>(&'a self, query: &'a ConflictQuery) -> BoxFuture<'a, Result<Vec<ConflictRecord>, StoreError>> {
        Box::pin(async move { Ok(self.state().conflicts(query)) })
    }
}

impl Changelog for MemoryStore {
    fn id(&self) -> ChangelogId {
        self.changelog
    }

    fn head(&self) -> Offset {
        self.state().head
    }

    fn floor(&self) -> Offset {
        self.state().floor
    }

    fn history(&self) -> Option<History> {
        self.state().histories.last().map(|(history, _)| *history)
    }

    fn holds(&self, history: History, offset: Offset) -> bool {
        let state = self.state();
        state.histories.iter().any(|(known, end)| *known == history && offset <= state.head.min(*end))
    }

    fn changes<'a>(
        &'a self,
        from: Offset,
        filter: &'a Filter,
        bytes_max: usize,
    ) -> BoxFuture<'a, Result<ChangePage, StoreError>> {
        Box::pin(async move { Ok(self.state().changes(from, filter, bytes_max)) })
    }

    fn snapshot<'a>(
        &'a self,
        after: Option<&'a DocumentId>,
        filter: &'a Filter,
        bytes_max: usize,
    ) -> BoxFuture<'a, Result<SnapshotPage, StoreError>> {
        Box::pin(async move { Ok(self.state().snapshot(after, filter, bytes_max)) })
    }

    fn symbols<'a>(&'a self, filter: &'a Filter, count: u32) -> BoxFuture<'a, Result<SymbolPage, StoreError>> {
        Box::pin(async move { Ok(self.symbols_of(self.changelog, filter, count)) })
    }

    fn items<'a>(&'a self, items: &'a [u64]) -> BoxFuture<'a, Result<Vec<DocumentId>, StoreError>> {
        Box::pin(async move { Ok(self.items_of(self.changelog, items)) })
    }

    fn purge(&self, before: Offset) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move { Ok(self.purge_tombstones(before)) })
    }

    fn recall<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(async move { Ok(self.state().notes.get(name).cloned()) })
    }

    fn remember<'a>(&'a self, name: &'a str, note: Vec<u8>) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.state().notes.insert(name.to_owned(), note);
            Ok(())
        })
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<Segment>> {
        self.segments.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::MemoryStore;
    use crate::conformance;

    #[tokio::test]
    async fn conforms() {
        conformance::run(MemoryStore::default).await;
    }
}
