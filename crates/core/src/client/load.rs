//! The first task: who this replica is, where it stands, what it has not finished.

use alloc::collections::VecDeque;

use super::mend::Retry;
use super::shadow::Directory;
use super::state::{FENCE, POSITION, QUARANTINE, REPLICA, Replica, UNRESOLVED, Unresolved};
use super::storage::{OutboxRecord, Read, ReadResult, Row, WriteOp};
use super::{Client, Event, Mirror, Pending};
use crate::ids::{ClientId, DocumentId, Incarnation, Sequence};
use crate::prelude::*;
use crate::wire::{Mutation, decode, encode};

/// The first task.
#[derive(Debug)]
pub(super) struct Load;

impl Load {
    pub(super) fn reads(client: &Client) -> Vec<Read> {
        let mut reads = vec![
            Read::State(REPLICA),
            Read::State(POSITION),
            Read::State(FENCE),
            Read::State(UNRESOLVED),
            Read::State(QUARANTINE),
            Read::ShadowPages,
            Read::Pending,
            Read::RejectedCount,
        ];
        let outbox = |collection: &String| Read::Outbox { collection: collection.clone(), after: 0 };
        reads.extend(client.config.collections.iter().map(outbox));
        let first = |collection: &String| Read::Scan { collection: collection.clone(), after: None, limit: 1 };
        reads.extend(client.config.collections.iter().map(first));
        reads
    }

    /// Takes everything over at once: nothing was in memory before, and a failed transaction loads again.
    pub(super) fn finish(client: &mut Client, results: Vec<ReadResult>) -> Vec<WriteOp> {
        let mut writes = Vec::new();
        client.mirror = Mirror::default();
        client.pending.clear();
        let mut states = Vec::new();
        let mut collections = client.config.collections.clone().into_iter();
        let mut scanned = Vec::new();
        for result in results {
            match result {
                ReadResult::State(state) => states.push(state),
                ReadResult::ShadowPages(pages) => client.directory = Directory::new(pages),
                ReadResult::Pending(records) => client.load_pending(records),
                ReadResult::RejectedCount(count) => client.rejected = count,
                ReadResult::Outbox(records) => {
                    if let Some(collection) = collections.next() {
                        client.mirror.add(&collection, records);
                    }
                }
                ReadResult::Scan(rows) => scanned.push(rows),
                ReadResult::ShadowPage(_) | ReadResult::Rows(_) => {}
            }
        }
        let mut states = states.into_iter();
        let mut state = || states.next().flatten();
        let replica = state().and_then(|bytes| decode::<Replica>(&bytes).ok());
        client.position = state().and_then(|bytes| decode(&bytes).ok()).unwrap_or_default();
        let fence = state().and_then(|bytes| <[u8; 8]>::try_from(bytes.as_slice()).ok()).map_or(0, u64::from_be_bytes);
        let unresolved: Vec<Unresolved> = state().and_then(|bytes| decode(&bytes).ok()).unwrap_or_default();
        client.unresolved = unresolved.into_iter().map(|entry| (entry.id.clone(), entry)).collect();
        let quarantine: Vec<(DocumentId, String)> = state().and_then(|bytes| decode(&bytes).ok()).unwrap_or_default();
        client.quarantine = quarantine.into_iter().collect();
        client.retry = if client.quarantine.is_empty() { Retry::No } else { Retry::Due };
        client.replica = replica.unwrap_or_else(|| {
            let replica = client.new_replica();
            writes.push(WriteOp::StatePut(REPLICA, encode(&replica)));
            replica
        });
        client.part_pending();
        client.compare_stores(scanned, &mut writes);
        client.fence = fence.saturating_add(1);
        writes.push(WriteOp::StatePut(FENCE, client.fence.to_be_bytes().to_vec()));
        writes
    }
}

impl Client {
    /// The load is durable: from here on this client is the leader.
    pub(super) fn loaded_from_storage(&mut self) {
        self.loaded = true;
        self.ask_resolver();
    }

    /// Stores and hidden stores that do not belong together: one of them was emptied beside the capture. `scanned` has the first row of
    /// each store.
    fn compare_stores(&mut self, scanned: Vec<Vec<(String, Row)>>, writes: &mut Vec<WriteOp>) {
        self.emptied.clear();
        for (collection, rows) in self.config.collections.iter().zip(scanned) {
            let confirmed = !self.directory.pages_between(collection, None, None).is_empty();
            let Some((key, _)) = rows.into_iter().next() else {
                if confirmed {
                    self.emptied.push(collection.clone());
                }
                continue;
            };
            let id = DocumentId::new(collection.as_str(), key);
            if !confirmed && !self.mirror.may_be_dirty(&id) && !self.pending_ids().any(|pending| *pending == id) {
                // Nothing is known of its rows: they are compared like those that were there before Tidelock.
                let record = OutboxRecord { at_ms: self.now_ms, adopt: true, ..OutboxRecord::default() };
                writes.push(WriteOp::OutboxAdd(collection.clone(), record));
                self.position.cursor = None;
            }
        }
    }

    /// What has its result is kept: a record with the rest of those that have none is not yet.
    fn part_pending(&mut self) {
        let settled = self.replica.settled;
        let mut kept: VecDeque<(Sequence, Sequence, usize)> = VecDeque::new();
        for (sequence, pending) in self.pending.iter() {
            if kept.back().is_some_and(|(record, ..)| *record == pending.record) {
                kept.pop_back();
            }
            if *sequence > settled {
                break;
            }
            kept.push_back((pending.record, *sequence, pending.bytes));
        }
        self.kept = kept;
        self.pending.retain(|sequence, _| *sequence > settled);
    }

    fn new_replica(&mut self) -> Replica {
        let mut id = [0; 16];
        for half in id.chunks_exact_mut(8) {
            half.copy_from_slice(&self.random.next().to_be_bytes());
        }
        Replica { client: ClientId(id), incarnation: Incarnation(self.random.next()), ..Replica::default() }
    }

    fn load_pending(&mut self, records: Vec<(Sequence, Vec<u8>)>) {
        for (record, bytes) in records {
            let size = bytes.len();
            match decode::<Vec<Mutation>>(&bytes) {
                Ok(mutations) => {
                    for mutation in mutations {
                        self.pending.insert(mutation.sequence, Pending { mutation, record, bytes: size, sent: false });
                    }
                }
                Err(error) => {
                    let message = format!("pending record {record} cannot be read: {error}");
                    self.event(Event::Problem { code: "pending-damaged", message, retryable: false });
                }
            }
        }
    }
}
