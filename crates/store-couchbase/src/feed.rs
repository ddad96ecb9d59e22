//! The feed: DCP of the collections.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidelock_core::ids::DocumentId;
use tidelock_couchbase_dcp::{
    Branch, Change, ChangeKind, Checkpoint, Error, Event, Feed as Changes, Filter, Opened, Start, SystemChange,
};
use tidelock_store::platform::{Entry, Feed, FeedEvent, Order, PlatformError, Position};
use tidelock_store::{BoxFuture, Seldom};
use tokio::time::{Instant, timeout_at};

use crate::config::{CouchbaseOptions, Durability, XATTR};
use crate::entry::{PLACEHOLDER, State, refused};
use crate::history::{Place, Told, Verdict, judge};
use crate::names::document_key;
use crate::position::Followed;
use crate::setup::PROBE;

/// A position is reported after so many events …
const POSITION_EVERY: usize = 4_096;
/// … and this long after an event at the latest.
const POSITION_DELAY: Duration = Duration::from_millis(100);
/// So often the log says of a node that it still refuses.
const LOGGED_EVERY: Duration = Duration::from_secs(30);
/// A log of so many branches may have lost its oldest ones (`kv_engine` configuration.json, `max_failover_entries`).
const BRANCHES_MAX: usize = 25;
/// The vbucket whose history stands for the bucket's.
const FIRST: u16 = 0;

/// A feed.
pub(crate) struct CouchbaseFeed {
    changes: Changes,
    /// By id.
    names: BTreeMap<u32, String>,
    /// Ids by name.
    collections: BTreeMap<String, u32>,
    told: Arc<Told>,
    /// Whether a fail-over takes back what this node's clients were told.
    is_lossy: bool,
    /// By vbucket: the branch that it is in, and the last sequence number that was told.
    places: Vec<Place>,
    /// Vbuckets that go back: to where.
    back: BTreeMap<u16, u64>,
    /// The oldest branch of the first vbucket; 0 before it was heard of.
    origin: u64,
    /// What is to be told before the next event.
    ahead: VecDeque<FeedEvent>,
    /// Events since the last position, and when the first of them came.
    unreported: usize,
    since: Instant,
    /// By node, what was last written of a connection to the log, and when.
    logged: BTreeMap<String, (String, Instant)>,
    /// Why it goes no further.
    end: Option<PlatformError>,
    /// Changes under keys that are no documents'.
    passed_over: Seldom,
}

impl CouchbaseFeed {
    /// `paths` are the collections with their paths; `vbuckets` is how many the bucket has.
    pub(crate) async fn open(
        options: &CouchbaseOptions,
        paths: &[(String, String)],
        vbuckets: usize,
        told: Arc<Told>,
        from: Option<&Position>,
    ) -> Result<Self, PlatformError> {
        let fits =
            |followed: &Followed| followed.checkpoint.positions.keys().all(|vbucket| usize::from(*vbucket) < vbuckets);
        let followed = from.and_then(Followed::read).filter(fits);
        let mut ahead = VecDeque::new();
        let mut config = options.connection.clone();
        config.filter = Filter::Collections(paths.iter().map(|(_, path)| path.clone()).collect());
        config.start = Start::Now;
        config.name = numbered(&config.name);
        let none = Checkpoint::default();
        let checkpoint = followed.as_ref().map_or(&none, |followed| &followed.checkpoint);
        let changes = Changes::open(config, checkpoint).await.map_err(|error| refused(&error))?;
        let collections: BTreeMap<String, u32> =
            paths.iter().map(|(name, _)| name.clone()).zip(changes.collection_ids().iter().copied()).collect();
        match &followed {
            None => ahead.push_back(FeedEvent::Lost(None)),
            Some(followed) => {
                // One of another number is another one; one that was not followed has told nothing yet.
                let is_other = |(name, id): &(&String, &u32)| followed.collections.get(*name) != Some(*id);
                let others = collections.iter().filter(is_other);
                ahead.extend(others.map(|(name, _)| FeedEvent::Lost(Some(name.clone()))));
            }
        }
        let mut places = vec![Place::default(); changes.vbuckets()];
        for (vbucket, position) in &checkpoint.positions {
            if let Some(place) = places.get_mut(usize::from(*vbucket)) {
                *place = Place { uuid: position.uuid(), seqno: position.seqno() };
            }
        }
        Ok(Self {
            changes,
            names: collections.iter().map(|(name, id)| (*id, name.clone())).collect(),
            collections,
            told,
            is_lossy: options.durability == Durability::None,
            places,
            back: BTreeMap::new(),
            origin: followed.as_ref().map_or(0, |followed| followed.origin),
            ahead,
            unreported: 0,
            since: Instant::now(),
            logged: BTreeMap::new(),
            end: None,
            passed_over: Seldom::default(),
        })
    }

