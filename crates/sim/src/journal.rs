//! What the store committed, in its order: the judge's own record, beside the product's.

use std::sync::{Mutex, PoisonError};

use tidelock_core::ids::{MutationId, Offset};
use tidelock_core::wire::{ConflictNote, Outcome};
use tidelock_store::{Commit, Write};

/// A commit that the store carried out.
#[derive(Clone, Debug)]
pub(crate) struct Committed {
    pub(crate) offset: Offset,
    pub(crate) mutation: Option<MutationId>,
    /// Empty for a mutation that was refused.
    pub(crate) writes: Vec<Write>,
    pub(crate) outcome: Outcome,
    pub(crate) conflicts: Vec<ConflictNote>,
}

/// Commits that the checkers have not seen.
#[derive(Debug, Default)]
pub(crate) struct Journal(Mutex<Vec<Committed>>);

impl Journal {
    /// Enters a commit, at the moment at which the store carried it out.
    pub(crate) fn enter(&self, commit: Commit, offset: Offset) {
        let Commit { mutation, writes, outcome, conflicts, .. } = commit;
        let entry = Committed { offset, mutation, writes, outcome, conflicts };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    /// What was entered since the last call.
    pub(crate) fn take(&self) -> Vec<Committed> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
