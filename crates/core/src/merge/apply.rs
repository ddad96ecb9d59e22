//! Operations on their own base, and patches as parsed values.

use super::MergeError;
use super::object::Slots;
use crate::json::{Value, parse};
use crate::limits::DEPTH_MAX;
use crate::order::sorted_by;
use crate::prelude::*;
use crate::wire::{FieldPatch, Operation};

/// One patch with its values parsed.
pub(super) struct Patch<'a> {
    pub(super) path: &'a [String],
    pub(super) base: Option<Value>,
    pub(super) mine: Option<Value>,
}

/// What becomes of `base` when the operation alone is applied to it: the client's prediction, and the server's outcome when
/// nobody else changed the document.
pub fn apply(base: Option<&Value>, operation: &Operation) -> Result<Option<Value>, MergeError> {
    match operation {
        Operation::Put(body) | Operation::Offer(body) => Ok(Some(parse(body)?)),
        Operation::Delete => Ok(None),
        Operation::Patch(patches) => apply_patches(base.cloned(), parse_patches(patches)?),
    }
}

/// Parses patches; each field at most once, nothing too deep.
pub(super) fn parse_patches(patches: &[FieldPatch]) -> Result<Vec<Patch<'_>>, MergeError> {
    let sorted = sorted_by(patches, &|a, b| a.path < b.path);
    // Paths below a path follow it directly in this order.
    let overlap = sorted.windows(2).find(|pair| matches!(pair, [above, below] if below.path.starts_with(&above.path)));
    if let Some([above, _]) = overlap {
        return Err(MergeError::Overlap(above.path.clone()));
    }
    patches.iter().map(parse_patch).collect()
}

fn parse_patch(patch: &FieldPatch) -> Result<Patch<'_>, MergeError> {
    let value = |text: &Option<Vec<u8>>| text.as_deref().map(parse).transpose();
    let (base, mine) = (value(&patch.base)?, value(&patch.value)?);
    let depth = mine.as_ref().map_or(0, Value::depth).saturating_add(patch.path.len());
    if depth > DEPTH_MAX {
        return Err(MergeError::Depth(patch.path.clone()));
    }
    Ok(Patch { path: &patch.path, base, mine })
}

/// Puts the values of patches in place.
pub(super) fn apply_patches(base: Option<Value>, patches: Vec<Patch<'_>>) -> Result<Option<Value>, MergeError> {
    if matches!(&*patches, [Patch { path: [], .. }]) {
        return Ok(patches.into_iter().next().and_then(|patch| patch.mine));
    }
    let no_parent = |patches: &[Patch<'_>]| {
        MergeError::NoParent(patches.first().map(|patch| patch.path.to_vec()).unwrap_or_default())
    };
    let Some(base) = base else {
        return Err(no_parent(&patches));
    };
    let changes = patches.into_iter().map(|patch| (patch.path, patch.path, patch.mine)).collect();
    apply_below(base, changes).map(Some)
}

/// A change below some object: the rest of the path, the whole path, the value.
type Below<'a> = (&'a [String], &'a [String], Option<Value>);

fn apply_below(object: Value, changes: Vec<Below<'_>>) -> Result<Value, MergeError> {
    let Value::Object(members) = object else {
        return Err(MergeError::NoParent(changes.first().map(|(_, path, _)| path.to_vec()).unwrap_or_default()));
    };
    let mut slots = Slots::new(members);
    let mut changes = changes.into_iter().peekable();
    while let Some((rest, whole, value)) = changes.next() {
        let Some((name, rest)) = rest.split_first() else { continue };
        if rest.is_empty() {
            slots.put(name, value);
            continue;
        }
        let mut inner = vec![(rest, whole, value)];
        while let Some((rest, whole, value)) =
            changes.next_if(|(rest, _, _)| rest.len() > 1 && rest.first() == Some(name))
        {
            inner.push((rest.get(1..).unwrap_or_default(), whole, value));
        }
        let child = slots.take(name).ok_or_else(|| MergeError::NoParent(whole.to_vec()))?;
        slots.put(name, Some(apply_below(child, inner)?));
    }
    Ok(Value::Object(slots.into_members()))
}
