//! The answer to a mutation that was finished before: the recorded outcome with the states of this moment.

use tidelock_core::server::{Processed, Refusal, Submission};
use tidelock_core::wire::{DocumentState, Outcome, PushResult};
use tidelock_store::Recorded;

use super::prepare::{State, predicted, told};
use super::read;
use crate::database::Database;

/// Others may have changed the documents since, and the client may have been told. So every document that is not what the client
/// sent is named as it is, at the offset of the read: whatever the client was told before is older.
pub(super) async fn answer(
    database: &Database,
    submission: &Submission,
    recorded: Option<Recorded>,
) -> Result<Processed, Refusal> {
    let changes = &submission.mutation.changes;
    let view = read(database, changes.iter().map(|change| &change.id)).await?;
    let mut states: Vec<DocumentState> = Vec::new();
    let mut placed = Vec::new();
    for change in changes {
        let state: State = view.state(&change.id);
        let (told, place) = told(database, &change.id, &state);
        if predicted(&change.operation) != Some(state.version) {
            states.push(told);
        }
        placed.extend(place);
    }
    let outcome = match recorded.map(|recorded| recorded.outcome) {
        Some(Outcome::Rejected(code, message, _)) => Outcome::Rejected(code, message, states),
        Some(Outcome::Resolve(_)) => Outcome::Resolve(states),
        // Where a document was that is gone cannot be told any more, nor whether the client may still know what another wrote there.
        Some(Outcome::Merged(_, mut notes)) => {
            notes.retain(|note| note.theirs.is_none() || view.state(&note.id).version.exists());
            Outcome::Merged(states, notes)
        }
        Some(Outcome::Accepted) | None if states.is_empty() => Outcome::Accepted,
        Some(Outcome::Accepted) | None => Outcome::Merged(states, Vec::new()),
    };
    let result = PushResult { sequence: submission.mutation.sequence, offset: view.offset, outcome };
    Ok(Processed { result, placed, noted: Vec::new() })
}
