//! From outboxes to mutations: what the application wrote becomes durable as pending mutations, which are then pushed.

use super::outbox::Group;
use super::storage::{PageId, Read, ReadResult, RejectedDocument, Row, WriteOp};
use super::task::{Next, outbox_deletes};
use super::work::Desk;
use super::{Client, Event, Pending};
use crate::ids::{DocumentId, Sequence, Version};
use crate::ordered::OrderedSet;
use crate::prelude::*;
use crate::wire::{DocumentChange, ErrorCode, Mutation, Operation, encode};
use crate::{json, key, merge};

/// Most groups that one transaction forms.
const GROUPS_MAX: usize = 128;
/// Forming stops adding groups beyond this many documents.
const DOCUMENTS_MAX: usize = 2_000;
/// Rows that one adoption step compares.
const ADOPT_ROWS: u32 = 128;

/// The task that forms mutations from unsent transactions.
#[derive(Debug, Default)]
pub(super) struct Collect {
    groups: Vec<Group>,
    scans: Vec<String>,
    stage: u8,
}

impl Collect {
    pub(super) fn step(&mut self, client: &mut Client, desk: &mut Desk) -> Next {
        self.stage += 1;
        match self.stage {
            1 => {
                self.groups = choose(client);
                desk.after.idle = self.groups.is_empty();
                Next::Read(self.first_reads(client, desk))
            }
            2 => Next::Read(desk.want([], self.covered(client, desk))),
            _ => {
                self.form(client, desk);
                Next::Done
            }
        }
    }

    /// The answers to the first reads: those of the desk, then the scans.
    pub(super) fn absorb(&mut self, desk: &mut Desk, mut results: Vec<ReadResult>) {
        let scans = core::mem::take(&mut self.scans);
        let scanned = results.split_off(results.len().saturating_sub(scans.len()));
        desk.absorb(results);
        for (collection, result) in scans.into_iter().zip(scanned) {
            if let ReadResult::Scan(rows) = result {
                for (key, row) in rows {
                    let id = DocumentId::new(collection.as_str(), key);
                    for group in self.groups.iter_mut().filter(|group| group.whole.contains(&collection)) {
                        group.documents.insert(id.clone());
                    }
                    desk.add_row(id, row);
                }
            }
        }
    }

    fn first_reads(&mut self, client: &Client, desk: &mut Desk) -> Vec<Read> {
        let documents: Vec<DocumentId> = self.groups.iter().flat_map(|group| group.documents.iter().cloned()).collect();
        let whole: OrderedSet<String> = self.groups.iter().flat_map(|group| group.whole.iter().cloned()).collect();
        let broad: OrderedSet<&String> =
            self.groups.iter().flat_map(|group| group.ranged.iter()).chain(whole.iter()).collect();
        let mut pages: Vec<PageId> =
            documents.iter().map(|id| client.directory.page_of(&id.collection, &id.key)).collect();
        for collection in broad {
            pages.extend(client.directory.pages_between(collection, None, None));
        }
        let mut reads = desk.want(pages, documents);
        self.scans = whole.into_iter().collect();
        reads.extend(self.scans.iter().map(|collection| Read::Scan {
            collection: collection.clone(),
            after: None,
            limit: u32::MAX,
        }));
        reads
    }

    /// Confirmed documents in the deleted ranges: they belong to the groups, and their rows are needed.
    fn covered(&mut self, client: &Client, desk: &Desk) -> Vec<DocumentId> {
        let mut found = Vec::new();
        for group in &mut self.groups {
            let collections: OrderedSet<String> = group.ranged.iter().chain(group.whole.iter()).cloned().collect();
            for collection in collections {
                let keys: Vec<String> =
                    desk.pages.documents(&collection).map(|(key, _, _)| String::from(key)).collect();
                let covered = keys.into_iter().filter(|key| client.mirror.covered(group, &collection, key));
                let ids: Vec<DocumentId> = covered.map(|key| DocumentId::new(collection.as_str(), key)).collect();
                group.documents.extend(ids.iter().cloned());
                found.extend(ids);
            }
        }
        found
    }

    fn form(&mut self, client: &Client, desk: &mut Desk) {
        let mut former = Former::new(client, desk);
        for group in core::mem::take(&mut self.groups) {
            for (collection, reason) in &group.unsupported {
                let message = format!("a key of {collection} cannot be synced: {reason}");
                desk.after.events.push(Event::Problem { code: "unsupported-key", message, retryable: false });
            }
            desk.after.outbox_removed.extend(group.records.iter().cloned());
            match changes_of(&group.documents, client, desk) {
                Ok(changes) => former.add(group.at_ms, changes),
                Err(refusal) => take_back(&group, refusal, client, desk),
            }
        }
        let deletes = outbox_deletes(&desk.after.outbox_removed);
        desk.writes.extend(deletes);
        former.finish(desk);
    }
}

