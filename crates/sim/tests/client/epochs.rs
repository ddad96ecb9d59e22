//! A server whose data were set back.

use tidelock_core::client::Event;
use tidelock_core::client::storage::StorageFailure;
use tidelock_core::ids::{DocumentId, Epoch, History, Offset, Sequence, SubscriptionId, Version};
use tidelock_core::version;
use tidelock_core::wire::{DocumentState, ErrorCode, Operation, Outcome, Purge, ServerFrame};

use crate::script::Script;

/// A client with these confirmed documents of others, and three mutations of its own: it created a, changed it, deleted `gone`.
fn acknowledged() -> Script {
    let mut script = Script::live();
    script.changes(0, 4, &[(1, "cards/theirs", "{}"), (2, "cards/gone", "{}"), (4, "lists/old", "[]")]);
    script.write(|tx| tx.put("cards", "a", r#"{"n":1}"#));
    script.result(1, 5, Outcome::Accepted);
    script.write(|tx| tx.put("cards", "a", r#"{"n":2}"#));
    script.result(2, 6, Outcome::Accepted);
    script.write(|tx| tx.delete("cards", "gone"));
    script.result(3, 7, Outcome::Accepted);
    script.changes(4, 7, &[]);
    script.disconnect();
    script.wait();
    script.sent.clear();
    script
}

fn operations(script: &mut Script) -> Vec<(u64, u64, String, Operation)> {
    let pushes = script.pushes().into_iter();
    let one = |push: tidelock_core::wire::Push| {
        let change = push.changes.into_iter().next().expect("a change");
        (push.sequence.0, push.acknowledged.0, change.id.to_string(), change.operation)
    };
    pushes.map(one).collect()
}

fn sequences(operations: &[(u64, u64, String, Operation)]) -> Vec<(u64, u64)> {
    operations.iter().map(|(sequence, acknowledged, ..)| (*sequence, *acknowledged)).collect()
}

#[test]
fn what_was_acknowledged_is_pushed_again_first() {
    let mut script = acknowledged();
    script.write(|tx| tx.put("cards", "new", "{}"));
    script.connect_set_back(1);
    assert_eq!(script.hello().acknowledged, Sequence(3));
    assert_eq!(script.hello().history, Some((History(1), Offset(7))));
    let pushed = operations(&mut script);
    assert_eq!(sequences(&pushed), [(2, 1), (3, 1)], "the second and the third, in order, before anything else");
    assert!(matches!(&pushed[0].3, Operation::Patch(fields) if fields[0].path == ["n"]), "{pushed:?}");
    assert_eq!((pushed[1].2.as_str(), &pushed[1].3), ("cards/gone", &Operation::Delete));
    script.result(2, 3, Outcome::Accepted);
    assert!(script.sent.is_empty(), "not before all are answered: {:?}", script.sent);
    script.result(3, 4, Outcome::Accepted);
    // Four documents are listed.
    assert_eq!((&script.subscribe().cursor, script.subscribe().have.len()), (&None, 24));
    assert_eq!(sequences(&operations(&mut script)), [(4, 3)], "what was not sent before");
    // The server has neither of the documents of others.
    script.snapshot(5, None, None, &[(5, "cards/a", r#"{"n":2}"#)]);
    script.result(4, 6, Outcome::Accepted);
    let offered = operations(&mut script);
    assert_eq!(sequences(&offered), [(5, 4), (6, 4)]);
    assert_eq!((offered[0].2.as_str(), &offered[0].3), ("cards/theirs", &Operation::Offer(b"{}".to_vec())));
    assert_eq!(offered[1].2, "lists/old");
    assert_eq!(script.row("cards/theirs"), Some(serde_json::json!({})), "absence is not deletion");
    for sequence in 5..=6 {
        script.result(sequence, 2 + sequence, Outcome::Accepted);
    }
    script.changes(5, 8, &[]);
    assert!(script.host.client().is_synced());
    assert_eq!(script.confirmed(), ["cards/a", "cards/new", "cards/theirs", "lists/old"]);
    // It was one time: from here on absence is deletion again.
    script.disconnect();
    script.wait();
    script.floor = Offset(9);
    script.connect(6);
    script.snapshot(20, None, None, &[]);
    assert_eq!((script.row("cards/theirs"), script.sequences()), (None, vec![]));
}

#[test]
fn another_epoch_or_a_position_that_was_never_there_is_a_new_epoch_too() {
    for other in [true, false] {
        let mut script = acknowledged();
        if other {
            script.epoch = Epoch(2);
        } else {
            script.history = Some((History(2), true));
        }
        script.connect_set_back(3);
        assert_eq!(script.sequences(), [0_u64; 0], "nothing of its own is lacking");
        script.snapshot(3, None, None, &[(3, "cards/a", r#"{"n":2}"#), (3, "cards/theirs", "{}")]);
        let offered = operations(&mut script);
        assert_eq!((offered.len(), offered[0].0, offered[0].2.as_str()), (1, 4, "lists/old"));
        // The server remembers that it was deleted.
        let state = tidelock_core::wire::DocumentState {
            id: tidelock_core::ids::DocumentId::new("lists", "old"),
            version: tidelock_core::ids::Version::ABSENT,
            body: None,
        };
        script.result(4, 3, Outcome::Merged(vec![state], vec![]));
        assert_eq!(script.row("lists/old"), None);
        script.restart();
        script.history = Some((History(2), false));
        script.connect(4);
        assert_eq!(script.hello().epoch, Some(script.epoch));
        assert!(script.subscribe().cursor.is_some(), "the new epoch is known");
    }
}

#[test]
fn a_restart_of_the_server_is_no_new_epoch() {
    let mut script = acknowledged();
    script.history = Some((History(2), false));
    script.connect(3);
    assert!(script.subscribe().cursor.is_some());
    script.changes(7, 9, &[(9, "cards/b", "{}")]);
    script.restart();
    script.connect(3);
    assert_eq!(script.hello().history, Some((History(2), Offset(9))));
}

#[test]
fn an_interrupted_recovery_goes_on() {
    let mut script = acknowledged();
    script.connect_set_back(0);
    assert_eq!(script.sequences(), [1, 2, 3]);
    script.result(1, 1, Outcome::Accepted);
    script.result(2, 2, Outcome::Rejected(ErrorCode::Forbidden, "no".into(), vec![]));
    // The browser dies. The server has finished the third as well.
    script.restart();
    script.connect_set_back(3);
    assert_eq!(script.sequences(), [1, 2, 3], "their results are not durable");
    for sequence in [1, 3] {
        script.result(sequence, 3, Outcome::Accepted);
        if sequence == 1 {
            script.result(2, 2, Outcome::Rejected(ErrorCode::Forbidden, "no".into(), vec![]));
        }
    }
    assert_eq!(script.database.rejected().count(), 1, "what is refused now is kept for the user");
    assert!(!script.subscribe().have.is_empty());
    script.restart();
    script.connect(3);
    assert_eq!(script.sequences(), [0_u64; 0]);
    script.snapshot(5, None, None, &[(5, "cards/a", r#"{"n":2}"#), (5, "lists/old", "[]")]);
    assert_eq!(operations(&mut script)[0].2, "cards/theirs", "absence is not deletion, still");
}

#[test]
fn a_record_that_is_gone_is_jumped_over_where_nothing_is_kept() {
    let mut script = Script::keeping_nothing();
    script.write(|tx| tx.put("cards", "a", "{}"));
    script.result(1, 1, Outcome::Accepted);
    assert_eq!(script.database.pending_records(), 0);
    script.disconnect();
    script.wait();
    script.write(|tx| tx.put("cards", "b", "{}"));
    script.sent.clear();
    script.connect_set_back(0);
    let pushed = operations(&mut script);
    assert_eq!(sequences(&pushed), [(2, 1)], "never under a sequence that was used");
    script.result(2, 1, Outcome::Accepted);
    script.snapshot(0, None, None, &[]);
    let pushed = operations(&mut script);
    assert_eq!((sequences(&pushed), &pushed[0].3), (vec![(3, 2)], &Operation::Offer(b"{}".to_vec())));
}

#[test]
fn unsent_edits_of_documents_that_are_gone_create_them() {
    let mut script = acknowledged();
    script.write(|tx| tx.put("lists", "old", "[1]"));
    script.write(|tx| tx.delete("cards", "theirs"));
    script.epoch = Epoch(2);
    script.connect_set_back(3);
    // Edits that were formed before the difference was known are patches on their base.
    let edits = operations(&mut script);
    assert_eq!(sequences(&edits), [(4, 3), (5, 3)]);
    script.snapshot(3, None, None, &[(3, "cards/a", r#"{"n":2}"#)]);
    script.result(4, 4, Outcome::Accepted);
    script.result(5, 5, Outcome::Accepted);
    assert_eq!(script.row("cards/theirs"), None, "what the user deleted is not offered");
    assert_eq!(script.sequences(), [0_u64; 0]);
    assert_eq!(script.confirmed(), ["cards/a", "lists/old"]);
}

/// A result that the server does not have these documents.
fn lacking(ids: &[(&str, &str)]) -> Outcome {
    let state = |(collection, key): &(&str, &str)| DocumentState {
        id: DocumentId::new(*collection, *key),
        version: Version::ABSENT,
        body: None,
    };
    Outcome::Resolve(ids.iter().map(state).collect())
}

#[test]
fn what_was_under_way_is_told_from_what_was_not() {
    let mut script = acknowledged();
    script.connect(3);
    script.changes(7, 7, &[]);
    script.write(|tx| tx.put("cards", "theirs", r#"{"n":1}"#));
    assert!(script.pushes().iter().all(|push| push.before.is_none()));
    script.disconnect();
    script.wait();
    script.write(|tx| tx.put("lists", "old", "[1]"));
    script.sent.clear();
    script.epoch = Epoch(2);
    script.connect_set_back(3);
    let pushes = script.pushes();
    let told: Vec<_> = pushes.iter().map(|push| (push.sequence.0, push.before)).collect();
    assert_eq!(told, [(4, Some(true)), (5, None)], "the latter was never sent");
    // The server lacks what they change: it is told the rest, and nothing that the user did is made again.
    script.result(4, 3, lacking(&[("cards", "theirs")]));
    let [again] = &script.pushes()[..] else { panic!() };
    assert_eq!((again.sequence, again.before), (Sequence(6), Some(true)));
    assert_eq!(again.changes[0].whole.as_deref(), Some(&b"{}"[..]));
    assert_eq!(again.changes[0].operation, pushes[0].changes[0].operation);
    script.result(5, 3, lacking(&[("lists", "old")]));
    let [again] = &script.pushes()[..] else { panic!() };
    assert_eq!(
        (again.sequence, again.before, again.changes[0].whole.as_deref()),
        (Sequence(7), None, Some(&b"[]"[..]))
    );
    script.result(6, 4, Outcome::Accepted);
    script.result(7, 5, Outcome::Accepted);
    script.snapshot(3, None, None, &[(3, "cards/a", r#"{"n":2}"#)]);
    assert_eq!(script.sequences(), [0_u64; 0], "both are newer than the list");
    assert_eq!(script.row("cards/theirs"), Some(serde_json::json!({ "n": 1 })));
    assert_eq!(script.confirmed(), ["cards/a", "cards/theirs", "lists/old"]);
    assert_eq!(script.database.unsent(), (0, 0));
}

/// Pushed edits of `cards/theirs`: one before the connection ended at which the server was set back, or one after.
fn edited(before: bool) -> Script {
    let mut script = acknowledged();
    if before {
        script.connect(3);
        script.changes(7, 7, &[]);
    }
    script.write(|tx| tx.put("cards", "theirs", r#"{"n":1}"#));
    script.disconnect();
    script.wait();
    script.sent.clear();
    script.epoch = Epoch(2);
    script.connect_set_back(3);
    assert_eq!(script.sequences(), [4]);
    script
}

#[test]
fn what_the_server_lacks_survives_the_refusal_of_an_edit() {
    let mut script = edited(true);
    let Outcome::Resolve(absent) = lacking(&[("cards", "theirs")]) else { panic!() };
    script.result(4, 3, Outcome::Rejected(ErrorCode::Forbidden, "no".into(), absent));
    assert_eq!(script.row("cards/theirs"), Some(serde_json::json!({})), "as it was confirmed");
    script.snapshot(3, None, None, &[(3, "cards/a", r#"{"n":2}"#), (3, "lists/old", "[]")]);
    assert_eq!(operations(&mut script)[0].3, Operation::Offer(b"{}".to_vec()));
}

#[test]
fn an_edit_that_the_user_has_to_make_again_follows_the_base() {
    for before in [false, true] {
        let mut script = edited(before);
        script.result(4, 3, lacking(&[("cards", "theirs")]));
        assert_eq!(script.sequences(), [5]);
        // Another document of the mutation might have been in the way: it is not decided by what the server lacks.
        script.result(5, 3, lacking(&[("cards", "theirs")]));
        let offered = operations(&mut script);
        if before {
            assert_eq!((offered.len(), script.database.rejected().count()), (0, 1), "others may bring it back");
            assert_eq!(script.row("cards/theirs"), Some(serde_json::json!({})));
            continue;
        }
        assert_eq!((offered.len(), &offered[0].3), (1, &Operation::Offer(b"{}".to_vec())));
        script.result(6, 4, Outcome::Accepted);
        let [edit] = &script.pushes()[..] else { panic!() };
        let base = version::of_body(b"{}").unwrap();
        assert_eq!((edit.changes[0].base, &edit.changes[0].whole), (base, &None));
        assert!(matches!(&edit.changes[0].operation, Operation::Patch(fields) if fields[0].path == ["n"]));
    }
}

#[test]
fn a_client_without_a_position_cannot_tell() {
    let mut script = Script::new();
    script.connect(0);
    script.write(|tx| tx.put("cards", "a", "{}"));
    assert_eq!(script.pushes()[0].before, None);
    script.disconnect();
    script.wait();
    script.sent.clear();
    // Its mutation may have been committed, and the server set back.
    script.connect(0);
    script.write(|tx| tx.put("cards", "b", "{}"));
    let told: Vec<_> = script.pushes().iter().map(|push| push.before).collect();
    assert_eq!(told, [Some(true), None]);
}

#[test]
fn a_client_that_keeps_no_epoch_cannot_tell() {
    let mut script = Script::new();
    // As over a cluster.
    script.history = None;
    script.connect(0);
    script.write(|tx| tx.put("cards", "a", "{}"));
    assert_eq!(script.pushes()[0].before, None);
    // Nothing that came was stored: whether that was another epoch, nobody knows any more.
    script.restart();
    script.connect(0);
    assert_eq!(script.pushes()[0].before, Some(true));
}

#[test]
fn unsent_edits_wait_for_the_offer_of_their_base() {
    let mut script = acknowledged();
    script.epoch = Epoch(2);
    script.connect_set_back(3);
    // The user edits while the page is on its way.
    script.write_unseen(|tx| {
        tx.put("cards", "theirs", r#"{"mine":1}"#);
        tx.delete("lists", "old");
    });
    script.snapshot(3, None, None, &[(3, "cards/a", r#"{"n":2}"#)]);
    let offered = operations(&mut script);
    assert_eq!(sequences(&offered), [(4, 3), (5, 3)]);
    assert_eq!((offered[0].2.as_str(), &offered[0].3), ("cards/theirs", &Operation::Offer(b"{}".to_vec())));
    assert_eq!(offered[1].2, "lists/old", "deleted by the user, not by the platform");
    // Another client has offered a later state.
    let body = br#"{"others":1}"#.to_vec();
    let (id, version) = (DocumentId::new("cards", "theirs"), version::of_body(&body).unwrap());
    script.result(4, 4, Outcome::Merged(vec![DocumentState { id, version, body: Some(body) }], vec![]));
    assert_eq!(script.row("cards/theirs"), Some(serde_json::json!({ "others": 1, "mine": 1 })));
    script.result(5, 5, Outcome::Accepted);
    let [edit] = &script.pushes()[..] else { panic!() };
    assert_eq!((edit.sequence, edit.before), (Sequence(6), None));
    assert_eq!((edit.changes.len(), edit.changes[0].base), (2, version));
    assert_eq!(edit.changes[1].operation, Operation::Delete);
}

#[test]
fn kept_mutations_have_limits() {
    let mut script = Script::live();
    let day = 24 * 3_600_000;
    for number in 1..=30 {
        script.write(|tx| tx.put("cards", "a", &format!("{{\"n\":{number}}}")));
        script.result(number, number, Outcome::Accepted);
        script.now_ms += day / 2;
        script.sent.clear();
    }
    // At least seven days, and not much more.
    assert!((14..=17).contains(&script.database.pending_records()), "{}", script.database.pending_records());
    for number in 31..=36 {
        script.write(|tx| {
            tx.put("cards", "a", &format!("{{\"n\":{number},\"x\":\"{}\"}}", number.to_string().repeat(450_000)));
        });
        script.result(number, number, Outcome::Accepted);
    }
    assert_eq!(script.database.pending_records(), 2, "a change of such a field is 1.8 MB");
    script.restart();
    script.sent.clear();
    script.connect_set_back(3);
    assert_eq!(script.sequences(), [35, 36]);
}

#[test]
fn storage_that_fails_repeats_the_step() {
    let mut script = acknowledged();
    for failure in [StorageFailure::Quota, StorageFailure::Other] {
        script.connect_failing(1, failure);
        assert_eq!(script.sequences(), [0_u64; 0], "not before it is noted");
        script.wait();
        assert_eq!(script.sequences(), [2, 3]);
        script.disconnect();
        script.wait();
    }
    let problems = script.events.iter().filter(|event| matches!(event, Event::Problem { .. })).count();
    assert_eq!(problems, 2);
}

#[test]
fn a_purge_is_no_absence() {
    let mut script = acknowledged();
    script.epoch = Epoch(2);
    script.connect_set_back(3);
    let documents = vec![(0, vec!["theirs".to_owned()])];
    script.receive(&ServerFrame::Purge(Purge {
        subscription: SubscriptionId(1),
        documents,
        channels: vec![],
        offset: Offset(3),
    }));
    script.snapshot(3, None, None, &[(3, "cards/a", r#"{"n":2}"#), (3, "lists/old", "[]")]);
    assert_eq!((script.row("cards/theirs"), script.sequences()), (None, vec![]));
}

#[test]
fn what_was_refused_before_is_not_pushed_again() {
    let mut script = Script::live();
    script.write(|tx| tx.put("cards", "a", "1"));
    script.result(1, 1, Outcome::Rejected(ErrorCode::Forbidden, "no".into(), vec![]));
    script.write(|tx| tx.put("cards", "b", "1"));
    script.result(2, 1, Outcome::Accepted);
    script.restart();
    script.connect_set_back(0);
    let changes: Vec<usize> = script.pushes().iter().map(|push| push.changes.len()).collect();
    assert_eq!(changes, [0, 1], "its sequence is finished, without content");
}
