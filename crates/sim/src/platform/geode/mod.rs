//! A model of an Apache Geode cluster: documents and their metas as entries of two colocated regions, transactions on one member only,
//! queues of events that can be lost, imports and clears that tell nobody, or everybody too little.

mod faults;
mod queue;
mod slots;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidelock_core::ids::DocumentId;
use tidelock_core::limits::DEPTH_MAX;
use tidelock_store::platform::{
    Entry, FeedEvent, Order, PlatformCapabilities, PlatformError, Position, PutContent, PutIf, PutOutcome, Token,
    Written,
};

pub(crate) use self::queue::Stream;
use self::queue::{Notice, Queues};
use self::slots::{Pair, Region, Slot, Tag};
use super::path::unavailable;
use super::{Body, Cluster, Faults, Model, Reply, all_collections, answer};
use crate::random::Random;

/// How long a tombstone of an entry is kept, in milliseconds.
const TOMBSTONE_MS: u64 = 600_000;
/// A client's knowledge of where the buckets are is so old at most, in milliseconds.
const HINT_MS: u64 = 1_000;
/// A commit is visible in part for at most this many milliseconds.
const TORN_MS_MAX: u32 = 2;

/// How a cluster is set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) members: usize,
    pub(crate) buckets: usize,
    /// How many of a thousand commits can be seen in part by a read that comes at the same time.
    pub(crate) torn_per_mille: u64,
}

/// A cluster. All copies of an entry are alike while a member is up: only losing all of them shows.
pub(crate) struct Geode {
    setup: Setup,
    buckets: Vec<Bucket>,
    regions: BTreeMap<String, Region>,
    queues: Queues,
    /// All members are down until this time.
    down_until_ms: u64,
    /// All members go with the next put, for so long; these collections are spared.
    doomed: Option<(u64, &'static [&'static str])>,
    /// Commits that can be seen in part.
    torn: Vec<Torn>,
    /// Documents that lost the content of their meta, until one of us writes another one.
    halves: BTreeSet<DocumentId>,
    /// Region versions, by member: rising.
    versions: Vec<u64>,
    /// Names of the members' disk stores.
    members: Vec<u64>,
    random: Random,
    faults: Faults,
}

struct Bucket {
    primary: usize,
    /// Where it was before, and until when clients believe so.
    former: (usize, u64),
    /// Its primary is being chosen until this time.
    moving_until_ms: u64,
}

/// A commit that is whole at `until_ms`: then its events are sent and it is answered.
struct Torn {
    until_ms: u64,
    halves: Vec<(DocumentId, Half)>,
    notices: Vec<Notice>,
    reply: Reply,
    outcome: PutOutcome,
}

/// What a read of a commit under way does not see: the other entry is as it was.
enum Half {
    Content(Slot),
    Meta(Slot),
}

impl Geode {
    pub(crate) fn new(setup: Setup, collections: &[String], seed: u64) -> Self {
        let mut random = Random::new(seed);
        let members: Vec<u64> = (0..setup.members.max(1)).map(|_| random.any()).collect();
        let bucket = |at: usize| Bucket { primary: at % members.len(), former: (0, 0), moving_until_ms: 0 };
        let buckets = (0..setup.buckets.max(1)).map(bucket).collect();
        Self {
            setup,
            buckets,
            regions: all_collections(collections).map(|name| (name, Region::default())).collect(),
            queues: Queues::new(random.any()),
            down_until_ms: 0,
            doomed: None,
            torn: Vec::new(),
            halves: BTreeSet::new(),
            versions: vec![0; members.len()],
            members,
            random,
            faults: Faults::default(),
        }
    }

    fn fault(&mut self, name: &'static str) {
        *self.faults.entry(name).or_default() += 1;
    }

    fn bucket_of(&self, id: &DocumentId) -> usize {
        let hash = id
            .key
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        usize::try_from((hash >> 32) % self.buckets.len() as u64).unwrap_or(0)
    }

