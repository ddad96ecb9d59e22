//! A group of commits on its way to every session: encoded once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::effect::Outgoing;
use super::record::ChangeRecord;
use crate::ids::{ChangelogId, Offset, SubscriptionId, Version};
use crate::prelude::*;
use crate::wire::{Change, ChangeKind, Changes, Packed, ServerFrame, encode};

/// Most different frames of one batch that are kept for sharing; sessions beyond them encode their own.
const FRAMES_SHARED_MAX: usize = 16;

/// What a record means for a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    /// Not to be told.
    Skip,
    /// Put, or Delete for a tombstone.
    Tell,
    /// It left the reader's channels.
    Leave,
}

/// What one group of commits changed, with each state encoded once and whole frames shared by sessions that receive the same.
#[derive(Debug)]
pub struct Batch {
    /// Exclusive.
    pub from: Offset,
    /// Inclusive.
    pub to: Offset,
    /// The states committed, by rising offset.
    pub records: Vec<Arc<ChangeRecord>>,
    /// The change of each record, empty for a collection without a number (no session uses it).
    encoded: Vec<Vec<u8>>,
    /// Frames by what they hold. The result is the same whether a frame is found here or not.
    frames: Mutex<Vec<(FrameKey, Arc<Outgoing>)>>,
}

/// Everything that a frame of a batch depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FrameKey {
    pub(super) changelog: ChangelogId,
    pub(super) subscriptions: Vec<SubscriptionId>,
    pub(super) from: Offset,
    pub(super) to: Offset,
    pub(super) last: bool,
    pub(super) fates: Vec<Fate>,
}

impl Batch {
    /// Encodes the records; `numbers` are those that every session of the database uses.
    pub fn new(from: Offset, to: Offset, records: Vec<Arc<ChangeRecord>>, numbers: &BTreeMap<String, u32>) -> Self {
        let encoded = records
            .iter()
            .map(|record| {
                let number = numbers.get(&record.id.collection);
                number.map_or_else(Vec::new, |number| encode_record(record, record.offset, *number))
            })
            .collect();
        Self { from, to, records, encoded, frames: Mutex::new(Vec::new()) }
    }

    /// The frame that tells the records as `key.fates` says.
    pub(super) fn frame(&self, key: FrameKey, numbers: &BTreeMap<String, u32>) -> Arc<Outgoing> {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, frame)) = frames.iter().find(|(known, _)| *known == key) {
            return Arc::clone(frame);
        }
        let mut items = Vec::new();
        for ((record, encoded), fate) in self.records.iter().zip(&self.encoded).zip(&key.fates) {
            match fate {
                Fate::Skip => {}
                Fate::Tell => items.extend_from_slice(encoded),
                Fate::Leave => {
                    if let Some(number) = numbers.get(&record.id.collection) {
                        items.extend(encode_leave(record, *number));
                    }
                }
            }
        }
        let frame = Arc::new(Outgoing::new(encode(&ServerFrame::Changes(Changes {
            changelog: key.changelog,
            subscriptions: key.subscriptions.clone(),
            from: key.from,
            to: key.to,
            last: key.last,
            changes: Packed(items),
            more: false,
        }))));
        if frames.len() < FRAMES_SHARED_MAX {
            frames.push((key, Arc::clone(&frame)));
        }
        frame
    }

    /// Bytes of the changes.
    pub fn encoded_len(&self) -> usize {
        self.encoded.iter().map(Vec::len).sum()
    }
}

/// The change that tells a record's state, which holds at `offset`.
pub(super) fn encode_record(record: &ChangeRecord, offset: Offset, number: u32) -> Vec<u8> {
    let kind = match &record.body {
        Some(body) => ChangeKind::Put(record.version, body.to_vec()),
        None => ChangeKind::Delete,
    };
    encode(&Change { offset, collection: number, key: record.id.key.clone(), kind })
}

/// The change that confirms a state, which holds at `offset`, without its body.
pub(super) fn encode_same(record: &ChangeRecord, offset: Offset, number: u32) -> Vec<u8> {
    let kind = ChangeKind::Same(record.version);
    encode(&Change { offset, collection: number, key: record.id.key.clone(), kind })
}

/// The change that tells a reader to forget the document.
pub(super) fn encode_leave(record: &ChangeRecord, number: u32) -> Vec<u8> {
    encode(&Change { offset: record.offset, collection: number, key: record.id.key.clone(), kind: ChangeKind::Leave })
}

/// Whether a record is a tombstone.
pub(super) fn is_tombstone(record: &ChangeRecord) -> bool {
    record.version == Version::ABSENT || record.body.is_none()
}
