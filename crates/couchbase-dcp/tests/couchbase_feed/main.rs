//! The feed of a collection, on the double of a cluster or on the cluster that `TIDELOCK_TEST_COUCHBASE` names: what holds on any of them.
//! What a cluster does on command only, and what takes a bucket for itself alone, is in the target `feed`.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod documents;
mod ground;
mod scopes;

use std::collections::BTreeMap;
use std::time::Duration;

use ground::{Ground, PATIENCE};
use tidelock_couchbase_dcp::{Change, ChangeKind, Checkpoint, Config, Deliver, EndReason, Event, Feed};
use tokio::time::timeout;

const DOCUMENTS: usize = 200;

/// Documents of a kilobyte.
fn body(n: usize) -> String {
    format!(r#"{{"n":{n},"text":"{}"}}"#, "x".repeat(1000))
}

async fn open(config: Config) -> Feed {
    Feed::open(config, &Checkpoint::default()).await.unwrap()
}

/// The next event, which is dealt with at once; nothing at the end.
async fn next(feed: &mut Feed) -> Option<Event> {
    let event = timeout(PATIENCE, feed.next()).await.expect("an event in time").unwrap();
    feed.acknowledge();
    assert!(!matches!(event, Some(Event::Rollback { .. })), "nothing was lost: {event:?}");
    event
}

/// Takes changes until `is_last` says so; they have to grow within each vbucket.
async fn changes(feed: &mut Feed, mut is_last: impl FnMut(&Event) -> bool) -> Vec<Change> {
    let mut found: Vec<Change> = Vec::new();
    let mut seqnos = BTreeMap::new();
    loop {
        let event = next(feed).await.expect("the feed goes on");
        let is_end = is_last(&event);
        if let Event::Change(change) = event {
            let before = seqnos.insert(change.vbucket, change.seqno);
            assert!(before.is_none_or(|before| before < change.seqno), "{change:?} comes after {before:?}");
            found.push(change);
        }
        if is_end {
            return found;
        }
    }
}

fn keys(changes: &[Change]) -> Vec<String> {
    let mut keys: Vec<String> = changes.iter().map(|one| String::from_utf8(one.key.to_vec()).unwrap()).collect();
    keys.sort();
    keys
}

/// Waits for so many changes.
fn count(wanted: usize) -> impl FnMut(&Event) -> bool {
    let mut found = 0;
    move |event| {
        found += usize::from(matches!(event, Event::Change(_)));
        found == wanted
    }
}

#[tokio::test]
async fn everything_is_told_through_a_small_buffer_then_what_happens() {
    let ground = Ground::new("told").await;
    ground.collection("other").await;
    ground.fill("docs", DOCUMENTS, body).await;
    ground.set("other", "hidden", "{}").await;
    for compression in [false, true] {
        let mut config = ground.config(&["docs"]);
        config.buffer_bytes = 16 << 10;
        config.compression = compression;
        let mut feed = open(config).await;
        let mut found = changes(&mut feed, |event| *event == Event::CaughtUp).await;
        // Of the first round a tombstone is left.
        found.retain(|change| !change.kind.is_removal());
        assert_eq!(keys(&found), ground::keys(DOCUMENTS));
        let id = feed.collection_ids()[0];
        for change in &found {
            let n: usize = std::str::from_utf8(&change.key).unwrap().strip_prefix('k').unwrap().parse().unwrap();
            assert_eq!((&change.body[..], change.is_json, change.collection), (body(n).as_bytes(), true, id));
        }
        ground.set("docs", "live", r#"{"a":1}"#).await;
        ground.set("other", "hidden", "{}").await;
        ground.remove("docs", "live").await;
        let removed = |event: &Event| matches!(event, Event::Change(change) if change.kind.is_removal());
        let found = changes(&mut feed, removed).await;
        let last = found.last().unwrap();
        assert_eq!((&last.key[..], last.body.is_empty()), (&b"live"[..], true));
        assert!(matches!(last.kind, ChangeKind::Deletion { .. }));
        assert!(found.iter().all(|change| change.key == "live"), "{:?}", keys(&found));
    }
}

#[tokio::test]
async fn a_feed_goes_on_from_its_checkpoint() {
    let ground = Ground::new("checkpoint").await;
    ground.fill("docs", DOCUMENTS, body).await;
    let mut feed = open(ground.config(&["docs"])).await;
    changes(&mut feed, |event| *event == Event::CaughtUp).await;
    // Also within a snapshot.
    let mut part = open(ground.config(&["docs"])).await;
    changes(&mut part, count(DOCUMENTS / 2)).await;
    let stored = |feed: &Feed| serde_json::from_str(&serde_json::to_string(&feed.checkpoint()).unwrap()).unwrap();
    let (whole, half): (Checkpoint, Checkpoint) = (stored(&feed), stored(&part));
    drop((feed, part));
    ground.set("docs", "k7", "{}").await;
    ground.remove("docs", "k8").await;
    ground.set("docs", "new", "{}").await;
    let mut feed = Feed::open(ground.config(&["docs"]), &whole).await.unwrap();
    let found = changes(&mut feed, count(3)).await;
    assert_eq!(keys(&found), ["k7", "k8", "new"]);
    let mut feed = Feed::open(ground.config(&["docs"]), &half).await.unwrap();
    let found = changes(&mut feed, |event| *event == Event::CaughtUp).await;
    let at_least = DOCUMENTS / 2 + 1;
    // Of both halves those three documents may have been in the first.
    assert!((at_least - 2..=at_least + 2).contains(&found.len()), "{} changes", found.len());
}

#[tokio::test]
async fn a_feed_that_waits_for_the_disks_of_all_copies_comes_to_its_end() {
    let ground = Ground::new("persisted").await;
    ground.fill("docs", DOCUMENTS, body).await;
    for deliver in [Deliver::Replicated, Deliver::Persisted] {
        let mut config = ground.config(&["docs"]);
        config.deliver = deliver(Duration::from_millis(20));
        config.to_latest = true;
        let mut feed = open(config).await;
        let mut found = 0;
        while let Some(event) = next(&mut feed).await {
            found += usize::from(matches!(event, Event::Change(_)));
        }
        assert_eq!(found, DOCUMENTS);
    }
}

#[tokio::test]
async fn a_backfill_in_any_order_is_complete_and_a_place_to_go_on_from() {
    let ground = Ground::new("order").await;
    ground.fill("docs", DOCUMENTS, body).await;
    let mut config = ground.config(&["docs"]);
    config.out_of_order = true;
    let mut feed = open(config.clone()).await;
    let mut found = Vec::new();
    while found.len() < DOCUMENTS {
        if let Some(Event::Change(change)) = next(&mut feed).await {
            found.push(change);
        }
    }
    assert_eq!(keys(&found), ground::keys(DOCUMENTS));
    // Out-of-order snapshots end after their last document.
    while !feed.checkpoint().positions.values().all(tidelock_couchbase_dcp::Position::is_consistent)
        || found.iter().any(|change| feed.position(change.vbucket).unwrap().seqno() < change.seqno)
    {
        next(&mut feed).await;
    }
    ground.set("docs", "new", "{}").await;
    let mut feed = Feed::open(config, &feed.checkpoint()).await.unwrap();
    assert_eq!(keys(&changes(&mut feed, count(1)).await), ["new"]);
}

#[tokio::test]
async fn the_feed_of_a_collection_ends_with_it() {
    let ground = Ground::new("dropped").await;
    ground.set("docs", "k", "{}").await;
    let mut feed = open(ground.config(&["docs"])).await;
    changes(&mut feed, |event| *event == Event::CaughtUp).await;
    ground.drop_collection("docs").await;
    let mut ended = 0;
    while let Some(event) = next(&mut feed).await {
        ended += usize::from(matches!(event, Event::Ended { reason: EndReason::FilterEmpty, .. }));
    }
    assert_eq!(ended, feed.vbuckets());
}