/// The groups that may be formed: none that touches a pending document, nor any that was made after it (monotonic writes). A group
/// that waits for the application's resolver holds up only itself.
fn choose(client: &Client) -> Vec<Group> {
    let pending: OrderedSet<&DocumentId> =
        client.pending.values().flat_map(|pending| pending.mutation.changes.iter().map(|change| &change.id)).collect();
    let mut chosen = Vec::new();
    let mut documents = 0_usize;
    for group in client.mirror.groups() {
        let broad = |id: &&DocumentId| client.mirror.covered(&group, &id.collection, &id.key);
        if group.documents.iter().any(|id| pending.contains(id)) || pending.iter().any(broad) {
            break;
        }
        let offered = group.records.iter().all(|(collection, _)| client.policies.contains_key(collection));
        let waits = client
            .unresolved
            .keys()
            .any(|id| group.documents.contains(id) || client.mirror.covered(&group, &id.collection, &id.key));
        if !offered || waits {
            continue;
        }
        documents = documents.saturating_add(group.documents.len());
        if chosen.len() >= GROUPS_MAX || (documents > DOCUMENTS_MAX && !chosen.is_empty()) {
            break;
        }
        chosen.push(group);
    }
    chosen
}

/// Numbers mutations and stores them in one pending record.
pub(super) struct Former {
    replica: super::state::Replica,
    mutations: Vec<Mutation>,
}

impl Former {
    pub(super) fn new(client: &Client, desk: &Desk) -> Self {
        let replica = desk.after.replica.as_ref().unwrap_or(&client.replica).clone();
        Self { replica, mutations: Vec::new() }
    }

    /// Gives a mutation the next sequence.
    pub(super) fn again(&mut self, mutation: Mutation) {
        self.replica.assigned = self.replica.assigned.next();
        self.mutations.push(Mutation { sequence: self.replica.assigned, ..mutation });
    }

    /// A server that was set back lacks a document, or it was deleted while the client was away: the server decides, by what it
    /// remembers. What the user has changed follows once that is answered.
    pub(super) fn offer(&mut self, id: &DocumentId, client: &Client, desk: &mut Desk) {
        let Some(body) = desk.pages.confirmed(id).map(|(_, body)| body.to_vec()) else { return };
        let operation = Operation::Offer(body);
        self.add(client.now_ms, vec![DocumentChange { id: id.clone(), base: Version::ABSENT, operation, whole: None }]);
        desk.confirm(id, None);
    }

    /// A transaction that changed nothing against the shadow needs no mutation.
    pub(super) fn add(&mut self, edited_ms: u64, changes: Vec<DocumentChange>) {
        if !changes.is_empty() {
            self.again(Mutation { sequence: Sequence(0), edited_ms, changes, before: None });
        }
    }

    pub(super) fn finish(self, desk: &mut Desk) {
        let mut mutations = self.mutations;
        if !mutations.is_empty() {
            desk.put_replica(self.replica);
        }
        while let Some(record) = mutations.first().map(|mutation| mutation.sequence) {
            let rest = mutations.split_off(mutations.len().min(GROUPS_MAX));
            let encoded = encode(&mutations);
            let bytes = encoded.len();
            desk.writes.push(WriteOp::PendingPut(record, encoded));
            let pending = |mutation| Pending { mutation, record, bytes, sent: false };
            desk.after.pending_added.extend(mutations.into_iter().map(pending));
            mutations = rest;
        }
    }
}

/// Why a group cannot be sent.
struct Refusal {
    code: ErrorCode,
    message: String,
}

/// What the group changed against the shadow, or why it cannot be sent.
fn changes_of(
    documents: &OrderedSet<DocumentId>,
    client: &Client,
    desk: &Desk,
) -> Result<Vec<DocumentChange>, Refusal> {
    let mut changes = Vec::new();
    let mut bytes = 0_usize;
    for id in documents.iter() {
        if let Some(change) = change_of(id, client, desk)? {
            bytes = bytes.saturating_add(encode(&change).len());
            changes.push(change);
        }
    }
    let limits = &client.limits;
    if changes.len() > limits.mutation_documents_max as usize || bytes > limits.mutation_bytes_max as usize {
        let message = format!(
            "one transaction changed {} documents, {bytes} bytes; the server takes {} documents and {} bytes: write in smaller transactions",
            changes.len(),
            limits.mutation_documents_max,
            limits.mutation_bytes_max
        );
        return Err(Refusal { code: ErrorCode::TooLarge, message });
    }
    Ok(changes)
}

