//! Fail-over, flush, purge and dropped collections, by commands of the double.

use std::collections::{BTreeMap, BTreeSet};

use tidelock_couchbase_double::Guardrail;
use tidelock_store::platform::{Feed, FeedEvent, Platform as _, PlatformError, Position, PutOutcome};

use crate::support::{Ground, caught_up, collections, content, doc, done, get, is_change, next, put, text, until};

async fn position(feed: &mut Box<dyn Feed>) -> Position {
    loop {
        if let FeedEvent::Position(position) = next(feed).await {
            return position;
        }
    }
}

fn names(events: &[FeedEvent]) -> Vec<String> {
    let name = |event: &FeedEvent| if let FeedEvent::RolledBack(name) = event { Some(name.clone()) } else { None };
    events.iter().filter_map(name).collect()
}

fn has_lost(events: &[FeedEvent]) -> bool {
    events.iter().any(|event| matches!(event, FeedEvent::Lost(None)))
}

#[tokio::test]
async fn hasty_writes_that_a_fail_over_took_back_are_told_to_every_node_alike() {
    let ground = Ground::new("hasty").await;
    let (one, other, others) = (ground.hasty().await, ground.hasty().await, ground.others().await);
    let mut feeds = Vec::new();
    for platform in [&one, &other] {
        let mut feed = platform.feed(&collections(), None).await.unwrap();
        caught_up(&mut feed).await;
        feeds.push(feed);
    }
    ground.double().hold_replication();
    let ids: Vec<_> = (0..40).map(|n| doc(&format!("k{n}"))).collect();
    for id in &ids {
        done(&one, id, content("1"), Some(b"m")).await;
    }
    for feed in &mut feeds {
        changes(feed, ids.len()).await;
    }
    ground.double().fail_over(0);
    let mut lost = BTreeSet::new();
    for id in &ids {
        lost.extend(others.is_absent(id).await);
    }
    assert!(!lost.is_empty(), "some of 40 keys were active on the node that failed");
    let mut told = Vec::new();
    for feed in &mut feeds {
        let mut names = BTreeMap::new();
        while names.len() < lost.len() {
            if let FeedEvent::RolledBack(name) = next(feed).await {
                let vbucket: u16 = name.split([' ', ':']).nth(1).unwrap().parse().unwrap();
                assert!(names.insert(vbucket, name).is_none(), "{vbucket} is told twice");
            }
        }
        until(feed, |event| matches!(event, FeedEvent::Lost(None))).await;
        told.push(names);
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0].keys().copied().collect::<BTreeSet<_>>(), lost);
}

#[tokio::test]
async fn a_hasty_write_that_the_feed_never_told_is_missed_all_the_same() {
    let ground = Ground::new("untold").await;
    let platform = ground.hasty().await;
    let mut feed = platform.feed(&collections(), None).await.unwrap();
    caught_up(&mut feed).await;
    ground.double().pause_dcp(true);
    ground.double().hold_replication();
    // Keys in many vbuckets, so that some are active on the node that fails.
    for n in 0..40 {
        done(&platform, &doc(&format!("k{n}")), content("1"), Some(b"m")).await;
    }
    ground.double().fail_over(0);
    ground.double().pause_dcp(false);
    let events = until(&mut feed, |event| matches!(event, FeedEvent::Lost(None))).await;
    assert!(!names(&events).is_empty(), "{events:?}");
}

#[tokio::test]
async fn a_bucket_that_takes_no_more_data_is_full() {
    let ground = Ground::new("full").await;
    let platform = ground.platform().await;
    let (id, other) = (doc("a"), doc("b"));
    let token = done(&platform, &id, content("1"), Some(b"m")).await;
    let absent = get(&platform, &other).await.token;
    for (guardrail, part) in [
        (Guardrail::SizeLimit, "more data"),
        (Guardrail::ResidentRatio, "its memory"),
        (Guardrail::DataSize, "more data"),
        (Guardrail::DiskSpace, "a disk"),
    ] {
        ground.double().refuse_data(Some(guardrail));
        for (id, token) in [(&id, &token), (&other, &absent)] {
            let outcome = platform.put_if(&[put(id, token, content("2"), Some(b"m"))]).await;
            assert!(
                matches!(&outcome, Err(PlatformError::Full(why)) if why.contains(part)),
                "{guardrail:?}: {outcome:?}"
            );
        }
        assert_eq!(text(&get(&platform, &id).await).as_deref(), Some("1"), "it is read all the same");
    }
    ground.double().refuse_data(None);
    done(&platform, &id, content("2"), Some(b"m")).await;
}

#[tokio::test]
async fn a_durable_write_is_acknowledged_when_it_survives() {
    let ground = Ground::new("durable").await;
    let platform = ground.platform().await;
    let id = doc("kept");
    let token = done(&platform, &id, content("1"), Some(b"m")).await;
    ground.double().hold_replication();
    let outcome = platform.put_if(&[put(&id, &token, content("2"), Some(b"m"))]).await;
    assert!(matches!(outcome, Err(PlatformError::Unavailable(_))), "{outcome:?}");
    ground.double().fail_over(0);
    assert_eq!(text(&get(&platform, &id).await).as_deref(), Some("1"));
}

