//! The durable queues of events: one for each node, in memory alone, kept while the node is away for a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Value, json};
use tidelock_core::ids::DocumentId;
use tidelock_store::platform::{FeedEvent, PlatformError, Position};

use crate::platform::path::unavailable;
use crate::random::Random;

/// How long the queue of a node that is away is kept, in milliseconds.
const QUEUE_MS_MAX: u64 = 300_000;

/// What queues are told.
#[derive(Clone, Debug)]
pub(super) enum Notice {
    /// An entry changed.
    Changed(DocumentId),
    /// A region was cleared.
    Lost(String),
}

impl Notice {
    fn collection(&self) -> &str {
        match self {
            Self::Changed(id) => &id.collection,
            Self::Lost(name) => name,
        }
    }

    fn event(&self) -> FeedEvent {
        match self {
            // The other entry is not in the event.
            Self::Changed(id) => FeedEvent::Changed(id.clone(), None),
            Self::Lost(name) => FeedEvent::Lost(Some(name.clone())),
        }
    }
}

/// All queues.
pub(super) struct Queues {
    by_node: BTreeMap<String, Queue>,
    random: Random,
}

struct Queue {
    name: u64,
    /// Interest is registered in these.
    collections: BTreeSet<String>,
    /// By rising number.
    notices: VecDeque<(u64, Notice)>,
    last: u64,
    /// Up to here the node has acknowledged.
    acknowledged: u64,
    /// Connections so far: one at a time is served.
    connection: u64,
    away_since_ms: Option<u64>,
}

/// A connection to a queue.
pub(crate) struct Stream {
    node: String,
    queue: u64,
    connection: u64,
    /// Told up to here.
    at: u64,
    /// In front of what the queue holds.
    events: VecDeque<FeedEvent>,
    /// What was there when the feed began, until it is reached.
    present: Option<u64>,
    /// The position that was told last.
    told: Option<u64>,
    /// Notices until a position is told.
    batch: u64,
}

impl Queues {
    pub(super) fn new(seed: u64) -> Self {
        Self { by_node: BTreeMap::new(), random: Random::new(seed) }
    }

    pub(super) fn tell(&mut self, notice: &Notice) {
        for queue in self.by_node.values_mut().filter(|queue| queue.collections.contains(notice.collection())) {
            queue.last += 1;
            queue.notices.push_back((queue.last, notice.clone()));
        }
    }

    /// Queues of nodes that were away for too long are dropped.
    pub(super) fn expire(&mut self, now_ms: u64) {
        self.by_node.retain(|_, queue| queue.away_since_ms.is_none_or(|since_ms| now_ms < since_ms + QUEUE_MS_MAX));
    }

    pub(super) fn due_ms(&self) -> Option<u64> {
        self.by_node.values().filter_map(|queue| Some(queue.away_since_ms? + QUEUE_MS_MAX)).min()
    }

    /// All queues are gone.
    pub(super) fn lose(&mut self) {
        self.by_node.clear();
    }

    pub(super) fn open(&mut self, node: &str, collections: &[String], from: Option<&Position>) -> Stream {
        let from = from.and_then(parse);
        let known = self.by_node.get_mut(node).filter(|queue| {
            from.is_some_and(|(name, number)| queue.name == name && (queue.acknowledged..=queue.last).contains(&number))
        });
        let mut events = VecDeque::new();
        let name = self.random.any();
        let queue = if let Some(queue) = known {
            // What was not acknowledged comes again, whatever the node says.
            for added in collections.iter().filter(|name| !queue.collections.contains(*name)) {
                events.push_back(FeedEvent::Lost(Some(added.clone())));
            }
            queue
        } else {
            events.push_back(FeedEvent::Lost(None));
            let queue = Queue {
                name,
                collections: BTreeSet::new(),
                notices: VecDeque::new(),
                last: 0,
                acknowledged: 0,
                connection: 0,
                away_since_ms: None,
            };
            self.by_node.insert(node.to_owned(), queue);
            self.by_node.get_mut(node).expect("it was put there")
        };
        queue.collections = collections.iter().cloned().collect();
        queue.notices.retain(|(_, notice)| queue.collections.contains(notice.collection()));
        queue.connection += 1;
        queue.away_since_ms = None;
        Stream {
            node: node.to_owned(),
            queue: queue.name,
            connection: queue.connection,
            at: queue.acknowledged,
            events,
            present: Some(queue.last),
            told: None,
            batch: 0,
        }
    }

    fn of(&self, stream: &Stream) -> Option<&Queue> {
        let queue = self.by_node.get(&stream.node)?;
        (queue.name == stream.queue && queue.connection == stream.connection).then_some(queue)
    }

    pub(super) fn has_news(&self, stream: &Stream) -> bool {
        let Some(queue) = self.of(stream) else { return true };
        !stream.events.is_empty()
            || stream.present.is_some()
            || queue.last > stream.at
            || stream.told != Some(stream.at)
    }

    pub(super) fn next(&self, stream: &mut Stream, batch: u64) -> Result<Option<FeedEvent>, PlatformError> {
        let queue = self.of(stream).ok_or_else(|| unavailable("the queue's connection is gone"))?;
        if let Some(event) = stream.events.pop_front() {
            return Ok(Some(event));
        }
        let next = queue.notices.iter().find(|(number, _)| *number > stream.at);
        let at_present = stream.present.is_some_and(|present| next.is_none_or(|(number, _)| *number > present));
        if (stream.batch == 0 || next.is_none() || at_present) && stream.told != Some(stream.at) {
            stream.batch = batch;
            stream.told = Some(stream.at);
            return Ok(Some(FeedEvent::Position(position(stream.queue, stream.at))));
        }
        if at_present {
            stream.present = None;
            return Ok(Some(FeedEvent::CaughtUp));
        }
        let Some((number, notice)) = next else {
            // Numbers without a notice are of collections that are not followed any more.
            stream.at = queue.last;
            stream.told = Some(stream.at);
            return Ok(None);
        };
        stream.at = *number;
        stream.batch = stream.batch.saturating_sub(1);
        Ok(Some(notice.event()))
    }

    pub(super) fn acknowledge(&mut self, stream: &Stream, position: &Position) -> Result<(), PlatformError> {
        let gone = || unavailable("the queue's connection is gone");
        self.of(stream).ok_or_else(gone)?;
        let queue = self.by_node.get_mut(&stream.node).ok_or_else(gone)?;
        if let Some((name, number)) = parse(position)
            && name == queue.name
        {
            queue.acknowledged = queue.acknowledged.max(number.min(queue.last));
            let acknowledged = queue.acknowledged;
            queue.notices.retain(|(number, _)| *number > acknowledged);
        }
        Ok(())
    }

    pub(super) fn close(&mut self, stream: &mut Stream, now_ms: u64) {
        if self.of(stream).is_some()
            && let Some(queue) = self.by_node.get_mut(&stream.node)
        {
            queue.connection += 1;
            queue.away_since_ms = Some(now_ms);
        }
    }
}

fn position(queue: u64, number: u64) -> Position {
    Position(json!([queue, number]).to_string().into_bytes())
}

fn parse(position: &Position) -> Option<(u64, u64)> {
    let value: Value = serde_json::from_slice(&position.0).ok()?;
    Some((value.get(0)?.as_u64()?, value.get(1)?.as_u64()?))
}
