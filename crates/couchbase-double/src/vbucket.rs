//! One vbucket: its documents by key and by sequence number, its history branches, and what its replicas have.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::item::{Item, Kind, Xattrs};
use crate::manifest::{SystemEvent, What};
use crate::wire::read_leb128;

/// The low bits of a CAS that count within one tick of the clock (`kv_engine` engines/ep/src/hlc.h).
const LOGICAL_BITS: u64 = 0xffff;
/// A failover log keeps the newest entries (engines/ep/configuration.json, `max_failover_entries`).
const FAILOVER_ENTRIES_MAX: usize = 25;
/// The longest time in seconds that a document can be locked (engines/ep/configuration.json, `getl_max_timeout`).
const LOCK_S_MAX: u32 = 30;
/// How long it is locked when no time is asked for, or a longer one (`getl_default_timeout`; `engines/ep/src/ep_engine.cc`,
/// `getLockedInner`).
const LOCK_S_DEFAULT: u32 = 15;

/// One branch of a vbucket's history: its identity, and the sequence number at which it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Branch {
    pub(crate) uuid: u64,
    pub(crate) seqno: u64,
}

#[derive(Debug)]
pub(crate) struct VBucket {
    /// The newest version of each key; documents, tombstones and system events.
    by_key: HashMap<Vec<u8>, Arc<Item>>,
    by_seqno: BTreeMap<u64, Arc<Item>>,
    high_seqno: u64,
    purge_seqno: u64,
    last_cas: u64,
    /// Newest first (docs/dcp/documentation/failure-scenarios.md).
    branches: Vec<Branch>,
    locks: HashMap<Vec<u8>, Lock>,
    /// What replicas do not have, while replication is held.
    unreplicated: Option<Unreplicated>,
}

#[derive(Debug)]
struct Lock {
    cas: u64,
    until: Instant,
}

#[derive(Debug)]
struct Unreplicated {
    /// The last sequence number that replicas have.
    seqno: u64,
    /// The keys written since, in order, with what was there before.
    undo: Vec<(Vec<u8>, Option<Arc<Item>>)>,
}

/// A version that has no sequence number and no CAS yet.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) key: Vec<u8>,
    pub(crate) flags: u32,
    pub(crate) expiry: u32,
    pub(crate) xattrs: Xattrs,
    pub(crate) body: Vec<u8>,
    pub(crate) is_json: bool,
    /// From [`VBucket::next_cas`], when a macro has named it.
    pub(crate) cas: Option<u64>,
}

impl VBucket {
    pub(crate) fn new() -> Self {
        Self {
            by_key: HashMap::new(),
            by_seqno: BTreeMap::new(),
            high_seqno: 0,
            purge_seqno: 0,
            last_cas: 0,
            branches: vec![Branch { uuid: random_uuid(), seqno: 0 }],
            locks: HashMap::new(),
            unreplicated: None,
        }
    }

    pub(crate) fn high_seqno(&self) -> u64 {
        self.high_seqno
    }

    pub(crate) fn purge_seqno(&self) -> u64 {
        self.purge_seqno
    }

    pub(crate) fn branches(&self) -> &[Branch] {
        &self.branches
    }

    pub(crate) fn uuid(&self) -> u64 {
        self.branches.first().map_or(0, |branch| branch.uuid)
    }

    /// The last sequence number that replicas have.
    pub(crate) fn replicated_seqno(&self) -> u64 {
        self.unreplicated.as_ref().map_or(self.high_seqno, |held| held.seqno)
    }

    pub(crate) fn is_replication_held(&self) -> bool {
        self.unreplicated.is_some()
    }

    /// The items above `seqno`, in order.
    pub(crate) fn after(&self, seqno: u64) -> impl Iterator<Item = &Arc<Item>> {
        self.by_seqno.range(seqno.saturating_add(1)..).map(|(_, item)| item)
    }

