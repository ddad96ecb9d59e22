//! A change that may have been committed before the store was set back, into a document that others have brought back since.

use super::apply::{apply_patches, parse_patches};
use super::document::{Merged, found};
use super::engine::Conflict;
use super::{MergeError, apply};
use crate::ids::DocumentId;
use crate::json::Value;
use crate::prelude::*;
use crate::wire::Operation;

/// The offered content holds the change, or does not, or other changes hide which. Where every field has the value before the change,
/// it is applied; otherwise the document stays, for applied twice it would be wrong, and the notes tell of values that it does not have.
/// A document that was deleted since (`None`) stays deleted.
pub fn again(current: Option<&Value>, id: &DocumentId, operation: &Operation) -> Result<Merged, MergeError> {
    let mut conflicts = Vec::new();
    let mut note = |path: &[String], base: Option<Value>, mine: Option<Value>| {
        let theirs = found(current, path).cloned();
        let conflict =
            Conflict { path: path.to_vec(), strategy: "restored", base, mine, outcome: theirs.clone(), theirs };
        conflicts.push(conflict.into_note(id));
    };
    let value = if let Operation::Patch(patches) = operation {
        let patches = parse_patches(patches)?;
        let here = |path: &[String]| found(current, path);
        if current.is_some() && patches.iter().all(|patch| here(patch.path) == patch.base.as_ref()) {
            apply_patches(current.cloned(), patches)?
        } else {
            for patch in patches.into_iter().filter(|patch| here(patch.path) != patch.mine.as_ref()) {
                note(patch.path, patch.base, patch.mine);
            }
            current.cloned()
        }
    } else {
        let mine = apply(None, operation)?;
        if mine.as_ref() != current {
            note(&[], None, mine);
        }
        current.cloned()
    };
    Ok(Merged::Merged { value, conflicts })
}
