//! The feed: a durable subscription of the node.

use std::collections::{BTreeMap, VecDeque};

use tidelock_core::ids::DocumentId;
use tidelock_geode_client::{Client, Event, EventId, Interest, Loss, RegionChange, Subscribe, Subscription};
use tidelock_store::platform::{Feed, FeedEvent, PlatformError, Position};
use tidelock_store::{BoxFuture, Seldom};

use crate::config::GeodeOptions;
use crate::entry::{Values, refused};
use crate::regions::{Place, document_key};

/// After so many changes a position is reported even while more are waiting.
const POSITION_EVERY: usize = 256;

/// A feed. The servers keep the queue under the node's name; a position says how far its events are told, and stands for their ids.
pub(crate) struct GeodeFeed {
    client: Client,
    subscription: Subscription,
    /// Names the queue: another one has other positions.
    node: String,
    /// Region path to collection.
    collections: BTreeMap<String, (String, Place)>,
    /// What is to be told before the next event of the queue.
    ahead: VecDeque<FeedEvent>,
    /// Events that were told and are not acknowledged yet, by their number.
    told: VecDeque<(u64, EventId)>,
    number: u64,
    /// The number of the last position that was reported.
    reported: u64,
    /// Changes under keys that are no documents'.
    passed_over: Seldom,
}

impl GeodeFeed {
    pub(crate) async fn open(
        client: Client,
        options: &GeodeOptions,
        places: Vec<(String, Place)>,
        from: Option<&Position>,
    ) -> Result<Self, PlatformError> {
        let interests = places.iter().map(|(_, place)| Interest::all(place.content().path())).collect();
        let subscribe = Subscribe { redundancy: options.queue_copies, interests, queries: Vec::new() };
        let subscription = client.subscribe(subscribe).await.map_err(|error| refused(&error))?;
        let collections = places.into_iter().map(|(name, place)| (place.content().path().to_owned(), (name, place)));
        let collections = collections.collect();
        let mut ahead = VecDeque::new();
        let known = from.and_then(|position| read_position(position, &options.node));
        if known.is_none() {
            ahead.push_back(FeedEvent::Lost(None));
        }
        let number = known.unwrap_or_default();
        let node = options.node.clone();
        let (told, passed_over) = (VecDeque::new(), Seldom::default());
        Ok(Self { client, subscription, node, collections, ahead, told, number, reported: number, passed_over })
    }

    fn position(&mut self) -> FeedEvent {
        self.reported = self.number;
        FeedEvent::Position(write_position(&self.node, self.number))
    }

    fn tell(&mut self, id: EventId) {
        self.number += 1;
        self.told.push_back((self.number, id));
    }

    /// The next event of the queue as the trait tells it; `None` for one that concerns no document.
    async fn translate(&mut self, event: Event) -> Result<Option<FeedEvent>, PlatformError> {
        match event {
            Event::Change(change) => {
                self.tell(change.id.clone());
                let Some((collection, place)) = self.collections.get(&change.region) else { return Ok(None) };
                let Some(key) = document_key(&change.key) else {
                    if let Place::Documents { .. } = place
                        && let Some(others) = self.passed_over.due()
                    {
                        let (region, key) = (&change.region, &change.key);
                        tracing::warn!(region, ?key, others, "a change of an entry that is no document is passed over");
                    }
                    return Ok(None);
                };
                let id = DocumentId::new(collection.as_str(), key);
                let entry = match place {
                    // Its meta changes by itself.
                    Place::Documents { .. } => None,
                    Place::System(_) => {
                        let values = Values { content: change.value.clone(), meta: None };
                        Some(values.entry(&self.client, place).await?)
                    }
                };
                Ok(Some(FeedEvent::Changed(id, entry)))
            }
            Event::Region { region, change, id } => {
                self.tell(id);
                let collection = self.collections.get(&region).map(|(collection, _)| collection.clone());
                if let (Some(collection), RegionChange::Destroyed) = (&collection, change) {
                    tracing::warn!(region, collection, "the region of a collection was destroyed");
                }
                Ok(collection.map(|collection| FeedEvent::Lost(Some(collection))))
            }
            Event::CaughtUp => Ok(Some(FeedEvent::CaughtUp)),
            Event::Lost(loss) => {
                tracing::info!(?loss, "events may be missing: the regions are read again");
                if loss != Loss::RegionReturned {
                    // Its events come no more, and nobody waits for their acknowledgement.
                    self.told.clear();
                }
                self.ahead.push_back(FeedEvent::CaughtUp);
                Ok(Some(FeedEvent::Lost(None)))
            }
            Event::Interrupted(error) => {
                tracing::warn!(%error, "no server of the cluster tells changes; it is tried again until one does");
                Ok(None)
            }
        }
    }
}

impl Drop for GeodeFeed {
    fn drop(&mut self) {
        // The next feed of the node takes the queue over, which a server grants to one connection at a time.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let client = self.client.clone();
            runtime.spawn(async move { client.close(true).await });
        }
    }
}

impl Feed for GeodeFeed {
    fn next(&mut self) -> BoxFuture<'_, Result<FeedEvent, PlatformError>> {
        Box::pin(async move {
            loop {
                if let Some(event) = self.ahead.pop_front() {
                    return Ok(event);
                }
                let told = self.number - self.reported;
                let waiting = self.subscription.has_event();
                if told >= POSITION_EVERY as u64 || (told > 0 && !waiting) {
                    return Ok(self.position());
                }
                let event = self.subscription.next().await;
                let event = event.ok_or_else(|| PlatformError::Unavailable("the client is closed".to_owned()))?;
                if let Some(event) = self.translate(event).await? {
                    return Ok(event);
                }
            }
        })
    }

    fn acknowledge(&mut self, position: &Position) -> BoxFuture<'_, Result<(), PlatformError>> {
        let number = read_position(position, &self.node);
        Box::pin(async move {
            let Some(number) = number else {
                return Err(PlatformError::Refused("the position is not of this feed".to_owned()));
            };
            let count = self.told.partition_point(|(told, _)| *told <= number);
            let ids = self.told.iter().take(count).map(|(_, id)| id);
            self.subscription.acknowledge(ids).await.map_err(|error| refused(&error))?;
            self.told.drain(..count);
            Ok(())
        })
    }
}

fn write_position(node: &str, number: u64) -> Position {
    Position([&number.to_be_bytes()[..], node.as_bytes()].concat())
}

fn read_position(position: &Position, node: &str) -> Option<u64> {
    let (number, of) = position.0.split_first_chunk()?;
    (of == node.as_bytes()).then(|| u64::from_be_bytes(*number))
}
