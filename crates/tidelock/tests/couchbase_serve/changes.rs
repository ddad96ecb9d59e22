//! Writes of browsers seen by other applications, and theirs by browsers.

use std::time::Instant;

use serde_json::json;
use tidelock_core::wire::{ErrorCode, Outcome};

use crate::client::{Client, increment, put};
use crate::ground::Ground;
use crate::process::documents;

#[tokio::test(flavor = "multi_thread")]
async fn a_browsers_write_is_a_plain_document_and_a_foreign_one_reaches_the_browser() {
    let ground = Ground::new("both-ways").await;
    let serve = ground.serve("one", "");
    let (mut writer, mut reader) = (Client::open(&serve, 1).await, Client::open(&serve, 2).await);
    reader.subscribe().await;
    writer.push(1, vec![put("card", r#"{"n":1,"by":"browser"}"#)]).await;
    assert_eq!(writer.outcome().await, Outcome::Accepted);
    assert_eq!(ground.get("card").await, Some(json!({"n": 1, "by": "browser"})));
    let begun = Instant::now();
    for (n, value) in [json!({"n": 5, "by": "sdk"}), json!({"n": 6})].iter().enumerate() {
        ground.set("card", &value.to_string()).await;
        reader.hears("card", Some(value)).await;
        println!("foreign write {n} heard after {:?} in all", begun.elapsed());
    }
    ground.delete("card").await;
    reader.hears("card", None).await;
    assert_eq!(documents(&serve), []);
    // What the SDK created the browser edits, on what it knows of it.
    ground.set("theirs", r#"{"n":7,"kept":[1]}"#).await;
    reader.hears("theirs", Some(&json!({"n": 7, "kept": [1]}))).await;
    reader.push(1, vec![increment("theirs", r#"{"n":7,"kept":[1]}"#, 7)]).await;
    assert_eq!(reader.outcome().await, Outcome::Accepted);
    assert_eq!(ground.get("theirs").await, Some(json!({"n": 8, "kept": [1]})));
    // What a check of the bucket writes is nobody's document, and no reason for a line in the log.
    assert!(!serve.log().contains("passed over"), "{}", serve.log());
    serve.stop();
}

/// What the platform cannot hold is rejected before anything is written of the mutation, and stops nobody.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_platform_cannot_hold_is_rejected() {
    let ground = Ground::new("limits").await;
    let serve = ground.serve("one", "");
    let mut client = Client::open(&serve, 1).await;
    let (long, deep) = ("k".repeat(247), format!("{}{}", r#"{"a":"#.repeat(25), "1".to_owned() + &"}".repeat(25)));
    for (sequence, beside, too_much) in [
        (1, None, put(&long, "{}")),
        (2, Some("a"), put(&long, "{}")),
        (3, None, put("d", &deep)),
        (4, Some("b"), put("d", &deep)),
    ] {
        let beside = beside.map(|key| put(key, "{}"));
        client.push(sequence, beside.into_iter().chain([too_much]).collect()).await;
        let expected = if sequence < 3 {
            (ErrorCode::InvalidDocument, "247 bytes and the limit is 246")
        } else {
            (ErrorCode::TooLarge, "nested 25 levels deep; at most 24")
        };
        let outcome = client.outcome().await;
        let Outcome::Rejected(code, message, _) = &outcome else { panic!("{sequence}: {outcome:?}") };
        assert!(*code == expected.0 && message.contains(expected.1), "{sequence}: {outcome:?}");
    }
    let whole = &deep[5..deep.len() - 1];
    client.push(5, vec![put(&long[1..], "{}"), put("d", whole)]).await;
    assert_eq!(client.outcome().await, Outcome::Accepted);
    assert_eq!(ground.get("d").await, Some(serde_json::from_str(whole).unwrap()));
    assert_eq!(documents(&serve).len(), 2);
    serve.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn increments_of_browsers_and_of_other_applications_add_up() {
    const EACH: u64 = 20;
    let ground = Ground::new("sums").await;
    let (one, other) = (ground.serve("one", ""), ground.serve("two", ""));
    ground.set("sum", r#"{"n":0}"#).await;
    let mut clients = [Client::open(&one, 1).await, Client::open(&other, 2).await];
    for client in &mut clients {
        client.subscribe().await;
    }
    // Each says what it has seen last: here, always the beginning.
    for sequence in 1..=EACH {
        for client in &mut clients {
            client.push(sequence, vec![increment("sum", r#"{"n":0}"#, 0)]).await;
        }
    }
    for client in &mut clients {
        for _ in 1..=EACH {
            let outcome = client.outcome().await;
            assert!(matches!(outcome, Outcome::Accepted | Outcome::Merged(..)), "{outcome:?}");
        }
    }
    assert_eq!(ground.get("sum").await, Some(json!({"n": 2 * EACH})));
    one.stop();
    other.stop();
}
