//! Applying what the server sends: changes, snapshots, purges.

use super::Client;
use super::collect::Former;
use super::storage::{PageId, Row};
use super::task::Next;
use super::work::{Desk, Theirs};
use crate::ids::{DocumentId, Version};
use crate::order::sorted_by;
use crate::ordered::OrderedSet;
use crate::planted::{self, Bug};
use crate::prelude::*;
use crate::version;
use crate::wire::{
    Change, ChangeKind, Changes, Cursor, DocumentPolicy, FieldStrategy, Policy, Purge, Reconciled, Snapshot, WireError,
    unpack_changes,
};

/// How often a batch waits for unsent changes that a rebase could handle as well.
const DEFERRALS_MAX: u32 = 3;

/// A frame that waits to be applied.
#[derive(Debug)]
pub(super) enum Inbound {
    /// Documents to take over.
    Batch(Batch),
    /// Documents to forget.
    Purge(Purge),
}

/// Documents of a changes, snapshot or reconciled frame.
#[derive(Debug)]
pub(super) struct Batch {
    changes: Vec<Change>,
    cover: Cover,
    wire_bytes: usize,
}

#[derive(Debug)]
enum Cover {
    Changes(Changes),
    Snapshot(Snapshot),
    Reconciled(Reconciled),
}

impl Inbound {
    /// A changes frame of `wire_bytes` bytes; its entries are unpacked here, once.
    pub(super) fn changes(mut frame: Changes, wire_bytes: usize) -> Result<Self, WireError> {
        let changes = unpack_changes(&core::mem::take(&mut frame.changes))?;
        Ok(Inbound::Batch(Batch { changes, cover: Cover::Changes(frame), wire_bytes }))
    }

    /// A snapshot frame of `wire_bytes` bytes; its entries are unpacked here, once.
    pub(super) fn snapshot(mut frame: Snapshot, wire_bytes: usize) -> Result<Self, WireError> {
        let changes = unpack_changes(&core::mem::take(&mut frame.changes))?;
        Ok(Inbound::Batch(Batch { changes, cover: Cover::Snapshot(frame), wire_bytes }))
    }

    /// A reconciled frame of `wire_bytes` bytes; its entries are unpacked here, once.
    pub(super) fn reconciled(mut frame: Reconciled, wire_bytes: usize) -> Result<Self, WireError> {
        let changes = unpack_changes(&core::mem::take(&mut frame.changes))?;
        Ok(Inbound::Batch(Batch { changes, cover: Cover::Reconciled(frame), wire_bytes }))
    }

    /// What the frame costs.
    pub(super) fn wire_bytes(&self) -> usize {
        match self {
            Inbound::Batch(batch) => batch.wire_bytes,
            Inbound::Purge(_) => 0,
        }
    }
}

/// Whether a conflict may need the server.
fn decided_by_server(policy: &Policy) -> bool {
    let field = |strategy: &FieldStrategy| matches!(strategy, FieldStrategy::Reject | FieldStrategy::Newest);
    let document =
        matches!(policy.document, DocumentPolicy::Reject | DocumentPolicy::Resolver | DocumentPolicy::Newest);
    document || field(&policy.field) || policy.fields.iter().any(|(_, strategy)| field(strategy))
}

impl Batch {
    /// Whether the identity may read anything of a collection, as the frame's labels say. Where it may not, or the server has no such
    /// collection any more, a document that is not named was not deleted: it is none of this client's any more.
    fn reads(&self, collection: &str) -> bool {
        let labels = match &self.cover {
            Cover::Changes(_) => return true,
            Cover::Snapshot(frame) => &frame.channels,
            Cover::Reconciled(frame) => &frame.channels,
        };
        labels.iter().any(|label| label.split('\0').next() == Some(collection))
    }

    /// Whether it tells what a server that was set back has: what it lacks is no deletion then. What waits for the resolver is asked again
    /// all the same.
    fn tells_what_is(&self, client: &Client) -> bool {
        client.position.restoring.is_some() && !matches!(self.cover, Cover::Changes(_))
    }

    /// Whether the next frame belongs to this one.
    fn continues(&self) -> bool {
        matches!(&self.cover, Cover::Changes(frame) if frame.more)
    }
}

impl Client {
    /// Queues a frame; parts of one mutation become one batch.
    pub(super) fn enqueue(&mut self, inbound: Inbound) {
        match (self.inbound.back_mut(), inbound) {
            (Some(Inbound::Batch(last)), Inbound::Batch(next)) if last.continues() => {
                last.changes.extend(next.changes);
                last.cover = next.cover;
                last.wire_bytes = last.wire_bytes.saturating_add(next.wire_bytes);
            }
            (_, inbound) => self.inbound.push_back(inbound),
        }
    }

