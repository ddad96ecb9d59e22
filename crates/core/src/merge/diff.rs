//! What changed between two states of a document.

use super::object::{Index, splittable};
use super::text;
use crate::json::Value;
use crate::prelude::*;
use crate::wire::{DocumentPolicy, FieldPatch, FieldStrategy, Operation, Policy};

/// Bytes that a patch costs beside its names and values: array heads, string heads.
const PATCH_OVERHEAD_BYTES: usize = 4;

/// The operation that turns `base` into `mine`; `None` when they are equal.
///
/// Under document policies that keep or drop a change whole (`last-write`, `newest`) the patch is whole, so that the server can do
/// so; else it names the changed fields, unless that would take no fewer bytes than the whole.
pub fn diff(base: Option<&Value>, mine: Option<&Value>, policy: &Policy) -> Option<Operation> {
    match (base, mine) {
        (None, None) => None,
        (None, Some(mine)) => Some(Operation::Put(crate::json::write(mine))),
        (Some(_), None) => Some(Operation::Delete),
        (Some(base), Some(mine)) if base == mine => None,
        (Some(base), Some(mine)) => Some(Operation::Patch(patches(base, mine, policy))),
    }
}

fn patches(base: &Value, mine: &Value, policy: &Policy) -> Vec<FieldPatch> {
    let whole = vec![FieldPatch { path: Vec::new(), base: text(Some(base)), value: text(Some(mine)) }];
    if matches!(policy.document, DocumentPolicy::LastWrite | DocumentPolicy::Newest) {
        return whole;
    }
    let mut fields = Vec::new();
    fields_changed(base, mine, &mut Vec::new(), policy, &mut fields);
    if size(&fields) < size(&whole) { fields } else { whole }
}

fn size(patches: &[FieldPatch]) -> usize {
    let value = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
    let path = |path: &[String]| path.iter().map(|name| name.len() + 1).sum::<usize>();
    patches.iter().map(|p| PATCH_OVERHEAD_BYTES + path(&p.path) + value(&p.base) + value(&p.value)).sum()
}

fn fields_changed(base: &Value, mine: &Value, path: &mut Vec<String>, policy: &Policy, out: &mut Vec<FieldPatch>) {
    let members = splittable(base).zip(splittable(mine)).filter(|_| strategy_at(policy, path).is_none());
    let Some((base_members, mine_members)) = members else {
        out.push(FieldPatch { path: path.clone(), base: text(Some(base)), value: text(Some(mine)) });
        return;
    };
    for change in changes(base_members, mine_members) {
        path.push(change.name.to_owned());
        if let (Some(base), Some(mine)) = (change.base, change.mine) {
            fields_changed(base, mine, path, policy, out);
        } else {
            out.push(FieldPatch { path: path.clone(), base: text(change.base), value: text(change.mine) });
        }
        path.pop();
    }
}

/// One member that differs.
pub(super) struct MemberChange<'a> {
    pub(super) name: &'a str,
    pub(super) base: Option<&'a Value>,
    pub(super) mine: Option<&'a Value>,
}

/// The members that differ: changed and added ones in the order of `mine`, then removed ones in the order of `base`.
pub(super) fn changes<'a>(base: &'a [(String, Value)], mine: &'a [(String, Value)]) -> Vec<MemberChange<'a>> {
    let (before, after) = (Index::new(base), Index::new(mine));
    let kept = mine.iter().filter_map(|(name, value)| {
        let base = before.find(name);
        (base != Some(value)).then_some(MemberChange { name, base, mine: Some(value) })
    });
    let removed = base.iter().filter(|(name, _)| after.find(name).is_none());
    kept.chain(removed.map(|(name, value)| MemberChange { name, base: Some(value), mine: None })).collect()
}

/// The strategy that the policy names for a path: the first pattern that matches. Such a field is merged whole.
pub(super) fn strategy_at<'p>(policy: &'p Policy, path: &[String]) -> Option<&'p FieldStrategy> {
    let matches = |pattern: &[String]| {
        pattern.len() == path.len() && pattern.iter().zip(path).all(|(wanted, name)| wanted == "*" || wanted == name)
    };
    policy.fields.iter().find(|(pattern, _)| matches(pattern)).map(|(_, strategy)| strategy)
}