    fn primary(&self, id: &DocumentId) -> usize {
        self.buckets.get(self.bucket_of(id)).map_or(0, |bucket| bucket.primary)
    }

    /// Whether there is somebody who decides about a document.
    fn check_serving(&self, id: &DocumentId, now_ms: u64) -> Result<(), PlatformError> {
        if self.is_down(now_ms) {
            return Err(unavailable("all members are down"));
        }
        if !self.regions.contains_key(&id.collection) {
            return Err(PlatformError::Refused(format!("no region {}", id.collection)));
        }
        let moving = self.buckets.get(self.bucket_of(id)).is_some_and(|bucket| now_ms < bucket.moving_until_ms);
        if moving { Err(unavailable("a bucket without a primary")) } else { Ok(()) }
    }

    /// Foreign writers stay away from what a crash has torn: nothing would tell whether the meta's content has been there, and that is
    /// open (decision 0010).
    fn check_whole(&self, id: &DocumentId) -> Result<(), PlatformError> {
        if self.halves.contains(id) { Err(unavailable("a crash has torn the document")) } else { Ok(()) }
    }

    fn pair(&self, id: &DocumentId) -> &Pair {
        static NONE: Pair = Pair::NONE;
        self.regions.get(&id.collection).and_then(|region| region.pairs.get(&id.key)).unwrap_or(&NONE)
    }

    fn pair_mut(&mut self, id: &DocumentId) -> &mut Pair {
        self.regions.entry(id.collection.clone()).or_default().pairs.entry(id.key.clone()).or_default()
    }

    /// The tag of the next change of an entry.
    fn next_tag(&mut self, id: &DocumentId) -> Tag {
        let member = self.primary(id);
        let version = self.versions.get_mut(member).map_or(0, |version| {
            *version += 1;
            *version
        });
        Tag { member: self.members.get(member).copied().unwrap_or(0), version }
    }

    /// Writes one entry or both; within, `None` leaves a tombstone. Returns the events: one for each entry.
    #[expect(clippy::option_option, reason = "whether an entry is written, and whether something is left of it")]
    fn write(
        &mut self,
        id: &DocumentId,
        content: Option<Option<Body>>,
        meta: Option<Option<Arc<[u8]>>>,
        now_ms: u64,
    ) -> Vec<Notice> {
        let tag = self.next_tag(id);
        let meta_tag = self.next_tag(id);
        let pair = self.pair_mut(id);
        let mut events = 0;
        if let Some(content) = content {
            pair.content.store(content, tag, now_ms);
            events += 1;
        }
        if let Some(meta) = meta {
            let bytes = meta.map(Body::Raw);
            if bytes.is_some() || pair.meta.value.is_some() {
                pair.meta.store(bytes, meta_tag, now_ms);
                events += 1;
            }
        }
        vec![Notice::Changed(id.clone()); events]
    }

    fn tell(&mut self, notices: &[Notice]) {
        for notice in notices {
            self.queues.tell(notice);
        }
    }

    /// Whether a transaction can be committed: `None`, or its outcome.
    fn refuse(&self, puts: &[PutIf], now_ms: u64) -> Option<Result<PutOutcome, PlatformError>> {
        for put in puts {
            if let Err(error) = self.check_serving(&put.id, now_ms) {
                return Some(Err(error));
            }
        }
        let mut primaries = puts.iter().map(|put| self.primary(&put.id));
        let first = primaries.next();
        if primaries.any(|primary| Some(primary) != first) {
            return Some(Ok(PutOutcome::NotTogether));
        }
        let matches = puts.iter().all(|put| self.pair(&put.id).token() == put.token);
        (!matches).then_some(Ok(PutOutcome::Mismatch))
    }

