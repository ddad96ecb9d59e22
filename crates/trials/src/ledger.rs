//! What every document has to be.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

/// Documents by collection and key.
pub type Documents = BTreeMap<(String, String), Value>;

/// How many documents that differ are named.
const NAMED_MAX: usize = 12;

/// What the clients wrote, summed up, and what they know to be confirmed. Every document is written whole by one client only, or is a
/// number that all of them change by differences: so the order in which servers take the writes does not matter.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Books>);

#[derive(Debug, Default)]
struct Books {
    documents: Documents,
    acknowledged: BTreeSet<(String, String)>,
    transactions: u64,
}

/// What one transaction does to a document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// It is this from now on; `None` deletes it.
    Set(Option<Value>),
    /// The member `n` grows by so much.
    Add(i64),
}

impl Ledger {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a document that no client's load writes.
    pub fn set(&self, collection: &str, key: &str, value: Option<Value>) {
        self.books().apply(collection, key, Change::Set(value));
    }

    /// Notes a transaction that a client's database has committed.
    pub(crate) fn note(&self, changes: Vec<(&'static str, String, Change)>) {
        let mut books = self.books();
        books.transactions += 1;
        for (collection, key, change) in changes {
            books.apply(collection, &key, change);
        }
    }

    /// Notes documents whose creation is confirmed, and which nobody deletes.
    pub(crate) fn acknowledge(&self, created: impl Iterator<Item = (String, String)>) {
        self.books().acknowledged.extend(created);
    }

    /// What every document has to be once everything is confirmed.
    pub fn documents(&self) -> Documents {
        self.books().documents.clone()
    }

    /// Documents that must be there from now on.
    pub fn acknowledged(&self) -> BTreeSet<(String, String)> {
        self.books().acknowledged.clone()
    }

    /// How many transactions were committed.
    pub fn transactions(&self) -> u64 {
        self.books().transactions
    }
}

impl Books {
    fn apply(&mut self, collection: &str, key: &str, change: Change) {
        let id = (collection.to_owned(), key.to_owned());
        match change {
            Change::Set(Some(value)) => drop(self.documents.insert(id, value)),
            Change::Set(None) => drop(self.documents.remove(&id)),
            Change::Add(difference) => {
                let document = self.documents.entry(id).or_insert_with(|| json!({ "n": 0 }));
                let n = document.get("n").and_then(Value::as_i64).unwrap_or_default();
                *document = json!({ "n": n + difference });
            }
        }
    }
}

/// In which documents two sides differ, for people; `None` when they are equal.
pub fn difference(expected: &Documents, found: &Documents) -> Option<String> {
    let ids: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let differing: Vec<_> = ids.into_iter().filter(|id| expected.get(id) != found.get(id)).collect();
    if differing.is_empty() {
        return None;
    }
    let show = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    let mut text = format!("{} documents differ", differing.len());
    for id in differing.iter().take(NAMED_MAX) {
        let (collection, key) = id;
        let (expected, found) = (show(expected.get(id)), show(found.get(id)));
        let _ = write!(text, "\n  {collection}/{key}: expected {expected}, found {found}");
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_add_up_and_whole_documents_replace() {
        let ledger = Ledger::default();
        ledger.set("a", "sum", Some(json!({ "n": 5 })));
        ledger.note(vec![("a", "sum".into(), Change::Add(3)), ("b", "x".into(), Change::Set(Some(json!(1))))]);
        ledger.note(vec![("a", "sum".into(), Change::Add(-1)), ("b", "x".into(), Change::Set(None))]);
        let expected = Documents::from([(("a".into(), "sum".into()), json!({ "n": 7 }))]);
        assert_eq!(ledger.documents(), expected);
        assert_eq!(ledger.transactions(), 2);
    }

    #[test]
    fn what_differs_is_named_from_both_sides() {
        let id = |key: &str| ("a".to_owned(), key.to_owned());
        let one = Documents::from([(id("lost"), json!(1)), (id("same"), json!(2)), (id("other"), json!(3))]);
        let other = Documents::from([(id("doubled"), json!(1)), (id("same"), json!(2)), (id("other"), json!(4))]);
        assert_eq!(difference(&one, &one), None);
        let text = difference(&one, &other).unwrap();
        assert!(text.starts_with("3 documents differ"), "{text}");
        assert!(text.contains("a/lost: expected 1, found nothing"), "{text}");
        assert!(text.contains("a/doubled: expected nothing, found 1"), "{text}");
        assert!(text.contains("a/other: expected 3, found 4"), "{text}");
    }
}
