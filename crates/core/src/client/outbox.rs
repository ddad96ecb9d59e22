//! The memory's mirror of the outboxes, and how unsent transactions become mutations.
//!
//! Values are read when a mutation is formed, not when a write is captured. Two unsent transactions that touched one document can
//! therefore not be told apart any more: they are joined into one mutation. A group is such a join; it is sent whole.

use super::storage::{KeyRange, OutboxRecord};
use crate::ids::DocumentId;
use crate::key::{self, Key};
use crate::ordered::{OrderedMap, OrderedSet};
use crate::prelude::*;

/// Every unsent outbox record that the client has read, by collection and number.
#[derive(Clone, Debug, Default)]
pub(super) struct Mirror {
    records: OrderedMap<(String, u64), Record>,
    /// How many records mark a key, by collection and key.
    marked: OrderedMap<String, OrderedMap<String, u32>>,
    /// Records that mark ranges or everything.
    broad: OrderedSet<(String, u64)>,
    read_through: OrderedMap<String, u64>,
}

#[derive(Clone, Debug)]
struct Record {
    record: OutboxRecord,
    ranges: Vec<Range>,
}

/// A key range with comparable bounds.
#[derive(Clone, Debug)]
struct Range {
    lower: Option<Key>,
    upper: Option<Key>,
    lower_open: bool,
    upper_open: bool,
}

impl Range {
    fn new(range: &KeyRange) -> Self {
        let bound = |text: &Option<String>| text.as_deref().and_then(|text| key::decode(text).ok());
        Self {
            lower: bound(&range.lower),
            upper: bound(&range.upper),
            lower_open: range.lower_open,
            upper_open: range.upper_open,
        }
    }

    fn is_everything(&self) -> bool {
        self.lower.is_none() && self.upper.is_none()
    }

    fn contains(&self, key: &str) -> bool {
        if self.is_everything() {
            return true;
        }
        // A key that is no platform form cannot be a row of the store.
        let Ok(key) = key::decode(key) else { return false };
        let above = self.lower.as_ref().is_none_or(|lower| key > *lower || (!self.lower_open && key == *lower));
        let below = self.upper.as_ref().is_none_or(|upper| key < *upper || (!self.upper_open && key == *upper));
        above && below
    }
}

/// A transaction among those that are put in order.
#[derive(Default)]
struct Ordering<'a> {
    at_ms: u64,
    records: Vec<&'a (String, u64)>,
    /// How many transactions are known to have committed before it and are not in order yet.
    waits_for: usize,
    followers: Vec<&'a str>,
}

/// Unsent transactions that have to go as one mutation.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    /// Its outbox records, as (collection, number).
    pub(super) records: Vec<(String, u64)>,
    /// When the first of its transactions was made, milliseconds since 1970.
    pub(super) at_ms: u64,
    /// Documents marked by key.
    pub(super) documents: OrderedSet<DocumentId>,
    /// Collections of which every row is to be compared.
    pub(super) whole: OrderedSet<String>,
    /// Whether a range (not the whole collection) was deleted.
    pub(super) ranged: OrderedSet<String>,
    /// Keys that have no platform form: (collection, reason).
    pub(super) unsupported: Vec<(String, String)>,
}

impl Mirror {
    /// The number after which a collection's outbox is still to be read.
    pub(super) fn read_through(&self, collection: &str) -> u64 {
        self.read_through.get(collection).copied().unwrap_or(0)
    }

    /// Adds records that were read.
    pub(super) fn add(&mut self, collection: &str, records: Vec<OutboxRecord>) {
        for record in records {
            let through = self.read_through.or_default(collection.into());
            *through = record.number.max(*through);
            let id = (String::from(collection), record.number);
            if self.records.contains_key(&id) {
                continue;
            }
            let counts = self.marked.or_default(collection.into());
            for key in &record.keys {
                *counts.or_default(key.clone()) += 1;
            }
            if record.adopt || !record.ranges.is_empty() {
                self.broad.insert(id.clone());
            }
            let ranges = record.ranges.iter().map(Range::new).collect();
            self.records.insert(id, Record { record, ranges });
        }
    }

