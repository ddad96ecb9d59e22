//! Subscriptions without faults.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use tidelock_geode_client::{
    Address, Change, ChangeKind, Client, Config, Event, Found, Interest, Key, Loss, SnapshotKind, Subscribe,
    Subscription, Value,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
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
            other @ (Event::Region { .. } | Event::Lost(_) | Event::Interrupted(_)) => panic!("{other:?}"),
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

/// The first byte of the connection by which a server keeps a copy of a queue.
const COPY: u8 = 102;
const GREETING_MAX: usize = 4096;

/// Passes everything on between a client and a server, until it is cut. Once the server has a copy of a queue, the other relay is cut.
async fn relay(server: Address, is_cut: watch::Receiver<bool>, other: watch::Sender<bool>) -> Address {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let (mut is_cut, other, server) = (is_cut.clone(), other.clone(), server.clone());
            tokio::spawn(async move {
                tokio::select! {
                    biased;
                    _ = is_cut.wait_for(|is_cut| *is_cut) => {}
                    // Its end is that of one of the two connections.
                    _ = pass(near, &server, &other) => {}
                }
            });
        }
    });
    address
}

async fn pass(mut near: TcpStream, server: &Address, other: &watch::Sender<bool>) -> std::io::Result<()> {
    let mut far = TcpStream::connect((server.host.as_str(), server.port)).await?;
    let kind = near.read_u8().await?;
    far.write_u8(kind).await?;
    if kind == COPY {
        let mut greeting = vec![0; GREETING_MAX];
        let count = near.read(&mut greeting).await?;
        far.write_all(greeting.get(..count).unwrap_or_default()).await?;
        let answer = far.read_u8().await?;
        other.send_replace(true);
        near.write_u8(answer).await?;
    }
    copy_bidirectional(&mut near, &mut far).await.map(drop)
}

#[tokio::test]
async fn a_copy_that_is_begun_while_the_primary_goes_is_not_trusted() {
    let writer = client().await;
    let [first, second] = writer.servers().try_into().expect("two servers");
    let (cut_first, first_is_cut) = watch::channel(false);
    let (cut_second, second_is_cut) = watch::channel(false);
    // The primary goes, whichever it is, at the moment at which the other server has a copy.
    let servers = vec![relay(first, first_is_cut, cut_second).await, relay(second, second_is_cut, cut_first).await];
    let through = config().durable(&format!("test-doubtful-{}", std::process::id()), Duration::from_secs(300));
    let through = Config { locators: Vec::new(), servers, single_hop: false, ..through };
    let listener = Client::connect(through).await.unwrap();
    let mut subscription = listener.subscribe(all("docs", 1)).await.unwrap();
    assert_eq!(next(&mut subscription).await, Event::Lost(Loss::NoQueue), "the first time");
    loop {
        match next(&mut subscription).await {
            Event::Lost(loss) => break assert_eq!(loss, Loss::NoQueue, "the copy may lack events"),
            // For a moment no server may take the queue.
            Event::CaughtUp | Event::Change(_) | Event::Interrupted(_) => {}
            other @ Event::Region { .. } => panic!("{other:?}"),
        }
    }
    let key = Key::from("doubtful");
    writer.region("docs").put(&key, &Value::string("told")).await.unwrap();
    while next_change(&mut subscription).await.key != key {}
    drop(subscription);
    listener.close(false).await;
}
