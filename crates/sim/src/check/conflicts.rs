//! Conflict-log completeness: what a committed mutation asked for is in the document, or the conflict log keeps it.

use serde_json::Value;
use tidelock_core::ids::DocumentId;
use tidelock_core::wire::{ConflictNote, DocumentChange, FieldPatch, Operation, Outcome};

use super::Violation;
use super::history::History;
use super::wire::Pushes;
use crate::journal::Committed;

/// Members that are merged rather than chosen: the other checkers see what becomes of them.
const MERGED: [(&str, &str); 5] =
    [("ledger", "n"), ("ledger", "tokens"), ("registers", "m"), ("notes", "text"), ("tallies", "n")];

/// Checks a commit. `history` holds it already.
pub(crate) fn check(committed: &Committed, pushes: &Pushes, history: &History) -> Result<(), Violation> {
    let Some(mutation) = committed.mutation else { return Ok(()) };
    if !matches!(committed.outcome, Outcome::Accepted | Outcome::Merged(..)) {
        return Ok(());
    }
    for change in pushes.changes(mutation).unwrap_or_default() {
        let body = history.state(&change.id).and_then(|state| state.body.as_deref());
        let state = body.and_then(|body| serde_json::from_slice::<Value>(body).ok());
        let notes: Vec<&ConflictNote> = committed.conflicts.iter().filter(|note| note.id == change.id).collect();
        if let Some(lost) = lost(change, state.as_ref(), &notes) {
            let text = format!("{mutation:?} {}: {lost} is neither kept nor logged", change.id);
            return Err(Violation::new("conflict-log", text));
        }
    }
    Ok(())
}

/// What the change asked for and nobody kept.
fn lost(change: &DocumentChange, state: Option<&Value>, notes: &[&ConflictNote]) -> Option<String> {
    match &change.operation {
        // What the server knows better is not wanted.
        Operation::Offer(_) => None,
        Operation::Delete => (state.is_some() && notes.is_empty()).then(|| "the delete".to_owned()),
        Operation::Put(body) => {
            // What cannot be parsed twice alike was refused.
            let mine = serde_json::from_slice::<Value>(body).ok()?;
            let members = mine.as_object()?;
            let kept = |(name, value): &(&String, &Value)| {
                state.and_then(|state| state.get(name)) == Some(value) || is_noted(&change.id, &[name], notes)
            };
            members.iter().find(|member| !kept(member)).map(|(name, value)| format!("{name} = {value}"))
        }
        Operation::Patch(fields) => {
            let kept = |field: &&FieldPatch| {
                let names: Vec<&str> = field.path.iter().map(String::as_str).collect();
                let value = field.value.as_deref().and_then(|value| serde_json::from_slice::<Value>(value).ok());
                member(state, &names) == value.as_ref() || is_noted(&change.id, &names, notes)
            };
            fields.iter().find(|field| !kept(field)).map(|field| format!("{:?}", field.path))
        }
    }
}

fn member<'a>(state: Option<&'a Value>, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(state?, |value, name| value.get(name))
}

/// Whether the log keeps a member, something in it or something around it.
fn is_noted(id: &DocumentId, path: &[&str], notes: &[&ConflictNote]) -> bool {
    let merged = MERGED.iter().any(|(collection, name)| id.collection == *collection && path == [*name]);
    merged || notes.iter().any(|note| note.path.iter().zip(path).all(|(one, other)| one == other))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidelock_core::ids::Version;

    use super::*;

    fn check(operation: Operation, state: Option<&Value>, logged: &[&str], expected: Option<&str>) {
        let id = DocumentId::new("board", "a");
        let note = |name: &&str| ConflictNote {
            id: id.clone(),
            path: vec![(*name).to_owned()],
            strategy: "last-write".into(),
            base: None,
            mine: None,
            theirs: None,
            outcome: None,
        };
        let notes: Vec<ConflictNote> = logged.iter().map(note).collect();
        let change = DocumentChange { id, base: Version::ABSENT, operation, whole: None };
        assert_eq!(lost(&change, state, &notes.iter().collect::<Vec<_>>()).as_deref(), expected);
    }

    #[test]
    fn a_value_that_is_neither_kept_nor_logged_is_lost() {
        let put = || Operation::Put(br#"{"a":1,"b":2}"#.to_vec());
        check(put(), Some(&json!({ "a": 1, "b": 2, "c": 3 })), &[], None);
        check(put(), Some(&json!({ "a": 1, "b": 5 })), &["b"], None);
        check(put(), Some(&json!({ "a": 1, "b": 5 })), &["a"], Some("b = 2"));
        check(Operation::Delete, Some(&json!({ "a": 1 })), &[], Some("the delete"));
        check(Operation::Delete, Some(&json!({ "a": 1 })), &["a"], None);
        check(Operation::Delete, None, &[], None);
        let field = FieldPatch { path: vec!["a".into()], base: None, value: Some(b"7".to_vec()) };
        check(Operation::Patch(vec![field.clone()]), Some(&json!({ "a": 7 })), &[], None);
        check(Operation::Patch(vec![field]), Some(&json!({ "a": 8 })), &[], Some("[\"a\"]"));
    }
}