    /// Key and body of the documents of a collection.
    pub(crate) fn documents_of(&self, collection: u32) -> impl Iterator<Item = (String, Vec<u8>)> {
        self.by_seqno.values().filter(|item| item.is_live()).filter_map(move |item| {
            let (_, key) = read_leb128(&item.key).filter(|(id, _)| *id == collection)?;
            Some((String::from_utf8_lossy(key).into_owned(), item.body.clone()))
        })
    }

    /// The highest sequence number of a document in one of the collections (`getHighSeqnoOfCollections`).
    pub(crate) fn high_seqno_of(&self, collections: &[u32]) -> u64 {
        let is_in = |item: &Item| match &item.kind {
            Kind::System(event) => event.collection().is_some_and(|id| collections.contains(&id)),
            Kind::Live | Kind::Deleted { .. } => {
                read_leb128(&item.key).is_some_and(|(id, _)| collections.contains(&id))
            }
        };
        self.by_seqno.iter().rev().find(|(_, item)| is_in(item)).map_or(0, |(seqno, _)| *seqno)
    }

    /// The newest version of a key, tombstones included. A document whose time has come expires by this look
    /// (docs/dcp/documentation/expiry-opcode-output.md).
    pub(crate) fn get(&mut self, key: &[u8]) -> Option<Arc<Item>> {
        let item = self.by_key.get(key)?.clone();
        if item.is_live() && item.expiry != 0 && item.expiry <= now_s() {
            return Some(self.remove(&item, true));
        }
        Some(item)
    }

    pub(crate) fn live(&mut self, key: &[u8]) -> Option<Arc<Item>> {
        self.get(key).filter(|item| item.is_live())
    }

    /// What a replica has under a key: while replication is held, the version from before.
    pub(crate) fn on_replica(&self, key: &[u8]) -> Option<Arc<Item>> {
        let written = self.unreplicated.as_ref().and_then(|held| held.undo.iter().find(|(undone, _)| undone == key));
        written.map_or_else(|| self.by_key.get(key).cloned(), |(_, before)| before.clone())
    }

    /// Stores a live version.
    pub(crate) fn put(&mut self, draft: Draft) -> Arc<Item> {
        self.store(draft, Kind::Live)
    }

    /// Turns a document into a tombstone that keeps its system xattrs (`daemon/protocol/mcbp/remove_context.cc`).
    pub(crate) fn remove(&mut self, item: &Item, by_expiry: bool) -> Arc<Item> {
        let draft = Draft { key: item.key.clone(), xattrs: item.xattrs.system_only(), ..Draft::default() };
        self.store(draft, Kind::Deleted { at: now_s(), by_expiry })
    }

    /// Stores a tombstone with the draft's xattrs and body.
    pub(crate) fn put_deleted(&mut self, draft: Draft) -> Arc<Item> {
        self.store(draft, Kind::Deleted { at: now_s(), by_expiry: false })
    }

    /// Records a change of the manifest; documents of a dropped collection go without events of their own
    /// (docs/Collections.md).
    pub(crate) fn record(&mut self, event: &SystemEvent) {
        if let What::CollectionEnd { id } = event.what {
            let is_in = |item: &Item| read_leb128(&item.key).is_some_and(|(found, _)| found == id);
            self.by_key.retain(|_, item| !is_in(item));
            self.by_seqno.retain(|_, item| !is_in(item));
        }
        let draft = Draft { key: event.key(), ..Draft::default() };
        self.store(draft, Kind::System(event.clone()));
    }

    /// A sequence number that no stream shows: the prepare of a durable write (docs/dcp/documentation/commands/prepare.md).
    pub(crate) fn prepare(&mut self) {
        self.high_seqno += 1;
    }