    /// A transaction that can be committed.
    fn commit(&mut self, puts: &[PutIf], reply: Reply, now_ms: u64) {
        let (mut written, mut notices, mut halves) = (Vec::new(), Vec::new(), Vec::new());
        for put in puts {
            if put.content != PutContent::Keep {
                self.halves.remove(&put.id);
            }
            let before = self.pair(&put.id).clone();
            // The document's entry is always written, so that the transaction conflicts with every other write of it.
            let content = changed(&before, put);
            let touched = content.is_some() || before.content.value.is_some();
            notices.extend(self.write(&put.id, touched.then_some(content), Some(put.meta.clone()), now_ms));
            let half = if self.random.chance(500) { Half::Content(before.content) } else { Half::Meta(before.meta) };
            halves.push((put.id.clone(), half));
            // Inside a transaction there are no tags.
            written.push(Written { token: self.pair(&put.id).token(), order: None });
        }
        let outcome = PutOutcome::Done(written);
        if self.random.chance(self.setup.torn_per_mille) {
            self.fault("geode-seen-in-part");
            let until_ms = now_ms + self.random.between(1, TORN_MS_MAX.into());
            self.torn.push(Torn { until_ms, halves, notices, reply, outcome });
        } else {
            self.tell(&notices);
            answer(&reply, Ok(outcome));
        }
    }
}

/// The content after a put.
fn changed(before: &Pair, put: &PutIf) -> Option<Body> {
    match &put.content {
        PutContent::Keep => before.content.value.clone(),
        PutContent::Put(text) => Some(Body::Json(Arc::clone(text))),
        PutContent::Delete => None,
    }
}

fn entry_of(pair: &Pair) -> Entry {
    let (content, unreadable) = pair.content.value.clone().map_or((None, None), Body::into_parts);
    let meta = match &pair.meta.value {
        Some(Body::Raw(bytes) | Body::Json(bytes)) => Some(Arc::clone(bytes)),
        None => None,
    };
    let token: Token = pair.token();
    if content.is_none() && unreadable.is_none() && meta.is_none() {
        return Entry { token, ..Entry::default() };
    }
    // An entry version begins again once the tombstone was collected; a region version of a member always rises.
    let order = pair.content.tag.map(|tag| Order { history: tag.member, number: tag.version });
    Entry { content, meta, token, order, unreadable }
}

impl Model for Geode {
    type Stream = Stream;

    fn capabilities(&self) -> PlatformCapabilities {
        PlatformCapabilities {
            name: "geode model",
            key_bytes_max: 32_767,
            content_bytes_max: 16 << 20,
            depth_max: DEPTH_MAX,
            meta_bytes_max: 1 << 20,
            torn_ms_max: TORN_MS_MAX,
        }
    }

    fn settle(&mut self, now_ms: u64) {
        if self.down_until_ms <= now_ms {
            self.down_until_ms = 0;
        }
        let (whole, torn): (Vec<Torn>, Vec<Torn>) =
            std::mem::take(&mut self.torn).into_iter().partition(|torn| torn.until_ms <= now_ms);
        self.torn = torn;
        for Torn { notices, reply, outcome, .. } in whole {
            self.tell(&notices);
            answer(&reply, Ok(outcome));
        }
        self.queues.expire(now_ms);
    }

    fn due_ms(&self) -> Option<u64> {
        let back = (self.down_until_ms > 0).then_some(self.down_until_ms);
        let torn = self.torn.iter().map(|torn| torn.until_ms);
        torn.chain(self.queues.due_ms()).chain(back).min()
    }

    fn get(&mut self, id: &DocumentId, now_ms: u64) -> Result<Entry, PlatformError> {
        self.check_serving(id, now_ms)?;
        let mut pair = self.pair(id).clone();
        let halves = self.torn.iter().rev().flat_map(|torn| &torn.halves);
        for (_, half) in halves.filter(|(torn, _)| torn == id) {
            match half {
                Half::Content(slot) => pair.content = slot.clone(),
                Half::Meta(slot) => pair.meta = slot.clone(),
            }
        }
        Ok(entry_of(&pair))
    }