    /// Forgets records that were deleted.
    pub(super) fn remove(&mut self, records: &[(String, u64)]) {
        for id in records {
            let Some(entry) = self.records.remove(id) else { continue };
            self.broad.remove(id);
            let Some(counts) = self.marked.get_mut(&id.0) else { continue };
            for key in &entry.record.keys {
                if let Some(count) = counts.get_mut(key) {
                    *count -= 1;
                    if *count == 0 {
                        counts.remove(key);
                    }
                }
            }
        }
    }

    /// Whether a document may have unsent changes.
    pub(super) fn may_be_dirty(&self, id: &DocumentId) -> bool {
        let marked = self.marked.get(&id.collection).is_some_and(|keys| keys.contains_key(&id.key));
        marked || self.broad_of(&id.collection).any(|entry| entry.record.adopt || covers(entry, &id.key))
    }

    /// Whether an unsent transaction deleted a range that covers the document.
    pub(super) fn ranged(&self, id: &DocumentId) -> bool {
        self.broad_of(&id.collection).any(|entry| entry.ranges.iter().any(|range| range.contains(&id.key)))
    }

    /// Whether the collection has rows that were never compared.
    pub(super) fn adopting(&self, collection: &str) -> bool {
        self.broad_of(collection).any(|entry| entry.record.adopt)
    }

    /// Adoption records, as (collection, number).
    pub(super) fn adoptions(&self) -> Vec<(String, u64)> {
        self.records.iter().filter(|(_, entry)| entry.record.adopt).map(|(id, _)| id.clone()).collect()
    }

    /// Number of unsent transactions.
    pub(super) fn transactions(&self) -> u64 {
        let ids: OrderedSet<&str> = self.records.values().map(|entry| entry.record.transaction.as_str()).collect();
        ids.len() as u64
    }

    /// When the oldest unsent transaction was made, milliseconds since 1970.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.records.values().map(|entry| entry.record.at_ms).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The unsent groups, the oldest first. Adoption is not among them: it has no transaction.
    pub(super) fn groups(&self) -> Vec<Group> {
        let ids = self.in_commit_order();
        let mut sets = Sets::new(ids.len());
        self.join_transactions(&ids, &mut sets);
        self.join_keys(&ids, &mut sets);
        self.join_ranges(&ids, &mut sets);
        let mut groups: OrderedMap<usize, Group> = OrderedMap::new();
        for (index, id) in ids.into_iter().enumerate() {
            if let Some(entry) = self.records.get(id) {
                add_record(groups.or_default(sets.root(index)), id, entry);
            }
        }
        // Roots are the smallest index of their set: the order of the oldest transaction.
        groups.into_values().collect()
    }

    /// Documents among `keys` that a group's ranges cover.
    pub(super) fn covered(&self, group: &Group, collection: &str, key: &str) -> bool {
        let records = group.records.iter().filter(|(of, _)| of == collection);
        records.filter_map(|id| self.records.get(id)).any(|entry| entry.ranges.iter().any(|range| range.contains(key)))
    }

    /// The records in an order in which their transactions can have committed: by their numbers within a collection, and by their
    /// times where no collection tells.
    fn in_commit_order(&self) -> Vec<&(String, u64)> {
        let ids: Vec<&(String, u64)> =
            self.records.iter().filter(|(_, entry)| !entry.record.adopt).map(|(id, _)| id).collect();
        let mut transactions: OrderedMap<&str, Ordering<'_>> = OrderedMap::new();
        let mut last: Option<(&str, &str)> = None;
        for id in &ids {
            let Some(entry) = self.records.get(*id) else { continue };
            let name = entry.record.transaction.as_str();
            let node = transactions.or_default(name);
            node.at_ms = entry.record.at_ms.max(node.at_ms);
            node.records.push(id);
            if let Some((_, before)) = last.filter(|(collection, before)| *collection == id.0 && *before != name) {
                node.waits_for += 1;
                transactions.or_default(before).followers.push(name);
            }
            last = Some((id.0.as_str(), name));
        }
        let mut free: OrderedSet<(u64, &str)> = transactions
            .iter()
            .filter(|(_, node)| node.waits_for == 0)
            .map(|(name, node)| (node.at_ms, *name))
            .collect();
        let mut ordered = Vec::with_capacity(ids.len());
        while let Some((_, name)) = free.pop_first() {
            let Some(node) = transactions.remove(name) else { continue };
            ordered.extend(node.records);
            for follower in node.followers {
                if let Some(next) = transactions.get_mut(follower) {
                    next.waits_for -= 1;
                    if next.waits_for == 0 {
                        free.insert((next.at_ms, follower));
                    }
                }
            }
        }
        // Numbers that contradict each other (not written by a capture layer) go last.
        ordered.extend(transactions.into_values().flat_map(|node| node.records));
        ordered
    }