    fn store(&mut self, draft: Draft, kind: Kind) -> Arc<Item> {
        let before = self.by_key.remove(&draft.key);
        if let Some(before) = &before {
            self.by_seqno.remove(&before.seqno);
        }
        self.high_seqno += 1;
        let item = Arc::new(Item {
            seqno: self.high_seqno,
            revision: before.as_ref().map_or(0, |item| item.revision) + 1,
            cas: draft.cas.unwrap_or_else(|| self.next_cas()),
            flags: draft.flags,
            expiry: draft.expiry,
            xattrs: draft.xattrs,
            body: draft.body,
            is_json: draft.is_json,
            kind,
            key: draft.key,
        });
        self.locks.remove(&item.key);
        if let Some(held) = &mut self.unreplicated {
            held.undo.push((item.key.clone(), before));
        }
        self.by_key.insert(item.key.clone(), Arc::clone(&item));
        self.by_seqno.insert(item.seqno, Arc::clone(&item));
        item
    }

    /// A hybrid logical clock: wall time in nanoseconds, its low 16 bits a counter, never the same twice.
    pub(crate) fn next_cas(&mut self) -> u64 {
        let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let wall = u64::try_from(nanoseconds).unwrap_or(u64::MAX) & !LOGICAL_BITS;
        self.last_cas = wall.max(self.last_cas + 1);
        self.last_cas
    }

    /// Locks a document; `None` when it is locked already. The CAS of a locked document is known to the locker alone.
    pub(crate) fn lock(&mut self, item: &Item, seconds: u32) -> Option<u64> {
        if self.is_locked(&item.key) {
            return None;
        }
        let seconds = if (1..=LOCK_S_MAX).contains(&seconds) { seconds } else { LOCK_S_DEFAULT };
        let cas = self.next_cas();
        let until = Instant::now() + Duration::from_secs(seconds.into());
        self.locks.insert(item.key.clone(), Lock { cas, until });
        Some(cas)
    }

    pub(crate) fn is_locked(&mut self, key: &[u8]) -> bool {
        let now = Instant::now();
        self.locks.retain(|_, lock| lock.until > now);
        self.locks.contains_key(key)
    }

    /// The CAS with which a locked document may be written.
    pub(crate) fn lock_cas(&mut self, key: &[u8]) -> Option<u64> {
        self.is_locked(key).then(|| self.locks.get(key).map(|lock| lock.cas)).flatten()
    }

    pub(crate) fn unlock(&mut self, key: &[u8]) {
        self.locks.remove(key);
    }

    /// Removes the documents whose time has come; the number of them.
    pub(crate) fn expire(&mut self) -> usize {
        let now = now_s();
        let is_due = |item: &Arc<Item>| item.is_live() && item.expiry != 0 && item.expiry <= now;
        let due: Vec<Arc<Item>> = self.by_key.values().filter(|item| is_due(item)).cloned().collect();
        for item in &due {
            self.remove(item, true);
        }
        due.len()
    }

    /// Forgets all tombstones, as compaction does after the purge interval; never the newest item, whose sequence number
    /// is the vbucket's (docs/dcp/documentation/rollback.md, "`PurgeSeqno`").
    pub(crate) fn purge(&mut self) -> u64 {
        let high = self.high_seqno;
        let is_purged = |item: &Item| matches!(item.kind, Kind::Deleted { .. }) && item.seqno < high;
        let last = self.by_seqno.values().filter(|item| is_purged(item)).map(|item| item.seqno).max();
        self.by_key.retain(|_, item| !is_purged(item));
        self.by_seqno.retain(|_, item| !is_purged(item));
        self.purge_seqno = self.purge_seqno.max(last.unwrap_or(0));
        self.purge_seqno
    }

    /// From now on replicas get nothing, until [`Self::release_replication`] or a fail-over.
    pub(crate) fn hold_replication(&mut self) {
        if self.unreplicated.is_none() {
            self.unreplicated = Some(Unreplicated { seqno: self.high_seqno, undo: Vec::new() });
        }
    }

    pub(crate) fn release_replication(&mut self) {
        self.unreplicated = None;
    }