    /// Whether a frame has to wait: it is incomplete, touches documents whose result is still to come, or documents whose unsent
    /// changes have to become mutations first.
    pub(super) fn is_held(&self, inbound: &Inbound) -> bool {
        match inbound {
            Inbound::Batch(batch) if batch.continues() => true,
            Inbound::Batch(batch) if self.forms_first(batch) => true,
            Inbound::Batch(_) | Inbound::Purge(_) => self.waits_for_results(inbound),
        }
    }

    /// Whether a frame touches documents whose result is still to come.
    pub(super) fn waits_for_results(&self, inbound: &Inbound) -> bool {
        if self.pending.is_empty() {
            return false;
        }
        let changes = || self.pending.values().flat_map(|pending| &pending.mutation.changes);
        if let Inbound::Batch(Batch { cover: Cover::Snapshot(frame), .. }) = inbound {
            return changes().any(|change| covers(frame, &change.id));
        }
        let pending: OrderedSet<&DocumentId> = changes().map(|change| &change.id).collect();
        match inbound {
            Inbound::Batch(batch) => {
                batch.changes.iter().any(|change| self.document_id(change).is_some_and(|id| pending.contains(&id)))
            }
            Inbound::Purge(purge) => self.purged(purge).any(|id| pending.contains(&id)),
        }
    }

    /// Whether unsent changes have to become mutations against their own base before this batch: then the server sees the conflict,
    /// decides it, and logs what it discards. Where a rebase decides the same, a batch waits only a few times: somebody who never
    /// stops writing would keep it waiting for ever. Not when nothing can be formed, nor what a server that was set back lacks: it gets
    /// the base first.
    fn forms_first(&self, batch: &Batch) -> bool {
        let stuck = self.idle && !self.captured && self.pending.is_empty();
        let decided_by_server = |id: &DocumentId| self.policies.get(&id.collection).is_some_and(decided_by_server);
        let waits = |id: DocumentId| {
            let patient = self.deferrals < DEFERRALS_MAX || decided_by_server(&id);
            patient && self.mirror.may_be_dirty(&id) && !self.unresolved.contains_key(&id)
        };
        !stuck
            && !self.mirror.is_empty()
            && batch
                .changes
                .iter()
                .filter(|change| change.kind != ChangeKind::Delete || !batch.tells_what_is(self))
                .filter_map(|change| self.document_id(change))
                .any(waits)
    }

    fn document_id(&self, change: &Change) -> Option<DocumentId> {
        Some(DocumentId::new(self.collection_name(change.collection)?, change.key.as_str()))
    }

    /// Name of a collection of the welcome that this client syncs.
    fn collection_name(&self, number: u32) -> Option<&str> {
        let info = self.collections.iter().find(|info| info.number == number)?;
        self.config.collections.contains(&info.name).then_some(info.name.as_str())
    }

    fn purged<'a>(&'a self, purge: &'a Purge) -> impl Iterator<Item = DocumentId> + 'a {
        purge.documents.iter().flat_map(|(number, keys)| {
            let name = self.collection_name(*number);
            keys.iter().filter_map(move |key| name.map(|name| DocumentId::new(name, key.as_str())))
        })
    }
}

/// The task that applies one frame.
#[derive(Debug)]
pub(super) struct Apply {
    inbound: Inbound,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Pages,
    Rows,
    Write,
}

impl Apply {
    pub(super) fn take(client: &mut Client) -> Option<Self> {
        Some(Self { inbound: client.inbound.pop_front()?, stage: Stage::Pages })
    }

    /// Whether nothing was read.
    pub(super) fn begins(&self) -> bool {
        self.stage == Stage::Pages
    }

    pub(super) fn inbound(&self) -> &Inbound {
        &self.inbound
    }

    pub(super) fn give_back(self, client: &mut Client) {
        client.inbound.push_front(self.inbound);
    }

    pub(super) fn step(&mut self, client: &Client, desk: &mut Desk) -> Next {
        match (&self.inbound, self.stage) {
            (_, Stage::Pages) => {
                self.stage = Stage::Rows;
                // The pages came with the prelude.
                Next::Read(desk.want([], self.dirty(client)))
            }
            (Inbound::Batch(batch), Stage::Rows) => {
                self.stage = Stage::Write;
                Next::Read(desk.want([], unconfirmed(batch, client, desk)))
            }
            (Inbound::Batch(batch), Stage::Write) => {
                apply_batch(batch, client, desk);
                Next::Done
            }
            (Inbound::Purge(purge), _) => {
                apply_purge(purge, client, desk);
                Next::Done
            }
        }
    }