    fn content(&self, id: &DocumentId) -> Option<Body> {
        self.pair(id).content.value.clone()
    }

    fn together(&self, ids: &[&DocumentId], now_ms: u64) -> bool {
        let believed = |id: &&DocumentId| {
            self.buckets.get(self.bucket_of(id)).map(|bucket| {
                let (member, until_ms) = bucket.former;
                if now_ms < until_ms { member } else { bucket.primary }
            })
        };
        let mut members = ids.iter().map(believed);
        let first = members.next();
        members.all(|member| Some(member) == first)
    }

    fn put(&mut self, puts: &[PutIf], reply: Reply, now_ms: u64) {
        if let Some((for_ms, spared)) = self.doomed.take_if(|_| puts.iter().any(|put| put.meta.is_some())) {
            self.tear(puts, spared, now_ms);
            self.restart_all(now_ms, for_ms);
            return answer(&reply, Err(unavailable("all members are gone: the outcome is unknown")));
        }
        match self.refuse(puts, now_ms) {
            Some(refusal) => answer(&reply, refusal),
            None => self.commit(puts, reply, now_ms),
        }
    }

    fn open(
        &mut self,
        node: &str,
        collections: &[String],
        from: Option<&Position>,
        now_ms: u64,
    ) -> Result<Stream, PlatformError> {
        if self.is_down(now_ms) {
            return Err(unavailable("all members are down"));
        }
        if let Some(name) = collections.iter().find(|name| !self.regions.contains_key(*name)) {
            return Err(PlatformError::Refused(format!("no region {name}")));
        }
        Ok(self.queues.open(node, collections, from))
    }

    fn next(&mut self, stream: &mut Stream, _now_ms: u64) -> Result<Option<FeedEvent>, PlatformError> {
        let batch = self.random.between(1, 8);
        self.queues.next(stream, batch)
    }

    fn has_news(&self, stream: &Stream) -> bool {
        self.queues.has_news(stream)
    }

    fn acknowledge(&mut self, stream: &Stream, position: &Position) -> Result<(), PlatformError> {
        self.queues.acknowledge(stream, position)
    }

    fn close(&mut self, stream: &mut Stream, now_ms: u64) {
        self.queues.close(stream, now_ms);
    }

    fn keys(&self, collection: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        let pairs = self.regions.get(collection).into_iter().flat_map(|region| &region.pairs);
        let left = pairs.filter(|(_, pair)| pair.content.value.is_some() || pair.meta.value.is_some());
        let keys = left.map(|(key, _)| key).filter(|key| after.is_none_or(|after| key.as_str() > after));
        keys.take(limit).cloned().collect()
    }

    fn has_collection(&self, name: &str) -> bool {
        self.regions.contains_key(name)
    }

    fn add_collection(&mut self, name: &str) {
        self.regions.entry(name.to_owned()).or_default();
    }

    fn foreign_set(&mut self, id: &DocumentId, content: Body, now_ms: u64) -> Result<(), PlatformError> {
        self.check_serving(id, now_ms)?;
        self.check_whole(id)?;
        let notices = self.write(id, Some(Some(content)), None, now_ms);
        self.tell(&notices);
        Ok(())
    }

    fn foreign_delete(&mut self, id: &DocumentId, now_ms: u64) -> Result<(), PlatformError> {
        self.check_serving(id, now_ms)?;
        self.check_whole(id)?;
        if self.pair(id).content.value.is_some() {
            let notices = self.write(id, Some(None), None, now_ms);
            self.tell(&notices);
        }
        Ok(())
    }

    fn take_faults(&mut self) -> Faults {
        std::mem::take(&mut self.faults)
    }
}

impl Geode {
    /// Collects the tombstones of entries that are old enough.
    pub(crate) fn collect_tombstones(&mut self, now_ms: u64) {
        let before_ms = now_ms.saturating_sub(TOMBSTONE_MS);
        self.regions.values_mut().for_each(|region| region.collect(before_ms));
    }
}
