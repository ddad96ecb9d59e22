//! `merge.json`

use serde_json::{Value as Json, json};
use tidelock_core::ids::{DocumentId, Version};
use tidelock_core::json::{Value, write};
use tidelock_core::merge::{Context, Current, Merged, diff, merge};
use tidelock_core::version;
use tidelock_core::wire::DocumentChange;

use crate::document::{body, document, note, operation, policy};
use crate::{check_file, list, read, render};

const ABOUT: &str = "What a server makes of the change from base to mine (operation) when the document is current. Documents are JSON \
    text, null for none. Edit times are milliseconds; mine at 2, current at 1, unless given.";

fn case(entry: &Json) -> Json {
    let policy = policy(&entry["policy"]);
    let [base, mine, current] = ["base", "mine", "current"].map(|name| document(&entry[name]));
    let version_of = |value: Option<&Value>| value.map_or(Version::ABSENT, version::of);
    let change = DocumentChange {
        id: DocumentId::new("c", "k"),
        base: version_of(base.as_ref()),
        operation: diff(base.as_ref(), mine.as_ref(), &policy).unwrap_or_else(|| panic!("no difference: {entry}")),
        whole: None,
    };
    let context = Context {
        policy: &policy,
        edited_ms: entry["edited_ms"].as_u64().unwrap_or(2),
        current_edited_ms: entry["current_edited_ms"].as_u64().unwrap_or(1),
    };
    let state = current.as_ref().map(|value| Current { version: version::of(value), value });
    let text = |value: &Option<Value>| body(value.as_ref().map(write).as_deref());
    let outcome = match merge(state, &change, &context).unwrap_or_else(|error| panic!("{entry}: {error}")) {
        Merged::Unchanged => json!("unchanged"),
        Merged::Fast { value } => json!({ "fast": text(&value) }),
        Merged::Merged { value, conflicts } => {
            json!({ "merged": text(&value), "conflicts": conflicts.iter().map(note).collect::<Vec<_>>() })
        }
        Merged::Rejected { path } => json!({ "rejected": path }),
        Merged::Resolve => json!("resolve"),
    };
    let mut vector = entry.clone();
    vector["operation"] = operation(&change.operation);
    vector["outcome"] = outcome;
    vector
}

#[test]
fn merges() {
    let cases: Vec<Json> = list(&read("merge.json")["cases"]).iter().map(case).collect();
    assert!(!cases.is_empty());
    check_file("merge.json", &render(ABOUT, &[("cases", cases)]));
}
