//! Every rule of the merge by example.

use super::*;
use crate::ids::{DocumentId, Version};
use crate::version;
use crate::wire::{
    ConflictNote, DeletePolicy, DocumentChange, DocumentPolicy, FieldPatch, FieldStrategy as F, Operation, Policy,
};

pub(super) fn value(text: &str) -> Value {
    crate::json::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A document from its text; `-` for none.
pub(super) fn document(text: &str) -> Option<Value> {
    (text != "-").then(|| value(text))
}

pub(super) fn version_of(value: Option<&Value>) -> Version {
    value.map_or(Version::ABSENT, version::of)
}

pub(super) fn change(base: Option<&Value>, operation: Operation) -> DocumentChange {
    DocumentChange { id: DocumentId::new("c", "k"), base: version_of(base), operation, whole: None }
}

/// What the server makes of a change that was made at time 2 to a document of time 1.
pub(super) fn server(current: Option<&Value>, change: &DocumentChange, policy: &Policy) -> Merged {
    let current = current.map(|value| Current { version: version::of(value), value });
    merge(current, change, &Context { policy, edited_ms: 2, current_edited_ms: 1 }).unwrap()
}

/// `field` merged by a strategy; the other fields by the default.
fn by(strategy: F) -> Policy {
    Policy { fields: vec![(vec!["f".to_owned()], strategy)], ..Policy::default() }
}

fn deleting(delete: DeletePolicy) -> Policy {
    Policy { delete, ..Policy::default() }
}

fn whole(document: DocumentPolicy) -> Policy {
    Policy { document, ..Policy::default() }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or("-".to_owned(), |value| String::from_utf8(write(value)).unwrap())
}

fn note(conflict: &ConflictNote) -> String {
    let text = |bytes: &Option<Vec<u8>>| {
        bytes.as_ref().map_or("-".to_owned(), |bytes| String::from_utf8(bytes.clone()).unwrap())
    };
    let values = [&conflict.base, &conflict.mine, &conflict.theirs, &conflict.outcome].map(text).join(" ");
    format!("{} {} {values}", conflict.path.join("/"), conflict.strategy)
}

/// The outcome as text: a document, or what else the server answers, and the notes.
fn outcome(merged: &Merged, current: Option<&Value>) -> (String, Vec<String>) {
    match merged {
        Merged::Unchanged => (shown(current), vec![]),
        Merged::Fast { value } => (shown(value.as_ref()), vec![]),
        Merged::Merged { value, conflicts } => (shown(value.as_ref()), conflicts.iter().map(note).collect()),
        Merged::Rejected { path } => (format!("rejected {}", path.join("/")), vec![]),
        Merged::Resolve => ("resolve".to_owned(), vec![]),
    }
}

/// Merges the difference from base to mine into theirs, on the server and by rebase.
#[track_caller]
fn check(policy: &Policy, base: &str, mine: &str, theirs: &str, expected: &str, notes: &[&str]) {
    let (base, mine, theirs) = (document(base), document(mine), document(theirs));
    let operation = diff(base.as_ref(), mine.as_ref(), policy).expect("a difference");
    let merged = server(theirs.as_ref(), &change(base.as_ref(), operation), policy);
    assert_eq!(
        outcome(&merged, theirs.as_ref()),
        (expected.to_owned(), notes.iter().map(ToString::to_string).collect())
    );
    super::properties::assert_rebase_agrees(base.as_ref(), mine.as_ref(), theirs.as_ref(), policy);
}

#[test]
fn disjoint_fields_both_survive() {
    let policy = Policy::default();
    check(&policy, r#"{"a":1,"b":1}"#, r#"{"a":2,"b":1}"#, r#"{"a":1,"b":2}"#, r#"{"a":2,"b":2}"#, &[]);
    check(&policy, r#"{"a":1,"b":1}"#, r#"{"a":1}"#, r#"{"a":1,"b":1,"c":3}"#, r#"{"a":1,"c":3}"#, &[]);
    check(
        &policy,
        r#"{"o":{"x":1,"y":1},"z":0}"#,
        r#"{"o":{"x":2,"y":1},"z":0}"#,
        r#"{"z":0,"o":{"x":1,"y":2,"n":null}}"#,
        r#"{"z":0,"o":{"x":2,"y":2,"n":null}}"#,
        &[],
    );
}

#[test]
fn proto_is_a_name_like_any_other() {
    check(
        &Policy::default(),
        r#"{"__proto__":{"a":1},"b":1}"#,
        r#"{"__proto__":{"a":2},"b":1}"#,
        r#"{"__proto__":{"a":1,"c":1},"b":2}"#,
        r#"{"__proto__":{"a":2,"c":1},"b":2}"#,
        &[],
    );
}

#[test]
fn one_field_by_strategy() {
    let fields = |strategy, base: &str, mine: &str, theirs: &str, expected: &str, notes: &[&str]| {
        let of = |text: &str| if text == "-" { r#"{"k":0}"#.to_owned() } else { format!(r#"{{"k":0,"f":{text}}}"#) };
        check(&by(strategy), &of(base), &of(mine), &of(theirs), &of(expected), notes);
    };
    fields(F::LastWrite, "1", "2", "3", "2", &["f last-write 1 2 3 2"]);
    fields(F::FirstWrite, "1", "2", "3", "3", &["f first-write 1 2 3 3"]);
    fields(F::Newest, "1", "2", "3", "2", &["f newest 1 2 3 2"]);
    fields(F::Sum, "1", "2", "3", "4", &[]);
    fields(F::Sum, "1", "2", "2", "3", &[]);
    fields(F::Sum, "-", "2", "2", "4", &[]);
    fields(F::Sum, "5", "3", "-1", "-3", &[]);
    fields(F::Sum, "9007199254740993", "9007199254740994", "9007199254740995", "9007199254740996", &[]);
    fields(F::Sum, "0", "0.1", "0.2", "0.3", &[]);
    fields(F::Sum, "0.5", "1e300", "2", "1e+300", &[]);
    fields(F::Sum, r#"{"~bigint":"1"}"#, r#"{"~bigint":"2"}"#, r#"{"~bigint":"4"}"#, r#"{"~bigint":"5"}"#, &[]);
    fields(F::Sum, r#"{"~bigint":"0"}"#, "9007199254740993", r#"{"~bigint":"4"}"#, "9007199254740997", &[]);
    fields(F::Sum, "1", "\"x\"", "3", "\"x\"", &["f last-write 1 \"x\" 3 \"x\""]);
    fields(F::Sum, "1", "2", "-", "2", &["f edit-wins 1 2 - 2"]);
    fields(F::Min, "5", "4", "3", "3", &["f min 5 4 3 3"]);
    fields(F::Max, "5", "7", "9007199254740993", "9007199254740993", &["f max 5 7 9007199254740993 9007199254740993"]);
    fields(F::Max, "0.5", "0.75", "0.625", "0.75", &["f max 0.5 0.75 0.625 0.75"]);
    fields(
        F::Max,
        r#"{"~date":1}"#,
        r#"{"~date":3}"#,
        r#"{"~date":2}"#,
        r#"{"~date":3}"#,
        &[r#"f max {"~date":1} {"~date":3} {"~date":2} {"~date":3}"#],
    );
    fields(F::Union, "[1,2]", "[2,3]", "[1,2,4]", "[2,3,4]", &[]);
    fields(F::Union, "-", "[\"b\"]", "[\"c\",\"a\"]", "[\"a\",\"b\",\"c\"]", &[]);
    fields(F::Union, r#"{"~set":[1]}"#, r#"{"~set":[]}"#, r#"{"~set":[1,2]}"#, r#"{"~set":[2]}"#, &[]);
    fields(F::Union, "[1]", "{}", "[2]", "{}", &["f last-write [1] {} [2] {}"]);
}

#[test]
fn reject_strategy_names_its_field() {
    let policy = by(F::Reject);
    check(&policy, r#"{"f":1,"g":1}"#, r#"{"f":2,"g":1}"#, r#"{"f":3,"g":1}"#, "rejected f", &[]);
    check(&policy, r#"{"f":1,"g":1}"#, r#"{"f":2,"g":1}"#, r#"{"f":2,"g":2}"#, r#"{"f":2,"g":2}"#, &[]);
    check(&policy, r#"{"f":1,"g":1}"#, r#"{"g":1}"#, r#"{"f":2,"g":1}"#, "rejected f", &[]);
    check(&policy, r#"{"f":1,"g":1}"#, r#"{"f":1,"g":2}"#, r#"{"f":2,"g":1}"#, r#"{"f":2,"g":2}"#, &[]);
}

#[test]
fn patterns_match_any_one_member() {
    let policy = Policy { fields: vec![(vec!["votes".into(), "*".into()], F::Sum)], ..Policy::default() };
    check(
        &policy,
        r#"{"votes":{"a":1},"n":1}"#,
        r#"{"votes":{"a":2},"n":2}"#,
        r#"{"votes":{"a":4},"n":3}"#,
        r#"{"votes":{"a":5},"n":2}"#,
        &["n last-write 1 2 3 2"],
    );
}

#[test]
fn a_named_object_is_whole() {
    let policy = by(F::FirstWrite);
    check(
        &policy,
        r#"{"f":{"x":1,"y":1}}"#,
        r#"{"f":{"x":2,"y":1}}"#,
        r#"{"f":{"x":1,"y":2}}"#,
        r#"{"f":{"x":1,"y":2}}"#,
        &[r#"f first-write {"x":1,"y":1} {"x":2,"y":1} {"x":1,"y":2} {"x":1,"y":2}"#],
    );
}

#[test]
fn tagged_values_are_whole() {
    check(
        &Policy::default(),
        r#"{"d":{"~date":1},"e":0}"#,
        r#"{"d":{"~date":2},"e":0}"#,
        r#"{"d":{"~bigint":"5"},"e":0}"#,
        r#"{"d":{"~date":2},"e":0}"#,
        &[r#"d last-write {"~date":1} {"~date":2} {"~bigint":"5"} {"~date":2}"#],
    );
}

#[test]
fn removed_field_against_edited_field() {
    let edit = deleting(DeletePolicy::EditWins);
    let delete = deleting(DeletePolicy::DeleteWins);
    let (base, removed, edited) = (r#"{"a":1,"b":1}"#, r#"{"b":1}"#, r#"{"a":2,"b":1}"#);
    check(&edit, base, removed, edited, edited, &["a edit-wins 1 - 2 2"]);
    check(&edit, base, edited, removed, r#"{"b":1,"a":2}"#, &["a edit-wins 1 2 - 2"]);
    check(&delete, base, removed, edited, removed, &["a delete-wins 1 - 2 -"]);
    check(&delete, base, edited, removed, removed, &["a delete-wins 1 2 - -"]);
    check(&edit, base, removed, r#"{"b":2}"#, r#"{"b":2}"#, &[]);
}

#[test]
fn parent_gone_or_of_another_type() {
    let (base, mine) = (r#"{"o":{"x":1,"y":1},"z":0}"#, r#"{"o":{"x":2,"y":1,"n":1},"z":0}"#);
    check(
        &deleting(DeletePolicy::EditWins),
        base,
        mine,
        r#"{"z":1}"#,
        r#"{"z":1,"o":{"x":2,"n":1}}"#,
        &["o/x edit-wins 1 2 - 2"],
    );
    check(
        &deleting(DeletePolicy::DeleteWins),
        base,
        mine,
        r#"{"z":1}"#,
        r#"{"z":1}"#,
        &["o/x delete-wins 1 2 - -", "o/n delete-wins - 1 - -"],
    );
    check(
        &Policy::default(),
        base,
        mine,
        r#"{"o":[1],"z":0}"#,
        r#"{"o":[1],"z":0}"#,
        &["o/x type-changed 1 2 - -", "o/n type-changed - 1 - -"],
    );
    check(&Policy::default(), base, r#"{"o":{"y":1},"z":0}"#, r#"{"z":1}"#, r#"{"z":1}"#, &[]);
    let deep = r#"{"o":{"p":{"x":1,"y":"long enough to be patched"}},"z":0}"#;
    let deeper = deep.replace("\"x\":1", "\"x\":2");
    check(
        &Policy::default(),
        deep,
        &deeper,
        r#"{"z":0}"#,
        r#"{"z":0,"o":{"p":{"x":2}}}"#,
        &["o/p/x edit-wins 1 2 - 2"],
    );
}

#[test]
fn delete_against_edit() {
    let (base, mine) = ("[1]", "[2]");
    let large = r#"{"a":1,"text":"long enough that a patch is smaller"}"#;
    let large_mine = large.replace("\"a\":1", "\"a\":2");
    let edit = deleting(DeletePolicy::EditWins);
    let delete = deleting(DeletePolicy::DeleteWins);
    check(&edit, base, "-", mine, mine, &[" edit-wins - - [2] [2]"]);
    check(&delete, base, "-", mine, "-", &[" delete-wins - - [2] -"]);
    check(&edit, base, mine, "-", mine, &[" edit-wins [1] [2] - [2]"]);
    check(&edit, large, &large_mine, "-", "resolve", &[]);
    check(&delete, large, &large_mine, "-", "-", &["a delete-wins 1 2 - -"]);
    check(&edit, base, "-", "-", "-", &[]);
}

#[test]
fn both_created() {
    let policy = by(F::Sum);
    check(&policy, "-", r#"{"f":1,"a":1}"#, r#"{"f":2,"b":1}"#, r#"{"f":3,"b":1,"a":1}"#, &[]);
    check(&policy, "-", r#"{"f":1,"a":1}"#, r#"{"a":1.0,"f":1}"#, r#"{"a":1.0,"f":1}"#, &[]);
    check(
        &policy,
        "-",
        r#"{"o":{"x":1}}"#,
        r#"{"o":{"x":2,"y":1}}"#,
        r#"{"o":{"x":1,"y":1}}"#,
        &["o/x last-write - 1 2 1"],
    );
    check(&policy, "-", "[1]", "[2]", "[1]", &[" last-write - [1] [2] [1]"]);
}

#[test]
fn document_policies() {
    use DocumentPolicy as D;
    let (base, mine, theirs) = (r#"{"a":1,"b":1}"#, r#"{"a":2,"b":1}"#, r#"{"a":1,"b":2}"#);
    let lost_theirs = |name: &str| format!(" {name} {base} {mine} {theirs} {mine}");
    check(&whole(D::LastWrite), base, mine, theirs, mine, &[&lost_theirs("last-write")]);
    check(&whole(D::Newest), base, mine, theirs, mine, &[&lost_theirs("newest")]);
    check(&whole(D::FirstWrite), base, mine, theirs, theirs, &["a first-write 1 2 1 1"]);
    check(&whole(D::Reject), base, mine, theirs, "rejected ", &[]);
    check(&whole(D::Resolver), base, mine, theirs, "resolve", &[]);
    check(&whole(D::Reject), "-", mine, mine, mine, &[]);
    check(&whole(D::LastWrite), base, "-", theirs, "-", &[&format!(" last-write - - {theirs} -")]);
    check(&whole(D::LastWrite), base, mine, "-", mine, &[&format!(" last-write {base} {mine} - {mine}")]);
    check(&whole(D::FirstWrite), base, mine, "-", "-", &["a first-write 1 2 - -"]);
    for document in [D::Merge, D::LastWrite, D::Newest, D::FirstWrite, D::Reject, D::Resolver] {
        let policy = whole(document);
        let (base, mine) = (value(base), value(mine));
        let change = change(Some(&base), diff(Some(&base), Some(&mine), &policy).unwrap());
        assert_eq!(server(Some(&base), &change, &policy), Merged::Fast { value: Some(mine) }, "{document:?}");
    }
}

#[test]
fn newest_is_by_edit_time_and_a_tie_is_theirs() {
    for policy in [whole(DocumentPolicy::Newest), by(F::Newest)] {
        let (base, mine, theirs) = (value(r#"{"f":1}"#), value(r#"{"f":2}"#), value(r#"{"f":3}"#));
        let change = change(Some(&base), diff(Some(&base), Some(&mine), &policy).unwrap());
        let current = Current { version: version::of(&theirs), value: &theirs };
        for (edited_ms, winner) in [(4, &theirs), (5, &theirs), (6, &mine)] {
            let context = Context { policy: &policy, edited_ms, current_edited_ms: 5 };
            let merged = merge(Some(current), &change, &context).unwrap();
            let Merged::Merged { value, conflicts } = merged else { panic!("{merged:?}") };
            assert_eq!((value.as_ref(), conflicts.len()), (Some(winner), 1));
        }
    }
}

#[test]
fn the_client_keeps_what_the_server_has_to_decide() {
    let (base, mine, theirs) = (value(r#"{"f":1,"g":1}"#), value(r#"{"f":2,"g":1}"#), value(r#"{"f":3,"g":2}"#));
    let rebased = |policy| rebase(Some(&base), Some(&mine), Some(&theirs), &policy);
    for policy in
        [whole(DocumentPolicy::Reject), whole(DocumentPolicy::Resolver), by(F::Reject), whole(DocumentPolicy::Newest)]
    {
        let result = rebased(policy);
        assert_eq!((result.value.as_ref(), result.dirty, result.undecided), (Some(&mine), true, true));
    }
    let newest = rebased(by(F::Newest));
    assert_eq!((newest.value, newest.undecided), (Some(value(r#"{"f":2,"g":2}"#)), true));
}

fn list(base: &str, mine: &str, theirs: &str, expected: &str, notes: &[&str]) {
    let ids = |text: &str| {
        let elements = text.split_whitespace().map(|word| match word.split_once('=') {
            Some((id, text)) => format!(r#"{{"id":"{id}","t":"{text}","n":0}}"#),
            None => format!(r#"{{"id":"{word}","t":"","n":0}}"#),
        });
        format!(r#"{{"f":[{}]}}"#, elements.collect::<Vec<_>>().join(","))
    };
    check(&by(F::List("id".to_owned())), &ids(base), &ids(mine), &ids(theirs), &ids(expected), notes);
}

#[test]
fn lists_by_identity() {
    list("a b", "a b c", "a b d", "a b c d", &[]);
    list("a b c", "b c", "a b c d", "b c d", &[]);
    list("a b c", "c a b", "a b c d", "c a b d", &[]);
    list("a b c", "a b=x c", "c b a", "c b=x a", &[]);
    list("a b c", "a c b", "b a c", "b a c", &[]);
    list("", "x y", "z", "x y z", &[]);
    list("a b", "a=1 b", "a b=2", "a=1 b=2", &[]);
    list("a b", "a=1 b", "a=2 b", "a=1 b", &["f/a/t last-write \"\" \"1\" \"2\" \"1\""]);
    list(
        "a b",
        "b",
        "a=2 b",
        "a=2 b",
        &[r#"f/a edit-wins {"id":"a","t":"","n":0} - {"id":"a","t":"2","n":0} {"id":"a","t":"2","n":0}"#],
    );
    list(
        "a b",
        "a b=2",
        "a",
        "a b=2",
        &[r#"f/b edit-wins {"id":"b","t":"","n":0} {"id":"b","t":"2","n":0} - {"id":"b","t":"2","n":0}"#],
    );
    check(
        &by(F::List("id".into())),
        r#"{"f":[1]}"#,
        r#"{"f":[2]}"#,
        r#"{"f":[3]}"#,
        r#"{"f":[2]}"#,
        &["f last-write [1] [2] [3] [2]"],
    );
    let twice = r#"{"f":[{"id":1},{"id":1.0}]}"#;
    check(
        &by(F::List("id".into())),
        r#"{"f":[]}"#,
        twice,
        r#"{"f":[{"id":2}]}"#,
        r#"{"f":[{"id":1},{"id":1.0}]}"#,
        &[r#"f last-write [] [{"id":1},{"id":1.0}] [{"id":2}] [{"id":1},{"id":1.0}]"#],
    );
}

#[test]
fn strategies_apply_within_list_elements() {
    let policy = Policy {
        fields: vec![(vec!["f".into()], F::List("id".into())), (vec!["f".into(), "*".into(), "n".into()], F::Sum)],
        ..Policy::default()
    };
    check(
        &policy,
        r#"{"f":[{"id":7,"n":1}]}"#,
        r#"{"f":[{"id":7,"n":2}]}"#,
        r#"{"f":[{"id":7,"n":4}]}"#,
        r#"{"f":[{"id":7,"n":5}]}"#,
        &[],
    );
}

fn texts(base: &str, mine: &str, theirs: &str, expected: &str, conflicts: usize) {
    let text = |text: &str| value(&format!(r#"{{"f":{}}}"#, serde_json::to_string(text).unwrap()));
    let (base, mine, theirs) = (text(base), text(mine), text(theirs));
    let policy = by(F::Text);
    let change = change(Some(&base), diff(Some(&base), Some(&mine), &policy).unwrap());
    let Merged::Merged { value, conflicts: notes } = server(Some(&theirs), &change, &policy) else { panic!() };
    assert_eq!(value.unwrap().member("f").unwrap().as_str().unwrap(), expected);
    assert_eq!(notes.len(), conflicts, "{notes:?}");
}

#[test]
fn texts_by_lines_then_words() {
    texts("a\nb\nc\n", "a\nB\nc\n", "a\nb\nC\n", "a\nB\nC\n", 0);
    texts("one two three", "one 2 three", "one two 3", "one 2 3", 0);
    texts("one two three", "one 2 three", "one zwei three", "one 2 three", 1);
    texts("a\nb\n", "a\nx\nb\n", "a\ny\nb\n", "a\ny\nx\nb\n", 0);
    texts("", "mine", "theirs", "theirs\nmine", 0);
    texts("a\nb\nc", "b\nc", "a\nb\nc\nd", "b\nc\nd", 0);
    texts("keep\ndrop me\n", "keep\n", "keep\ndrop me not\n", "keep\ndrop me not\n", 1);
    texts("fix bug", "fix the bug", "fix a bug", "fix a the bug", 0);
    texts("日本語", "日本語版", "新日本語", "新日本語版", 0);
    texts("a\r\nb", "a\r\nb c", "x a\r\nb", "x a\r\nb c", 0);
}

#[test]
fn a_patch_no_smaller_than_the_whole_is_whole() {
    let (base, mine) = (value("{}"), value(r#"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1}"#));
    let Some(Operation::Patch(patches)) = diff(Some(&base), Some(&mine), &Policy::default()) else { panic!() };
    assert_eq!(patches, [FieldPatch { path: vec![], base: text(Some(&base)), value: text(Some(&mine)) }]);
    let (base, mine) = (value(r#"{"a":1,"long":"0123456789"}"#), value(r#"{"a":2.50,"long":"0123456789"}"#));
    let Some(Operation::Patch(patches)) = diff(Some(&base), Some(&mine), &Policy::default()) else { panic!() };
    assert_eq!(
        patches,
        [FieldPatch { path: vec!["a".into()], base: Some(b"1".to_vec()), value: Some(b"2.50".to_vec()) }]
    );
    assert_eq!(diff(Some(&base), Some(&base), &Policy::default()), None);
    assert_eq!(diff(None, None, &Policy::default()), None);
}

#[test]
fn dishonest_patches_are_refused() {
    let field = |path: &[&str], value: &str| FieldPatch {
        path: path.iter().map(ToString::to_string).collect(),
        base: None,
        value: Some(value.as_bytes().to_vec()),
    };
    let base = value(r#"{"a":{"b":1},"c":1}"#);
    let refused = |patches: Vec<FieldPatch>| apply(Some(&base), &Operation::Patch(patches)).unwrap_err();
    let path = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        refused(vec![field(&["a"], "1"), field(&["c"], "1"), field(&["a", "b"], "1")]),
        MergeError::Overlap(path(&["a"]))
    );
    assert_eq!(refused(vec![field(&["c"], "1"), field(&["c"], "1")]), MergeError::Overlap(path(&["c"])));
    assert_eq!(refused(vec![field(&[], "1"), field(&["c"], "1")]), MergeError::Overlap(path(&[])));
    assert_eq!(refused(vec![field(&["c", "d"], "1")]), MergeError::NoParent(path(&["c", "d"])));
    assert_eq!(refused(vec![field(&["x", "d"], "1")]), MergeError::NoParent(path(&["x", "d"])));
    assert!(matches!(refused(vec![field(&["c"], "{")]), MergeError::Json(_)));
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    assert_eq!(refused(vec![field(&["c"], &deep)]), MergeError::Depth(path(&["c"])));
    assert_eq!(apply(None, &Operation::Patch(vec![field(&["c"], "1")])), Err(MergeError::NoParent(path(&["c"]))));
    assert_eq!(apply(None, &Operation::Patch(vec![field(&[], "1")])), Ok(Some(value("1"))));
}
