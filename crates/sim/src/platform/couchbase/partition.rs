//! One partition: an active copy, replicas that lag, and what becomes of them when a node is gone.

use std::collections::{BTreeMap, VecDeque};

use tidelock_core::ids::DocumentId;
use tidelock_store::platform::{Order, PutOutcome, Written};

use super::{Durability, Item, token_of_cas};
use crate::platform::path::unavailable;
use crate::platform::{Reply, answer};

/// Logical steps within a millisecond of the hybrid clock that CAS values come from.
const CAS_PER_MS: u64 = 1 << 20;

/// A partition.
pub(super) struct Partition {
    /// The node that its active copy is on.
    pub(super) node: usize,
    active: Copy,
    /// Durable writes under way, at most one of a document.
    prepares: BTreeMap<DocumentId, Prepare>,
    replicas: Vec<Replica>,
    /// Nothing is sent to the replicas from here on.
    stalled: bool,
    /// What was done since the replicas were last told.
    done: Vec<Step>,
    /// Without an active node until this time, and then on this node.
    down: Option<(u64, usize)>,
    cas_last: u64,
    /// From here the histories draw their names.
    names: u64,
}

/// A durable write under way.
pub(super) struct Prepare {
    pub(super) item: Item,
    pub(super) reply: Reply,
    /// Replicas that have it.
    pub(super) acknowledged: usize,
}

/// The documents as one node has them.
#[derive(Clone, Default)]
pub(super) struct Copy {
    pub(super) items: BTreeMap<DocumentId, Item>,
    /// Each document once, at its latest change.
    pub(super) by_seqno: BTreeMap<u64, DocumentId>,
    pub(super) high: u64,
    /// Tombstones up to here may be gone.
    pub(super) purged: u64,
    /// Names of the histories, with the seqno from which each holds.
    pub(super) histories: Vec<(u64, u64)>,
}

struct Replica {
    copy: Copy,
    /// On its way, by the time of arrival, which never falls.
    arriving: VecDeque<(u64, Step)>,
    /// Durable writes that it has and that are not committed as far as it knows.
    prepared: BTreeMap<DocumentId, Item>,
    /// Steps that arrived: how far it is.
    steps: u64,
}

/// What a replica is told.
#[derive(Clone)]
enum Step {
    Prepare(DocumentId, Item),
    Store(DocumentId, Item),
}

impl Copy {
    fn store(&mut self, id: &DocumentId, item: Item) {
        self.high = self.high.max(item.seqno);
        if let Some(former) = self.items.get(id) {
            self.by_seqno.remove(&former.seqno);
        }
        self.by_seqno.insert(item.seqno, id.clone());
        self.items.insert(id.clone(), item);
    }

    fn forget(&mut self, wanted: impl Fn(&DocumentId, &Item) -> bool) {
        let items = std::mem::take(&mut self.items);
        let (gone, kept): (BTreeMap<_, _>, BTreeMap<_, _>) = items.into_iter().partition(|(id, item)| wanted(id, item));
        self.items = kept;
        for item in gone.values() {
            self.by_seqno.remove(&item.seqno);
        }
    }
}

impl Partition {
    pub(super) fn new(node: usize, replicas: usize, names: u64) -> Self {
        let active = Copy { histories: vec![(names, 0)], ..Copy::default() };
        let mut partition = Self {
            node,
            active,
            prepares: BTreeMap::new(),
            replicas: Vec::new(),
            stalled: false,
            done: Vec::new(),
            down: None,
            cas_last: 0,
            names,
        };
        partition.build_replicas(replicas);
        partition
    }

    fn build_replicas(&mut self, count: usize) {
        let replica =
            || Replica { copy: self.active.clone(), arriving: VecDeque::new(), prepared: BTreeMap::new(), steps: 0 };
        self.replicas = (0..count).map(|_| replica()).collect();
    }

    pub(super) fn is_down(&self) -> bool {
        self.down.is_some()
    }

    pub(super) fn replica_count(&self) -> usize {
        self.replicas.len()
    }

    pub(super) fn active(&self) -> &Copy {
        &self.active
    }

    /// Name of the history that goes on.
    pub(super) fn history(&self) -> u64 {
        self.active.histories.last().map_or(0, |(name, _)| *name)
    }

    pub(super) fn item(&self, id: &DocumentId) -> Option<&Item> {
        self.active.items.get(id)
    }

    pub(super) fn is_prepared(&self, id: &DocumentId) -> bool {
        self.prepares.contains_key(id)
    }

