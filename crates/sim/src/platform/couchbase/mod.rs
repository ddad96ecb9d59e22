//! A model of a Couchbase bucket: partitions with replicas that lag, CAS, fail-over with roll-back, a de-duplicated feed, tombstones
//! that are purged, expiry.

mod partition;
mod stream;

use std::collections::BTreeMap;
use std::sync::Arc;

use tidelock_core::ids::DocumentId;
use tidelock_core::limits::DEPTH_MAX;
use tidelock_store::platform::{
    Entry, FeedEvent, Order, PlatformCapabilities, PlatformError, Position, PutContent, PutIf, PutOutcome, Token,
    Written,
};

use self::partition::{Partition, Prepare};
pub(crate) use self::stream::Stream;
use super::path::unavailable;
use super::{Body, Model, Reply, all_collections, answer};
use crate::random::Random;

/// A put on a document that another durable write holds is tried again after this many milliseconds.
const BUSY_RETRY_MS: u64 = 5;
/// A put is given up after this many milliseconds of such tries.
const BUSY_MS_MAX: u64 = 2_000;

/// When a put of ours is acknowledged. Foreign writers never wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// By the active node alone: a fail-over may lose it.
    None,
    /// By a majority of the copies: no fail-over loses it.
    Majority,
}

/// How a bucket is set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) partitions: usize,
    /// Copies beside the active one, of each partition.
    pub(crate) replicas: usize,
    /// Nodes of the bucket.
    pub(crate) nodes: usize,
    pub(crate) durability: Durability,
    /// Most milliseconds until a replica has what the active node did.
    pub(crate) lag_ms_max: u64,
}

/// A bucket.
pub(crate) struct Couchbase {
    setup: Setup,
    partitions: Vec<Partition>,
    /// Collections with the number of the collection that has the name at this time.
    collections: BTreeMap<String, u64>,
    /// Puts that wait for another durable write, by the time of the next try, with the time at which they are given up.
    busy: BTreeMap<(u64, u64), (PutIf, Reply, u64)>,
    number: u64,
    random: Random,
}

/// One state of a document.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    seqno: u64,
    cas: u64,
    /// `None` for a tombstone.
    content: Option<Body>,
    /// The system xattr.
    meta: Option<Arc<[u8]>>,
    changed_ms: u64,
    expires_ms: Option<u64>,
}

impl Couchbase {
    pub(crate) fn new(setup: Setup, collections: &[String], seed: u64) -> Self {
        let mut random = Random::new(seed);
        let partition = |at: usize| Partition::new(at % setup.nodes.max(1), setup.replicas, random.any());
        let partitions = (0..setup.partitions.max(1)).map(partition).collect();
        let collections = all_collections(collections).zip(1..).collect();
        Self { setup, partitions, collections, busy: BTreeMap::new(), number: 1_000, random }
    }

    /// A node of the bucket is gone; after `for_ms` its partitions go on with what their best replica has.
    pub(crate) fn fail_over(&mut self, now_ms: u64, for_ms: u64) {
        let node = usize::try_from(self.random.below(self.setup.nodes as u64)).unwrap_or(0);
        for partition in self.partitions.iter_mut().filter(|partition| partition.node == node) {
            let next = (node + 1) % self.setup.nodes.max(1);
            partition.fail(now_ms + for_ms, next);
        }
    }

    /// Replicas get nothing before `until_ms`.
    pub(crate) fn hold_replicas(&mut self, until_ms: u64) {
        let at = usize::try_from(self.random.below(self.partitions.len() as u64)).unwrap_or(0);
        if let Some(partition) = self.partitions.get_mut(at) {
            partition.hold(until_ms);
        }
    }

    /// Whether a majority of the copies has what is acknowledged.
    pub(crate) fn is_durable(&self) -> bool {
        self.setup.durability == Durability::Majority
    }

    /// Replicas get nothing any more: what is done from here on is lost with the active nodes.
    pub(crate) fn hold_all_replicas(&mut self, now_ms: u64) {
        self.partitions.iter_mut().for_each(|partition| partition.stall(now_ms));
    }

    /// All active nodes are gone; the replicas go on at once with what they have.
    pub(crate) fn lose_actives(&mut self, now_ms: u64) {
        for partition in &mut self.partitions {
            let next = (partition.node + 1) % self.setup.nodes.max(1);
            partition.fail(now_ms, next);
        }
    }

    /// Forgets tombstones of a collection of before `before_ms`.
    pub(crate) fn purge(&mut self, collection: &str, before_ms: u64) {
        self.partitions.iter_mut().for_each(|partition| partition.purge(collection, before_ms));
    }

    /// Deletes everything, all collections included in what they hold but not in name.
    pub(crate) fn flush(&mut self) {
        for partition in &mut self.partitions {
            partition.flush(self.random.any());
        }
    }