#[tokio::test]
async fn what_foreign_writers_lost_is_looked_for_and_no_roll_back() {
    let ground = Ground::new("foreign-lost").await;
    let (platform, others) = (ground.platform().await, ground.others().await);
    let mut feed = platform.feed(&collections(), None).await.unwrap();
    caught_up(&mut feed).await;
    ground.double().hold_replication();
    for n in 0..40 {
        others.set(&doc(&format!("k{n}")), b"1").await;
    }
    changes(&mut feed, 40).await;
    ground.double().fail_over(0);
    let events = until(&mut feed, |event| matches!(event, FeedEvent::Lost(None))).await;
    assert_eq!(names(&events), Vec::<String>::new());
}

/// Reads so many changes.
async fn changes(feed: &mut Box<dyn Feed>, count: usize) {
    let mut seen = 0;
    while seen < count {
        seen += usize::from(matches!(next(feed).await, FeedEvent::Changed(..)));
    }
}

#[tokio::test]
async fn a_flush_is_a_roll_back_of_the_bucket() {
    let ground = Ground::new("flushed").await;
    let (one, other) = (ground.platform().await, ground.platform().await);
    let mut live = one.feed(&collections(), None).await.unwrap();
    caught_up(&mut live).await;
    for n in 0..40 {
        done(&one, &doc(&format!("k{n}")), content("1"), Some(b"m")).await;
    }
    let mut away = other.feed(&collections(), None).await.unwrap();
    caught_up(&mut away).await;
    until(&mut live, |event| is_change(event, &doc("k39"))).await;
    let place = position(&mut live).await;
    drop(away);
    ground.double().flush("default");
    ground.double().cut_dcp();
    let is_told = |event: &FeedEvent| matches!(event, FeedEvent::RolledBack(name) if name.starts_with("bucket: "));
    let mut events = until(&mut live, is_told).await;
    events.extend(until(&mut live, |event| matches!(event, FeedEvent::Lost(None))).await);
    // A node that was away hears the same.
    let mut back = other.feed(&collections(), Some(&place)).await.unwrap();
    let late = until(&mut back, is_told).await;
    assert_eq!(names(&events), names(&late));
    assert_eq!(get(&one, &doc("k1")).await.content, None);
}

#[tokio::test]
async fn a_purge_during_absence_is_no_roll_back_but_a_loss() {
    let ground = Ground::new("purged").await;
    let (platform, others) = (ground.platform().await, ground.others().await);
    let mut feed = platform.feed(&collections(), None).await.unwrap();
    caught_up(&mut feed).await;
    for n in 0..40 {
        done(&platform, &doc(&format!("k{n}")), content("1"), Some(b"m")).await;
    }
    changes(&mut feed, 40).await;
    let place = position(&mut feed).await;
    drop(feed);
    for n in 0..40 {
        others.delete(&doc(&format!("k{n}"))).await;
        // The newest item of a vbucket is never purged.
        others.set(&doc(&format!("l{n}")), b"1").await;
    }
    ground.double().purge();
    let mut feed = platform.feed(&collections(), Some(&place)).await.unwrap();
    let events = caught_up(&mut feed).await;
    assert!(has_lost(&events), "{events:?}");
    assert_eq!(names(&events), Vec::<String>::new());
}

#[tokio::test]
async fn a_collection_that_was_made_again_is_lost_and_followed() {
    let ground = Ground::new("again").await;
    let platform = ground.platform().await;
    let mut feed = platform.feed(&collections(), None).await.unwrap();
    caught_up(&mut feed).await;
    done(&platform, &doc("old"), content("1"), Some(b"m")).await;
    until(&mut feed, |event| is_change(event, &doc("old"))).await;
    let place = position(&mut feed).await;
    ground.double().drop_collection("default", "again", "docs");
    let lost = FeedEvent::Lost(Some("docs".to_owned()));
    until(&mut feed, |event| *event == lost).await;
    let end = feed.next().await.unwrap_err();
    assert!(end.to_string().contains("the collection docs was dropped"), "{end}");
    drop(feed);
    assert!(matches!(platform.feed(&collections(), Some(&place)).await, Err(PlatformError::Refused(_))));
    ground.double().create_collection("default", "again", "docs");
    let mut feed = platform.feed(&collections(), Some(&place)).await.unwrap();
    assert_eq!(next(&mut feed).await, lost);
    assert_eq!(get(&platform, &doc("old")).await.content, None);
    done(&platform, &doc("new"), content("2"), Some(b"m")).await;
    until(&mut feed, |event| is_change(event, &doc("new"))).await;
    let mut scan = platform.scan("docs").await.unwrap();
    let keys: Vec<String> = scan.next().await.unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["new"]);
}

#[tokio::test]
async fn nobody_adds_over_a_tombstone_that_he_has_not_seen() {
    let ground = Ground::new("unseen").await;
    let platform = ground.platform().await;
    let id = doc("a");
    let absent = get(&platform, &id).await.token;
    done(&platform, &id, tidelock_store::platform::PutContent::Keep, Some(b"mark")).await;
    for text in ["1", "{}", r#"{"n":1}"#] {
        let outcome = platform.put_if(&[put(&id, &absent, content(text), Some(b"m"))]).await.unwrap();
        assert_eq!(outcome, PutOutcome::Mismatch, "{text}");
    }
    // A tombstone that was purged is not there any more.
    let mark = get(&platform, &id).await.token;
    done(&platform, &doc("b"), content("1"), None).await;
    for n in 0..40 {
        done(&platform, &doc(&format!("l{n}")), content("1"), None).await;
    }
    ground.double().purge();
    let outcome = platform.put_if(&[put(&id, &mark, content("1"), Some(b"m"))]).await.unwrap();
    assert_eq!(outcome, PutOutcome::Mismatch);
    done(&platform, &id, content("1"), Some(b"m")).await;
}
