//! What a node remembers of what it has taken in. Forgetting costs a read, never more.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tidelock_core::ids::{DocumentId, Version};

use super::limits::{DOCUMENTS_REMEMBERED_MAX, GROUPS_REMEMBERED_MAX};
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
        Self(Mutex::new(Memory { documents, groups }))
    }
}

impl Known {
    pub(super) fn remember(&self, id: DocumentId, token: Token, order: Option<Order>, version: Version) {
        self.memory().documents.insert(id, Last { token, order, version }, 1);
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
        self.memory().documents.clear();
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
