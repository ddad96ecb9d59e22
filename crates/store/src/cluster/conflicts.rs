//! The conflict log: one record for each document of a mutation that discarded values.
//!
//! The record is written before the document, by whoever carries the change out: a crash loses none. Its key follows from the mutation
//! and the document, so that none is doubled; the order of the keys is that of time, the latest first.

use std::collections::BTreeSet;

use tidelock_core::ids::{ChangelogId, DocumentId, MutationId, Version};
use tidelock_core::version::item_hash;
use tidelock_core::wire::ConflictNote;

use super::ClusterStore;
use super::meta::{ConflictRow, unseal};
use crate::error::StoreError;
use crate::platform::{Platform, system};
use crate::store::{Commit, ConflictQuery, ConflictRecord};

/// Bits of a number that tell the notes of a record apart, and the records of a millisecond.
const NOTE_BITS: u32 = 10;
const RECORD_BITS: u32 = 10;
/// Records that one step of a query reads.
const PAGE: usize = 256;

/// The key of an intent's record.
pub(super) fn intent_key(mutation: Option<MutationId>, tag: u64) -> String {
    match mutation {
        Some(MutationId { client, incarnation, sequence }) => format!("{client}-{incarnation}-{sequence}"),
        None => format!("{tag:016x}"),
    }
}

/// The record of what a mutation discards of a document.
pub(super) fn conflict_id(at_ms: u64, intent: &str, document: &DocumentId) -> DocumentId {
    // The same on every node, whatever it was built with: two that carry out one intent meet at one record.
    let named = format!("{intent}\0{}", document.key);
    let hash = item_hash(ChangelogId(0), &document.collection, &named, Version::ABSENT);
    let number = (at_ms << (NOTE_BITS + RECORD_BITS)) | ((hash & ((1 << RECORD_BITS) - 1)) << NOTE_BITS);
    DocumentId::new(system::CONFLICTS, format!("{:016x}-{intent}-{hash:016x}", !number))
}

/// The number of a record's first note.
fn number_of(key: &str) -> Option<u64> {
    Some(!u64::from_str_radix(key.get(..16)?, 16).ok()?)
}

/// When the mutation of a record was committed.
pub(super) fn conflict_ms(key: &str) -> Option<u64> {
    Some(number_of(key)? >> (NOTE_BITS + RECORD_BITS))
}

/// The records of what a commit discards, and the documents that it is of.
pub(super) fn conflict_ids(commit: &Commit, tag: u64) -> BTreeSet<DocumentId> {
    let key = intent_key(commit.mutation, tag);
    let ids = commit.conflicts.iter().map(|note| &note.id);
    ids.flat_map(|id| [conflict_id(commit.now_ms, &key, id), id.clone()]).collect()
}

impl<P: Platform> ClusterStore<P> {
    /// The log as far as this node has heard of it, the latest first. Records of a moment may have numbers in common: all of them are in one
    /// page, which may be longer than asked for.
    pub(super) async fn query_conflicts(&self, query: &ConflictQuery) -> Result<Vec<ConflictRecord>, StoreError> {
        let mut found = Vec::new();
        // Keys with a number not below the wanted ones come before this.
        let mut after = query.before.map(|before| format!("{:016x}", !(before | ((1 << NOTE_BITS) - 1))));
        let mut latest = None;
        loop {
            let page = self.journal.scan(system::CONFLICTS, after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(found) };
            after = Some(last.clone());
            for (key, document) in page {
                let (Some(first), Some(row)) = (number_of(&key), unseal::<ConflictRow>(&document.body)) else {
                    continue;
                };
                if found.len() >= query.limit && latest != Some(first) {
                    return Ok(found);
                }
                latest = Some(first);
                found.extend(records(first, row).into_iter().filter(|record| is_wanted(query, record)));
            }
        }
    }
}

/// The notes of a record, the last first. Those that are too many for numbers of their own share the last one.
fn records(first: u64, row: ConflictRow) -> Vec<ConflictRecord> {
    let ConflictRow { at_ms, actor, mutation, channels, notes } = row;
    let numbers = (0..).map(|at: u64| first + at.min((1 << NOTE_BITS) - 1));
    let record = |(number, note): (u64, ConflictNote)| ConflictRecord {
        number,
        at_ms,
        actor: actor.clone(),
        mutation,
        note,
        channels: channels.clone(),
    };
    let mut records: Vec<ConflictRecord> = numbers.zip(notes).map(record).collect();
    records.reverse();
    records
}

fn is_wanted(query: &ConflictQuery, record: &ConflictRecord) -> bool {
    query.collection.as_ref().is_none_or(|collection| *collection == record.note.id.collection)
        && query.key.as_ref().is_none_or(|key| *key == record.note.id.key)
        && query.before.is_none_or(|before| record.number < before)
}