    /// A node that refuses every stream is told of once in a while, not for every stream and attempt.
    fn reconnects(&mut self, node: String, error: &Error) {
        let why = error.to_string();
        let is_known = |(before, at): &(String, Instant)| *before == why && at.elapsed() < LOGGED_EVERY;
        if self.logged.get(&node).is_some_and(is_known) {
            return;
        }
        if error.is_transient() {
            tracing::info!(node, %error, "the feed reconnects");
        } else {
            tracing::warn!(node, %error, "the feed is refused, and tries again");
        }
        self.logged.insert(node, (why, Instant::now()));
    }

    fn position(&mut self) -> FeedEvent {
        self.unreported = 0;
        FeedEvent::Position(Followed::write(self.origin, &self.collections, &self.changes.checkpoint()))
    }

    /// Notes that the position has moved.
    fn moved(&mut self, vbucket: u16, seqno: u64) {
        if let Some(place) = self.places.get_mut(usize::from(vbucket)) {
            place.seqno = place.seqno.max(seqno);
        }
        if self.unreported == 0 {
            self.since = Instant::now();
        }
        self.unreported += 1;
    }

    /// Puts what an event means ahead.
    fn hear(&mut self, event: Event) {
        match event {
            Event::Change(change) => {
                self.moved(change.vbucket, change.seqno);
                let event = self.changed(&change);
                self.ahead.extend(event);
            }
            Event::SeqnoAdvanced { vbucket, seqno } => self.moved(vbucket, seqno),
            Event::System(event) => {
                self.moved(event.vbucket, event.seqno);
                if let SystemChange::CollectionDropped { collection } = event.change {
                    self.dropped(collection);
                }
            }
            Event::Rollback { vbucket, seqno } => drop(self.back.insert(vbucket, seqno)),
            Event::Opened(opened) => self.opened(&opened),
            Event::CaughtUp => {
                let position = self.position();
                self.ahead.extend([position, FeedEvent::CaughtUp]);
            }
            Event::Disconnected { node, error } => self.reconnects(node, &error),
            Event::Ended { vbucket, reason } => tracing::debug!(vbucket, ?reason, "a stream has ended"),
            // It concerns no document; kinds that are added later do not either.
            Event::Snapshot(_) | Event::OutOfOrder { .. } | _ => {}
        }
    }

    fn changed(&self, change: &Change) -> Option<FeedEvent> {
        let collection = self.names.get(&change.collection)?;
        let Some(key) = document_key(&change.key) else {
            if change.key != PROBE.as_bytes()
                && let Some(others) = self.passed_over.due()
            {
                tracing::warn!(collection, key = ?change.key, others, "a change of an entry that is no document is passed over");
            }
            return None;
        };
        // Nothing was there before it: it is no news.
        if change.kind.is_removal() && change.xattrs.get(XATTR).is_some_and(|xattr| *xattr == *PLACEHOLDER) {
            return None;
        }
        let uuid = self.places.get(usize::from(change.vbucket)).map_or(0, |place| place.uuid);
        let entry = entry_of(change, uuid);
        Some(FeedEvent::Changed(DocumentId::new(collection.as_str(), key), entry))
    }

    /// It may be created again, under another number: whoever opens the next feed hears of that.
    fn dropped(&mut self, collection: u32) {
        let Some(name) = self.names.remove(&collection) else { return };
        tracing::warn!(collection = name, "the collection was dropped");
        self.end = Some(PlatformError::Unavailable(format!("the collection {name} was dropped")));
        self.ahead.push_back(FeedEvent::Lost(Some(name)));
    }

