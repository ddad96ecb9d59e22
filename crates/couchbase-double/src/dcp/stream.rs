//! One stream: snapshots are taken from the vbucket when the last one has been sent, then sent message by message
//! (`kv_engine` `engines/ep/src/dcp/active_stream.cc`).

use std::collections::VecDeque;
use std::sync::Arc;

use super::filter::Filter;
use super::{Settings, end};
use crate::cluster::Bucket;
use crate::item::{Item, Kind};
use crate::vbucket::VBucket;
use crate::wire::read_leb128;

/// Where the connection stands.
pub(super) struct Place {
    pub(super) node: usize,
    pub(super) has_collections: bool,
}

/// What a stream sends next.
#[derive(Debug)]
pub(super) enum Message {
    Marker {
        start: u64,
        end: u64,
        is_disk: bool,
        purge_seqno: u64,
    },
    Item {
        item: Arc<Item>,
        is_disk: bool,
    },
    SeqnoAdvanced(u64),
    /// The start (1) or the end (2) of an out-of-order snapshot.
    Oso(u32),
    End(u32),
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) opaque: u32,
    pub(super) vbucket: u16,
    pub(super) filter: Filter,
    /// The branch of history that the stream follows.
    pub(super) uuid: u64,
    /// The last sequence number that was taken into a snapshot.
    pub(super) cursor: u64,
    /// The first marker reaches back to here.
    pub(super) snapshot_start: u64,
    /// The end of the snapshot that the consumer goes on with.
    pub(super) snapshot_end: u64,
    pub(super) end_seqno: u64,
    /// Whether the vbucket was active here when the stream began.
    pub(super) is_active: bool,
    pub(super) phase: Phase,
    pub(super) queue: VecDeque<Message>,
    pub(super) has_sent_marker: bool,
}

/// `ActiveStream::StreamState`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// What is there is read from the disk next.
    Backfill,
    /// What was read from the disk is sent.
    Backfilling,
    InMemory,
    Dead,
}

impl Stream {
    pub(super) fn strips_collection(&self) -> bool {
        matches!(self.filter, Filter::DefaultOnly { .. })
    }

    /// Whether another one for the same place is refused.
    pub(super) fn is_active(&self) -> bool {
        self.phase != Phase::Dead && !matches!(self.queue.front(), Some(Message::End(_)))
    }

    /// Ends it from outside. What was read from the disk and waits is not sent any more; what is in memory is (`ActiveStream::endStream`).
    pub(super) fn end(&mut self, reason: u32) {
        if !self.is_active() {
            return;
        }
        if self.phase == Phase::Backfilling {
            self.queue.clear();
        }
        self.phase = Phase::Dead;
        self.queue.push_back(Message::End(reason));
    }

    /// Ends it behind what waits.
    fn finish(&mut self, reason: u32) {
        if self.phase != Phase::Backfilling {
            self.phase = Phase::Dead;
        }
        self.queue.push_back(Message::End(reason));
    }

    /// Takes the next snapshot when the last one is out.
    pub(super) fn fill(&mut self, bucket: &Bucket, place: &Place, settings: &Settings) {
        if !self.is_active() {
            return;
        }
        let vbucket = bucket.vbuckets.get(usize::from(self.vbucket)).filter(|vbucket| {
            bucket.has_copy(self.vbucket, place.node)
                && bucket.is_active(self.vbucket, place.node) == self.is_active
                && vbucket.uuid() == self.uuid
        });
        let Some(vbucket) = vbucket else { return self.end(end::STATE_CHANGED) };
        if !self.queue.is_empty() {
            return;
        }
        if self.phase == Phase::Backfilling {
            self.phase = Phase::InMemory;
        }
        let high = self.high(vbucket);
        if self.cursor < high && self.cursor < self.end_seqno && !self.filter.is_empty() {
            let items: Vec<Arc<Item>> = vbucket
                .after(self.cursor)
                .take_while(|item| item.seqno <= high)
                .filter(|item| self.filter.takes(item, &bucket.manifest))
                .cloned()
                .collect();
            if self.phase == Phase::Backfill {
                self.phase = Phase::Backfilling;
                let is_oso = settings.has_oso && self.cursor == 0 && self.filter.is_oso_suitable(&bucket.manifest);
                let snapshot = Snapshot { items, high, purge_seqno: vbucket.purge_seqno() };
                if is_oso {
                    self.take_oso(snapshot, settings);
                } else {
                    self.take_disk(snapshot, place);
                }
            } else {
                self.take_memory(items, high, place);
            }
            self.cursor = high;
        }
        if self.filter.is_empty() {
            self.finish(end::FILTER_EMPTY);
        } else if self.cursor >= self.end_seqno {
            self.finish(end::OK);
        }
    }

