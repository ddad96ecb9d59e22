//! The documents that were written lately: what the writer checks a write against, and what most reads of the pipeline ask for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidelock_core::ids::{DocumentId, Offset};

use crate::ChangeRecord;
use crate::recent::Recent;
use crate::store::Document;

/// What an entry weighs beside its texts, in bytes: the record, its counters, the two places where its id is.
const ENTRY_BYTES: usize = 320;

/// The latest durable state of documents, as far as it is remembered: it is never older than the last commit that
/// was answered.
///
/// Only the writer adds to it, after each commit and before the commit is answered. What it cannot know for certain it forgets.
#[derive(Debug)]
pub(super) struct Documents(Mutex<Entries>);

#[derive(Debug)]
struct Entries {
    latest: Recent<DocumentId, Latest>,
    /// Every commit up to here was taken over.
    through: Offset,
}

/// The latest state of a document; a tombstone as long as the file has one.
#[derive(Clone, Debug)]
pub(super) struct Latest {
    pub(super) record: Arc<ChangeRecord>,
    pub(super) edited_ms: u64,
}

impl Latest {
    fn document(&self) -> Option<Document> {
        let body = Arc::clone(self.record.body.as_ref()?);
        Some(Document { version: self.record.version, body, edited_ms: self.edited_ms })
    }

    fn weight(&self) -> usize {
        let ChangeRecord { id, body, channels, left, .. } = self.record.as_ref();
        let names = channels.iter().chain(left).map(|name| size_of::<String>() + name.len()).sum::<usize>();
        let id = 2 * (id.collection.len() + id.key.len());
        ENTRY_BYTES + id + names + body.as_ref().map_or(0, |body| body.len())
    }
}

impl Documents {
    /// Remembers as much as fits `bytes_max` of what is written after `head`.
    pub(super) fn new(bytes_max: usize, head: Offset) -> Self {
        Self(Mutex::new(Entries { latest: Recent::new(bytes_max), through: head }))
    }

    /// Something of a document's latest state; `None` when it is not remembered.
    pub(super) fn look_up<T>(&self, id: &DocumentId, of: impl FnOnce(&Latest) -> T) -> Option<T> {
        self.entries().latest.get(id).map(of)
    }

    /// The documents named, in that order, of one moment; `None` when one of them is not remembered, or is older than `at_least`:
    /// a page may have shown a commit that is about to be taken over.
    pub(super) fn read(&self, ids: &[DocumentId], at_least: Offset) -> Option<Vec<Option<Document>>> {
        let mut entries = self.entries();
        if entries.through < at_least {
            return None;
        }
        ids.iter().map(|id| entries.latest.get(id).map(Latest::document)).collect()
    }

    /// Takes over what a durable transaction wrote, all at once.
    pub(super) fn remember(&self, written: impl IntoIterator<Item = (DocumentId, Latest)>, through: Offset) {
        let mut entries = self.entries();
        for (id, latest) in written {
            let weight = latest.weight();
            entries.latest.insert(id, latest, weight);
        }
        entries.through = through;
    }

    /// Forgets documents whose rows changed in another way.
    pub(super) fn forget<'i>(&self, ids: impl IntoIterator<Item = &'i DocumentId>) {
        let mut entries = self.entries();
        for id in ids {
            entries.latest.remove(id);
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.entries().latest.clear();
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Every change of an entry is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tidelock_core::ids::{SessionId, Version};

    use super::*;

    #[test]
    fn nothing_older_than_what_was_seen_is_read() {
        let id = DocumentId::new("notes", "a");
        let record = ChangeRecord {
            offset: Offset(3),
            id: id.clone(),
            version: Version(1),
            body: Some(Arc::from(&b"1"[..])),
            channels: Vec::new(),
            left: Vec::new(),
            session: SessionId(0),
        };
        let documents = Documents::new(1 << 10, Offset(2));
        documents.remember([(id.clone(), Latest { record: Arc::new(record), edited_ms: 1 })], Offset(3));
        let ids = [id];
        assert!(documents.read(&ids, Offset(3)).is_some());
        assert!(documents.read(&ids, Offset(4)).is_none(), "a page showed offset 4");
        documents.remember([], Offset(4));
        assert!(documents.read(&ids, Offset(4)).is_some());
    }
}
