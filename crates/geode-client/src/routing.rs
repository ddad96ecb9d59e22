//! Which server holds the primary copy of which bucket.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::entry::Hop;
use crate::error::Error;
use crate::value::Key;
use crate::wire::codes::{ds, message};
use crate::wire::locator::Address;
use crate::wire::message::{Part, Reply, Request};
use crate::wire::version_tag::VersionTag;
use crate::wire::{Malformed, Reader};

/// Metadata that proved wrong, or may be wrong since servers came or went, is fetched again, but not more often than this.
const REFRESH_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Metadata is fetched again after so long: primaries move without a sign, and a server that was the primary goes on answering reads.
const REFRESH_INTERVAL_MAX: Duration = Duration::from_secs(10);
/// The most buckets of a region that are remembered.
const BUCKETS_MAX: usize = 1_000_000;

/// What is known of the regions.
#[derive(Default)]
pub(crate) struct Routing {
    regions: Mutex<HashMap<String, Known>>,
}

/// How a region is partitioned. The servers know it by the regions' definitions, so it holds while buckets move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partitioning {
    /// How many buckets there are.
    pub buckets: usize,
    /// The path of the region at the head of those that it is colocated with; its own path when it is colocated with none.
    pub leader: String,
    /// The class of the application that chooses an entry's bucket; without one the hash of the key does.
    pub resolver: Option<String>,
    /// Members were given their buckets by name.
    pub is_fixed: bool,
}

#[derive(Default)]
struct Known {
    /// `None` as well when entries are not in buckets.
    partitioning: Option<Partitioning>,
    /// The primary server of each bucket; empty when keys do not choose their bucket by their hash alone.
    primaries: Vec<Option<Address>>,
    fetched_at: Option<Instant>,
    /// How many changes of servers there had been then.
    changes: usize,
    is_stale: bool,
    /// A change of this region has had a version tag.
    is_versioned: bool,
}

impl Routing {
    fn with<T>(&self, region: &str, act: impl FnOnce(&mut Known) -> T) -> T {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        match regions.get_mut(region) {
            Some(known) => act(known),
            None => act(regions.entry(region.to_owned()).or_default()),
        }
    }

    /// Where to send a request on this key; fetches the metadata when it is missing or stale. A failure to fetch it
    /// is no failure of the request: any server forwards it.
    ///
    /// Where no primary is known it is the same server for a key as long as the servers are the same: another one may not have yet what a
    /// change under way has brought to this one, and would answer with what was there before.
    pub(crate) async fn route(&self, client: &Client, region: &str, key: &Key) -> Option<Address> {
        if !client.pool().config.single_hop {
            return None;
        }
        let changes = client.pool().signs.changes.load(Ordering::Relaxed);
        let is_due = self.with(region, |known| match known.fetched_at {
            None => true,
            Some(at) => {
                let is_suspect = known.is_stale || known.changes != changes;
                at.elapsed() >= if is_suspect { REFRESH_INTERVAL_MIN } else { REFRESH_INTERVAL_MAX }
            }
        });
        if is_due {
            let _ = self.fetch(client, region).await;
        }
        self.primary_of(region, key).or_else(|| client.pool().home_of(key))
    }

    pub(crate) fn partitioning_of(&self, region: &str) -> Option<Partitioning> {
        self.with(region, |known| known.partitioning.clone())
    }

    pub(crate) fn primary_of(&self, region: &str, key: &Key) -> Option<Address> {
        self.with(region, |known| {
            let buckets = i32::try_from(known.primaries.len()).ok().filter(|count| *count > 0)?;
            // Java's remainder has the sign of the hash.
            let bucket = (key.java_hash()? % buckets).unsigned_abs();
            known.primaries.get(usize::try_from(bucket).ok()?)?.clone()
        })
    }

    /// A server had to forward a request: buckets have moved, or were not known.
    pub(crate) fn note_hop(&self, region: &str, hop: Hop) {
        if hop.is_some_and(|[_, forwarded]| forwarded != 0) {
            self.with(region, |known| known.is_stale = true);
        }
    }

    /// A region that gives tags always gives them: a change without one was dropped.
    pub(crate) fn check_tag(&self, region: &str, tag: Option<&VersionTag>) -> Result<(), Error> {
        let was_versioned = self.with(region, |known| {
            let before = known.is_versioned;
            known.is_versioned |= tag.is_some();
            before
        });
        if was_versioned && tag.is_none() { Err(Error::Dropped) } else { Ok(()) }
    }

