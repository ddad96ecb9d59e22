//! Nodes and vbuckets that move, streams and connections that end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidelock_couchbase_dcp::{Config, EndReason, Event, Filter};
use tidelock_couchbase_double::{Double, Options, Withheld};

use crate::support::{VBUCKETS, Writer, caught_up, change, cluster, config, config_with, next, open, until};

/// Takes events until each key has its last value, and checks that no vbucket goes back.
async fn follow(feed: &mut tidelock_couchbase_dcp::Feed, last: &BTreeMap<String, String>) {
    let mut missing = last.clone();
    let mut seqnos = BTreeMap::new();
    while !missing.is_empty() {
        match next(feed).await {
            Event::Change(change) => {
                let before = seqnos.insert(change.vbucket, change.seqno);
                assert!(before.is_none_or(|before| before < change.seqno), "{change:?} comes after {before:?}");
                let key = String::from_utf8(change.key.to_vec()).unwrap();
                if last.get(&key).is_some_and(|value| change.body == value.as_bytes()) {
                    missing.remove(&key);
                }
            }
            Event::Rollback { .. } => panic!("nothing was lost"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn streams_move_with_their_vbuckets_under_load() {
    const ROUNDS: u32 = 40;
    let double = cluster(3).await;
    let mut feed = open(config(&double)).await;
    caught_up(&mut feed).await;
    let mut writer = Writer::connect(&double).await;
    let mut last = BTreeMap::new();
    let writing = async {
        for round in 0..ROUNDS {
            for vbucket in 0..VBUCKETS {
                let key = format!("k{vbucket}-{}", round % 5);
                let value = round.to_string();
                writer.set(vbucket, &key, &value).await;
                last.insert(key, value);
            }
            if round % 8 == 7 {
                double.rebalance();
            }
        }
        last
    };
    // What the feed tells while vbuckets move is told afterwards: it does not wait for its consumer.
    let last = writing.await;
    follow(&mut feed, &last).await;
}

#[tokio::test]
async fn a_consumer_that_reads_meanwhile_sees_every_vbucket_through_moves() {
    let double = cluster(3).await;
    let mut feed = open(config(&double)).await;
    caught_up(&mut feed).await;
    let mut writer = Writer::connect(&double).await;
    for round in 0..5_u32 {
        let mut last = BTreeMap::new();
        for vbucket in 0..VBUCKETS {
            let (key, value) = (format!("k{vbucket}"), round.to_string());
            writer.set(vbucket, &key, &value).await;
            last.insert(key, value);
        }
        double.rebalance();
        follow(&mut feed, &last).await;
    }
}

#[tokio::test]
async fn streams_that_end_are_opened_again() {
    let double = cluster(1).await;
    let mut writer = Writer::connect(&double).await;
    let mut feed = open(config(&double)).await;
    caught_up(&mut feed).await;
    for (code, reason) in [
        (0, EndReason::Done),
        (1, EndReason::Closed),
        (2, EndReason::StateChanged),
        (3, EndReason::Disconnected),
        (4, EndReason::TooSlow),
        (5, EndReason::BackfillFailed),
        (6, EndReason::Rollback),
        (8, EndReason::LostPrivileges),
        (42, EndReason::Other(42)),
    ] {
        double.end_streams(2, code);
        until(&mut feed, |event| *event == Event::Ended { vbucket: 2, reason }).await;
        let key = format!("after {code}");
        writer.set(2, &key, "{}").await;
        change(&mut feed, &key).await;
    }
    // Not told before the server has said what there is.
    double.end_streams(2, 7);
    writer.set(2, "after 7", "{}").await;
    let events = until(&mut feed, |event| crate::support::is_change(event, "after 7")).await;
    assert!(!events.iter().any(|event| matches!(event, Event::Ended { .. })), "{events:?}");
}

#[tokio::test]
async fn connections_that_break_are_made_again() {
    let mut double = cluster(2).await;
    let mut writer = Writer::connect(&double).await;
    writer.set(0, "first", "{}").await;
    let mut feed = open(config(&double)).await;
    change(&mut feed, "first").await;
    double.cut_dcp();
    writer.set(0, "second", "{}").await;
    let events = until(&mut feed, |event| crate::support::is_change(event, "second")).await;
    assert!(events.iter().any(|event| matches!(event, Event::Disconnected { .. })));
    assert_eq!(crate::support::keys(&events), ["second"]);
    // A node that is away for a while, and not failed over.
    double.kill(0);
    until(&mut feed, |event| matches!(event, Event::Disconnected { .. })).await;
    double.revive(0).await.unwrap();
    let mut writer = Writer::connect(&double).await;
    writer.set(0, "third", "{}").await;
    change(&mut feed, "third").await;
}

#[tokio::test]
async fn a_node_that_joins_gets_its_streams() {
    let mut double = cluster(3).await;
    double.kill(2);
    double.fail_over(2);
    let mut feed = open(config(&double)).await;
    caught_up(&mut feed).await;
    double.revive(2).await.unwrap();
    double.rebalance();
    let mut writer = Writer::connect(&double).await;
    for vbucket in 0..VBUCKETS {
        writer.set(vbucket, &format!("k{vbucket}"), "{}").await;
    }
    let last = (0..VBUCKETS).map(|vbucket| (format!("k{vbucket}"), "{}".to_owned())).collect();
    follow(&mut feed, &last).await;
}

#[tokio::test]
async fn a_feed_waits_for_the_bucket_of_a_node_that_restarts() {
    const TIMEOUT: Duration = Duration::from_millis(200);
    let mut double = cluster(1).await;
    let mut feed = open(config_with(&double, |config| config.timeout = TIMEOUT)).await;
    caught_up(&mut feed).await;
    double.kill(0);
    double.withhold_buckets(0, Some(Withheld::NotFound));
    double.revive(0).await.unwrap();
    // For as long as it takes: well above the time after which what does not pass is the end of a feed.
    let begin = Instant::now();
    let is_without = |event: &Event| matches!(event, Event::Disconnected { error, .. } if error.to_string().contains("has no bucket default yet"));
    until(&mut feed, |event| is_without(event) && begin.elapsed() > 3 * TIMEOUT).await;
    double.withhold_buckets(0, None);
    let mut writer = Writer::connect(&double).await;
    writer.set(0, "after", "{}").await;
    change(&mut feed, "after").await;
}

#[tokio::test]
async fn a_node_without_data_may_be_asked_first() {
    // Before 7.6 it knows no bucket; from then on it has the configuration and no collection, and is enough of a beginning by itself.
    for (version, seeds) in [("7.2.0-5325-enterprise", 3), ("7.6.4-5146-enterprise", 1)] {
        let options = Options { other_nodes: 1, vbuckets: VBUCKETS, version: version.into(), ..Options::default() };
        let double = Double::start(options).await.unwrap();
        let id = double.create_collection("default", "app", "notes");
        let ports = double.kv_ports();
        let hosts: Vec<String> = ports.iter().rev().take(seeds).map(|port| format!("127.0.0.1:{port}")).collect();
        let string = format!("couchbase://Administrator:password@{}/default", hosts.join(","));
        let mut writer = Writer::connect(&double).await.into_collection(id);
        writer.set(0, "there", "{}").await;
        for filter in [Filter::All, Filter::Scope("app".into()), Filter::Collections(vec!["app.notes".into()])] {
            let mut config = Config::new(&string).unwrap();
            config.filter = filter;
            let mut feed = open(config).await;
            change(&mut feed, "there").await;
        }
    }
}
