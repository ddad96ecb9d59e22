//! Requests to documents against a double of the server.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use tidelock_couchbase_dcp::kv::{Client, Request, Response, management};
use tidelock_couchbase_dcp::{Config, Error};
use tidelock_couchbase_double::{Double, Options, Withheld};

const GET: u8 = 0x00;
const SET: u8 = 0x01;
const SUCCESS: u16 = 0;
const KEY_NOT_FOUND: u16 = 1;
const KEYS: usize = 40;

async fn cluster(nodes: usize) -> Double {
    Double::start(Options { nodes, vbuckets: 16, ..Options::default() }).await.unwrap()
}

fn config(double: &Double) -> Config {
    Config::new(&double.connection_string()).unwrap().bucket("default")
}

async fn connect(double: &Double) -> Client {
    Client::connect(config(double)).await.unwrap()
}

async fn set(client: &Client, collection: &str, key: &str, value: &str) -> Result<Response, Error> {
    let request = Request {
        opcode: SET,
        collection: collection.into(),
        key: key.into(),
        extras: vec![0; 8],
        value: value.into(),
        ..Request::default()
    };
    client.call(&request).await
}

async fn get(client: &Client, collection: &str, key: &str) -> Result<Response, Error> {
    let request = Request {
        opcode: GET,
        collection: collection.into(),
        key: key.into(),
        is_repeatable: true,
        ..Request::default()
    };
    client.call(&request).await
}

async fn check_all(client: &Client) {
    for n in 0..KEYS {
        let found = get(client, "_default._default", &format!("k{n}")).await.unwrap();
        assert_eq!((found.status, &found.value[..]), (SUCCESS, n.to_string().as_bytes()), "k{n}");
    }
}

async fn set_all(client: &Client) {
    for n in 0..KEYS {
        let written = set(client, "_default._default", &format!("k{n}"), &n.to_string()).await.unwrap();
        assert_eq!(written.status, SUCCESS);
        assert_eq!(written.extras.len(), 16, "a mutation token was negotiated");
    }
}

#[tokio::test]
async fn documents_are_found_wherever_they_are() {
    let double = cluster(3).await;
    let client = connect(&double).await;
    set_all(&client).await;
    check_all(&client).await;
    assert_eq!(get(&client, "_default._default", "none").await.unwrap().status, KEY_NOT_FOUND);
    // They move, and the client hears of it from whoever it asks.
    double.rebalance();
    check_all(&client).await;
}

#[tokio::test]
async fn a_request_waits_for_a_fail_over() {
    let mut double = cluster(2).await;
    let client = connect(&double).await;
    set_all(&client).await;
    double.kill(0);
    let waiting = check_all(&client);
    let failing = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        double.fail_over(0);
    };
    tokio::join!(waiting, failing);
    double.revive(0).await.unwrap();
    double.rebalance();
    check_all(&client).await;
}

#[tokio::test]
async fn a_node_that_is_away_is_an_error_after_the_timeout() {
    let mut double = cluster(1).await;
    let mut config = config(&double);
    config.timeout = Duration::from_millis(500);
    let client = Client::connect(config).await.unwrap();
    set_all(&client).await;
    double.kill(0);
    let error = get(&client, "_default._default", "k1").await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    double.revive(0).await.unwrap();
    check_all(&client).await;
}

#[tokio::test]
async fn a_request_waits_for_the_bucket_of_a_node_that_restarts() {
    let mut double = cluster(2).await;
    let client = connect(&double).await;
    set_all(&client).await;
    for answer in [Withheld::NotFound, Withheld::NoAccess] {
        double.kill(0);
        double.withhold_buckets(0, Some(answer));
        double.revive(0).await.unwrap();
        let made = async {
            double.selection_refused().await;
            double.withhold_buckets(0, None);
        };
        tokio::join!(set_all(&client), made);
        check_all(&client).await;
    }
}