fn change_of(id: &DocumentId, client: &Client, desk: &Desk) -> Result<Option<DocumentChange>, Refusal> {
    let confirmed = desk.pages.confirmed(id);
    let invalid = |message: String| Refusal { code: ErrorCode::InvalidDocument, message: format!("{id}: {message}") };
    let mine = match desk.row(id) {
        // The user never had it.
        row @ Row::Absent if client.is_refused(id, row) => return Ok(None),
        Row::Absent => None,
        Row::Json(text) => Some(text.as_slice()),
        Row::Unsupported(reason) => return Err(invalid(reason.clone())),
    };
    if mine == confirmed.map(|(_, body)| body) {
        return Ok(None);
    }
    key::check(&id.key, &client.limits).map_err(|error| invalid(error.to_string()))?;
    let mine = match mine {
        None => None,
        Some(text) if text.len() > client.limits.document_bytes_max as usize => {
            let message = format!("{id} has {} bytes; the limit is {}", text.len(), client.limits.document_bytes_max);
            return Err(Refusal { code: ErrorCode::TooLarge, message });
        }
        Some(text) => Some(json::check(text, &client.limits).map_err(|error| invalid(error.to_string()))?),
    };
    let base = confirmed.and_then(|(_, body)| json::parse(body).ok());
    let policy = client.policy(&id.collection);
    let operation = merge::diff(base.as_ref(), mine.as_ref(), &policy);
    let base = confirmed.map(|(version, _)| version).unwrap_or_default();
    Ok(operation.map(|operation| DocumentChange { id: id.clone(), base, operation, whole: None }))
}

/// A group that cannot be sent goes back to what the server has; the list of rejected mutations keeps what the user wanted.
fn take_back(group: &Group, refusal: Refusal, client: &Client, desk: &mut Desk) {
    let mut documents = Vec::new();
    for id in group.documents.iter() {
        let confirmed = desk.pages.confirmed(id).map(|(_, body)| body.to_vec());
        let (mine, copy_row) = match desk.row(id) {
            Row::Absent => (None, false),
            Row::Json(text) => (Some(text.clone()), false),
            Row::Unsupported(_) => (None, true),
        };
        if copy_row || mine != confirmed {
            documents.push((RejectedDocument { id: id.clone(), mine, copy_row }, confirmed));
        }
    }
    let entries = documents.iter().map(|(document, _)| document.clone()).collect();
    desk.reject(client, refusal.code, refusal.message, entries);
    for (document, confirmed) in documents {
        desk.write_row(&document.id, confirmed);
    }
}

/// The task that compares the rows of a store that was populated before it was synced, a few at a time. Each row that the server
/// does not have so is a mutation of its own.
#[derive(Debug)]
pub(super) struct Adopt {
    record: (String, u64),
    after: Option<String>,
    rows: Vec<String>,
    stage: u8,
    done: bool,
}

impl Adopt {
    pub(super) fn next(client: &Client) -> Option<Self> {
        let offered = |record: &(String, u64)| client.policies.contains_key(&record.0);
        let record = client.mirror.adoptions().into_iter().find(offered)?;
        let after = client.adopted.get(&record).cloned();
        Some(Self { record, after, rows: Vec::new(), stage: 0, done: false })
    }

    pub(super) fn absorb(&mut self, desk: &mut Desk, mut results: Vec<ReadResult>) {
        match (self.stage, results.pop()) {
            (1, Some(ReadResult::Scan(rows))) => {
                self.done = rows.len() < ADOPT_ROWS as usize;
                for (key, row) in rows {
                    desk.add_row(DocumentId::new(self.record.0.as_str(), key.as_str()), row);
                    self.rows.push(key);
                }
            }
            (_, last) => {
                results.extend(last);
                desk.absorb(results);
            }
        }
    }

    pub(super) fn step(&mut self, client: &Client, desk: &mut Desk) -> Next {
        self.stage += 1;
        let collection = self.record.0.as_str();
        match self.stage {
            1 => Next::Read(vec![Read::Scan {
                collection: collection.into(),
                after: self.after.clone(),
                limit: ADOPT_ROWS,
            }]),
            2 => {
                let pages: Vec<PageId> =
                    self.rows.iter().map(|key| client.directory.page_of(collection, key)).collect();
                Next::Read(desk.want(pages, []))
            }
            _ => {
                self.form(client, desk);
                Next::Done
            }
        }
    }

    pub(super) fn committed(&self, client: &mut Client) {
        match self.rows.last() {
            Some(last) if !self.done => {
                client.adopted.insert(self.record.clone(), last.clone());
            }
            _ => {
                client.adopted.remove(&self.record);
            }
        }
    }

    fn form(&self, client: &Client, desk: &mut Desk) {
        let mut former = Former::new(client, desk);
        for key in &self.rows {
            let id = DocumentId::new(self.record.0.as_str(), key.as_str());
            match change_of(&id, client, desk) {
                Ok(change) => former.add(client.now_ms, change.into_iter().collect()),
                // What was there before Tidelock stays where it is.
                Err(refusal) => {
                    let message = format!("{} stays on this device", refusal.message);
                    desk.after.events.push(Event::Problem { code: refusal.code.name(), message, retryable: false });
                }
            }
        }
        if self.done {
            desk.after.outbox_removed.push(self.record.clone());
            desk.writes.extend(outbox_deletes(&desk.after.outbox_removed));
        }
        former.finish(desk);
    }
}
