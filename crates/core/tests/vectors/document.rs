//! Policies and operations as the vectors write them.

use serde_json::{Value as Json, json};
use tidelock_core::json::{Value, parse};
use tidelock_core::wire::{ConflictNote, DeletePolicy, DocumentPolicy, FieldStrategy, Operation, Policy};

use crate::{list, text};

pub(crate) fn policy(json: &Json) -> Policy {
    let path = |names: &Json| list(names).iter().map(|name| text(name).to_owned()).collect();
    Policy {
        document: match json["document"].as_str().unwrap_or("merge") {
            "merge" => DocumentPolicy::Merge,
            "last-write" => DocumentPolicy::LastWrite,
            "first-write" => DocumentPolicy::FirstWrite,
            "newest" => DocumentPolicy::Newest,
            "reject" => DocumentPolicy::Reject,
            "resolver" => DocumentPolicy::Resolver,
            other => panic!("unknown document policy {other}"),
        },
        field: json.get("field").map(strategy).unwrap_or_default(),
        fields: json["fields"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|pair| (path(&pair[0]), strategy(&pair[1])))
            .collect(),
        delete: match json["delete"].as_str().unwrap_or("edit-wins") {
            "edit-wins" => DeletePolicy::EditWins,
            "delete-wins" => DeletePolicy::DeleteWins,
            other => panic!("unknown delete policy {other}"),
        },
    }
}

fn strategy(json: &Json) -> FieldStrategy {
    if let Some(identity) = json.get("list") {
        return FieldStrategy::List(text(identity).to_owned());
    }
    match text(json) {
        "last-write" => FieldStrategy::LastWrite,
        "first-write" => FieldStrategy::FirstWrite,
        "newest" => FieldStrategy::Newest,
        "sum" => FieldStrategy::Sum,
        "min" => FieldStrategy::Min,
        "max" => FieldStrategy::Max,
        "union" => FieldStrategy::Union,
        "text" => FieldStrategy::Text,
        "reject" => FieldStrategy::Reject,
        other => panic!("unknown strategy {other}"),
    }
}

/// A document as JSON text; null for none.
pub(crate) fn document(json: &Json) -> Option<Value> {
    json.as_str().map(|body| parse(body.as_bytes()).unwrap_or_else(|error| panic!("{body}: {error}")))
}

pub(crate) fn body(value: Option<&[u8]>) -> Json {
    value.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).into()
}

pub(crate) fn operation(operation: &Operation) -> Json {
    match operation {
        Operation::Put(value) | Operation::Offer(value) => json!({ "put": body(Some(value)) }),
        Operation::Delete => json!("delete"),
        Operation::Patch(patches) => {
            let patch = |patch: &tidelock_core::wire::FieldPatch| json!({ "path": patch.path, "base": body(patch.base.as_deref()), "value": body(patch.value.as_deref()) });
            json!({ "patch": patches.iter().map(patch).collect::<Vec<_>>() })
        }
    }
}

pub(crate) fn note(note: &ConflictNote) -> Json {
    json!({
        "path": note.path, "strategy": note.strategy, "base": body(note.base.as_deref()), "mine": body(note.mine.as_deref()),
        "theirs": body(note.theirs.as_deref()), "outcome": body(note.outcome.as_deref()),
    })
}
