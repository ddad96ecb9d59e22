//! What a node remembers of what it has taken in. Forgetting costs a read, never more.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use tidelock_core::ids::{DocumentId, Version};

use super::limits::{DOCUMENTS_NOTED_MAX, DOCUMENTS_REMEMBERED_MAX, GROUPS_REMEMBERED_MAX};
use super::meta::IntentName;
use crate::platform::{Entry, Order, Token};
use crate::recent::Recent;

/// The memory.
#[derive(Debug)]
pub(super) struct Known(Mutex<Memory>);

#[derive(Debug)]
struct Memory {
    documents: Recent<DocumentId, Last>,
    groups: Recent<IntentName, ()>,
    /// Hashes of documents that were taken in since a walk began; `None` when none is under way, or when they are too many.
    noted: Option<HashSet<u64>>,
}

/// The last state of a document that was taken in.
#[derive(Clone, Debug)]
struct Last {
    token: Token,
    order: Option<Order>,
    version: Version,
}

/// How the state in a feed's event compares with what was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// It is later.
    Later,
    /// It is the same, or earlier.
    Old,
    /// Nobody can tell: the document has to be read.
    Unknown,
}

impl Default for Known {
    fn default() -> Self {
        let (documents, groups) = (Recent::new(DOCUMENTS_REMEMBERED_MAX), Recent::new(GROUPS_REMEMBERED_MAX));
        Self(Mutex::new(Memory { documents, groups, noted: None }))
    }
}

impl Known {
    pub(super) fn remember(&self, id: DocumentId, token: Token, order: Option<Order>, version: Version) {
        let mut memory = self.memory();
        if let Some(noted) = &mut memory.noted {
            noted.insert(hash(&id));
        }
        if memory.noted.as_ref().is_some_and(|noted| noted.len() > DOCUMENTS_NOTED_MAX) {
            memory.noted = None;
        }
        memory.documents.insert(id, Last { token, order, version }, 1);
    }

    /// A walk is about to begin: from here on it is known of which documents a state was taken in.
    pub(super) fn begin_walk(&self) {
        self.memory().noted = Some(HashSet::new());
    }

    pub(super) fn end_walk(&self) {
        self.memory().noted = None;
    }

    /// As [`age`](Self::age), of a state that the walk has found at the platform. Where no state of the document was taken in since the walk
    /// began, it is no earlier than what was taken in before.
    pub(super) fn age_in_walk(&self, id: &DocumentId, entry: &Entry) -> Age {
        let age = self.age(id, entry);
        if age != Age::Unknown || entry.order.is_none() {
            return age;
        }
        let is_untouched = self.memory().noted.as_ref().is_some_and(|noted| !noted.contains(&hash(id)));
        if is_untouched { Age::Later } else { Age::Unknown }
    }

    /// The walk itself has taken them in, as it found them: what it may meet of them afterwards is later.
    pub(super) fn walked<'a>(&self, ids: impl Iterator<Item = &'a DocumentId>) {
        if let Some(noted) = &mut self.memory().noted {
            for id in ids {
                noted.remove(&hash(id));
            }
        }
    }

    /// The version of the state with this token, when it is the last one taken in.
    pub(super) fn version(&self, id: &DocumentId, token: &Token) -> Option<Version> {
        let mut memory = self.memory();
        memory.documents.get(id).filter(|last| last.token == *token).map(|last| last.version)
    }

    /// Compares the state of an event.
    pub(super) fn age(&self, id: &DocumentId, entry: &Entry) -> Age {
        let mut memory = self.memory();
        let Some(last) = memory.documents.get(id) else { return Age::Unknown };
        if last.token == entry.token {
            return Age::Old;
        }
        match entry.order.partial_cmp(&last.order).filter(|_| entry.order.is_some() && last.order.is_some()) {
            Some(std::cmp::Ordering::Greater) => Age::Later,
            Some(std::cmp::Ordering::Equal | std::cmp::Ordering::Less) => Age::Old,
            None => Age::Unknown,
        }
    }

    /// Notes that the documents of a group were published together.
    pub(super) fn publish(&self, group: IntentName) {
        self.memory().groups.insert(group, (), 1);
    }

    pub(super) fn is_published(&self, group: &IntentName) -> bool {
        self.memory().groups.get(group).is_some()
    }

    /// What the platform said before does not count any more.
    pub(super) fn forget(&self) {
        let mut memory = self.memory();
        memory.documents.clear();
        memory.noted = None;
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Two documents with one hash count as one: both are read then. Each process has its own, so nobody can choose keys that share one.
pub(super) fn hash(key: impl Hash) -> u64 {
    static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    SECRET.hash_one(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64) -> Entry {
        let order = Some(Order { history: 1, number });
        Entry { token: token(number), order, ..Entry::default() }
    }

    fn token(number: u64) -> Token {
        Token(number.to_be_bytes().to_vec())
    }

    fn remember(known: &Known, id: &DocumentId, number: u64) {
        known.remember(id.clone(), token(number), entry(number).order, Version(number));
    }

    #[test]
    fn what_others_took_in_since_a_walk_began_is_read_again_however_long_ago() {
        let (known, id, other) = (Known::default(), DocumentId::new("c", "k"), DocumentId::new("c", "other"));
        assert_eq!(known.age_in_walk(&id, &entry(5)), Age::Unknown, "no walk is under way");
        known.begin_walk();
        assert_eq!(known.age_in_walk(&id, &entry(5)), Age::Later);
        assert_eq!(known.age_in_walk(&id, &Entry { order: None, ..entry(5) }), Age::Unknown, "nothing tells its order");
        remember(&known, &id, 9);
        assert_eq!(known.age_in_walk(&id, &entry(5)), Age::Old);
        // It is forgotten, and that it was taken in is not.
        for number in 0..u64::try_from(2 * DOCUMENTS_REMEMBERED_MAX).unwrap() {
            remember(&known, &DocumentId::new("c", number.to_string()), number);
        }
        assert_eq!(known.age(&id, &entry(5)), Age::Unknown);
        assert_eq!(known.age_in_walk(&id, &entry(5)), Age::Unknown);
        assert_eq!(known.age_in_walk(&other, &entry(5)), Age::Later);
        known.walked([&id].into_iter());
        assert_eq!(known.age_in_walk(&id, &entry(5)), Age::Later);
        // The platform went back.
        known.forget();
        assert_eq!(known.age_in_walk(&other, &entry(5)), Age::Unknown);
        known.begin_walk();
        known.end_walk();
        assert_eq!(known.age_in_walk(&other, &entry(5)), Age::Unknown);
    }
}