    /// A stream is open: its log says what became of the states that were told.
    fn opened(&mut self, opened: &Opened) {
        let Opened { vbucket, seqno, failover_log: log, .. } = opened;
        let Some(place) = self.places.get_mut(usize::from(*vbucket)) else { return };
        let before = std::mem::replace(place, Place { uuid: log.first().map_or(0, |one| one.uuid), seqno: *seqno });
        let mut verdicts = BTreeSet::from([judge(log, before)]);
        if self.is_lossy {
            verdicts.extend(self.told.take(*vbucket, log).into_iter().map(|place| judge(log, place)));
        }
        let went_back = self.back.remove(vbucket);
        let mut is_lost = went_back == Some(0);
        for verdict in verdicts {
            match verdict {
                Verdict::Kept => {}
                Verdict::Cut(uuid) => {
                    is_lost = true;
                    // Durable writes survive a fail-over: what is gone was acknowledged to nobody who asked for more.
                    if self.is_lossy {
                        self.rolled_back(format!("vbucket {vbucket}: {uuid:x}"));
                    }
                }
                // What the bucket has instead, its first vbucket tells.
                Verdict::Unknown => is_lost = true,
            }
        }
        if *vbucket == FIRST && self.is_another_bucket(log) {
            is_lost = true;
            self.rolled_back(format!("bucket: {:x}", self.origin));
        }
        if is_lost && self.ahead.back() != Some(&FeedEvent::Lost(None)) {
            self.ahead.push_back(FeedEvent::Lost(None));
        }
    }

    /// Whether the bucket was flushed or made anew since the last log of its first vbucket.
    fn is_another_bucket(&mut self, log: &[Branch]) -> bool {
        let origin = log.last().map_or(0, |branch| branch.uuid);
        let before = std::mem::replace(&mut self.origin, origin);
        // The server forgets the oldest branches of a long log.
        before != 0 && before != origin && log.len() < BRANCHES_MAX
    }

    fn rolled_back(&mut self, name: String) {
        tracing::warn!(name, "the bucket has lost states that it had told");
        self.ahead.push_back(FeedEvent::RolledBack(name));
    }
}

/// Another name for each set of connections: of two with one name the later closes the earlier.
pub(crate) fn numbered(name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The state that a change tells; `None` where it has to be read.
pub(crate) fn entry_of(change: &Change, uuid: u64) -> Option<Entry> {
    if let ChangeKind::Mutation { expiry_s: expiry_s @ 1.., .. } = change.kind {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if u64::from(expiry_s) <= now {
            return None;
        }
    }
    let state = State {
        cas: change.cas,
        body: (!change.kind.is_removal()).then_some(&change.body),
        xattr: change.xattrs.get(XATTR),
        order: Some(Order { history: uuid, number: change.seqno }),
    };
    tracing::trace!(key = ?change.key, is_foreign = state.is_foreign(), "change");
    Some(state.entry())
}

impl Feed for CouchbaseFeed {
    fn next(&mut self) -> BoxFuture<'_, Result<FeedEvent, PlatformError>> {
        Box::pin(async move {
            loop {
                if let Some(event) = self.ahead.pop_front() {
                    return Ok(event);
                }
                if let Some(end) = &self.end {
                    return Err(end.clone());
                }
                let due = self.since + POSITION_DELAY;
                if self.unreported >= POSITION_EVERY || self.unreported > 0 && Instant::now() >= due {
                    return Ok(self.position());
                }
                // What was told before has been taken.
                self.changes.acknowledge();
                let event = if self.unreported > 0 {
                    match timeout_at(due, self.changes.next()).await {
                        Ok(event) => event,
                        Err(_) => continue,
                    }
                } else {
                    self.changes.next().await
                };
                match event {
                    Ok(Some(event)) => self.hear(event),
                    Ok(None) => return Err(PlatformError::Unavailable("the collections were dropped".to_owned())),
                    Err(error) => return Err(refused(&error)),
                }
            }
        })
    }

    fn acknowledge(&mut self, position: &Position) -> BoxFuture<'_, Result<(), PlatformError>> {
        // The bucket keeps its documents anyway.
        let is_known = Followed::read(position).is_some();
        Box::pin(async move {
            if is_known { Ok(()) } else { Err(PlatformError::Refused("the position is not of this feed".to_owned())) }
        })
    }
}