    /// Fetches the metadata of a region.
    pub(crate) async fn fetch(&self, client: &Client, region: &str) -> Result<(), Error> {
        // Noted first: of many requests at once, one fetches.
        let changes = client.pool().signs.changes.load(Ordering::Relaxed);
        self.with(region, |known| {
            known.fetched_at = Some(Instant::now());
            known.changes = changes;
            known.is_stale = false;
        });
        let attributes = client.ask(Request::new(message::GET_PARTITION_ATTRIBUTES).text(region)).await?;
        let partitioning = read_partitioning(&attributes.reply, region)?;
        let mut primaries = Vec::new();
        if let Some(buckets) = partitioning.as_ref().and_then(Partitioning::hashed_buckets) {
            let metadata = client.ask(Request::new(message::GET_PR_METADATA).text(region)).await?;
            primaries = read_primaries(&metadata.reply, buckets)?;
        }
        self.with(region, |known| {
            // Buckets come into being with their first entries.
            known.is_stale = primaries.iter().any(Option::is_none);
            known.partitioning = partitioning;
            known.primaries = primaries;
        });
        Ok(())
    }
}

impl Partitioning {
    /// How many buckets there are, when keys choose theirs by their own hash.
    fn hashed_buckets(&self) -> Option<usize> {
        let is_hashed = self.resolver.is_none() && !self.is_fixed;
        Some(self.buckets).filter(|count| *count <= BUCKETS_MAX && is_hashed)
    }
}

fn read_partitioning(reply: &Reply, region: &str) -> Result<Option<Partitioning>, Error> {
    if reply.kind != message::PARTITION_ATTRIBUTES {
        return Ok(None);
    }
    let mut reader = Reader::new(&reply.part(0)?.bytes);
    if reader.u8()? != ds::INTEGER {
        return Err(Malformed("number of buckets").into());
    }
    // -1 for a region without buckets.
    let Some(buckets) = usize::try_from(reader.i32()?).ok().filter(|count| *count > 0) else { return Ok(None) };
    let text = |part: &Part| Reader::new(&part.bytes).string().ok().flatten();
    let leader = reply.parts.get(1).and_then(text).unwrap_or_else(|| region.to_owned());
    let (mut resolver, mut is_fixed) = (None, false);
    // The class of a resolver, and a set of fixed partitions: each only where there is one.
    for part in reply.parts.iter().skip(2).filter(|part| !part.is_null() && !is_empty_set(&part.bytes)) {
        match text(part) {
            Some(class) => resolver = Some(class),
            None => is_fixed = true,
        }
    }
    Ok(Some(Partitioning { buckets, leader, resolver, is_fixed }))
}

fn is_empty_set(object: &[u8]) -> bool {
    matches!(object, [ds::HASH_SET | ds::LINKED_HASH_SET, 0])
}

/// One part per bucket: a list of the servers that hold it.
fn read_primaries(reply: &Reply, buckets: usize) -> Result<Vec<Option<Address>>, Error> {
    let mut primaries = vec![None; buckets];
    if reply.kind != message::PR_METADATA {
        return Ok(primaries);
    }
    for part in &reply.parts {
        let mut reader = Reader::new(&part.bytes);
        if !matches!(reader.u8()?, ds::ARRAY_LIST | ds::LINKED_LIST | ds::VECTOR) {
            continue;
        }
        for _ in 0..reader.array_len()?.unwrap_or_default() {
            let (bucket, address, is_primary) = read_location(&mut reader)?;
            if is_primary && let Some(place) = primaries.get_mut(bucket) {
                *place = Some(address);
            }
        }
    }
    Ok(primaries)
}

