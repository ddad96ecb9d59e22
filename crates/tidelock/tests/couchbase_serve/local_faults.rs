//! Servers of a cluster in which something goes wrong.

use serde_json::json;
use tidelock_core::wire::{ErrorCode, Outcome};
use tidelock_couchbase_double::{Options, Withheld};
use tidelock_store::platform::{FeedEvent, Platform as _, system};

use crate::client::{Client, increment, put};
use crate::ground::Ground;
use crate::process::documents;

const FIRST: &str = r#"{"n":1}"#;

/// A server ends while it carries out a mutation of two documents, whose steps are slowed down: after `step` of its intent was written.
async fn killed_after_step(scope: &str, step: usize) {
    let mut ground = Ground::new(scope).await;
    let (one, other) = (ground.serve("one", ""), ground.serve("two", ""));
    let mut client = Client::open(&one, 7).await;
    client.push(1, vec![put("a", FIRST), put("b", FIRST)]).await;
    assert_eq!(client.outcome().await, Outcome::Accepted);
    let platform = ground.platform().await;
    let intents = vec![system::INTENTS.to_owned()];
    let mut feed = platform.feed(&intents, None).await.unwrap();
    while feed.next().await.unwrap() != FeedEvent::CaughtUp {}
    ground.double().delay_kv(std::time::Duration::from_millis(200));
    let changes = || vec![increment("a", FIRST, 1), increment("b", FIRST, 1)];
    client.push(2, changes()).await;
    let mut seen = 0;
    while seen < step {
        seen += usize::from(matches!(feed.next().await.unwrap(), FeedEvent::Changed(..)));
    }
    one.signal("KILL");
    ground.double().delay_kv(std::time::Duration::ZERO);
    assert_eq!(ground.get("b").await, Some(json!({"n": 1})), "it was in the middle");
    // Nobody knows what became of it: the client asks another server to do it.
    let mut again = Client::open(&other, 7).await;
    assert_eq!(again.finished, 1, "the server ended before it recorded the mutation");
    again.push(2, changes()).await;
    let outcome = again.outcome().await;
    assert!(matches!(outcome, Outcome::Accepted | Outcome::Merged(..)), "{outcome:?}");
    for key in ["a", "b"] {
        assert_eq!(ground.get(key).await, Some(json!({"n": 2})), "{key}: once, and with the other one");
    }
    let keys: Vec<_> = documents(&other).into_iter().map(|(key, value)| (key, value["n"].clone())).collect();
    assert_eq!(keys, [("a".to_owned(), json!(2)), ("b".to_owned(), json!(2))]);
    other.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_before_the_commit_point_has_done_nothing_or_all() {
    killed_after_step("killed-prepared", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_after_the_commit_point_is_finished_by_another() {
    killed_after_step("killed-committed", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fail_over_loses_no_durable_write_and_is_slept_through() {
    let mut ground = Ground::new("failed-over").await;
    let serve = ground.serve("one", "");
    let mut client = Client::open(&serve, 1).await;
    for sequence in 1..=10 {
        client.push(sequence, vec![put(&format!("k{sequence}"), FIRST)]).await;
        assert_eq!(client.outcome().await, Outcome::Accepted);
    }
    ground.double().kill(0);
    ground.double().fail_over(0);
    // The node comes back, so that writes find a majority.
    ground.double().revive(0).await.unwrap();
    ground.double().rebalance();
    for sequence in 11..=20 {
        client.push(sequence, vec![put(&format!("k{sequence}"), FIRST)]).await;
        assert_eq!(client.outcome().await, Outcome::Accepted);
    }
    for sequence in 1..=20 {
        assert_eq!(ground.get(&format!("k{sequence}")).await, Some(json!({"n": 1})));
    }
    assert_eq!(documents(&serve).len(), 20);
    serve.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_go_on_while_a_node_restarts_and_has_no_bucket_yet() {
    let mut ground = Ground::new("restarted").await;
    let serve = ground.serve("one", "");
    let (mut writer, mut reader) = (Client::open(&serve, 1).await, Client::open(&serve, 2).await);
    reader.subscribe().await;
    ground.double().kill(0);
    ground.double().withhold_buckets(0, Some(Withheld::NotFound));
    ground.double().revive(0).await.unwrap();
    for sequence in 1..=10 {
        writer.push(sequence, vec![put(&format!("k{sequence}"), FIRST)]).await;
    }
    ground.double().selection_refused().await;
    ground.double().withhold_buckets(0, None);
    for _ in 1..=10 {
        assert_eq!(writer.outcome().await, Outcome::Accepted);
    }
    reader.hears("k10", Some(&json!({"n": 1}))).await;
    ground.set("theirs", FIRST).await;
    reader.hears("theirs", Some(&json!({"n": 1}))).await;
    assert_eq!(documents(&serve).len(), 11);
    serve.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_data_may_be_asked_first() {
    // Before 7.6 it knows no bucket, from then on the configuration and no collection.
    for (scope, version) in [("bucketless", "7.2.0-5325-enterprise"), ("config-only", "7.6.4-5146-enterprise")] {
        let options = Options { other_nodes: 1, version: version.into(), ..Options::default() };
        let ground = Ground::of(scope, options).await;
        let config = ground.config("one", "");
        for command in ["init", "doctor"] {
            let (succeeded, said) = Ground::run(command, &config);
            assert!(succeeded, "{version}: {said}");
        }
        let serve = ground.serve("one", "");
        let mut client = Client::open(&serve, 1).await;
        client.subscribe().await;
        client.push(1, vec![put("card", FIRST)]).await;
        assert_eq!(client.outcome().await, Outcome::Accepted);
        ground.set("theirs", FIRST).await;
        client.hears("theirs", Some(&json!({"n": 1}))).await;
        serve.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roll_back_is_another_epoch_and_ends_sessions_before_they_tell_of_it() {
    let mut ground = Ground::new("rolled-back").await;
    let serve = ground.serve("one", "durability = \"none\"");
    let mut client = Client::open(&serve, 1).await;
    client.subscribe().await;
    let epoch = client.epoch;
    ground.double().hold_replication();
    for sequence in 1..=20 {
        client.push(sequence, vec![put(&format!("k{sequence}"), FIRST)]).await;
        assert_eq!(client.outcome().await, Outcome::Accepted);
    }
    let before = serve.log().len();
    ground.double().fail_over(0);
    serve.until_logged(before, "the bucket has lost states");
    // What is lost was not deleted: the client brings it back.
    assert_eq!(client.is_ended_without_deletes().await, ErrorCode::SessionEnded);
    let mut kept = Vec::new();
    for sequence in 1..=20 {
        let key = format!("k{sequence}");
        if ground.get(&key).await.is_some() {
            kept.push(key);
        }
    }
    assert!(!kept.is_empty() && kept.len() < 20, "{kept:?}");
    kept.sort();
    until(|| documents(&serve).into_iter().map(|(key, _)| key).collect::<Vec<_>>() == kept).await;
    let again = Client::open(&serve, 2).await;
    assert_ne!(again.epoch, epoch);
    serve.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_is_another_epoch_without_documents() {
    let mut ground = Ground::new("flushed").await;
    let serve = ground.serve("one", "");
    let mut client = Client::open(&serve, 1).await;
    let epoch = client.epoch;
    for sequence in 1..=20 {
        client.push(sequence, vec![put(&format!("k{sequence}"), FIRST)]).await;
        assert_eq!(client.outcome().await, Outcome::Accepted);
    }
    ground.double().flush("default");
    ground.double().cut_dcp();
    until(|| documents(&serve).is_empty()).await;
    ground.set("new", FIRST).await;
    until(|| documents(&serve) == [("new".to_owned(), json!({"n": 1}))]).await;
    let again = Client::open(&serve, 2).await;
    assert_ne!(again.epoch, epoch);
    serve.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_was_made_again_is_served_again() {
    let mut ground = Ground::new("made-again").await;
    let serve = ground.serve("one", "");
    let mut client = Client::open(&serve, 1).await;
    client.push(1, vec![put("old", FIRST)]).await;
    assert_eq!(client.outcome().await, Outcome::Accepted);
    ground.double().drop_collection("default", "made-again", "notes");
    ground.double().create_collection("default", "made-again", "notes");
    until(|| documents(&serve).is_empty()).await;
    ground.set("new", FIRST).await;
    until(|| documents(&serve).len() == 1).await;
    serve.stop();
}

/// Looks again and again, for as long as anything may take.
pub(crate) async fn until(mut is_so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "it does not come to be so");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
