//! Subscriptions without faults.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use tidelock_geode_client::{
    Change, ChangeKind, Client, Event, Found, Interest, Key, Loss, SnapshotKind, Subscribe, Subscription, Value,
};
use tokio::time::timeout;

use crate::support::{client, config};

pub(crate) async fn next(subscription: &mut Subscription) -> Event {
    timeout(Duration::from_secs(60), subscription.next()).await.expect("no event within a minute").unwrap()
}

pub(crate) async fn next_change(subscription: &mut Subscription) -> Change {
    loop {
        if let Event::Change(change) = next(subscription).await {
            return *change;
        }
    }
}

pub(crate) async fn durable(id: &str) -> Client {
    Client::connect(config().durable(id, Duration::from_secs(300))).await.unwrap()
}

pub(crate) fn all(region: &str, redundancy: usize) -> Subscribe {
    Subscribe { redundancy, interests: vec![Interest::all(region)], queries: Vec::new() }
}

#[tokio::test]
async fn changes_of_others_are_told_with_their_tags() {
    let (listener, writer) = (client().await, client().await);
    let docs = writer.region("docs");
    let key = Key::from("subscriptions-1");
    docs.destroy(&key).await.unwrap();
    let mut subscription = listener.subscribe(all("docs", 1)).await.unwrap();
    assert_eq!(next(&mut subscription).await, Event::Lost(Loss::NoQueue));
    let (one, two) = (Value::string("one"), Value::Bytes(vec![2].into()));
    let mut expected = Vec::new();
    expected.push((ChangeKind::Create, Some(one.clone()), docs.put(&key, &one).await.unwrap()));
    expected.push((ChangeKind::Update, Some(two.clone()), docs.put(&key, &two).await.unwrap()));
    expected.push((ChangeKind::Destroy, None, docs.destroy(&key).await.unwrap().tag));
    for (kind, value, tag) in expected {
        let change = next_change(&mut subscription).await;
        assert_eq!((change.region.as_str(), &change.key), ("/docs", &key));
        assert_eq!((change.kind, change.value, change.tag), (kind, value, tag));
        assert!(change.by_interest);
    }
}

#[tokio::test]
async fn a_snapshot_has_values_tags_and_tombstones() {
    let (listener, writer) = (client().await, client().await);
    let docs = writer.region("docs");
    let (there, gone) = (Key::from("snapshot-there"), Key::from("snapshot-gone"));
    let value = Value::string("there");
    let tag = docs.put(&there, &value).await.unwrap();
    docs.put(&gone, &value).await.unwrap();
    let tombstone = docs.destroy(&gone).await.unwrap().tag;
    let subscription = listener.subscribe(Subscribe::default()).await.unwrap();
    let snapshot = subscription.register(Interest::all("docs").with_snapshot(SnapshotKind::Entries)).await.unwrap();
    let of = |key: &Key| snapshot.entries.iter().find(|entry| entry.key == *key).map(|entry| entry.entry.clone());
    let found = of(&there).unwrap();
    assert_eq!((found.found, found.tag), (Found::Value(value), tag));
    let found = of(&gone).unwrap();
    assert_eq!((found.found, found.tag), (Found::Absent, tombstone));
}

#[tokio::test]
async fn interest_is_in_some_entries_alone() {
    let (listener, writer) = (client().await, client().await);
    let docs = writer.region("docs");
    let key = |name: &str| Key::String(format!("some-{name}"));
    let interests =
        vec![Interest::keys("docs", vec![key("listed"), key("last")]), Interest::matching("docs", "some-m.*h")];
    let mut subscription =
        listener.subscribe(Subscribe { redundancy: 1, interests, queries: Vec::new() }).await.unwrap();
    for name in ["other", "listed", "match", "mismatched", "last"] {
        docs.put(&key(name), &Value::string(name)).await.unwrap();
    }
    for name in ["listed", "match", "last"] {
        assert_eq!(next_change(&mut subscription).await.key, key(name));
    }
    subscription.unregister(&Interest::matching("docs", "some-m.*h")).await.unwrap();
    for name in ["match", "last"] {
        docs.put(&key(name), &Value::string("again")).await.unwrap();
    }
    assert_eq!(next_change(&mut subscription).await.key, key("last"));
}

#[tokio::test]
async fn an_absence_that_was_too_long_is_told() {
    let short = || config().durable("test-timed-out", Duration::from_secs(1));
    let listener = Client::connect(short()).await.unwrap();
    let mut subscription = listener.subscribe(all("docs", 1)).await.unwrap();
    assert_eq!(next(&mut subscription).await, Event::Lost(Loss::NoQueue));
    drop(subscription);
    listener.close(true).await;
    // Until the servers have given the queue up.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let listener = Client::connect(short()).await.unwrap();
    let mut subscription = listener.subscribe(all("docs", 1)).await.unwrap();
    assert_eq!(next(&mut subscription).await, Event::Lost(Loss::TimedOut));
    drop(subscription);
    listener.close(false).await;
}

#[tokio::test]
async fn a_durable_queue_repeats_what_was_not_acknowledged() {
    let writer = client().await;
    let docs = writer.region("docs");
    let keys: Vec<Key> = (0..3).map(|at| Key::String(format!("durable-{at}"))).collect();
    let listener = durable("test-durable-1").await;
    let mut subscription = listener.subscribe(all("docs", 1)).await.unwrap();
    assert_eq!(next(&mut subscription).await, Event::Lost(Loss::NoQueue));
    docs.put(&keys[0], &Value::string("a")).await.unwrap();
    let first = next_change(&mut subscription).await;
    assert_eq!(first.key, keys[0]);
    subscription.acknowledge([&first.id]).await.unwrap();
    docs.put(&keys[1], &Value::string("b")).await.unwrap();
    assert_eq!(next_change(&mut subscription).await.key, keys[1]);
    // Away, with one event that was told and not acknowledged; another change meanwhile.
    drop(subscription);
    listener.close(true).await;
    drop(listener);
    docs.put(&keys[2], &Value::string("c")).await.unwrap();
    let listener = durable("test-durable-1").await;
    let mut subscription = listener.subscribe(all("docs", 1)).await.unwrap();
    let mut told = Vec::new();
    loop {
        match next(&mut subscription).await {
            Event::Change(change) => told.push(change.key),
            Event::CaughtUp => break,
            other @ (Event::Region { .. } | Event::Lost(_)) => panic!("{other:?}"),
        }
    }
    assert_eq!(told, [keys[1].clone(), keys[2].clone()]);
    drop(subscription);
    listener.close(false).await;
}

#[tokio::test]
async fn a_continuous_query_tells_what_enters_and_leaves_its_result() {
    let (listener, writer) = (client().await, client().await);
    let docs = writer.region("docs");
    let key = Key::from("cq-1");
    docs.destroy(&key).await.unwrap();
    let mut subscription = listener.subscribe(Subscribe::default()).await.unwrap();
    subscription.add_query("old", "SELECT * FROM /docs d WHERE d.cq_age > 40").await.unwrap();
    for (age, kind) in
        [(30, None), (50, Some(ChangeKind::Create)), (60, Some(ChangeKind::Update)), (20, Some(ChangeKind::Destroy))]
    {
        docs.put_json(&key, &format!("{{\"cq_age\":{age}}}").parse().unwrap()).await.unwrap();
        if let Some(kind) = kind {
            let change = next_change(&mut subscription).await;
            assert_eq!(
                (change.key, change.queries, change.by_interest),
                (key.clone(), vec![("old".to_owned(), kind)], false)
            );
        }
    }
    subscription.drop_query("old").await.unwrap();
}