    pub(super) fn keys(&self, collection: &str) -> impl Iterator<Item = &str> {
        let left = |item: &Item| item.content.is_some() || item.meta.is_some();
        let items = self.active.items.iter().filter(move |(id, item)| id.collection == collection && left(item));
        items.map(|(id, _)| id.key.as_str())
    }

    /// A CAS as a hybrid clock gives them: unique, and rising while one node is active.
    pub(super) fn next_cas(&mut self, now_ms: u64) -> u64 {
        self.cas_last = (self.cas_last + 1).max(now_ms * CAS_PER_MS);
        self.cas_last
    }

    /// Stores an item at the next seqno.
    pub(super) fn store(&mut self, id: &DocumentId, mut item: Item) -> u64 {
        item.seqno = self.active.high + 1;
        let seqno = item.seqno;
        self.done.push(Step::Store(id.clone(), item.clone()));
        self.active.store(id, item);
        seqno
    }

    pub(super) fn prepare(&mut self, id: &DocumentId, prepare: Prepare) {
        self.done.push(Step::Prepare(id.clone(), prepare.item.clone()));
        self.prepares.insert(id.clone(), prepare);
    }

    /// Sends what was done to the replicas, each with a lag of its own.
    pub(super) fn replicate(&mut self, now_ms: u64, mut lag_ms: impl FnMut() -> u64) {
        let done = std::mem::take(&mut self.done);
        for replica in self.replicas.iter_mut().filter(|_| !self.stalled) {
            for step in &done {
                let last_ms = replica.arriving.back().map_or(0, |(at_ms, _)| *at_ms);
                replica.arriving.push_back(((now_ms + lag_ms()).max(last_ms), step.clone()));
            }
        }
    }

    /// Nothing arrives at the replicas before `until_ms`.
    pub(super) fn hold(&mut self, until_ms: u64) {
        for (at_ms, _) in self.replicas.iter_mut().flat_map(|replica| &mut replica.arriving) {
            *at_ms = until_ms.max(*at_ms);
        }
    }

    /// The replicas have everything of before `now_ms`, and get nothing of what comes.
    pub(super) fn stall(&mut self, now_ms: u64) {
        let mut all = Vec::new();
        for replica in &mut self.replicas {
            replica.arriving.iter_mut().for_each(|(at_ms, _)| *at_ms = now_ms);
            replica.take_arrivals(now_ms, &mut all);
        }
        self.stalled = true;
    }

    pub(super) fn due_ms(&self) -> Option<u64> {
        let arrivals = self.replicas.iter().filter_map(|replica| Some(replica.arriving.front()?.0));
        let expiries = self.active.items.values().filter_map(|item| item.expires_ms).filter(|_| !self.is_down());
        arrivals.chain(expiries).chain(self.down.map(|(until_ms, _)| until_ms)).min()
    }

    /// Does what is due: arrivals at replicas, commits of durable writes, expiries, the end of a fail-over.
    pub(super) fn settle(&mut self, now_ms: u64, mut lag_ms: impl FnMut() -> u64, durability: Durability) {
        if self.down.is_some_and(|(until_ms, _)| until_ms <= now_ms) {
            self.promote();
        }
        if !self.is_down() {
            self.expire(now_ms);
        }
        loop {
            let mut arrived = Vec::new();
            for replica in &mut self.replicas {
                replica.take_arrivals(now_ms, &mut arrived);
            }
            if arrived.is_empty() {
                break;
            }
            self.commit(&arrived, durability, now_ms);
            // With a lag of nothing what was committed arrives at once.
            self.replicate(now_ms, &mut lag_ms);
        }
        self.replicate(now_ms, &mut lag_ms);
    }

    /// Replicas have these prepares: those that a majority of the copies has are committed and acknowledged.
    fn commit(&mut self, arrived: &[(DocumentId, u64)], durability: Durability, now_ms: u64) {
        let copies = self.replicas.len() + 1;
        let majority = if durability == Durability::Majority { copies / 2 + 1 } else { 1 };
        for (id, cas) in arrived {
            // An earlier prepare of the document may arrive after that was committed.
            let prepare = self.prepares.get_mut(id).filter(|prepare| prepare.item.cas == *cas);
            let Some(prepare) = prepare else { continue };
            prepare.acknowledged += 1;
            if prepare.acknowledged + 1 < majority {
                continue;
            }
            let Some(mut prepare) = self.prepares.remove(id) else { continue };
            prepare.item.changed_ms = now_ms;
            let cas = prepare.item.cas;
            let seqno = self.store(id, prepare.item);
            let order = Some(Order { history: self.history(), number: seqno });
            answer(&prepare.reply, Ok(PutOutcome::Done(vec![Written { token: token_of_cas(cas), order }])));
        }
    }