    /// The pages of every document named, and of the range of a snapshot.
    pub(super) fn pages(&self, client: &Client) -> Vec<PageId> {
        let mut pages: Vec<PageId> =
            self.named(client).iter().map(|id| client.directory.page_of(&id.collection, &id.key)).collect();
        if let Inbound::Batch(Batch { cover: Cover::Snapshot(frame), .. }) = &self.inbound {
            for (collection, after, through) in ranges(client, frame) {
                pages.extend(client.directory.pages_between(collection, after, through));
            }
        }
        pages
    }

    fn named(&self, client: &Client) -> Vec<DocumentId> {
        match &self.inbound {
            Inbound::Batch(batch) => batch.changes.iter().filter_map(|change| client.document_id(change)).collect(),
            Inbound::Purge(purge) => client.purged(purge).collect(),
        }
    }

    /// Documents that may hold unsent changes: their rows are needed. Of a purge, every row: nothing unsent may vanish with it.
    fn dirty(&self, client: &Client) -> Vec<DocumentId> {
        let purge = matches!(self.inbound, Inbound::Purge(_));
        self.named(client).into_iter().filter(|id| purge || client.mirror.may_be_dirty(id)).collect()
    }
}

/// Whether a document is in the range of a snapshot frame.
fn covers(frame: &Snapshot, id: &DocumentId) -> bool {
    let pair = (id.collection.as_str(), id.key.as_str());
    let after = frame.after.as_ref().is_none_or(|(collection, key)| pair > (collection.as_str(), key.as_str()));
    after && frame.through.as_ref().is_none_or(|(collection, key)| pair <= (collection.as_str(), key.as_str()))
}

/// The part of each collection that a snapshot frame covers: (collection, exclusive start, inclusive end).
fn ranges<'a>(client: &'a Client, frame: &'a Snapshot) -> Vec<(&'a str, Option<&'a str>, Option<&'a str>)> {
    let names = sorted_by(&client.config.collections, &|a, b| a < b);
    let after = frame.after.as_ref().map(|(collection, key)| (collection.as_str(), key.as_str()));
    let through = frame.through.as_ref().map(|(collection, key)| (collection.as_str(), key.as_str()));
    names
        .into_iter()
        .map(String::as_str)
        .filter(|name| after.is_none_or(|(first, _)| *name >= first) && through.is_none_or(|(last, _)| *name <= last))
        .map(|name| {
            let start = after.filter(|(first, _)| *first == name).map(|(_, key)| key);
            let end = through.filter(|(last, _)| *last == name).map(|(_, key)| key);
            (name, start, end)
        })
        .collect()
}

/// Documents whose row may take the place of a body that was not sent, and those that a snapshot does not name but that may be dirty.
fn unconfirmed(batch: &Batch, client: &Client, desk: &Desk) -> Vec<DocumentId> {
    let same = batch.changes.iter().filter_map(|change| {
        let ChangeKind::Same(version) = &change.kind else { return None };
        let id = client.document_id(change)?;
        let known = desk.pages.confirmed(&id).is_some_and(|(confirmed, _)| confirmed == *version);
        (!known).then_some(id)
    });
    same.chain(absent(batch, client, desk).into_iter().filter(|id| client.mirror.may_be_dirty(id))).collect()
}

/// Confirmed documents in the range of a snapshot that it does not name.
fn absent(batch: &Batch, client: &Client, desk: &Desk) -> Vec<DocumentId> {
    let Cover::Snapshot(frame) = &batch.cover else { return Vec::new() };
    let named: OrderedSet<DocumentId> = batch.changes.iter().filter_map(|change| client.document_id(change)).collect();
    let mut absent = Vec::new();
    for (collection, after, through) in ranges(client, frame) {
        let ids = desk.pages.keys_between(collection, after, through).map(|key| DocumentId::new(collection, key));
        // Of a document whose result is newer than the beginning of the snapshot, a later change tells what became of it.
        let newer = |id: &DocumentId| client.settled.get(id).is_some_and(|settled| *settled > frame.offset);
        absent.extend(ids.filter(|id| !named.contains(id) && !newer(id)));
    }
    absent
}

