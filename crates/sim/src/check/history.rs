//! What the store committed, by document and by mutation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidelock_core::ids::{ClientId, DocumentId, Incarnation, MutationId, Offset, Sequence, Version};
use tidelock_core::wire::Outcome;

use crate::journal::Committed;
use crate::workload::LEDGER;

/// A state that a document had.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) offset: Offset,
    pub(crate) version: Version,
    /// JSON text; `None` when it did not exist.
    pub(crate) body: Option<Arc<[u8]>>,
}

/// What became of a mutation.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    pub(crate) offset: Offset,
    /// Whether it was carried out, not refused.
    pub(crate) done: bool,
    /// The ledger documents that it changed.
    pub(crate) ledger: Vec<String>,
}

/// Everything committed so far.
#[derive(Debug, Default)]
pub(crate) struct History {
    documents: BTreeMap<DocumentId, Vec<State>>,
    finished: BTreeMap<MutationId, Finished>,
}

impl History {
    /// Takes over a commit.
    pub(crate) fn add(&mut self, committed: &Committed) {
        let mut ledger = BTreeSet::new();
        for write in &committed.writes {
            let before = self.state(&write.id).map_or(Version::ABSENT, |state| state.version);
            let version = if write.body.is_some() { write.version } else { Version::ABSENT };
            if version == before {
                continue;
            }
            if write.id.collection == LEDGER {
                ledger.insert(write.id.key.clone());
            }
            let state = State { offset: committed.offset, version, body: write.body.clone() };
            self.documents.entry(write.id.clone()).or_default().push(state);
        }
        if let Some(mutation) = committed.mutation {
            let done = matches!(committed.outcome, Outcome::Accepted | Outcome::Merged(..));
            let finished = Finished { offset: committed.offset, done, ledger: ledger.into_iter().collect() };
            self.finished.insert(mutation, finished);
        }
    }

    /// The present state of a document.
    pub(crate) fn state(&self, id: &DocumentId) -> Option<&State> {
        self.documents.get(id)?.last()
    }

    /// The state of a document at an offset.
    pub(crate) fn state_at(&self, id: &DocumentId, offset: Offset) -> Option<&State> {
        self.documents.get(id)?.iter().rev().find(|state| state.offset <= offset)
    }

    /// Offsets of the states of a document up to the last one with this version; `None` when it never had it.
    pub(crate) fn until(&self, id: &DocumentId, version: Version) -> Option<Vec<Offset>> {
        let states = self.documents.get(id).map_or(&[][..], Vec::as_slice);
        let count = if version.exists() { states.iter().rposition(|state| state.version == version)? + 1 } else { 0 };
        Some(states.iter().take(count).map(|state| state.offset).collect())
    }

    /// What became of a mutation; `None` when it was never committed.
    pub(crate) fn finished(&self, mutation: MutationId) -> Option<&Finished> {
        self.finished.get(&mutation)
    }

    /// Mutations of an incarnation after one sequence up to another, in order.
    pub(crate) fn of_client(
        &self,
        client: ClientId,
        incarnation: Incarnation,
        after: Sequence,
        until: Sequence,
    ) -> impl Iterator<Item = (&MutationId, &Finished)> {
        let id = |sequence| MutationId { client, incarnation, sequence };
        self.finished.range(id(after.next())..=id(until.max(after.next()))).filter(move |(id, _)| id.sequence <= until)
    }

    /// Every mutation.
    pub(crate) fn mutations(&self) -> impl Iterator<Item = (&MutationId, &Finished)> {
        self.finished.iter()
    }
}
