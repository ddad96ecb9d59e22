//! The feed of a bucket: one stream for each partition, in snapshots, each document at its latest change alone.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};
use tidelock_core::ids::DocumentId;
use tidelock_store::platform::{FeedEvent, Position};

use super::partition::Copy;
use super::{Couchbase, Durability, Item, entry_of};

/// The feed of one node.
pub(crate) struct Stream {
    /// Followed, with the number of the collection that had the name when it was last looked at.
    collections: BTreeMap<String, u64>,
    parts: Vec<Part>,
    /// Ready to be told.
    events: VecDeque<FeedEvent>,
    /// Seqnos that were there when the feed began, until they are reached.
    present: Option<Vec<u64>>,
}

/// How far the stream of a partition is.
#[derive(Clone, Debug, Default)]
struct Part {
    history: u64,
    seqno: u64,
    /// The snapshot that `seqno` is in: its bounds.
    snapshot: (u64, u64),
    /// The rest of the snapshot.
    rest: VecDeque<(DocumentId, Item)>,
}

/// What a history says about a place in it.
enum Place {
    Known,
    /// The place is beyond what is left of its history: go on from there.
    RollBack(u64),
    /// Nothing is known of the history.
    Unknown,
    /// Tombstones after the place are gone.
    Purged,
}

impl Stream {
    pub(super) fn open(bucket: &Couchbase, collections: &[String], from: Option<&Position>) -> Self {
        let present = bucket.partitions.iter().map(|partition| partition.active().high).collect();
        let number = |name: &String| (name.clone(), bucket.collections.get(name).copied().unwrap_or(0));
        let current = collections.iter().map(number).collect();
        let mut stream =
            Self { collections: current, parts: Vec::new(), events: VecDeque::new(), present: Some(present) };
        let known = from.and_then(|position| parse(position, bucket.partitions.len()));
        let Some((parts, known)) = known else {
            stream.events.push_back(FeedEvent::Lost(None));
            stream.parts = bucket.partitions.iter().map(|partition| Part::at_head(partition.active())).collect();
            return stream;
        };
        stream.parts = parts;
        // A collection of another number is another one; one that was not followed has told nothing yet.
        for (name, number) in &mut stream.collections {
            *number = known.get(name).copied().unwrap_or(0);
        }
        stream
    }

    pub(super) fn has_news(&self, bucket: &Couchbase) -> bool {
        let partitions = bucket.partitions.iter().zip(&self.parts).filter(|(partition, _)| !partition.is_down());
        !self.events.is_empty()
            || self.present.as_ref().is_some_and(|present| self.has_reached(present, bucket))
            || self.collections.iter().any(|(name, number)| bucket.collections.get(name) != Some(number))
            || partitions.into_iter().any(|(partition, part)| part.has_news(partition.active()))
    }

    fn has_reached(&self, present: &[u64], bucket: &Couchbase) -> bool {
        let parts = self.parts.iter().zip(present).zip(&bucket.partitions);
        parts.into_iter().all(|((part, seqno), partition)| {
            part.seqno >= *seqno.min(&partition.active().high) && part.rest.is_empty()
        })
    }

    pub(super) fn next(&mut self, bucket: &mut Couchbase) -> Option<FeedEvent> {
        if self.events.is_empty() {
            self.look_at_collections(bucket);
        }
        if self.events.is_empty() {
            self.advance(bucket);
        }
        if self.events.is_empty()
            && let Some(present) = &self.present
            && self.has_reached(present, bucket)
        {
            self.present = None;
            self.events.push_back(FeedEvent::Position(self.position()));
            self.events.push_back(FeedEvent::CaughtUp);
        }
        self.events.pop_front()
    }

    /// Collections that were dropped and created again.
    fn look_at_collections(&mut self, bucket: &Couchbase) {
        for (name, number) in &mut self.collections {
            let current = bucket.collections.get(name).copied().unwrap_or(0);
            if std::mem::replace(number, current) != current {
                self.events.push_back(FeedEvent::Lost(Some(name.clone())));
            }
        }
    }

    /// Takes some steps of a partition that has any.
    fn advance(&mut self, bucket: &mut Couchbase) {
        let count = self.parts.len();
        let first = usize::try_from(bucket.random.below(count as u64)).unwrap_or(0);
        let durability = bucket.setup.durability;
        for at in (0..count).map(|step| (first + step) % count) {
            let (Some(part), Some(partition)) = (self.parts.get_mut(at), bucket.partitions.get(at)) else { continue };
            let active = partition.active();
            if partition.is_down() || !part.has_news(active) {
                continue;
            }
            if let Some(event) = part.follow(at, active, durability) {
                self.events.extend(event);
                self.events.extend(self.collections.keys().map(|name| FeedEvent::Lost(Some(name.clone()))));
                return;
            }
            if !part.take_snapshot(active) {
                continue;
            }
            let history = partition.history();
            for _ in 0..bucket.random.between(1, 6) {
                let Some((id, item)) = part.rest.pop_front() else { break };
                part.seqno = item.seqno;
                if self.collections.contains_key(&id.collection) {
                    // Sometimes without the state, which then has to be read.
                    let entry = bucket.random.chance(800).then(|| entry_of(&item, history));
                    self.events.push_back(FeedEvent::Changed(id, entry));
                }
            }
            if part.rest.is_empty() {
                part.seqno = part.snapshot.1;
            }
            if part.rest.is_empty() || bucket.random.chance(300) {
                self.events.push_back(FeedEvent::Position(self.position()));
            }
            return;
        }
    }

