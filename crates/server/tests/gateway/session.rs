//! What clients of the sync protocol see of each other.

use std::time::Duration;

use tidelock_core::ids::{DocumentId, Offset, Version};
use tidelock_core::version::of_body;
use tidelock_core::wire::{
    Auth, ClientFrame, Cursor, DocumentChange, DocumentState, ErrorCode, FieldPatch, Operation, Outcome, ServerFrame,
};

use super::harness::{Client, TestServer, hello, items, parsed, push, put};

#[tokio::test]
async fn two_clients_see_each_others_writes() {
    let server = TestServer::start().await;
    let (mut ann, mut bob) = (server.session("ann", &[]).await, server.session("bob", &[]).await);
    assert!(ann.catch_up(&["notes"]).await.is_empty());
    assert!(bob.catch_up(&["notes"]).await.is_empty());

    let result = ann.commit(vec![put("notes", "a", r#"{"t":1}"#), put("notes", "b", "[2]")]).await;
    assert_eq!((result.outcome, result.offset), (Outcome::Accepted, Offset(1)));
    let seen = bob.changes().await;
    assert_eq!(
        (items(&seen.changes), seen.from, seen.to, seen.last),
        (vec!["a={\"t\":1}".into(), "b=[2]".into()], Offset(0), Offset(1), true)
    );

    bob.commit(vec![put("notes", "c", "3")]).await;
    let seen = ann.changes().await;
    assert_eq!(items(&seen.changes), ["c=3"], "ann's own write is not sent back");

    let mut late = server.session("eve", &[]).await;
    assert_eq!(late.catch_up(&["notes"]).await, ["a={\"t\":1}", "b=[2]", "c=3"]);
    server.stop().await;
}

#[tokio::test]
async fn a_client_resumes_from_its_cursor() {
    let server = TestServer::start().await;
    let mut ann = server.session("ann", &[]).await;
    for key in ["a", "b", "c"] {
        ann.commit(vec![put("notes", key, "1")]).await;
    }
    let mut bob = server.connect().await;
    bob.hello(&server.token("bob", &[])).await;
    let changelog = bob.welcome().await.changelog;
    let cursor = Cursor { changelog, offset: Offset(1), snapshot: None };
    bob.subscribe(&["notes"], Some(cursor), vec!["notes".into()]).await;
    let seen = bob.changes().await;
    assert_eq!((items(&seen.changes), seen.last), (vec!["b=1".into(), "c=1".into()], true));
    server.stop().await;
}

#[tokio::test]
async fn a_push_is_applied_once() {
    let server = TestServer::start().await;
    let token = server.token("ann", &[]);
    let mut first = server.connect().await;
    first.send(&ClientFrame::Hello(hello(&token, 1_000))).await;
    first.welcome().await;
    first.commit(vec![put("notes", "a", "1")]).await;
    first.commit(vec![put("strict", "x", "{}")]).await;
    drop(first);

    let mut again = server.connect().await;
    again.send(&ClientFrame::Hello(hello(&token, 1_000))).await;
    assert_eq!(again.welcome().await.finished.0, 2);
    assert_eq!(again.commit(vec![put("notes", "a", "1")]).await.outcome, Outcome::Accepted);
    let repeated = again.commit(vec![put("strict", "x", "{}")]).await.outcome;
    assert!(matches!(repeated, Outcome::Rejected(ErrorCode::Forbidden, ..)), "{repeated:?}");
    again.commit(vec![put("notes", "b", "1")]).await;
    let mut bob = server.session("bob", &[]).await;
    assert_eq!(bob.catch_up(&["notes", "strict"]).await, ["a=1", "b=1"]);

    // The recorded outcome does not hide what others did since.
    bob.commit(vec![DocumentChange { base: of_body(b"1").unwrap(), ..put("notes", "a", "2") }]).await;
    let mut third = server.connect().await;
    third.send(&ClientFrame::Hello(hello(&token, 1_000))).await;
    third.welcome().await;
    match third.commit(vec![put("notes", "a", "1")]).await.outcome {
        Outcome::Merged(states, _) => assert_eq!(states[0].body.as_deref(), Some(&b"2"[..])),
        other => panic!("{other:?}"),
    }
    server.stop().await;
}

#[tokio::test]
async fn many_pushes_at_once_finish_in_order() {
    let server = TestServer::start().await;
    let mut ann = server.session("ann", &[]).await;
    for number in 1..=200_u32 {
        // One document is changed again and again, each time from the state before.
        let base = if number == 1 { Version::ABSENT } else { of_body((number - 1).to_string().as_bytes()).unwrap() };
        let same = DocumentChange { base, ..put("notes", "same", &number.to_string()) };
        ann.push(vec![same, put("notes", &format!("k{number}"), "1")]).await;
    }
    for number in 1..=200_u64 {
        let result = ann.result().await;
        assert_eq!((result.sequence.0, result.outcome, result.offset), (number, Outcome::Accepted, Offset(number)));
    }
    let mut bob = server.session("bob", &[]).await;
    let found = bob.catch_up(&["notes"]).await;
    assert_eq!(found.len(), 201);
    assert!(found.contains(&"same=200".to_owned()));
    server.stop().await;
}

#[tokio::test]
async fn conflicts_are_merged_and_logged() {
    let server = TestServer::start().await;
    let (mut ann, mut bob) = (server.session("ann", &[]).await, server.session("bob", &[]).await);
    let base = r#"{"title":"t","votes":1}"#;
    ann.commit(vec![put("notes", "a", base)]).await;
    let patch = |title: &str, votes: &str| DocumentChange {
        base: of_body(base.as_bytes()).unwrap(),
        operation: Operation::Patch(vec![
            FieldPatch { path: vec!["title".into()], base: Some(b"\"t\"".to_vec()), value: Some(title.into()) },
            FieldPatch { path: vec!["votes".into()], base: Some(b"1".to_vec()), value: Some(votes.into()) },
        ]),
        ..put("notes", "a", "")
    };
    assert_eq!(ann.commit(vec![patch("\"ann\"", "3")]).await.outcome, Outcome::Accepted);
    match bob.commit(vec![patch("\"bob\"", "5")]).await.outcome {
        Outcome::Merged(states, notes) => {
            let body = parsed(std::str::from_utf8(states[0].body.as_ref().unwrap()).unwrap());
            assert_eq!(body, serde_json::json!({"title": "bob", "votes": 7}));
            assert_eq!(notes[0].theirs.as_deref(), Some(&b"\"ann\""[..]));
        }
        other => panic!("{other:?}"),
    }
    let (status, _, text) = server.rest("GET", "conflicts", &server.token("ann", &[]), &[], "").await;
    let conflict = &parsed(&text)["conflicts"][0];
    assert_eq!((status, &conflict["theirs"], &conflict["by"]), (200, &"ann".into(), &"bob".into()));

    // A policy that hands the conflict back.
    ann.commit(vec![put("guarded", "g", "1")]).await;
    match bob.commit(vec![put("guarded", "g", "2")]).await.outcome {
        Outcome::Rejected(ErrorCode::Conflict, _, states) => assert_eq!(states[0].body.as_deref(), Some(&b"1"[..])),
        other => panic!("{other:?}"),
    }
    server.stop().await;
}

/// Twenty clients add to one counter at once.
#[tokio::test]
async fn a_storm_on_one_document_converges() {
    let server = TestServer::start().await;
    let mut ann = server.session("ann", &[]).await;
    ann.commit(vec![put("notes", "a", r#"{"votes":0}"#)]).await;
    let base = of_body(br#"{"votes":0}"#).unwrap();
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..20 {
        clients.push(server.session("ann", &[]).await);
    }
    let storm = clients.into_iter().map(|mut client| async move {
        let patch = FieldPatch { path: vec!["votes".into()], base: Some(b"0".to_vec()), value: Some(b"1".to_vec()) };
        for _ in 0..5 {
            let operation = Operation::Patch(vec![patch.clone()]);
            let outcome =
                client.commit(vec![DocumentChange { base, operation, ..put("notes", "a", "") }]).await.outcome;
            assert!(matches!(outcome, Outcome::Accepted | Outcome::Merged(..)), "{outcome:?}");
        }
    });
    futures_util::future::join_all(storm).await;
    let mut bob = server.session("bob", &[]).await;
    assert_eq!(bob.catch_up(&["notes"]).await, [r#"a={"votes":100}"#]);
    server.stop().await;
}

#[tokio::test]
async fn bad_mutations_are_rejected_and_the_rest_lands() {
    let server = TestServer::start().await;
    let mut ann = server.session("ann", &[]).await;
    let deep = "[".repeat(101) + &"]".repeat(101);
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    let cases: Vec<(Vec<DocumentChange>, ErrorCode)> = vec![
        (vec![put("nonsense", "a", "1")], ErrorCode::UnknownCollection),
        (vec![put("locked", "a", "1")], ErrorCode::Forbidden),
        (vec![put("strict", "a", r#"{"owner":"bob"}"#)], ErrorCode::Forbidden),
        (vec![put("strict", "a", r#"{"owner":"ann","n":"one"}"#)], ErrorCode::SchemaViolation),
        (vec![put("notes", "a", r#"{"a":1,"a":2}"#)], ErrorCode::InvalidDocument),
        (vec![put("notes", "a", r#""\ud800""#)], ErrorCode::InvalidDocument),
        (vec![put("notes", "a", "1e400")], ErrorCode::InvalidDocument),
        (vec![put("notes", "a", &deep)], ErrorCode::InvalidDocument),
        (vec![put("notes", "a", "{")], ErrorCode::InvalidDocument),
        (vec![put("notes", "a", &large)], ErrorCode::TooLarge),
        (vec![put("notes", &"k".repeat(1_025), "1")], ErrorCode::InvalidDocument),
        (vec![put("notes", "~x", "1")], ErrorCode::InvalidDocument),
        (vec![put("notes", "a", "1"), put("notes", "a", "2")], ErrorCode::InvalidDocument),
        (vec![put("notes", "a", "1"), put("locked", "a", "1")], ErrorCode::Forbidden),
    ];
    for (changes, expected) in cases {
        let name = changes[0].id.to_string();
        match ann.commit(changes).await.outcome {
            Outcome::Rejected(code, message, _) => assert_eq!(code, expected, "{name}: {message}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    let exact = r#"{"__proto__":{"x":1},"n":9007199254740993,"owner":"ann"}"#;
    assert_eq!(ann.commit(vec![put("notes", "good", exact)]).await.outcome, Outcome::Accepted);
    let mut bob = server.session("bob", &[]).await;
    assert_eq!(bob.catch_up(&["notes", "strict", "locked"]).await, [format!("good={exact}")]);
    server.stop().await;
}

#[tokio::test]
async fn channels_keep_readers_apart() {
    let server = TestServer::start().await;
    let (mut ann, mut bob) = (server.session("ann", &["x"]).await, server.session("bob", &["y"]).await);
    ann.catch_up(&["cards"]).await;
    bob.catch_up(&["cards"]).await;
    ann.commit(vec![put("cards", "a", r#"{"channel":"x"}"#)]).await;
    // The card moves to bob's channel: ann may not keep it, though she moved it herself.
    let base = of_body(br#"{"channel":"x"}"#).unwrap();
    let moved = ann.commit(vec![DocumentChange { base, ..put("cards", "a", r#"{"channel":"y"}"#) }]).await;
    let withheld = DocumentState::withheld(DocumentId::new("cards", "a"));
    assert_eq!(moved.outcome, Outcome::Merged(vec![withheld], Vec::new()));
    assert_eq!(items(&bob.changes().await.changes), [r#"a={"channel":"y"}"#]);

    // What bob cannot read is not told by a conflict either.
    ann.commit(vec![put("cards", "secret", r#"{"channel":"x","pin":1}"#)]).await;
    match bob.commit(vec![put("cards", "secret", r#"{"channel":"y","pin":2}"#)]).await.outcome {
        Outcome::Merged(states, notes) => {
            assert!(notes.is_empty(), "{notes:?}");
            assert!(states.iter().all(|state| state.body.is_none()), "{states:?}");
        }
        Outcome::Accepted => {}
        other => panic!("{other:?}"),
    }
    server.stop().await;
}

#[tokio::test]
async fn a_fresh_token_changes_what_is_seen() {
    let server = TestServer::start().await;
    let mut ann = server.session("ann", &["x", "y"]).await;
    ann.commit(vec![put("cards", "a", r#"{"channel":"x"}"#), put("cards", "b", r#"{"channel":"y"}"#)]).await;
    let mut reader = server.session("bob", &["x"]).await;
    assert_eq!(reader.catch_up(&["cards"]).await, [r#"a={"channel":"x"}"#]);
    reader.send(&ClientFrame::Auth(Auth { token: server.token("bob", &["y"]) })).await;
    assert!(matches!(reader.frame().await, ServerFrame::Purge(purge) if purge.documents[0].1 == ["a"]));
    assert!(matches!(reader.frame().await, ServerFrame::Purge(purge) if purge.documents.is_empty()));
    assert_eq!(items(&reader.changes().await.changes), [r#"b={"channel":"y"}"#]);
    assert!(matches!(reader.frame().await, ServerFrame::Purge(purge) if purge.channels == ["cards\0y"]));
    reader.send(&ClientFrame::Auth(Auth { token: server.token("eve", &["y"]) })).await;
    assert_eq!(reader.error().await, ("forbidden".into(), 4_003));
    server.stop().await;
}

#[tokio::test]
async fn a_fresh_token_that_ends_sooner_ends_the_session_then() {
    let server = TestServer::start().await;
    let mut ann = server.session("ann", &[]).await;
    // The session is due at some time now; the token brings it forward.
    ann.commit(vec![put("notes", "a", "1")]).await;
    ann.send(&ClientFrame::Auth(Auth { token: server.token_for("ann", &[], 1) })).await;
    let ended = tokio::time::timeout(Duration::from_secs(8), ann.error()).await;
    assert_eq!(ended, Ok(("unauthenticated".into(), 4_002)));
    server.stop().await;
}

#[tokio::test]
async fn a_later_session_of_a_replica_ends_the_earlier() {
    let server = TestServer::start().await;
    let token = server.token("ann", &[]);
    let mut first = server.connect().await;
    first.send(&ClientFrame::Hello(hello(&token, 2_000))).await;
    first.welcome().await;
    let mut second = server.connect().await;
    second.send(&ClientFrame::Hello(hello(&token, 2_000))).await;
    second.welcome().await;
    assert_eq!(first.error().await, ("session-ended".into(), 4_016));
    second.commit(vec![put("notes", "a", "1")]).await;
    server.stop().await;
}

#[tokio::test]
async fn a_slow_consumer_is_told_to_resume() {
    let server = TestServer::start_with(|options| options.limits.slow_consumer_ms_max = 200).await;
    let mut ann = server.session("ann", &[]).await;
    ann.commit(vec![put("notes", "a", "1")]).await;
    let mut slow = server.connect().await;
    let mut hello = hello(&server.token("bob", &[]), 3_000);
    hello.credit_bytes = 0;
    slow.send(&ClientFrame::Hello(hello)).await;
    slow.welcome().await;
    slow.subscribe(&["notes"], None, Vec::new()).await;
    assert_eq!(slow.error().await, ("slow-consumer".into(), 4_012));
    ann.commit(vec![put("notes", "b", "1")]).await;
    server.stop().await;
}

#[tokio::test]
async fn reading_goes_on_once_what_was_queued_is_taken() {
    let server = TestServer::start_with(|options| options.limits.slow_consumer_bytes_max = 0).await;
    let mut ann = server.session("ann", &[]).await;
    for number in 0..3 {
        let answer = ann.commit(vec![put("notes", "a", &number.to_string())]);
        let answer = tokio::time::timeout(Duration::from_secs(10), answer).await;
        assert!(answer.is_ok(), "the session does not read");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_stopping_server_finishes_and_says_so() {
    let mut server = TestServer::start().await;
    let mut ann = server.session("ann", &[]).await;
    ann.commit(vec![put("notes", "a", "1")]).await;
    ann.send(&push(2, vec![put("notes", "b", "1")])).await;
    ann.result().await;
    server.begin_stop();
    assert_eq!(ann.error().await, ("unavailable".into(), 4_013));
    drop(ann);
}
