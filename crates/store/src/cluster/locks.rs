//! Locks of documents: whoever takes a state into the journal holds its document's from before the platform is asked.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::pin;

use futures_util::future::{Either, select};
use tidelock_core::ids::DocumentId;
use tokio::sync::{Mutex, MutexGuard};

use super::limits::STRIPES;

/// Locks that all documents share. They are fair, and always taken by rising number, so that nobody waits in a circle.
#[derive(Debug)]
pub(super) struct Locks(Vec<Mutex<()>>);

/// Documents that are locked until this is dropped.
pub(super) struct Guard<'a> {
    ids: BTreeSet<DocumentId>,
    _held: Vec<MutexGuard<'a, ()>>,
}

impl Default for Locks {
    fn default() -> Self {
        Self((0..STRIPES).map(|_| Mutex::default()).collect())
    }
}

impl Locks {
    pub(super) async fn lock(&self, ids: BTreeSet<DocumentId>) -> Guard<'_> {
        let stripes: BTreeSet<usize> = ids.iter().map(stripe).collect();
        let mut held = Vec::with_capacity(stripes.len());
        for lock in stripes.into_iter().filter_map(|stripe| self.0.get(stripe)) {
            held.push(lock.lock().await);
        }
        Guard { ids, _held: held }
    }

    /// As [`lock`](Self::lock); `None` when they do not become free before `patience` ends.
    pub(super) async fn lock_within(
        &self,
        ids: BTreeSet<DocumentId>,
        patience: impl Future<Output = ()> + Unpin,
    ) -> Option<Guard<'_>> {
        match select(pin!(self.lock(ids)), patience).await {
            Either::Left((guard, _)) => Some(guard),
            Either::Right(_) => None,
        }
    }

    /// Whether nobody has locked a document at this moment.
    pub(super) fn is_free(&self, id: &DocumentId) -> bool {
        self.0.get(stripe(id)).is_some_and(|lock| lock.try_lock().is_ok())
    }
}

impl Guard<'_> {
    /// The documents.
    pub(super) fn ids(&self) -> &BTreeSet<DocumentId> {
        &self.ids
    }

    /// Leaves documents out; their locks are held all the same.
    pub(super) fn retain(&mut self, wanted: impl FnMut(&DocumentId) -> bool) {
        self.ids.retain(wanted);
    }
}

fn stripe(id: &DocumentId) -> usize {
    // Its keys are fixed: every run of a simulation locks alike.
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    usize::try_from(hasher.finish() % STRIPES as u64).unwrap_or(0)
}
