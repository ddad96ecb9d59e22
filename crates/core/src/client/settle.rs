//! Applying the results of pushes.

use super::collect::Former;
use super::state::{Replica, Unresolved};
use super::storage::{OutboxRecord, PageId, RejectedDocument, Row, WriteOp};
use super::task::Next;
use super::work::{Desk, Theirs, parsed};
use super::{Client, Kept, Pending};
use crate::ids::{DocumentId, Sequence};
use crate::ordered::{OrderedMap, OrderedSet};
use crate::prelude::*;
use crate::wire::{DocumentChange, DocumentPolicy, DocumentState, ErrorCode, Outcome, PushResult};
use crate::{json, merge, version};

/// Most records of acknowledged mutations that are kept.
const KEPT_RECORDS_MAX: usize = 4_096;
/// Most of their mutations that were not committed.
const REFUSED_MAX: usize = 1_000;
/// Steps in which the age of kept mutations is told.
const KEPT_AGES: u64 = 8;
/// Most results that one transaction applies.
const RESULTS_MAX: usize = 256;

/// The task that applies results.
#[derive(Debug)]
pub(super) struct Settle {
    results: Vec<PushResult>,
    read: bool,
}

impl Settle {
    /// Takes results of pending mutations; one that answers nothing pending (a repeated answer) is dropped.
    pub(super) fn take(client: &mut Client) -> Option<Self> {
        let mut results = Vec::new();
        let mut documents: OrderedSet<DocumentId> = OrderedSet::new();
        while let Some(result) = client.results.front() {
            let Some(pending) = client.pending.get(&result.sequence) else {
                client.results.pop_front();
                continue;
            };
            let ids: Vec<DocumentId> = pending.mutation.changes.iter().map(|change| change.id.clone()).collect();
            if results.len() >= RESULTS_MAX || ids.iter().any(|id| documents.contains(id)) {
                break;
            }
            documents.extend(ids);
            results.extend(client.results.pop_front());
        }
        if results.is_empty() { None } else { Some(Self { results, read: false }) }
    }

    pub(super) fn give_back(self, client: &mut Client) {
        for result in self.results.into_iter().rev() {
            client.results.push_front(result);
        }
    }

    pub(super) fn step(&mut self, client: &Client, desk: &mut Desk) -> Next {
        if !self.read {
            self.read = true;
            let dirty: Vec<DocumentId> =
                self.ids(client).filter(|id| client.mirror.may_be_dirty(id)).cloned().collect();
            // The pages came with the prelude.
            return Next::Read(desk.want([], dirty));
        }
        for (result, pending) in self.mutations(client) {
            settle(result, pending, client, desk);
        }
        self.drop_pending(client, desk);
        if client.position.cursor.is_none() {
            // The result is newer than what the stored cursor, which is of no use here, stands for: after a crash nothing may follow
            // from that again, at a node that has not heard of the result.
            desk.put_position(client.position.clone());
        }
        Next::Done
    }

    /// The pages of every document of the mutations.
    pub(super) fn pages(&self, client: &Client) -> Vec<PageId> {
        self.ids(client).map(|id| client.directory.page_of(&id.collection, &id.key)).collect()
    }

    fn ids<'a>(&'a self, client: &'a Client) -> impl Iterator<Item = &'a DocumentId> {
        self.mutations(client).flat_map(|(_, pending)| pending.mutation.changes.iter().map(|change| &change.id))
    }

