//! A server whose user may do what docs/couchbase.md, "The user", says that it needs, and nothing else.

use serde_json::json;
use tidelock_core::ids::DocumentId;
use tidelock_core::version;
use tidelock_core::wire::{DocumentChange, ErrorCode, Operation, Outcome};
use tidelock_couchbase_double::Privilege;

use crate::client::{Client, increment, put};
use crate::ground::Ground;
use crate::local_faults::until;
use crate::process::documents;

const NEEDED: [Privilege; 6] = [
    Privilege::Read,
    Privilege::Upsert,
    Privilege::SystemXattrRead,
    Privilege::SystemXattrWrite,
    Privilege::DcpProducer,
    Privilege::DcpStream,
];

#[test]
fn the_document_names_what_is_needed() {
    let document = include_str!("../../../../docs/couchbase.md");
    let (_, said) = document.split_once("Of the server's privileges it uses").unwrap();
    let (said, _) = said.split_once("; it needs none").unwrap();
    assert_eq!(said.matches('`').count(), 2 * NEEDED.len());
    assert!(NEEDED.iter().all(|privilege| said.contains(&format!("`{privilege:?}`"))), "{said}");
}

/// Leaves the user these privileges alone.
fn allow(ground: &mut Ground, privileges: &[Privilege]) {
    let denied: Vec<Privilege> = Privilege::ALL.into_iter().filter(|one| !privileges.contains(one)).collect();
    ground.double().deny(&denied);
}

fn delete(key: &str, body: &str) -> DocumentChange {
    let base = version::of_body(body.as_bytes()).unwrap();
    DocumentChange { id: DocumentId::new("notes", key), base, operation: Operation::Delete, whole: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_needs_the_documented_privileges_and_no_other() {
    let mut ground = Ground::new("user").await;
    allow(&mut ground, &NEEDED);
    let (succeeded, said) = Ground::run("doctor", &ground.config("one", ""));
    assert!(succeeded && said.contains("settings could not be read"), "{said}");
    let serve = ground.serve("one", "");
    let (mut writer, mut reader) = (Client::open(&serve, 1).await, Client::open(&serve, 2).await);
    reader.subscribe().await;
    // A browser's writes, single ones and several together.
    writer.push(1, vec![put("card", r#"{"n":1}"#)]).await;
    writer.push(2, vec![put("a", r#"{"n":1}"#), put("b", r#"{"n":1}"#)]).await;
    writer.push(3, vec![increment("a", r#"{"n":1}"#, 1), increment("b", r#"{"n":1}"#, 1)]).await;
    writer.push(4, vec![delete("b", r#"{"n":2}"#), put("c", r#"{"n":1}"#)]).await;
    for _ in 0..4 {
        assert_eq!(writer.outcome().await, Outcome::Accepted);
    }
    for (key, value) in [("card", Some(json!({"n": 1}))), ("a", Some(json!({"n": 2}))), ("b", None)] {
        assert_eq!(ground.get(key).await, value, "{key}");
    }
    reader.hears("c", Some(&json!({"n": 1}))).await;
    // What was deleted comes back; what others write, and delete with a privilege of theirs, is heard, after a connection that broke, too.
    writer.push(5, vec![put("b", r#"{"n":3}"#)]).await;
    assert_eq!(writer.outcome().await, Outcome::Accepted);
    ground.set("theirs", r#"{"n":1}"#).await;
    reader.hears("theirs", Some(&json!({"n": 1}))).await;
    ground.double().cut_dcp();
    ground.set("theirs", r#"{"n":2}"#).await;
    reader.hears("theirs", Some(&json!({"n": 2}))).await;
    allow(&mut ground, &[&NEEDED[..], &[Privilege::Delete]].concat());
    ground.delete("card").await;
    allow(&mut ground, &NEEDED);
    reader.hears("card", None).await;
    let before = documents(&serve);
    assert_eq!(before.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "theirs"]);
    serve.stop();
    // It goes on where it was, and takes in everything from nothing.
    ground.set("meanwhile", "{}").await;
    for node in ["one", "another"] {
        let serve = ground.serve(node, "");
        until(|| documents(&serve).len() == before.len() + 1).await;
        serve.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_privilege_that_is_missing_is_named() {
    let mut ground = Ground::new("lacking").await;
    for (missing, expected) in [
        (Privilege::Read, "reading from lacking.notes: the user lacks a privilege"),
        (Privilege::Upsert, "lacking.notes: the user may not write documents and their system xattrs"),
        (Privilege::SystemXattrRead, "reading the xattr _tl from lacking.tl_state: the user lacks a privilege"),
        (Privilege::SystemXattrWrite, "lacking.notes: the user may not write documents and their system xattrs"),
        (Privilege::DcpProducer, "changes cannot be followed: "),
        (Privilege::DcpStream, "changes cannot be followed: "),
    ] {
        let others: Vec<Privilege> = NEEDED.into_iter().filter(|one| *one != missing).collect();
        allow(&mut ground, &others);
        let commands = [("doctor", ground.config("one", "")), ("serve", ground.config("two", ""))];
        let said = std::thread::scope(|scope| {
            let running = commands.each_ref().map(|(command, config)| scope.spawn(|| Ground::run(command, config)));
            running.map(|running| running.join().unwrap())
        });
        for (succeeded, said) in said {
            let is_named = said.contains(&format!("wrong: {expected}")) && said.contains("`replication_target`");
            assert!(!succeeded && is_named, "{missing:?}: {said}");
        }
    }
}

/// A privilege that is taken away while a server runs: it says so, and goes on when it is given back.
#[tokio::test(flavor = "multi_thread")]
async fn a_privilege_that_is_lost_meanwhile_is_missed_and_may_come_back() {
    let mut ground = Ground::new("lost").await;
    let serve = ground.serve("one", "");
    let mut client = Client::open(&serve, 1).await;
    client.subscribe().await;
    let before = serve.log().len();
    ground.double().deny(&[Privilege::DcpStream]);
    ground.set("theirs", r#"{"n":1}"#).await;
    serve.until_logged(before, "the user lacks a privilege for DCP_STREAM_REQUEST");
    ground.double().deny(&[]);
    client.hears("theirs", Some(&json!({"n": 1}))).await;
    let lines = serve.log()[before..].matches("DCP_STREAM_REQUEST").count();
    assert!(lines < 8, "{lines} lines for the streams of 16 vbuckets: {}", serve.log());
    let before = serve.log().len();
    ground.double().deny(&[Privilege::SystemXattrWrite]);
    client.push(1, vec![put("mine", r#"{"n":1}"#)]).await;
    serve.until_logged(before, "the user lacks a privilege");
    // The client is to come again with what it has.
    assert_eq!(client.is_ended_without_deletes().await, ErrorCode::Internal);
    ground.double().deny(&[]);
    let mut again = Client::open(&serve, 1).await;
    again.push(1, vec![put("mine", r#"{"n":1}"#)]).await;
    assert_eq!(again.outcome().await, Outcome::Accepted);
    assert_eq!(ground.get("mine").await, Some(json!({"n": 1})));
    serve.stop();
}
