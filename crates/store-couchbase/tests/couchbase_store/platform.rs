//! The platform by itself.

use std::time::Duration;

use tidelock_store::platform::{FeedEvent, Platform as _, PutContent, PutOutcome, system};

use crate::support::{Ground, caught_up, collections, content, doc, done, get, is_change, put, text, until};

#[tokio::test]
async fn a_document_is_plain_json_for_everybody_else() {
    const TEXT: &str = r#"{"text":"naïve","n":9007199254740993}"#;
    let ground = Ground::new("plain").await;
    let (platform, others) = (ground.platform().await, ground.others().await);
    let id = doc("card");
    done(&platform, &id, content(TEXT), Some(b"meta")).await;
    assert_eq!(others.get(&id).await, TEXT.as_bytes(), "the body is what was put, to the byte");
    others.set(&id, br#"{"n":2}"#).await;
    let entry = get(&platform, &id).await;
    assert_eq!((text(&entry).as_deref(), entry.meta.as_deref()), (Some(r#"{"n":2}"#), Some(&b"meta"[..])));
    // Over a tombstone, a plain write begins without attributes.
    done(&platform, &id, PutContent::Delete, Some(b"gone")).await;
    others.set(&id, b"{}").await;
    assert_eq!(get(&platform, &id).await.meta, None);
}

#[tokio::test]
async fn records_have_no_meta() {
    let ground = Ground::new("records").await;
    let platform = ground.platform().await;
    let id = tidelock_core::ids::DocumentId::new(system::CLIENTS, "records-1");
    for round in 0..3 {
        let record = format!(r#"{{"finished":{round}}}"#);
        done(&platform, &id, content(&record), None).await;
        assert_eq!(text(&get(&platform, &id).await), Some(record));
        done(&platform, &id, PutContent::Delete, None).await;
        assert_eq!(get(&platform, &id).await.content, None);
    }
}

#[tokio::test]
async fn an_expiry_is_kept_and_told() {
    let ground = Ground::new("expiry").await;
    let (platform, others) = (ground.platform().await, ground.others().await);
    let mut feed = platform.feed(&collections(), None).await.unwrap();
    caught_up(&mut feed).await;
    let id = doc("session");
    others.set_expiring(&id, br#"{"n":1}"#, 2).await;
    // Neither a mark nor an edit takes the expiry away.
    done(&platform, &id, PutContent::Keep, Some(b"mark")).await;
    done(&platform, &id, content(r#"{"n":2}"#), Some(b"meta")).await;
    let is_gone = |event: &FeedEvent| matches!(event, FeedEvent::Changed(changed, Some(entry)) if *changed == id && entry.content.is_none());
    until(&mut feed, is_gone).await;
    let entry = get(&platform, &id).await;
    assert_eq!((entry.content.as_deref(), entry.meta.as_deref()), (None, Some(&b"meta"[..])));
}

#[tokio::test]
async fn two_puts_of_one_document_are_one_after_the_other() {
    let ground = Ground::new("several").await;
    let platform = ground.platform().await;
    let (one, other) = (doc("a"), doc("b"));
    let token = get(&platform, &one).await.token;
    let puts = [put(&one, &token, content("1"), None), put(&other, &token, content("1"), None)];
    assert!(!platform.together(&[&one, &other]) && platform.together(&[&one]));
    assert_eq!(platform.put_if(&puts).await.unwrap(), PutOutcome::NotTogether);
    assert_eq!(get(&platform, &one).await.content, None);
}

#[tokio::test]
async fn a_position_is_of_its_bucket_and_of_its_collections() {
    let ground = Ground::new("positions").await;
    let platform = ground.platform().await;
    let docs = vec!["docs".to_owned()];
    let mut feed = platform.feed(&docs, None).await.unwrap();
    let events = caught_up(&mut feed).await;
    let position = events.iter().rev().find_map(|event| match event {
        FeedEvent::Position(position) => Some(position.clone()),
        FeedEvent::Changed(..) | FeedEvent::CaughtUp | FeedEvent::Lost(_) | FeedEvent::RolledBack(_) => None,
    });
    let position = position.expect("a feed that has caught up has a position");
    feed.acknowledge(&position).await.unwrap();
    drop(feed);
    done(&platform, &doc("later"), content("1"), Some(b"m")).await;
    // One that it did not follow before has told nothing yet.
    let both = vec!["docs".to_owned(), "people".to_owned()];
    let mut feed = platform.feed(&both, Some(&position)).await.unwrap();
    let events = caught_up(&mut feed).await;
    assert_eq!(events.first(), Some(&FeedEvent::Lost(Some("people".to_owned()))));
    assert!(events.iter().any(|event| is_change(event, &doc("later"))), "{events:?}");
    drop(feed);
    for other in [vec![], vec![9], position.0[..position.0.len() - 1].to_vec()] {
        let other = tidelock_store::platform::Position(other);
        let mut feed = platform.feed(&docs, Some(&other)).await.unwrap();
        assert_eq!(caught_up(&mut feed).await.first(), Some(&FeedEvent::Lost(None)));
        assert!(feed.acknowledge(&other).await.is_err());
    }
}

#[tokio::test]
async fn an_idle_feed_waits() {
    let ground = Ground::new("idle").await;
    let platform = ground.platform().await;
    let mut feed = platform.feed(&collections(), None).await.unwrap();
    caught_up(&mut feed).await;
    assert!(tokio::time::timeout(Duration::from_millis(400), feed.next()).await.is_err(), "there is nothing to tell");
}