    fn mutations<'a>(&'a self, client: &'a Client) -> impl Iterator<Item = (&'a PushResult, &'a Pending)> {
        self.results.iter().filter_map(|result| client.pending.get(&result.sequence).map(|pending| (result, pending)))
    }

    /// A pending record is kept for a time when the last of its mutations is answered.
    fn drop_pending(&self, client: &Client, desk: &mut Desk) {
        let answered: OrderedSet<Sequence> = self.results.iter().map(|result| result.sequence).collect();
        let records: OrderedSet<Sequence> = self.mutations(client).map(|(_, pending)| pending.record).collect();
        for record in records {
            let of_record = || client.pending.values().filter(|pending| pending.record == record);
            let whole = of_record().all(|pending| answered.contains(&pending.mutation.sequence));
            if let Some(last) = of_record().last().filter(|_| whole) {
                desk.after.kept_added.push((record, last.mutation.sequence, last.bytes));
            }
        }
        if let Some(last) = answered.last() {
            // Answered mutations of a record that stays are not repeated after a restart: the server may have forgotten the answer.
            let replica = desk.after.replica.clone().unwrap_or_else(|| client.replica.clone());
            let mut replica = Replica { settled: *last, ..replica };
            let refused = self
                .results
                .iter()
                .filter(|result| matches!(result.outcome, Outcome::Rejected(..) | Outcome::Resolve(_)));
            replica.refused.get_or_insert_default().extend(refused.map(|result| result.sequence));
            forget_kept(&mut replica, client, desk);
            desk.put_replica(replica);
        }
        desk.after.pending_removed.extend(answered);
    }
}

/// Forgets acknowledged mutations that are too old or too many.
fn forget_kept(replica: &mut Replica, client: &Client, desk: &mut Desk) {
    let (now_ms, Kept { ms, bytes }) = (client.now_ms, client.config.kept);
    let ages = replica.kept.get_or_insert_default();
    if ages.last().is_none_or(|(_, at_ms)| now_ms.saturating_sub(*at_ms) >= ms / KEPT_AGES) {
        ages.push((replica.settled, now_ms));
    }
    let young = ages.iter().position(|(_, at_ms)| at_ms.saturating_add(ms) > now_ms).unwrap_or(ages.len());
    let mut expired = ages.drain(..young).next_back().map_or(Sequence(0), |(through, _)| through);
    let refused = replica.refused.get_or_insert_default();
    let excess = refused.len().saturating_sub(REFUSED_MAX);
    expired = refused.drain(..excess).next_back().map_or(expired, |through| expired.max(through));
    let added = core::mem::take(&mut desk.after.kept_added);
    let all = || client.kept.iter().chain(&added);
    let mut count = all().count();
    let mut size: usize = all().map(|(.., size)| size).sum();
    for (record, last, record_size) in all() {
        if *last > expired && count <= KEPT_RECORDS_MAX && size <= bytes {
            break;
        }
        desk.writes.push(WriteOp::PendingDelete(*record));
        desk.after.kept_forgotten += 1;
        refused.retain(|sequence| sequence > last);
        count -= 1;
        size -= record_size;
    }
    desk.after.kept_added = added;
}

fn settle(result: &PushResult, pending: &Pending, client: &Client, desk: &mut Desk) {
    let changes = &pending.mutation.changes;
    match &result.outcome {
        Outcome::Accepted => {
            for change in changes {
                let sent = sent(change, desk);
                desk.confirm(&change.id, sent);
            }
        }
        Outcome::Merged(states, notes) => {
            settle_states(changes, states, client, desk, false);
            desk.after.conflicts.extend(notes.iter().cloned());
        }
        Outcome::Rejected(code, message, states) => {
            reject(*code, message, changes, client, desk);
            // What the server only lacks stays confirmed, and is offered.
            let (_, has) = client.lacking(states, desk);
            settle_states(changes, &has, client, desk, true);
            return settle_offsets(has.iter().map(|state| &state.id), result, desk);
        }
        Outcome::Resolve(states) => {
            let (lacking, has) = client.lacking(states, desk);
            if let Some(again) = client.with_whole(&pending.mutation, &lacking) {
                let mut former = Former::new(client, desk);
                former.again(again);
                former.finish(desk);
                return;
            }
            if !lacking.is_empty() && client.position.is_before(&pending.mutation) {
                // Made again from what others have brought back by then, it might be there twice.
                let message = "the server was set back, and may have had this change";
                reject(ErrorCode::Conflict, message, changes, client, desk);
                settle_states(changes, &has, client, desk, true);
            } else {
                let mut former = Former::new(client, desk);
                lacking.keys().for_each(|id| former.offer(id, client, desk));
                former.finish(desk);
                for state in &has {
                    if let Some(change) =
                        changes.iter().find(|change| change.id == state.id && change.base != state.version)
                    {
                        meet(change, state, client, desk);
                    }
                }
                mark_again(pending, desk);
            }
            return settle_offsets(has.iter().map(|state| &state.id), result, desk);
        }
    }
    settle_offsets(changes.iter().map(|change| &change.id), result, desk);
}