    fn join_transactions(&self, ids: &[&(String, u64)], sets: &mut Sets) {
        let mut first: OrderedMap<&str, usize> = OrderedMap::new();
        for (index, id) in ids.iter().enumerate() {
            let Some(entry) = self.records.get(*id) else { continue };
            let seen = *first.or_insert(entry.record.transaction.as_str(), index);
            sets.join(seen, index);
        }
    }

    fn join_keys(&self, ids: &[&(String, u64)], sets: &mut Sets) {
        let mut first: OrderedMap<(&str, &str), usize> = OrderedMap::new();
        for (index, id) in ids.iter().enumerate() {
            let Some(entry) = self.records.get(*id) else { continue };
            for key in &entry.record.keys {
                let seen = *first.or_insert((id.0.as_str(), key.as_str()), index);
                sets.join(seen, index);
            }
        }
    }

    fn join_ranges(&self, ids: &[&(String, u64)], sets: &mut Sets) {
        for (index, id) in ids.iter().enumerate() {
            let Some(entry) = self.records.get(*id).filter(|entry| !entry.ranges.is_empty()) else { continue };
            for (other, other_id) in ids.iter().enumerate().filter(|(_, other)| other.0 == id.0) {
                let Some(second) = self.records.get(*other_id) else { continue };
                // Two ranges are joined without asking whether they overlap: joining too much is safe.
                if !second.ranges.is_empty() || second.record.keys.iter().any(|key| covers(entry, key)) {
                    sets.join(index, other);
                }
            }
        }
    }

    fn broad_of<'a>(&'a self, collection: &'a str) -> impl Iterator<Item = &'a Record> {
        let ids = self.broad.starting_at(&(String::from(collection), 0));
        ids.take_while(move |id| id.0 == collection).filter_map(|id| self.records.get(id))
    }
}

fn covers(entry: &Record, key: &str) -> bool {
    entry.record.keys.iter().any(|marked| marked == key) || entry.ranges.iter().any(|range| range.contains(key))
}

fn add_record(group: &mut Group, id: &(String, u64), entry: &Record) {
    let collection = &id.0;
    if group.records.is_empty() {
        group.at_ms = entry.record.at_ms;
    }
    group.records.push(id.clone());
    group.documents.extend(entry.record.keys.iter().map(|key| DocumentId::new(collection.as_str(), key.as_str())));
    group.unsupported.extend(entry.record.unsupported.iter().map(|reason| (collection.clone(), reason.clone())));
    for range in &entry.ranges {
        let set = if range.is_everything() { &mut group.whole } else { &mut group.ranged };
        set.insert(collection.clone());
    }
}

/// Disjoint sets; the root of a set is its smallest member.
struct Sets {
    parents: Vec<usize>,
}

impl Sets {
    fn new(count: usize) -> Self {
        Self { parents: (0..count).collect() }
    }

    fn root(&mut self, index: usize) -> usize {
        let mut root = index;
        while let Some(&parent) = self.parents.get(root).filter(|parent| **parent != root) {
            root = parent;
        }
        let mut at = index;
        while at != root {
            let Some(slot) = self.parents.get_mut(at) else { break };
            at = core::mem::replace(slot, root);
        }
        root
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        if let Some(slot) = self.parents.get_mut(a.max(b)) {
            *slot = a.min(b);
        }
    }
}