    /// Drops a collection and creates another one of its name.
    pub(crate) fn recreate(&mut self, name: &str) {
        self.number += 1;
        let Some(number) = self.collections.get_mut(name) else { return };
        *number = self.number;
        self.partitions.iter_mut().for_each(|partition| partition.drop_collection(name));
    }

    /// A foreign client stores a document that expires.
    pub(crate) fn foreign_set_expiring(&mut self, id: &DocumentId, content: Body, now_ms: u64, ttl_ms: u64) {
        // It fails where the partition is without an active node.
        let _ = self.store_foreign(id, Some(content), now_ms, Some(now_ms + ttl_ms));
    }

    fn partition_of(&self, id: &DocumentId) -> usize {
        let hash = id
            .key
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        usize::try_from((hash >> 32) % self.partitions.len() as u64).unwrap_or(0)
    }

    /// The partition of a document that is served.
    fn serving(&mut self, id: &DocumentId) -> Result<&mut Partition, PlatformError> {
        if !self.collections.contains_key(&id.collection) {
            return Err(PlatformError::Refused(format!("no collection {}", id.collection)));
        }
        let at = self.partition_of(id);
        let partition = self.partitions.get_mut(at).ok_or_else(|| unavailable("no such partition"))?;
        if partition.is_down() { Err(unavailable("a partition without an active node")) } else { Ok(partition) }
    }

    fn store_foreign(
        &mut self,
        id: &DocumentId,
        content: Option<Body>,
        now_ms: u64,
        expires_ms: Option<u64>,
    ) -> Result<(), PlatformError> {
        let partition = self.serving(id)?;
        if partition.is_prepared(id) {
            return Err(unavailable("a durable write is under way"));
        }
        let former = partition.item(id);
        if content.is_none() && former.is_none_or(|item| item.content.is_none()) {
            return Ok(());
        }
        // A plain write keeps the xattrs of a live document, a plain delete the system ones; over a tombstone there are none.
        let meta = former.filter(|item| item.content.is_some()).and_then(|item| item.meta.clone());
        let cas = partition.next_cas(now_ms);
        partition.store(id, Item { seqno: 0, cas, content, meta, changed_ms: now_ms, expires_ms });
        let lag = self.setup.lag_ms_max;
        Self::replicate(&mut self.partitions, &mut self.random, lag, now_ms);
        Ok(())
    }

    /// Sends to the replicas what the active copies did.
    fn replicate(partitions: &mut [Partition], random: &mut Random, lag_ms_max: u64, now_ms: u64) {
        for partition in partitions {
            partition.replicate(now_ms, || random.below(lag_ms_max + 1));
        }
    }

    /// Tries a put; `false` when another durable write is in the way.
    fn try_put(&mut self, put: &PutIf, reply: &Reply, now_ms: u64) -> bool {
        let durability = self.setup.durability;
        let partition = match self.serving(&put.id) {
            Ok(partition) => partition,
            Err(error) => {
                answer(reply, Err(error));
                return true;
            }
        };
        if partition.is_prepared(&put.id) {
            return false;
        }
        let former = partition.item(&put.id);
        if token_of(former) != put.token {
            answer(reply, Ok(PutOutcome::Mismatch));
            return true;
        }
        let content = match &put.content {
            PutContent::Keep => former.and_then(|item| item.content.clone()),
            PutContent::Put(text) => Some(Body::Json(Arc::clone(text))),
            PutContent::Delete => None,
        };
        let expires_ms = if put.content == PutContent::Keep { former.and_then(|item| item.expires_ms) } else { None };
        let cas = partition.next_cas(now_ms);
        let item = Item { seqno: 0, cas, content, meta: put.meta.clone(), changed_ms: now_ms, expires_ms };
        if durability == Durability::None || partition.replica_count() == 0 {
            let seqno = partition.store(&put.id, item);
            let order = Some(Order { history: partition.history(), number: seqno });
            answer(reply, Ok(PutOutcome::Done(vec![Written { token: token_of_cas(cas), order }])));
        } else {
            partition.prepare(&put.id, Prepare { item, reply: Arc::clone(reply), acknowledged: 0 });
        }
        let lag = self.setup.lag_ms_max;
        Self::replicate(&mut self.partitions, &mut self.random, lag, now_ms);
        true
    }

    fn put_or_wait(&mut self, put: PutIf, reply: Reply, now_ms: u64, until_ms: u64) {
        if self.try_put(&put, &reply, now_ms) {
            return;
        }
        if now_ms >= until_ms {
            return answer(&reply, Err(unavailable("another durable write is under way")));
        }
        self.number += 1;
        self.busy.insert((now_ms + BUSY_RETRY_MS, self.number), (put, reply, until_ms));
    }
}