    /// A replica becomes active: what it lacks is lost, and a branch begins (failure-scenarios.md).
    pub(crate) fn promote_replica(&mut self) {
        let mut events = Vec::new();
        if let Some(held) = self.unreplicated.take() {
            for (key, before) in held.undo.into_iter().rev() {
                if let Some(lost) = self.by_key.remove(&key) {
                    self.by_seqno.remove(&lost.seqno);
                    if let Kind::System(event) = &lost.kind {
                        events.push(event.clone());
                    }
                }
                if let Some(before) = before {
                    self.by_seqno.insert(before.seqno, Arc::clone(&before));
                    self.by_key.insert(key, before);
                }
            }
            self.high_seqno = held.seqno;
        }
        self.locks.clear();
        self.begin_branch();
        // The manifest belongs to the cluster: the new active applies it again.
        for event in events.iter().rev() {
            self.record(event);
        }
    }

    /// A vbucket that becomes active without a take-over begins a branch (docs/dcp/documentation/failure-scenarios.md;
    /// `engines/ep/src/kv_bucket.cc`, `continueToActive`).
    pub(crate) fn begin_branch(&mut self) {
        self.branches.insert(0, Branch { uuid: random_uuid(), seqno: self.high_seqno });
        self.branches.truncate(FAILOVER_ENTRIES_MAX);
    }

    /// Where a stream must roll back to at a node that has everything up to `high`; `None` when it can go on
    /// (docs/dcp/documentation/rollback.md; engines/ep/src/failover-table.cc, `needsRollback`).
    pub(crate) fn rollback(&self, resume: &Resume, high: u64) -> Option<u64> {
        if resume.start == 0 && (!resume.strict || resume.uuid == 0) {
            return None;
        }
        let purge_seqno = if resume.ignores_purged { 0 } else { self.purge_seqno };
        let has_all_of_collections =
            resume.collections_high.is_some_and(|last| resume.start >= last && last <= purge_seqno);
        if resume.start < purge_seqno
            && resume.start != 0
            && !has_all_of_collections
            && resume.seen_purge_seqno != purge_seqno
        {
            return Some(0);
        }
        let Some(at) = self.branches.iter().position(|branch| branch.uuid == resume.uuid) else {
            return Some(0);
        };
        // The branch ends where the next one began; the newest one ends at the high seqno.
        let newer = at.checked_sub(1).and_then(|at| self.branches.get(at));
        let upper = newer.map_or(high, |branch| branch.seqno);
        let end = if resume.start == resume.snapshot_start { resume.start } else { resume.snapshot_end };
        if end <= upper {
            return None;
        }
        let start = if resume.start == end { resume.start } else { resume.snapshot_start };
        Some(upper.min(start))
    }
}

/// What a stream request says of the consumer's history.
#[derive(Debug, Default)]
pub(crate) struct Resume {
    pub(crate) start: u64,
    pub(crate) uuid: u64,
    pub(crate) snapshot_start: u64,
    pub(crate) snapshot_end: u64,
    pub(crate) strict: bool,
    pub(crate) ignores_purged: bool,
    /// The purge seqno that the consumer has seen in a marker; 0 for none.
    pub(crate) seen_purge_seqno: u64,
    /// The highest seqno of the filter's collections, when there is a filter.
    pub(crate) collections_high: Option<u64>,
}

/// Seconds since 1970.
pub(crate) fn now_s() -> u32 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(elapsed.as_secs()).unwrap_or(u32::MAX)
}

