//! Checkpoints, and what has become of the history meanwhile.

use tidelock_couchbase_dcp::{Checkpoint, Event, Feed};
use tidelock_couchbase_double::{Double, Options};

use crate::support::{Writer, caught_up, change, cluster, config, is_change, keys, open, until};

fn stored(feed: &Feed) -> Checkpoint {
    serde_json::from_str(&serde_json::to_string(&feed.checkpoint()).unwrap()).unwrap()
}

#[tokio::test]
async fn a_feed_goes_on_from_its_checkpoint() {
    let double = cluster(2).await;
    let mut writer = Writer::connect(&double).await;
    writer.set(0, "before", "{}").await;
    let mut feed = open(config(&double)).await;
    caught_up(&mut feed).await;
    let checkpoint = stored(&feed);
    drop(feed);
    writer.set(0, "meanwhile", "{}").await;
    writer.delete(0, "before").await;
    let mut feed = Feed::open(config(&double), &checkpoint).await.unwrap();
    let events = caught_up(&mut feed).await;
    assert_eq!(keys(&events), ["meanwhile", "before"]);
    assert!(!events.iter().any(|event| matches!(event, Event::Rollback { .. })));
}

#[tokio::test]
async fn what_a_fail_over_lost_is_rolled_back() {
    let mut double = cluster(2).await;
    let mut writer = Writer::connect(&double).await;
    let mut feed = open(config(&double)).await;
    // Vbucket 0 is active on node 0.
    let kept = writer.set(0, "kept", "{}").await;
    change(&mut feed, "kept").await;
    double.hold_replication();
    writer.set(0, "kept", r#"{"lost":true}"#).await;
    writer.set(0, "lost", "{}").await;
    change(&mut feed, "lost").await;
    let ahead = stored(&feed);

    double.kill(0);
    double.fail_over(0);
    let rollback = Event::Rollback { vbucket: 0, seqno: kept.seqno };
    until(&mut feed, |event| *event == rollback).await;
    assert_eq!(feed.position(0).unwrap().seqno(), kept.seqno);
    let mut writer = Writer::connect(&double).await;
    writer.set(0, "after", "{}").await;
    let after = change(&mut feed, "after").await;
    assert_eq!(after.seqno, kept.seqno + 1);
    // What was written on the new branch is of the new branch.
    let log = feed.checkpoint();

    // The same for a consumer that was away.
    let mut away = Feed::open(config(&double), &ahead).await.unwrap();
    let events = until(&mut away, |event| is_change(event, "after")).await;
    assert!(events.contains(&rollback));
    assert_eq!(keys(&events), ["after"]);
    assert_eq!(away.position(0), log.positions.get(&0).copied());
    assert_ne!(away.position(0).unwrap().uuid(), ahead.positions[&0].uuid());
}

/// Each took something back that the one before had not.
#[tokio::test]
async fn a_consumer_goes_back_before_every_fail_over_that_it_missed() {
    let mut double = Double::start(Options { nodes: 3, replicas: 2, vbuckets: 8, ..Options::default() }).await.unwrap();
    let (mut checkpoints, mut kept) = (Vec::new(), Vec::new());
    for node in 0..2 {
        let mut writer = Writer::connect(&double).await;
        kept.push(writer.set(0, &format!("kept {node}"), "{}").await.seqno);
        double.hold_replication();
        writer.set(0, &format!("lost {node}"), "{}").await;
        let mut feed = open(config(&double)).await;
        change(&mut feed, &format!("lost {node}")).await;
        checkpoints.push(stored(&feed));
        double.kill(node);
        double.fail_over(node);
        double.release_replication();
    }
    assert_eq!(kept, [1, 2]);
    Writer::connect(&double).await.set(0, "last", "{}").await;
    for (at, expected) in [(0, &["kept 1", "last"][..]), (1, &["last"])] {
        let mut feed = Feed::open(config(&double), &checkpoints[at]).await.unwrap();
        let events = until(&mut feed, |event| is_change(event, "last")).await;
        let back = events.iter().filter(|event| matches!(event, Event::Rollback { .. })).collect::<Vec<_>>();
        assert_eq!(back, [&Event::Rollback { vbucket: 0, seqno: kept[at] }]);
        assert_eq!(keys(&events), expected);
    }
    // The first one was of a branch that a later server need not know any more: then it is all of the vbucket.
    double.flush("default");
    Writer::connect(&double).await.set(0, "new", "{}").await;
    let mut feed = Feed::open(config(&double), &checkpoints[0]).await.unwrap();
    let events = until(&mut feed, |event| is_change(event, "new")).await;
    assert!(events.contains(&Event::Rollback { vbucket: 0, seqno: 0 }), "{events:?}");
}

#[tokio::test]
async fn a_purge_while_away_means_to_begin_again() {
    let double = cluster(1).await;
    let mut writer = Writer::connect(&double).await;
    writer.set(3, "deleted", "{}").await;
    writer.set(3, "first", "{}").await;
    writer.set(4, "other", "{}").await;
    let mut feed = open(config(&double)).await;
    caught_up(&mut feed).await;
    let checkpoint = stored(&feed);
    drop(feed);
    writer.delete(3, "deleted").await;
    writer.set(3, "kept", "{}").await;
    double.purge();
    let mut feed = Feed::open(config(&double), &checkpoint).await.unwrap();
    let mut events = until(&mut feed, |event| is_change(event, "first")).await;
    // Markers tell of the purge, so that it sends nobody back a second time who has seen it.
    let inside = stored(&feed);
    assert_eq!((inside.positions[&3].seqno(), inside.positions[&3].purge_seqno()), (2, 3));
    events.extend(caught_up(&mut feed).await);
    let rollbacks: Vec<&Event> = events.iter().filter(|event| matches!(event, Event::Rollback { .. })).collect();
    assert_eq!(rollbacks, [&Event::Rollback { vbucket: 3, seqno: 0 }]);
    assert_eq!(keys(&events), ["first", "kept"]);
    let mut again = Feed::open(config(&double), &inside).await.unwrap();
    let events = caught_up(&mut again).await;
    assert!(!events.iter().any(|event| matches!(event, Event::Rollback { .. })));
    assert_eq!(keys(&events), ["kept"]);
}

#[tokio::test]
async fn a_flushed_bucket_begins_again() {
    let double = cluster(2).await;
    let mut writer = Writer::connect(&double).await;
    writer.set(0, "old", "{}").await;
    let mut feed = open(config(&double)).await;
    change(&mut feed, "old").await;
    double.flush("default");
    until(&mut feed, |event| *event == Event::Rollback { vbucket: 0, seqno: 0 }).await;
    writer.set(0, "new", "{}").await;
    assert_eq!(change(&mut feed, "new").await.seqno, 1);
}
