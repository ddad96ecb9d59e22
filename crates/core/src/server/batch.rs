//! A group of commits on its way to every session: each frame is encoded once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::effect::Outgoing;
use super::record::ChangeRecord;
use crate::ids::{ChangelogId, Offset, SubscriptionId, Version};
use crate::prelude::*;
use crate::wire::{Change, ChangeKind, Changes, ServerFrame, encode, pack};

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

/// What one group of commits changed, with whole frames shared by sessions that receive the same.
#[derive(Debug)]
pub struct Batch {
    /// Exclusive.
    pub from: Offset,
    /// Inclusive.
    pub to: Offset,
    /// The states committed, by rising offset.
    pub records: Vec<Arc<ChangeRecord>>,
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
    /// The states committed after `from` up to `to`.
    pub fn new(from: Offset, to: Offset, records: Vec<Arc<ChangeRecord>>) -> Self {
        Self { from, to, records, frames: Mutex::new(Vec::new()) }
    }

    /// The frame that tells the records as `key.fates` says; `numbers` are those that every session of the database uses.
    pub(super) fn frame(&self, key: FrameKey, numbers: &BTreeMap<String, u32>) -> Arc<Outgoing> {
        let mut frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, frame)) = frames.iter().find(|(known, _)| *known == key) {
            return Arc::clone(frame);
        }
        let change = |(record, fate): (&Arc<ChangeRecord>, &Fate)| {
            let number = *numbers.get(&record.id.collection)?;
            match fate {
                Fate::Skip => None,
                Fate::Tell => Some(change_of(record, record.offset, number)),
                Fate::Leave => Some(leave_of(record, number)),
            }
        };
        let changes: Vec<Change> = self.records.iter().zip(&key.fates).filter_map(change).collect();
        let frame = Arc::new(Outgoing::new(encode(&ServerFrame::Changes(Changes {
            changelog: key.changelog,
            subscriptions: key.subscriptions.clone(),
            from: key.from,
            to: key.to,
            last: key.last,
            changes: pack(&changes),
            more: false,
        }))));
        if frames.len() < FRAMES_SHARED_MAX {
            frames.push((key, Arc::clone(&frame)));
        }
        frame
    }

    /// Bytes that all changes take at most.
    pub(super) fn bytes(&self) -> usize {
        self.records.iter().map(|record| change_of(record, record.offset, 0).bytes()).sum()
    }
}

/// The change that tells a record's state, which holds at `offset`.
pub(super) fn change_of(record: &ChangeRecord, offset: Offset, number: u32) -> Change {
    let kind = match &record.body {
        Some(body) => ChangeKind::Put(record.version, body.to_vec()),
        None => ChangeKind::Delete,
    };
    change(record, offset, number, kind)
}

/// The change that confirms a state, which holds at `offset`, without its body.
pub(super) fn same_of(record: &ChangeRecord, offset: Offset, number: u32) -> Change {
    change(record, offset, number, ChangeKind::Same(record.version))
}

/// The change that tells a reader to forget the document.
pub(super) fn leave_of(record: &ChangeRecord, number: u32) -> Change {
    change(record, record.offset, number, ChangeKind::Leave)
}

fn change(record: &ChangeRecord, offset: Offset, number: u32, kind: ChangeKind) -> Change {
    Change { offset, collection: number, key: record.id.key.clone(), kind }
}

/// Whether a record is a tombstone.
pub(super) fn is_tombstone(record: &ChangeRecord) -> bool {
    record.version == Version::ABSENT || record.body.is_none()
}