    /// The last sequence number that this node has: a replica shows what it has.
    fn high(&self, vbucket: &VBucket) -> u64 {
        if self.is_active { vbucket.high_seqno() } else { vbucket.replicated_seqno() }
    }

    /// `ActiveStream::markDiskSnapshot` and `completeBackfillInner`: the snapshot reaches to the vbucket's end, whatever the filter shows.
    fn take_disk(&mut self, snapshot: Snapshot, place: &Place) {
        let last = snapshot.items.last().map_or(0, |item| item.seqno);
        // Without collections there is no "seqno advanced": the snapshot ends with its last item (commands/seqno-advanced.md).
        let end = if place.has_collections { snapshot.high } else { last };
        if snapshot.items.is_empty() && !place.has_collections {
            return;
        }
        let start = self.start_of(self.cursor + 1);
        self.queue.push_back(Message::Marker { start, end, is_disk: true, purge_seqno: snapshot.purge_seqno });
        self.queue.extend(snapshot.items.into_iter().map(|item| Message::Item { item, is_disk: true }));
        if last < end {
            self.queue.push_back(Message::SeqnoAdvanced(end));
        }
    }

    /// `ActiveStream::markOSODiskSnapshot` and `completeBackfillInner`. Events come before documents
    /// (`engines/ep/src/dcp/backfill_by_id_disk.cc`), which come in the order of their keys (`commands/oso_snapshot.md`).
    fn take_oso(&mut self, snapshot: Snapshot, settings: &Settings) {
        let last = snapshot.items.last().map_or(0, |item| item.seqno);
        let mut items = snapshot.items;
        items.sort_by(|left, right| oso_place(left).cmp(&oso_place(right)));
        self.has_sent_marker = true;
        self.queue.push_back(Message::Oso(1));
        self.queue.extend(items.into_iter().map(|item| Message::Item { item, is_disk: true }));
        if last != snapshot.high && settings.has_oso_with_seqno_advanced {
            self.queue.push_back(Message::SeqnoAdvanced(snapshot.high));
        }
        self.queue.push_back(Message::Oso(2));
    }

    /// `ActiveStream::snapshot`: from the first item to the last that the stream shows. What it shows nothing of is not told
    /// (`processItemsInner`), unless a snapshot that the consumer has begun would stay without an end.
    fn take_memory(&mut self, items: Vec<Arc<Item>>, high: u64, place: &Place) {
        let is_in_snapshot = !self.has_sent_marker && self.cursor < self.snapshot_end && self.snapshot_end <= high;
        if let (Some(first), Some(last)) = (items.first(), items.last()) {
            let (start, end) = (self.start_of(first.seqno), last.seqno);
            self.queue.push_back(Message::Marker { start, end, is_disk: false, purge_seqno: 0 });
            self.queue.extend(items.into_iter().map(|item| Message::Item { item, is_disk: false }));
        } else if is_in_snapshot && place.has_collections {
            let start = self.start_of(self.cursor);
            self.queue.push_back(Message::Marker { start, end: high, is_disk: false, purge_seqno: 0 });
            self.queue.push_back(Message::SeqnoAdvanced(high));
        }
    }

    /// Where a marker begins: the first one with the snapshot that the consumer goes on with (`adjustStartIfFirstSnapshot`).
    fn start_of(&mut self, start: u64) -> u64 {
        if std::mem::replace(&mut self.has_sent_marker, true) { start } else { self.snapshot_start.min(start) }
    }
}

fn oso_place(item: &Item) -> (bool, &[u8]) {
    let key = read_leb128(&item.key).map_or(&item.key[..], |(_, key)| key);
    (!matches!(item.kind, Kind::System(_)), key)
}

/// What a vbucket has above a stream's cursor, at one point of time.
struct Snapshot {
    items: Vec<Arc<Item>>,
    high: u64,
    purge_seqno: u64,
}