#[tokio::test]
async fn a_bucket_that_does_not_come_back_in_time_may_come_later() {
    let double = cluster(1).await;
    let mut config = config(&double);
    config.timeout = Duration::from_millis(500);
    let client = Client::connect(config.clone()).await.unwrap();
    set_all(&client).await;
    double.withhold_buckets(0, Some(Withheld::NotFound));
    let error = loop {
        // The client hears of the end of its connection a moment later.
        match set(&client, "_default._default", "k1", "1").await {
            Ok(_) => {}
            Err(error) if error.to_string().contains("has no bucket default yet") => break error,
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    };
    assert!(error.is_transient());
    double.withhold_buckets(0, Some(Withheld::NoAccess));
    assert!(matches!(set(&client, "_default._default", "k1", "1").await, Err(Error::Access(_))));
    // Who has not used it yet hears at once that it is not there.
    double.withhold_buckets(0, Some(Withheld::NotFound));
    assert!(matches!(Client::connect(config).await, Err(Error::Access(_))));
    double.withhold_buckets(0, None);
    check_all(&client).await;
}

/// A node that has no data, before those that have.
fn config_elsewhere(double: &Double) -> Config {
    let ports = double.kv_ports();
    let hosts: Vec<String> = ports.iter().rev().map(|port| format!("127.0.0.1:{port}")).collect();
    Config::new(&format!("couchbase://Administrator:password@{}/default", hosts.join(","))).unwrap()
}

#[tokio::test]
async fn a_node_without_data_may_be_asked_first() {
    // Before 7.6 it knows no bucket, from then on the configuration and no collection.
    for version in ["7.2.0-5325-enterprise", "7.6.4-5146-enterprise"] {
        let options = Options { other_nodes: 1, vbuckets: 16, version: version.into(), ..Options::default() };
        let mut double = Double::start(options).await.unwrap();
        let notes = double.create_collection("default", "app", "notes");
        let client = Client::connect(config_elsewhere(&double)).await.unwrap();
        set_all(&client).await;
        check_all(&client).await;
        assert_eq!(client.id_of("app.notes").await, Ok(notes), "{version}");
        let missing = config_elsewhere(&double).bucket("missing");
        assert!(matches!(Client::connect(missing).await, Err(Error::Access(_))), "{version}");
        // Whether the others have it, nobody can tell.
        double.kill(0);
        double.kill(1);
        let alone = Client::connect(config_elsewhere(&double).bucket("missing")).await;
        assert!(matches!(alone, Err(Error::Connection(_))), "{version}: {alone:?}");
    }
}

#[tokio::test]
async fn a_collection_that_was_made_again_is_another_one() {
    let double = cluster(2).await;
    let client = connect(&double).await;
    assert!(matches!(set(&client, "app.notes", "a", "1").await, Err(Error::UnknownCollection(_))));
    let first = double.create_collection("default", "app", "notes");
    assert_eq!(client.id_of("app.notes").await, Ok(first));
    assert_eq!(set(&client, "app.notes", "a", "1").await.unwrap().status, SUCCESS);
    double.drop_collection("default", "app", "notes");
    assert!(matches!(get(&client, "app.notes", "a").await, Err(Error::UnknownCollection(_))));
    let second = double.create_collection("default", "app", "notes");
    assert_eq!(get(&client, "app.notes", "a").await.unwrap().status, KEY_NOT_FOUND);
    assert_eq!(client.id_of("app.notes").await, Ok(second));
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_number_is_of_its_bucket() {
    let double = cluster(2).await;
    let client = connect(&double).await;
    let notes = double.create_collection("default", "app", "notes");
    double.create_collection("default", "app", "tasks");
    assert_eq!(set(&client, "app.notes", "a", "1").await.unwrap().status, SUCCESS);
    double.replace_bucket("default");
    // What was the number of one is that of the other now.
    assert_eq!(double.create_collection("default", "app", "tasks"), notes);
    double.create_collection("default", "app", "notes");
    let stored = loop {
        // The client hears of the end of its connections a moment later.
        match set(&client, "app.notes", "a", "2").await {
            Ok(stored) => break stored,
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    };
    assert_eq!(stored.status, SUCCESS);
    assert_eq!(get(&client, "app.notes", "a").await.unwrap().value, "2");
    assert_eq!(get(&client, "app.tasks", "a").await.unwrap().status, KEY_NOT_FOUND);
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let double = cluster(1).await;
    let client = std::sync::Arc::new(connect(&double).await);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..500 {
        let client = client.clone();
        tasks.spawn(async move {
            let (key, value) = (format!("m{n}"), "x".repeat(n * 20));
            set(&client, "_default._default", &key, &value).await.unwrap();
            assert_eq!(get(&client, "_default._default", &key).await.unwrap().value, value);
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused() {
    let double = cluster(1).await;
    let client = connect(&double).await;
    for key in ["", &"k".repeat(251)] {
        assert!(matches!(set(&client, "_default._default", key, "1").await, Err(Error::Configuration(_))));
    }
    assert!(matches!(Client::connect(config(&double).bucket("missing")).await, Err(Error::Access(_))));
    let found = management(&config(&double).bucket("missing")).await.unwrap();
    assert_eq!(format!("http://{}:{}", found[0].0, found[0].1), double.management(0));
}