    fn expire(&mut self, now_ms: u64) {
        let due = |item: &Item| item.expires_ms.is_some_and(|at_ms| at_ms <= now_ms);
        let due: Vec<DocumentId> =
            self.active.items.iter().filter(|(_, item)| due(item)).map(|(id, _)| id.clone()).collect();
        for id in due {
            let meta = self.item(&id).and_then(|item| item.meta.clone());
            let cas = self.next_cas(now_ms);
            self.store(&id, Item { seqno: 0, cas, content: None, meta, changed_ms: now_ms, expires_ms: None });
        }
    }

    /// The active node is gone, with everything that has not arrived anywhere; `next` goes on at `until_ms`.
    pub(super) fn fail(&mut self, until_ms: u64, next: usize) {
        if self.replicas.is_empty() || self.is_down() {
            return;
        }
        self.done.clear();
        self.replicas.iter_mut().for_each(|replica| replica.arriving.clear());
        for prepare in std::mem::take(&mut self.prepares).into_values() {
            answer(&prepare.reply, Err(unavailable("the active node is gone: the outcome is unknown")));
        }
        self.down = Some((until_ms, next));
    }

    /// The replica that is furthest becomes active, and finishes the durable writes that it has.
    fn promote(&mut self) {
        let Some((_, node)) = self.down.take() else { return };
        let count = self.replicas.len();
        let furthest = std::mem::take(&mut self.replicas).into_iter().max_by_key(|replica| replica.steps);
        let Some(replica) = furthest else { return };
        self.node = node;
        self.stalled = false;
        self.active = replica.copy;
        self.names = self.names.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        self.active.histories.push((self.names, self.active.high));
        for (id, item) in replica.prepared {
            self.store(&id, item);
        }
        self.done.clear();
        self.build_replicas(count);
    }

    pub(super) fn purge(&mut self, collection: &str, before_ms: u64) {
        let old = |id: &DocumentId, item: &Item| {
            id.collection == collection && item.content.is_none() && item.changed_ms < before_ms
        };
        let purged = self.active.items.iter().filter(|(id, item)| old(id, item)).map(|(_, item)| item.seqno).max();
        self.active.purged = self.active.purged.max(purged.unwrap_or(0));
        let purged = self.active.purged;
        self.active.forget(old);
        for replica in &mut self.replicas {
            replica.copy.forget(old);
            replica.copy.purged = purged;
        }
    }

    pub(super) fn flush(&mut self, name: u64) {
        for prepare in std::mem::take(&mut self.prepares).into_values() {
            answer(&prepare.reply, Err(unavailable("the bucket is being flushed")));
        }
        self.active = Copy { histories: vec![(name, 0)], ..Copy::default() };
        self.names = name;
        self.stalled = false;
        self.done.clear();
        self.build_replicas(self.replicas.len());
    }

    pub(super) fn drop_collection(&mut self, name: &str) {
        let gone = |id: &DocumentId| id.collection == name;
        self.prepares.retain(|id, prepare| {
            if gone(id) {
                answer(&prepare.reply, Err(unavailable("the collection is being dropped")));
            }
            !gone(id)
        });
        self.active.forget(|id, _| gone(id));
        for replica in &mut self.replicas {
            replica.copy.forget(|id, _| gone(id));
            replica.prepared.retain(|id, _| !gone(id));
            replica.arriving.retain(|(_, Step::Prepare(id, _) | Step::Store(id, _))| !gone(id));
        }
    }
}

impl Replica {
    /// Takes what has arrived; notes the durable writes among it.
    fn take_arrivals(&mut self, now_ms: u64, prepared: &mut Vec<(DocumentId, u64)>) {
        while self.arriving.front().is_some_and(|(at_ms, _)| *at_ms <= now_ms) {
            let Some((_, step)) = self.arriving.pop_front() else { return };
            self.steps += 1;
            match step {
                Step::Prepare(id, item) => {
                    prepared.push((id.clone(), item.cas));
                    self.prepared.insert(id, item);
                }
                Step::Store(id, item) => {
                    self.prepared.retain(|held, prepare| *held != id || prepare.cas != item.cas);
                    self.copy.store(&id, item);
                }
            }
        }
    }
}