/// 48 random bits: uuids fit in a double of JavaScript (failover-table.cc, `generateUuid`). Never 0, which means none.
pub(crate) fn random_uuid() -> u64 {
    let bits = getrandom::u64().unwrap_or_else(|_| u64::from(now_s()));
    (bits & 0xffff_ffff_ffff).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(vbucket: &mut VBucket, key: &str) -> Arc<Item> {
        vbucket.put(Draft { key: key.into(), ..Draft::default() })
    }

    #[test]
    fn a_cas_is_never_given_twice() {
        let mut vbucket = VBucket::new();
        let mut last = 0;
        for _ in 0..100_000 {
            let cas = put(&mut vbucket, "k").cas;
            assert!(cas > last);
            last = cas;
        }
    }

    #[test]
    fn only_the_newest_version_of_a_key_is_streamed() {
        let mut vbucket = VBucket::new();
        put(&mut vbucket, "a");
        put(&mut vbucket, "b");
        put(&mut vbucket, "a");
        let seqnos: Vec<u64> = vbucket.after(0).map(|item| item.seqno).collect();
        assert_eq!(seqnos, [2, 3]);
    }

    #[test]
    fn a_promoted_replica_lacks_what_was_held() {
        let mut vbucket = VBucket::new();
        let kept = put(&mut vbucket, "a");
        vbucket.hold_replication();
        put(&mut vbucket, "a");
        put(&mut vbucket, "b");
        let old = vbucket.uuid();
        vbucket.promote_replica();
        assert_eq!(vbucket.high_seqno(), 1);
        assert_eq!(vbucket.get(b"a").unwrap().cas, kept.cas);
        assert!(vbucket.get(b"b").is_none());
        assert_eq!(vbucket.branches()[0].seqno, 1);
        // A consumer that was ahead goes back to the branch's end.
        let high = vbucket.high_seqno();
        let resume = |start, snapshot_start, snapshot_end| Resume {
            start,
            uuid: old,
            snapshot_start,
            snapshot_end,
            ..Resume::default()
        };
        assert_eq!(vbucket.rollback(&resume(3, 3, 3), high), Some(1));
        assert_eq!(vbucket.rollback(&resume(2, 1, 3), high), Some(1));
        assert_eq!(vbucket.rollback(&resume(1, 1, 3), high), None);
        assert_eq!(vbucket.rollback(&Resume { uuid: 1, start: 1, ..Resume::default() }, high), Some(0));
        assert_eq!(vbucket.rollback(&Resume::default(), high), None);
        assert_eq!(vbucket.rollback(&Resume { uuid: 1, strict: true, ..Resume::default() }, high), Some(0));
    }

    #[test]
    fn a_purge_sends_consumers_back_that_may_have_missed_a_deletion() {
        let mut vbucket = VBucket::new();
        let item = put(&mut vbucket, "a");
        vbucket.remove(&item, false);
        put(&mut vbucket, "b");
        assert_eq!(vbucket.purge(), 2);
        assert!(vbucket.get(b"a").is_none());
        let high = vbucket.high_seqno();
        let resume = Resume { start: 1, uuid: vbucket.uuid(), snapshot_start: 1, snapshot_end: 1, ..Resume::default() };
        assert_eq!(vbucket.rollback(&resume, high), Some(0));
        assert_eq!(vbucket.rollback(&Resume { ignores_purged: true, ..resume }, high), None);
    }

    #[test]
    fn a_lock_hides_the_cas() {
        let mut vbucket = VBucket::new();
        let item = put(&mut vbucket, "a");
        let cas = vbucket.lock(&item, 0).unwrap();
        assert!(vbucket.lock(&item, 0).is_none());
        assert_eq!(vbucket.lock_cas(b"a"), Some(cas));
        vbucket.unlock(b"a");
        assert!(!vbucket.is_locked(b"a"));
        for (asked, seconds) in [(0, 15), (1, 1), (30, 30), (31, 15)] {
            vbucket.lock(&item, asked).unwrap();
            let left = vbucket.locks[&b"a"[..]].until.duration_since(Instant::now());
            assert!(left <= Duration::from_secs(seconds) && left > Duration::from_secs(seconds - 1), "{asked}");
            vbucket.unlock(b"a");
        }
    }
}