    fn position(&self) -> Position {
        let part = |part: &Part| json!([part.history, part.seqno, part.snapshot.0, part.snapshot.1]);
        let parts: Vec<Value> = self.parts.iter().map(part).collect();
        Position(json!({ "parts": parts, "collections": self.collections }).to_string().into_bytes())
    }
}

/// The parts of a position and the numbers of its collections; `None` for one of another bucket.
fn parse(position: &Position, partitions: usize) -> Option<(Vec<Part>, BTreeMap<String, u64>)> {
    let value: Value = serde_json::from_slice(&position.0).ok()?;
    let part = |value: &Value| {
        let number = |at: usize| value.get(at).and_then(Value::as_u64);
        let (history, seqno, snapshot) = (number(0)?, number(1)?, (number(2)?, number(3)?));
        Some(Part { history, seqno, snapshot, rest: VecDeque::new() })
    };
    let parts: Vec<Part> = value.get("parts")?.as_array()?.iter().map(part).collect::<Option<_>>()?;
    let collections = value.get("collections")?.as_object()?;
    let numbers = collections.iter().map(|(name, number)| Some((name.clone(), number.as_u64()?)));
    Some((parts, numbers.collect::<Option<_>>()?)).filter(|(parts, _)| parts.len() == partitions)
}

impl Part {
    fn at_head(active: &Copy) -> Self {
        let history = active.histories.last().map_or(0, |(name, _)| *name);
        Self { history, seqno: active.high, snapshot: (active.high, active.high), rest: VecDeque::new() }
    }

    fn has_news(&self, active: &Copy) -> bool {
        let current = active.histories.last().is_some_and(|(name, _)| *name == self.history);
        !self.rest.is_empty() || active.high > self.seqno || !current || self.is_purged(active)
    }

    fn is_purged(&self, active: &Copy) -> bool {
        self.seqno != 0 && self.seqno < active.purged
    }

    /// Moves over to the history that goes on. `Some` when something is lost by that: with the event that says so.
    #[expect(clippy::option_option, reason = "whether changes may be missing, and whether that has a name")]
    fn follow(&mut self, at: usize, active: &Copy, durability: Durability) -> Option<Option<FeedEvent>> {
        // A snapshot that is under way was taken whole.
        if !self.rest.is_empty() && active.histories.last().is_some_and(|(name, _)| *name == self.history) {
            return None;
        }
        let place = self.place(active);
        let rolled_back = |name: u64| Some(FeedEvent::RolledBack(format!("partition {at}: {name:x}")));
        let name = active.histories.last().map_or(0, |(name, _)| *name);
        self.rest.clear();
        match place {
            Place::Known => {
                self.history = name;
                None
            }
            Place::RollBack(seqno) => {
                let after = active.histories.iter().position(|(history, _)| *history == self.history);
                let next = after.and_then(|after| active.histories.get(after + 1)).map_or(name, |(name, _)| *name);
                *self = Self { history: name, seqno, snapshot: (seqno, seqno), rest: VecDeque::new() };
                // Durable writes survive a fail-over: what is gone was acknowledged to nobody who asked for more.
                Some(if durability == Durability::None { rolled_back(next) } else { None })
            }
            Place::Purged => {
                *self = Self { history: name, ..Self::default() };
                Some(None)
            }
            Place::Unknown => {
                *self = Self { history: name, ..Self::default() };
                Some(rolled_back(active.histories.first().map_or(name, |(name, _)| *name)))
            }
        }
    }

    fn place(&self, active: &Copy) -> Place {
        let Some(at) = active.histories.iter().position(|(name, _)| *name == self.history) else {
            return Place::Unknown;
        };
        if self.is_purged(active) {
            return Place::Purged;
        }
        let upper = active.histories.get(at + 1).map_or(active.high, |(_, from)| *from);
        let (start, end) = self.snapshot;
        match () {
            () if end <= upper || (self.seqno == start && start <= upper) => Place::Known,
            () => Place::RollBack(upper.min(start)),
        }
    }

    /// Takes everything after the place, as it is at this moment; whether there is anything to follow.
    fn take_snapshot(&mut self, active: &Copy) -> bool {
        if !self.rest.is_empty() {
            return true;
        }
        if active.high <= self.seqno {
            return false;
        }
        let ids = active.by_seqno.range(self.seqno + 1..).map(|(_, id)| id);
        self.rest = ids.filter_map(|id| Some((id.clone(), active.items.get(id)?.clone()))).collect();
        // Amid a snapshot something older than the place may be missing, which came later in the snapshot.
        let (start, end) = self.snapshot;
        self.snapshot = (if self.seqno < end { start } else { self.seqno }, active.high);
        true
    }
}
