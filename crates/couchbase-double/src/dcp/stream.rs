//! One stream: snapshots are taken from the vbucket when the last one has been queued, then sent message by message.

use std::collections::VecDeque;
use std::sync::Arc;

use super::filter::Filter;
use super::{Settings, end};
use crate::cluster::Bucket;
use crate::item::Item;
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
        high_seqno: u64,
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
    pub(super) end_seqno: u64,
    /// Whether only an active vbucket is streamed.
    pub(super) is_active_only: bool,
    pub(super) queue: VecDeque<Message>,
    pub(super) has_sent_marker: bool,
    pub(super) is_ended: bool,
}

impl Stream {
    pub(super) fn strips_collection(&self) -> bool {
        self.filter == Filter::DefaultOnly
    }

    pub(super) fn end(&mut self, reason: u32) {
        if !self.is_ended {
            self.is_ended = true;
            // What waits is not sent any more, unless the stream has come to its regular end.
            if reason != end::OK && reason != end::FILTER_EMPTY {
                self.queue.clear();
            }
            self.queue.push_back(Message::End(reason));
        }
    }

    /// Takes the next snapshot when the last one is out.
    pub(super) fn fill(&mut self, bucket: &Bucket, place: &Place, settings: &Settings) {
        if self.is_ended {
            return;
        }
        let is_here = if self.is_active_only {
            bucket.is_active(self.vbucket, place.node)
        } else {
            bucket.has_copy(self.vbucket, place.node)
        };
        let Some(vbucket) = bucket.vbuckets.get(usize::from(self.vbucket)).filter(|_| is_here) else {
            return self.end(end::STATE_CHANGED);
        };
        if vbucket.uuid() != self.uuid {
            return self.end(end::STATE_CHANGED);
        }
        if !self.queue.is_empty() {
            return;
        }
        if self.cursor >= self.end_seqno {
            return self.end(end::OK);
        }
        // A replica shows what it has.
        let is_active = bucket.is_active(self.vbucket, place.node);
        let high = if is_active { vbucket.high_seqno() } else { vbucket.replicated_seqno() };
        if high <= self.cursor {
            return;
        }
        let items: Vec<Arc<Item>> = vbucket
            .after(self.cursor)
            .take_while(|item| item.seqno <= high)
            .filter(|item| self.filter.shows(item, &bucket.manifest))
            .cloned()
            .collect();
        let snapshot = Snapshot { items, high, purge_seqno: vbucket.purge_seqno() };
        self.take(snapshot, place, settings);
    }

    fn take(&mut self, snapshot: Snapshot, place: &Place, settings: &Settings) {
        let is_disk = !self.has_sent_marker;
        let last = snapshot.items.last().map_or(0, |item| item.seqno);
        // Without collections there is no "seqno advanced": the snapshot ends with its last item (seqno-advanced.md).
        let end_seqno = if place.has_collections { snapshot.high } else { last };
        let start = if is_disk { self.snapshot_start.min(self.cursor) } else { self.cursor + 1 };
        self.cursor = snapshot.high;
        if snapshot.items.is_empty() && !place.has_collections {
            return;
        }
        let is_oso = is_disk
            && start == 0
            && settings.has_oso
            && matches!(&self.filter, Filter::Collections(ids) if ids.len() == 1)
            && !snapshot.items.is_empty();
        self.has_sent_marker = true;
        let mut items = snapshot.items;
        if is_oso {
            self.queue.push_back(Message::Oso(1));
            // In the order of keys, which is no order of sequence numbers (oso_snapshot.md).
            items.sort_by(|left, right| document_key(left).cmp(document_key(right)));
        } else {
            let (high_seqno, purge_seqno) = (snapshot.high, snapshot.purge_seqno);
            self.queue.push_back(Message::Marker { start, end: end_seqno, is_disk, high_seqno, purge_seqno });
        }
        let mut is_emptied = false;
        for item in items {
            is_emptied |= self.filter.is_emptied_by(&item);
            self.queue.push_back(Message::Item { item, is_disk });
        }
        if last < end_seqno && (!is_oso || settings.has_oso_with_seqno_advanced) {
            self.queue.push_back(Message::SeqnoAdvanced(end_seqno));
        }
        if is_oso {
            self.queue.push_back(Message::Oso(2));
        }
        if is_emptied {
            self.end(end::FILTER_EMPTY);
        } else if self.cursor >= self.end_seqno {
            self.end(end::OK);
        }
    }
}

fn document_key(item: &Item) -> &[u8] {
    read_leb128(&item.key).map_or(&item.key[..], |(_, key)| key)
}

/// What a vbucket has above a stream's cursor, at one point of time.
struct Snapshot {
    items: Vec<Arc<Item>>,
    high: u64,
    purge_seqno: u64,
}