fn read_location(reader: &mut Reader<'_>) -> Result<(usize, Address, bool), Malformed> {
    if reader.u8()? != ds::DATA_SERIALIZABLE {
        return Err(Malformed("location of a bucket"));
    }
    crate::wire::skip::skip_class(reader)?;
    let address = Address::read_in(reader)?;
    let bucket = usize::try_from(reader.i32()?).map_err(|_| Malformed("bucket"))?;
    let is_primary = reader.bool()?;
    // The version of the metadata.
    reader.u8()?;
    for _ in 0..reader.u8()? {
        reader.string()?;
    }
    Ok((bucket, address, is_primary))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wire::message::Part;
    use crate::wire::random_tests::{wrong, wrong_reply};
    use crate::wire::writer::Write as _;

    fn reply(kind: i32, parts: &[&[u8]]) -> Reply {
        let parts = parts.iter().map(|bytes| Part { is_object: true, bytes: Bytes::copy_from_slice(bytes) }).collect();
        Reply { kind, transaction: -1, parts, secure: None }
    }

    #[test]
    fn the_primary_of_a_bucket_is_found() {
        let mut list = vec![ds::ARRAY_LIST, 2];
        for (port, primary) in [(1, 0), (2, 1)] {
            list.bytes(&[ds::DATA_SERIALIZABLE, ds::CLASS]);
            list.string("org.apache.geode.internal.cache.BucketServerLocation66");
            list.string("h");
            list.i32(port);
            list.i32(1);
            list.bytes(&[primary, 7, 0]);
        }
        let primaries = read_primaries(&reply(message::PR_METADATA, &[&list]), 3).unwrap();
        assert_eq!(primaries, [None, Some(Address::new("h", 2)), None]);
        let routing = Routing::default();
        routing.with("/r", |known| known.primaries = primaries);
        assert_eq!(routing.primary_of("/r", &Key::from(-4)), Some(Address::new("h", 2)));
        assert_eq!(routing.primary_of("/r", &Key::from(3)), None);
        assert_eq!(routing.primary_of("/other", &Key::from(1)), None);
    }

    #[test]
    fn a_resolver_of_the_application_hides_the_bucket() {
        let count = [ds::INTEGER, 0, 0, 0, 113];
        let mut resolver = Vec::new();
        resolver.string("com.app.Resolver");
        let mut leader = Vec::new();
        leader.string("/head");
        let fixed = [ds::HASH_SET, 1, ds::NULL];
        let of = |parts: &[&[u8]]| read_partitioning(&reply(message::PARTITION_ATTRIBUTES, parts), "/r").unwrap();
        let hashed = |parts: &[&[u8]]| of(parts).unwrap().hashed_buckets();
        let plain = Partitioning { buckets: 113, leader: "/r".to_owned(), resolver: None, is_fixed: false };
        assert_eq!(of(&[&count, &[ds::NULL]]), Some(plain.clone()));
        assert_eq!(hashed(&[&count, &[ds::NULL]]), Some(113));
        assert_eq!(of(&[&count, &leader]).unwrap().leader, "/head");
        let class = Some("com.app.Resolver".to_owned());
        let routed = Partitioning { resolver: class.clone(), ..plain.clone() };
        assert_eq!(of(&[&count, &[ds::NULL], &resolver]), Some(routed));
        assert_eq!(hashed(&[&count, &[ds::NULL], &resolver]), None);
        let fixed_and_routed = Partitioning { resolver: class, is_fixed: true, ..plain };
        assert_eq!(of(&[&count, &[ds::NULL], &resolver, &fixed]), Some(fixed_and_routed));
        assert_eq!(hashed(&[&count, &[ds::NULL], &fixed]), None);
        assert_eq!(of(&[&[ds::INTEGER, 0xFF, 0xFF, 0xFF, 0xFF], &leader]), None);
    }

    #[test]
    fn a_change_without_a_tag_where_tags_are_usual_was_dropped() {
        let routing = Routing::default();
        assert!(routing.check_tag("/r", None).is_ok());
        let tag = VersionTag {
            entry_version: 1,
            region_version: 1,
            timestamp_ms: 0,
            distributed_system: 0,
            member: crate::wire::version_tag::VersionSource::DiskStore([0; 16]),
        };
        assert!(routing.check_tag("/r", Some(&tag)).is_ok());
        assert!(matches!(routing.check_tag("/r", None), Err(Error::Dropped)));
    }

    fn golden() -> Vec<Vec<u8>> {
        let mut list = vec![ds::ARRAY_LIST, 1];
        list.bytes(&[ds::DATA_SERIALIZABLE, ds::CLASS]);
        list.string("org.apache.geode.internal.cache.BucketServerLocation66");
        list.string("h");
        list.i32(1);
        list.i32(1);
        list.bytes(&[1, 7, 1]);
        list.string("group");
        vec![list.split_off(2), vec![ds::INTEGER, 0, 0, 0, 113], [&[ds::ARRAY_LIST, 1][..], &list].concat()]
    }

    proptest::proptest! {
        #[test]
        fn random_metadata_is_no_panic(
            reply in wrong_reply(&[message::PARTITION_ATTRIBUTES, message::PR_METADATA], golden()),
            bytes in wrong(golden()),
        ) {
            if let Ok(Some(partitioning)) = read_partitioning(&reply, "/r") {
                proptest::prop_assert!(partitioning.hashed_buckets().is_none_or(|buckets| buckets <= BUCKETS_MAX));
            }
            let _ = read_primaries(&reply, 3).map(|primaries| assert_eq!(primaries.len(), 3));
            let _ = read_location(&mut Reader::new(&bytes));
        }
    }
}
