//! No document comes back: one that was deleted, in a collection in which deletes win and keys are used once, stays deleted.

use std::collections::BTreeMap;

use tidelock_core::ids::{DocumentId, Offset};
use tidelock_store::Write;

use super::Violation;
use crate::journal::Committed;
use crate::workload::{KEYS, MORTAL};

/// Documents that were deleted, and where, as far as nobody else uses their keys.
#[derive(Debug, Default)]
pub(crate) struct Graves(BTreeMap<DocumentId, Offset>);

impl Graves {
    /// Takes over a commit.
    pub(crate) fn add(&mut self, committed: &Committed) -> Result<(), Violation> {
        for write in mortal(committed).filter(|write| write.body.is_some()) {
            if let Some(buried) = self.0.get(&write.id) {
                let text = format!("{} was deleted at {buried} and is back at {}", write.id, committed.offset);
                return Err(Violation::new("resurrection", text));
            }
        }
        self.bury(committed);
        Ok(())
    }

    /// Takes over what a commit deleted. Commits may come in another order than they were made in.
    pub(crate) fn bury(&mut self, committed: &Committed) {
        for write in mortal(committed).filter(|write| write.body.is_none() && write.expected.exists()) {
            self.0.entry(write.id.clone()).or_insert(committed.offset);
        }
    }

    /// Whether a document was deleted at or before an offset.
    pub(crate) fn holds(&self, key: &str, until: Offset) -> bool {
        self.0.get(&DocumentId::new(MORTAL, key)).is_some_and(|buried| *buried <= until)
    }
}

/// Writes of documents whose keys are used once.
fn mortal(committed: &Committed) -> impl Iterator<Item = &Write> {
    committed.writes.iter().filter(|write| write.id.collection == MORTAL && !KEYS.contains(&write.id.key.as_str()))
}