/// Stands for an item, or for its absence.
fn token_of(item: Option<&Item>) -> Token {
    item.map_or_else(Token::default, |item| token_of_cas(item.cas))
}

fn token_of_cas(cas: u64) -> Token {
    Token(cas.to_be_bytes().to_vec())
}

/// What a reader of an item sees.
fn entry_of(item: &Item, history: u64) -> Entry {
    if item.content.is_none() && item.meta.is_none() {
        return Entry { token: token_of(Some(item)), ..Entry::default() };
    }
    let (content, unreadable) = item.content.clone().map_or((None, None), Body::into_parts);
    let order = Some(Order { history, number: item.seqno });
    Entry { content, meta: item.meta.clone(), token: token_of(Some(item)), order, unreadable }
}

impl Model for Couchbase {
    type Stream = Stream;

    fn capabilities(&self) -> PlatformCapabilities {
        PlatformCapabilities {
            name: "couchbase model",
            key_bytes_max: 246,
            content_bytes_max: 20 << 20,
            depth_max: DEPTH_MAX,
            meta_bytes_max: 1 << 20,
            torn_ms_max: 0,
        }
    }

    fn settle(&mut self, now_ms: u64) {
        let (random, lag) = (&mut self.random, self.setup.lag_ms_max);
        for partition in &mut self.partitions {
            partition.settle(now_ms, || random.below(lag + 1), self.setup.durability);
        }
        while let Some(first) = self.busy.first_entry().filter(|entry| entry.key().0 <= now_ms) {
            let (put, reply, until_ms) = first.remove();
            self.put_or_wait(put, reply, now_ms, until_ms);
        }
    }

    fn due_ms(&self) -> Option<u64> {
        let busy = self.busy.first_key_value().map(|((at_ms, _), _)| *at_ms);
        self.partitions.iter().filter_map(Partition::due_ms).chain(busy).min()
    }

    fn get(&mut self, id: &DocumentId, _now_ms: u64) -> Result<Entry, PlatformError> {
        let partition = self.serving(id)?;
        let history = partition.history();
        Ok(partition.item(id).map_or_else(Entry::default, |item| entry_of(item, history)))
    }

    fn content(&self, id: &DocumentId) -> Option<Body> {
        self.partitions.get(self.partition_of(id))?.item(id)?.content.clone()
    }

    fn together(&self, ids: &[&DocumentId], _now_ms: u64) -> bool {
        ids.len() < 2
    }

    fn put(&mut self, puts: &[PutIf], reply: Reply, now_ms: u64) {
        match puts {
            [] => answer(&reply, Ok(PutOutcome::Done(Vec::new()))),
            [put] => self.put_or_wait(put.clone(), reply, now_ms, now_ms + BUSY_MS_MAX),
            _ => answer(&reply, Ok(PutOutcome::NotTogether)),
        }
    }

    fn open(
        &mut self,
        _node: &str,
        collections: &[String],
        from: Option<&Position>,
        _now_ms: u64,
    ) -> Result<Stream, PlatformError> {
        if let Some(name) = collections.iter().find(|name| !self.collections.contains_key(*name)) {
            return Err(PlatformError::Refused(format!("no collection {name}")));
        }
        Ok(Stream::open(self, collections, from))
    }

    fn next(&mut self, stream: &mut Stream, _now_ms: u64) -> Result<Option<FeedEvent>, PlatformError> {
        Ok(stream.next(self))
    }

    fn has_news(&self, stream: &Stream) -> bool {
        stream.has_news(self)
    }

    fn acknowledge(&mut self, _stream: &Stream, _position: &Position) -> Result<(), PlatformError> {
        // The bucket keeps its documents anyway.
        Ok(())
    }

    fn close(&mut self, _stream: &mut Stream, _now_ms: u64) {}

    fn keys(&self, collection: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        let keys = self.partitions.iter().flat_map(|partition| partition.keys(collection));
        let mut keys: Vec<&str> = keys.filter(|key| after.is_none_or(|after| *key > after)).collect();
        keys.sort_unstable();
        keys.into_iter().take(limit).map(str::to_owned).collect()
    }

    fn has_collection(&self, name: &str) -> bool {
        self.collections.contains_key(name)
    }

    fn add_collection(&mut self, name: &str) {
        self.number += 1;
        self.collections.insert(name.to_owned(), self.number);
    }

    fn foreign_set(&mut self, id: &DocumentId, content: Body, now_ms: u64) -> Result<(), PlatformError> {
        self.store_foreign(id, Some(content), now_ms, None)
    }

    fn foreign_delete(&mut self, id: &DocumentId, now_ms: u64) -> Result<(), PlatformError> {
        self.store_foreign(id, None, now_ms, None)
    }
}
