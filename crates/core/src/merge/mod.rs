//! Patches and three-way merge by policy (DESIGN section 7; `docs/protocol.md` section 9).
//!
//! A client sends what it changed as a [`Patch`](crate::wire::Operation::Patch) in which every field carries the value that it had
//! ([`diff`]); the server merges that into the document as it is then ([`merge()`]), without a history of the document; a client that
//! learns of a later server state while it holds an unsent edit predicts the same outcome ([`rebase`]).
//!
//! How a change is merged when its base is not the current version, under document policy `merge`:
//!
//! 1. Changes of whole objects are taken member by member, on both sides, down to a path that the policy names or a value that is
//!    not an object; arrays, strings and tagged values (dates, binary, …) are whole.
//! 2. A field that only one side changed takes that side's value; both sides made the same value: that value (but `sum` adds).
//! 3. A field that both changed: its strategy decides. Where one side removed it, the policy's `delete` decides, whatever the
//!    strategy, except that `reject` rejects. A strategy that does not apply to the values at hand (`sum` of a string) is
//!    `last-write`.
//! 4. A changed field whose parent object is gone: `delete-wins` drops the change; `edit-wins` makes the parent again, holding the
//!    changed fields. A parent that is no object any more stays as it is and the change is dropped (noted as `type-changed`).
//! 5. A changed document that is gone: `delete-wins` drops the change; under `edit-wins` the change has to bring the whole
//!    document, and when it brings fields only, the answer is [`Merged::Resolve`]: the client, which has the rest, rebases and
//!    pushes the whole.
//!
//! Every value of either side that is not in the outcome is named in a [`ConflictNote`](crate::wire::ConflictNote). `__proto__` is a name like any other.

mod again;
mod apply;
mod diff;
mod document;
mod engine;
mod list;
mod number;
mod object;
mod sequence;
mod set;
mod text;

pub use again::again;
pub use apply::apply;
pub use diff::diff;
pub use document::{Context, Current, Merged, Rebased, merge, rebase};
pub use engine::Conflict;

use crate::json::{JsonError, Value, write};
use crate::prelude::*;

/// A change that no honest client sends; the mutation is refused as invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// A value of the change is not acceptable JSON.
    #[error("a value of the change is not a valid document: {0}")]
    Json(#[from] JsonError),
    /// Two patches of one change touch the same field.
    #[error("two patches overlap at {0:?}; send each field once")]
    Overlap(Vec<String>),
    /// The outcome would be nested too deep.
    #[error("the patch at {0:?} nests deeper than {max} levels; flatten the document", max = crate::limits::DEPTH_MAX)]
    Depth(Vec<String>),
    /// The patch names fields of a document, or of an object, that its base does not have.
    #[error("the patch at {0:?} does not fit its base; send the change again from the document's current version")]
    NoParent(Vec<String>),
}

/// JSON text of an optional value, as the wire carries it.
fn text(value: Option<&Value>) -> Option<Vec<u8>> {
    value.map(write)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