/// These documents are at the offset of the result: what was on its way to the client is older.
fn settle_offsets<'a>(ids: impl Iterator<Item = &'a DocumentId>, result: &PushResult, desk: &mut Desk) {
    desk.after.settled.extend(ids.map(|id| (id.clone(), result.offset)));
}

/// What the client sent, as its base and its operation give it.
fn sent(change: &DocumentChange, desk: &Desk) -> Theirs {
    let base = parsed(desk.pages.confirmed(&change.id).map(|(_, body)| body)).flatten();
    let value = merge::apply(base.as_ref(), &change.operation).ok().flatten()?;
    Some((version::of(&value), json::write(&value)))
}

/// Every document of the mutation takes its state: the one named, otherwise what was sent, or for a rejected one what was confirmed.
fn settle_states(
    changes: &[DocumentChange],
    states: &[DocumentState],
    client: &Client,
    desk: &mut Desk,
    rejected: bool,
) {
    for change in changes {
        let id = &change.id;
        let mine = sent(change, desk);
        let dirty = client.mirror.may_be_dirty(id);
        let confirmed = desk.pages.confirmed(id).map(|(version, body)| (version, body.to_vec()));
        let theirs = match states.iter().find(|state| state.id == *id) {
            Some(state) if state.is_withheld() => {
                let base = mine.map(|(_, body)| body);
                desk.forget(client, id, base.as_deref(), dirty);
                continue;
            }
            Some(state) => state.body.clone().map(|body| (state.version, body)),
            None if rejected => confirmed,
            None => mine.clone(),
        };
        let mine = mine.map(|(_, body)| body);
        desk.settle(client, id, mine.as_deref(), theirs, dirty);
    }
}

fn reject(code: ErrorCode, message: &str, changes: &[DocumentChange], client: &Client, desk: &mut Desk) {
    let document = |change: &DocumentChange| RejectedDocument {
        id: change.id.clone(),
        mine: sent(change, desk).map(|(_, body)| body),
        copy_row: false,
    };
    let documents = changes.iter().map(document).collect();
    desk.reject(client, code, message.into(), documents);
}

/// The change has to be made again on top of the server's state: by the application's resolver where the policy says so, else by
/// the rules (an edit of fields brings the whole document back that was deleted meanwhile).
fn meet(change: &DocumentChange, state: &DocumentState, client: &Client, desk: &mut Desk) {
    let id = &change.id;
    let base = desk.pages.confirmed(id).map(|(_, body)| body.to_vec());
    let mine = sent(change, desk).map(|(_, body)| body);
    let theirs: Theirs = state.body.clone().map(|body| (state.version, body));
    if client.policy(&id.collection).document == DocumentPolicy::Resolver {
        desk.confirm(id, theirs);
        desk.add_unresolved(client, Unresolved { id: id.clone(), base, mine, theirs: state.body.clone() });
        return;
    }
    if !client.mirror.may_be_dirty(id) {
        desk.add_row(id.clone(), mine.map_or(Row::Absent, Row::Json));
    }
    desk.rebase_row(client, id, base.as_deref(), &theirs);
    desk.confirm(id, theirs);
}

/// The whole transaction goes back to the outboxes: once its conflicts are resolved it is pushed again, whole.
fn mark_again(pending: &Pending, desk: &mut Desk) {
    let mutation = &pending.mutation;
    let mut keys: OrderedMap<&str, Vec<String>> = OrderedMap::new();
    for change in &mutation.changes {
        keys.or_default(&change.id.collection).push(change.id.key.clone());
    }
    for (collection, keys) in keys {
        let transaction = format!("resolve-{}", mutation.sequence);
        let record = OutboxRecord { transaction, at_ms: mutation.edited_ms, keys, ..OutboxRecord::default() };
        desk.writes.push(WriteOp::OutboxAdd(collection.into(), record));
    }
}
