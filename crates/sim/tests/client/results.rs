//! What results do to rows, shadow and pending mutations.

use serde_json::json;
use tidelock_core::client::Event;
use tidelock_core::ids::{DocumentId, Version};
use tidelock_core::version;
use tidelock_core::wire::{DocumentPolicy, DocumentState, ErrorCode, Outcome, Policy};

use crate::script::Script;

pub(crate) fn state(collection: &str, key: &str, json: Option<&str>) -> DocumentState {
    let version = json.map_or(Version::ABSENT, |json| version::of_body(json.as_bytes()).expect("valid JSON"));
    DocumentState { id: DocumentId::new(collection, key), version, body: json.map(|json| json.as_bytes().to_vec()) }
}

fn under(document: DocumentPolicy) -> Script {
    let mut script = Script::new();
    script.policies[0] = Policy { document, ..Policy::default() };
    script.connect(0);
    script.snapshot(0, None, None, &[]);
    script.changes(0, 1, &[(1, "cards/a", r#"{"v":"base"}"#)]);
    script.sent.clear();
    script
}

#[test]
fn an_accepted_mutation_is_confirmed() {
    let mut script = Script::live();
    script.write(|tx| tx.put("cards", "a", r#"{"n":1}"#));
    assert_eq!((script.sequences(), script.confirmed().len()), (vec![1], 0));
    script.result(1, 1, Outcome::Accepted);
    assert_eq!((script.confirmed(), script.database.unsent()), (vec!["cards/a".to_owned()], (0, 0)));
    assert_eq!(script.host.client().status().pending, 0);
}

#[test]
fn a_merged_outcome_replaces_the_row_and_later_edits_go_on_top() {
    let mut script = Script::live();
    script.write(|tx| tx.put("cards", "a", r#"{"x":1}"#));
    script.write_unseen(|tx| tx.put("cards", "a", r#"{"x":1,"later":1}"#));
    script.result(1, 2, Outcome::Merged(vec![state("cards", "a", Some(r#"{"x":1,"theirs":1}"#))], vec![]));
    assert_eq!(script.row("cards/a"), Some(json!({ "x": 1, "theirs": 1, "later": 1 })));
    assert_eq!(script.sequences(), [1, 2]);
}

#[test]
fn a_rejected_mutation_is_rolled_back_and_listed() {
    let mut script = Script::live();
    script.changes(0, 1, &[(1, "cards/a", r#"{"n":1}"#)]);
    script.write(|tx| {
        tx.put("cards", "a", r#"{"n":2}"#);
        tx.put("lists", "b", "[]");
    });
    script.result(1, 1, Outcome::Rejected(ErrorCode::Forbidden, "no".into(), vec![]));
    assert_eq!((script.row("cards/a"), script.row("lists/b")), (Some(json!({ "n": 1 })), None));
    let listed: Vec<_> = script.database.rejected().collect();
    assert_eq!((listed.len(), listed[0].code, listed[0].documents.len()), (1, "forbidden", 2));
    assert_eq!(script.host.client().status().rejected, 1);
}

#[test]
fn a_change_that_came_before_a_rejection_is_applied_after_it() {
    let mut script = Script::live();
    script.write(|tx| tx.put("cards", "a", r#"{"mine":1}"#));
    script.changes(0, 2, &[(2, "cards/a", r#"{"theirs":1}"#)]);
    // The rejection names no state: it says nothing of what the server has.
    script.result(1, 2, Outcome::Rejected(ErrorCode::Forbidden, "no".into(), vec![]));
    assert_eq!(script.row("cards/a"), Some(json!({ "theirs": 1 })));
}

#[test]
fn a_record_answered_in_part_repeats_only_the_rest() {
    let mut script = Script::new();
    for key in ["a", "b", "c"] {
        script.write_unseen(|tx| tx.put("cards", key, "1"));
    }
    script.connect(0);
    script.snapshot(0, None, None, &[]);
    assert_eq!(script.sequences(), [1, 2, 3]);
    script.result(1, 1, Outcome::Accepted);
    script.result(2, 2, Outcome::Accepted);
    script.restart();
    script.connect(2);
    assert_eq!((script.hello().acknowledged.0, script.sequences()), (2, vec![3]));
    script.result(3, 3, Outcome::Accepted);
    assert_eq!(script.database.unsent(), (0, 0));
}

#[test]
fn the_resolver_decides_and_its_outcome_is_pushed_on_top() {
    let mut script = under(DocumentPolicy::Resolver);
    script.write(|tx| tx.put("cards", "a", r#"{"v":"mine"}"#));
    script.result(1, 2, Outcome::Resolve(vec![state("cards", "a", Some(r#"{"v":"theirs"}"#))]));
    let question = script.events.iter().rev().find_map(|event| {
        if let Event::Resolve { id, round, theirs, .. } = event {
            Some((id.clone(), *round, theirs.clone()))
        } else {
            None
        }
    });
    let (id, round, theirs) = question.expect("the resolver is asked");
    assert_eq!(theirs.as_deref(), Some(&br#"{"v":"theirs"}"#[..]));
    script.sent.clear();
    script.tell(|client, now| client.resolve(now, id, round, Some(br#"{"v":"both"}"#.to_vec())));
    assert_eq!(script.row("cards/a"), Some(json!({ "v": "both" })));
    let pushes = script.pushes();
    assert_eq!(pushes[0].changes[0].base, state("cards", "a", Some(r#"{"v":"theirs"}"#)).version);
}

#[test]
fn the_resolver_is_asked_again_when_the_user_went_on() {
    let mut script = under(DocumentPolicy::Resolver);
    script.write(|tx| tx.put("cards", "a", r#"{"v":"mine"}"#));
    script.result(1, 2, Outcome::Resolve(vec![state("cards", "a", Some(r#"{"v":"theirs"}"#))]));
    script.write(|tx| tx.put("cards", "a", r#"{"v":"mine again"}"#));
    script.events.clear();
    script.tell(|client, now| client.resolve(now, DocumentId::new("cards", "a"), 1, None));
    assert_eq!(script.row("cards/a"), Some(json!({ "v": "mine again" })));
    let asked = script
        .events
        .iter()
        .any(|event| matches!(event, Event::Resolve { mine: Some(mine), .. } if mine == br#"{"v":"mine again"}"#));
    assert!(asked, "{:?}", script.events);
}

#[test]
fn an_answer_that_is_no_document_changes_nothing() {
    let mut script = under(DocumentPolicy::Resolver);
    script.write(|tx| tx.put("cards", "a", r#"{"v":"mine"}"#));
    script.result(1, 2, Outcome::Resolve(vec![state("cards", "a", None)]));
    script.tell(|client, now| client.resolve(now, DocumentId::new("cards", "a"), 1, Some(b"{".to_vec())));
    assert_eq!(script.row("cards/a"), Some(json!({ "v": "mine" })));
    assert!(script.events.iter().any(|event| matches!(event, Event::Problem { code: "resolver-invalid", .. })));
}

#[test]
fn an_edit_of_a_deleted_document_brings_it_back_without_a_resolver() {
    let mut script = under(DocumentPolicy::Merge);
    script.write(|tx| tx.put("cards", "a", r#"{"v":"base","n":1}"#));
    script.sent.clear();
    script.result(1, 2, Outcome::Resolve(vec![state("cards", "a", None)]));
    assert_eq!(script.row("cards/a"), Some(json!({ "v": "base", "n": 1 })));
    let pushes = script.pushes();
    assert_eq!((pushes.len(), pushes[0].changes[0].base), (1, Version::ABSENT));
}

#[test]
fn under_reject_an_unsent_edit_is_pushed_before_a_change_is_applied() {
    let mut script = under(DocumentPolicy::Reject);
    script.write_unseen(|tx| tx.put("cards", "a", r#"{"v":"mine"}"#));
    script.changes(1, 2, &[(2, "cards/a", r#"{"v":"theirs"}"#)]);
    assert_eq!(script.sequences(), [1]);
    assert_eq!(script.row("cards/a"), Some(json!({ "v": "mine" })));
    let theirs = state("cards", "a", Some(r#"{"v":"theirs"}"#));
    script.result(1, 2, Outcome::Rejected(ErrorCode::Conflict, "conflict".into(), vec![theirs]));
    assert_eq!(script.row("cards/a"), Some(json!({ "v": "theirs" })));
    assert_eq!(script.database.rejected().count(), 1);
}
