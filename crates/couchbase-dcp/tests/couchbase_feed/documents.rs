//! What a feed tells of a document.

use tidelock_couchbase_dcp::{Change, ChangeKind, Checkpoint, Event, Feed, Start};

use crate::ground::Ground;
use crate::{changes, keys, open};

/// The next change of a document.
async fn change(feed: &mut Feed, key: &str) -> Change {
    let is_of = |event: &Event| matches!(event, Event::Change(change) if change.key == key.as_bytes());
    changes(feed, is_of).await.pop().unwrap()
}

#[tokio::test]
async fn deletions_and_expirations_are_told_apart() {
    let ground = Ground::new("removed").await;
    let mut feed = open(ground.config(&["docs"])).await;
    changes(&mut feed, |event| *event == Event::CaughtUp).await;
    ground.set("docs", "deleted", "{}").await;
    assert!(matches!(change(&mut feed, "deleted").await.kind, ChangeKind::Mutation { expiry_s: 0, .. }));
    ground.remove("docs", "deleted").await;
    let removed = change(&mut feed, "deleted").await;
    assert!(matches!(removed.kind, ChangeKind::Deletion { .. }) && removed.kind.is_removal(), "{removed:?}");
    ground.set_brief("docs", "expired").await;
    let written = change(&mut feed, "expired").await;
    assert!(matches!(written.kind, ChangeKind::Mutation { expiry_s, .. } if expiry_s > 0), "{written:?}");
    ground.gone("docs", "expired").await;
    let removed = change(&mut feed, "expired").await;
    assert!(matches!(removed.kind, ChangeKind::Expiration { .. }) && removed.kind.is_removal(), "{removed:?}");
    assert!(removed.body.is_empty());
    // Whoever comes later is told of both, and nothing of what was before.
    let mut later = open(ground.config(&["docs"])).await;
    let found = changes(&mut later, |event| *event == Event::CaughtUp).await;
    assert_eq!(keys(&found), ["deleted", "expired"]);
    assert!(found.iter().all(|change| change.kind.is_removal()), "{found:?}");
}

#[tokio::test]
async fn attributes_come_with_documents_and_stay_in_tombstones() {
    let ground = Ground::new("xattrs").await;
    ground.set_with_xattr("kept", ("_tl", r#"{"v":1}"#), Some(r#"{"a":1}"#)).await;
    ground.set_with_xattr("gone", ("_tl", "1"), Some("{}")).await;
    ground.set_with_xattr("gone", ("_tl", r#"{"v":2}"#), None).await;
    for compression in [false, true] {
        let mut config = ground.config(&["docs"]);
        config.compression = compression;
        let found = changes(&mut open(config).await, |event| *event == Event::CaughtUp).await;
        let of = |key: &str| found.iter().rfind(|change| change.key == key.as_bytes()).unwrap();
        let (kept, gone) = (of("kept"), of("gone"));
        assert_eq!((kept.xattrs.get("_tl"), &kept.body[..]), (Some(&br#"{"v":1}"#[..]), &br#"{"a":1}"#[..]));
        assert!(gone.kind.is_removal() && gone.body.is_empty(), "{gone:?}");
        assert_eq!((gone.xattrs.get("_tl"), gone.xattrs.iter().count()), (Some(&br#"{"v":2}"#[..]), 1));
    }
    let mut config = ground.config(&["docs"]);
    config.without_bodies = true;
    let kept = change(&mut open(config).await, "kept").await;
    assert!(kept.body.is_empty() && kept.xattrs.get("_tl").is_some(), "{kept:?}");
}

#[tokio::test]
async fn a_feed_may_begin_with_what_comes() {
    let ground = Ground::new("now").await;
    ground.fill("docs", 50, |_| "{}".to_owned()).await;
    let mut config = ground.config(&["docs"]);
    config.start = Start::Now;
    let mut feed = open(config).await;
    assert_eq!(keys(&changes(&mut feed, |event| *event == Event::CaughtUp).await), [] as [&str; 0]);
    ground.set("docs", "new", "{}").await;
    let is_change = |event: &Event| matches!(event, Event::Change(_));
    assert_eq!(keys(&changes(&mut feed, is_change).await), ["new"]);
    // And the place is one to go on from.
    ground.set("docs", "later", "{}").await;
    let mut again = Feed::open(ground.config(&["docs"]), &feed.checkpoint()).await.unwrap();
    assert_eq!(keys(&changes(&mut again, |event| *event == Event::CaughtUp).await), ["later"]);
}

#[tokio::test]
async fn every_place_inside_a_snapshot_is_one_to_go_on_from() {
    const DOCUMENTS: usize = 12;
    let ground = Ground::new("places").await;
    let all = ground.keys_of_one_vbucket(DOCUMENTS);
    for key in &all {
        ground.set("docs", key, "{}").await;
    }
    let mut feed = open(ground.config(&["docs"])).await;
    let (mut places, mut are_inside) = (Vec::new(), 0);
    for key in &all {
        // One vbucket's changes come in order.
        let found = change(&mut feed, key).await;
        let position = feed.position(found.vbucket).unwrap();
        assert_eq!(position.seqno(), found.seqno);
        are_inside += usize::from(!position.is_consistent());
        let stored: Checkpoint = serde_json::from_str(&serde_json::to_string(&feed.checkpoint()).unwrap()).unwrap();
        places.push(stored);
    }
    assert!(are_inside > 0, "no place was inside a snapshot");
    for (at, place) in places.iter().enumerate() {
        let mut feed = Feed::open(ground.config(&["docs"]), place).await.unwrap();
        let found = changes(&mut feed, |event| *event == Event::CaughtUp).await;
        let found: Vec<String> = found.iter().map(|one| String::from_utf8(one.key.to_vec()).unwrap()).collect();
        assert_eq!(found, all[at + 1..], "from place {at}");
    }
}