fn apply_batch(batch: &Batch, client: &Client, desk: &mut Desk) {
    let offered = |id: &DocumentId| batch.tells_what_is(client) && !client.unresolved.contains_key(id);
    let mut former = Former::new(client, desk);
    for id in absent(batch, client, desk) {
        if !batch.reads(&id.collection) {
            forget(&id, client, desk);
        } else if offered(&id) {
            former.offer(&id, client, desk);
        } else {
            desk.receive(client, &id, None, client.mirror.may_be_dirty(&id));
            desk.after.forgotten.push(id);
        }
    }
    for change in &batch.changes {
        let Some(id) = client.document_id(change) else { continue };
        let newer = client.settled.get(&id).is_none_or(|settled| change.offset > *settled);
        if !newer && !planted::has(Bug::SettledForgotten) {
            continue;
        }
        let deleted = change.kind == ChangeKind::Delete;
        if deleted && !batch.reads(&id.collection) {
            forget(&id, client, desk);
        } else if deleted && offered(&id) {
            former.offer(&id, client, desk);
        } else {
            apply_change(change, &id, client, desk);
        }
    }
    former.finish(desk);
    desk.after.credit_bytes = batch.wire_bytes;
    let mut position = client.position.clone();
    position.collections.clone_from(&client.config.collections);
    match &batch.cover {
        Cover::Changes(frame) => {
            desk.after.caught_up = Some(frame.last);
            let cursor = Cursor { changelog: frame.changelog, offset: frame.to, snapshot: None };
            let moves = position.cursor.as_ref().is_none_or(|at| at.changelog != frame.changelog);
            if frame.from == frame.to && !moves {
                // A confirmation, or documents of gained channels.
                return;
            }
            position.cursor = Some(cursor);
        }
        Cover::Snapshot(frame) => {
            // A session may start over with a snapshot at any time.
            desk.after.caught_up = Some(false);
            position.channels.clone_from(&frame.channels);
            position.cursor =
                Some(Cursor { changelog: frame.changelog, offset: frame.offset, snapshot: frame.through.clone() });
            position.restoring.take_if(|_| frame.through.is_none());
            if desk.after.lacks {
                // No position follows from it, in this session or in a later one.
                position.cursor = None;
                position.channels.clear();
            }
        }
        Cover::Reconciled(frame) => {
            // A part of a difference is no position: a client that is interrupted reconciles again, with less to do.
            let cursor = Cursor { changelog: frame.changelog, offset: frame.offset, snapshot: None };
            position.cursor = frame.last.then_some(cursor);
            position.channels = if frame.last { frame.channels.clone() } else { Vec::new() };
            desk.after.reconciled = frame.last.then_some(frame.round);
            position.restoring.take_if(|_| frame.last);
        }
    }
    let known = client.history.zip(position.cursor.as_ref().map(|cursor| cursor.offset));
    position.history = known.or(position.history);
    desk.put_position(position);
}

fn apply_change(change: &Change, id: &DocumentId, client: &Client, desk: &mut Desk) {
    let dirty = client.mirror.may_be_dirty(id) && !planted::has(Bug::DirtyUnchecked);
    match &change.kind {
        ChangeKind::Put(version, body) => desk.receive(client, id, Some((*version, body.clone())), dirty),
        ChangeKind::Delete => desk.receive(client, id, None, dirty),
        ChangeKind::Leave => forget(id, client, desk),
        ChangeKind::Same(version) => confirm_same(id, *version, dirty, desk),
    }
}

/// The server has the content that the client had when it was listed. A row that the user changed since stays unconfirmed: the push
/// that carries it is merged by the server. What a purge or a result took from the client since, it lacks.
fn confirm_same(id: &DocumentId, version: Version, dirty: bool, desk: &mut Desk) {
    if desk.pages.confirmed(id).is_some_and(|(confirmed, _)| confirmed == version) {
        return;
    }
    let row = if let Row::Json(json) = desk.row(id) { Some(json.clone()) } else { None };
    match row.filter(|json| version::of_body(json).is_ok_and(|found| found == version)) {
        Some(json) => {
            let theirs: Theirs = Some((version, json));
            desk.confirm(id, theirs);
        }
        None => desk.after.lacks |= !dirty,
    }
}

fn apply_purge(purge: &Purge, client: &Client, desk: &mut Desk) {
    // Found before a result that this client has applied: the result says what became of the document.
    let older = |id: &DocumentId| client.settled.get(id).is_some_and(|settled| *settled > purge.offset);
    for id in client.purged(purge).filter(|id| !older(id)) {
        forget(&id, client, desk);
    }
    let mut position = client.position.clone();
    position.channels.clone_from(&purge.channels);
    desk.put_position(position);
}

/// Removes a document that the identity may not see any more.
fn forget(id: &DocumentId, client: &Client, desk: &mut Desk) {
    let confirmed = desk.pages.confirmed(id).map(|(_, body)| body.to_vec());
    let unsent = client.mirror.may_be_dirty(id);
    if confirmed.is_some() || unsent || *desk.row(id) != Row::Absent {
        desk.forget(client, id, confirmed.as_deref(), unsent);
    }
}
