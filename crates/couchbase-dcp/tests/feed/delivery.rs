//! When events are told: flow control, and feeds that wait for copies.

use std::time::Duration;

use tidelock_couchbase_dcp::{Deliver, Event};
use tokio::time::timeout;

use crate::support::{Writer, caught_up, change, cluster, config_with, is_change, open, until};

/// So long nothing more comes: longer than anything takes here that is on its way.
const QUIET: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_node_sends_no_more_than_its_buffer_holds() {
    const DOCUMENTS: usize = 200;
    let double = cluster(1).await;
    let mut writer = Writer::connect(&double).await;
    let body = format!("{:?}", "x".repeat(1000));
    for count in 0..DOCUMENTS {
        writer.set(0, &format!("k{count}"), &body).await;
    }
    let settings = config_with(&double, |config| {
        config.buffer_bytes = 16 << 10;
        config.noop_interval = Duration::from_millis(100);
    });
    let mut feed = open(settings).await;
    let mut count = 0;
    while let Ok(event) = timeout(QUIET, feed.next()).await {
        let event = event.unwrap().unwrap();
        assert!(!matches!(event, Event::Disconnected { .. }), "NOOPs are answered meanwhile: {event:?}");
        count += usize::from(matches!(event, Event::Change(_)));
    }
    // 16 KiB hold 15 documents of 1,000 bytes; the last one may stand over.
    assert!((12..=17).contains(&count), "{count} documents came");
    feed.acknowledge();
    let rest = until(&mut feed, |event| is_change(event, "k199")).await;
    assert_eq!(count + crate::support::changes(&rest).count(), DOCUMENTS);
}

#[tokio::test]
async fn what_is_not_on_all_copies_waits() {
    for deliver in [Deliver::Replicated, Deliver::Persisted] {
        let mut double = cluster(2).await;
        let mut writer = Writer::connect(&double).await;
        let settings = config_with(&double, |config| config.deliver = deliver(Duration::from_millis(10)));
        let mut feed = open(settings).await;
        writer.set(0, "copied", "{}").await;
        change(&mut feed, "copied").await;
        caught_up(&mut feed).await;
        double.hold_replication();
        writer.set(0, "not copied", "{}").await;
        while let Ok(event) = timeout(QUIET, feed.next()).await {
            let event = event.unwrap().unwrap();
            assert!(!matches!(event, Event::Change(_)), "{event:?}");
        }
        assert_eq!(feed.position(0).unwrap().seqno(), 1);
        double.release_replication();
        change(&mut feed, "not copied").await;
        // What a fail-over takes back was never told.
        double.hold_replication();
        writer.set(0, "lost", "{}").await;
        double.kill(0);
        double.fail_over(0);
        let mut writer = Writer::connect(&double).await;
        writer.set(0, "after", "{}").await;
        let events = until(&mut feed, |event| is_change(event, "after")).await;
        assert_eq!(crate::support::keys(&events), ["after"]);
        assert!(!events.iter().any(|event| matches!(event, Event::Rollback { .. })));
    }
}

#[tokio::test]
async fn a_feed_that_waits_for_copies_comes_to_its_end() {
    let double = cluster(2).await;
    let mut writer = Writer::connect(&double).await;
    for count in 0..20 {
        writer.set(count % 8, &format!("k{count}"), "{}").await;
    }
    let settings = config_with(&double, |config| {
        config.deliver = Deliver::Persisted(Duration::from_millis(10));
        config.to_latest = true;
    });
    let mut feed = open(settings).await;
    let mut count = 0;
    while let Some(event) = timeout(Duration::from_secs(20), feed.next()).await.expect("in time").unwrap() {
        feed.acknowledge();
        count += usize::from(matches!(event, Event::Change(_)));
    }
    assert_eq!(count, 20);
}
