//! The platform by itself.

use std::time::Duration;

use tidelock_store::platform::{FeedEvent, Platform as _, PlatformError, PutContent, PutOutcome, system};

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
async fn bodies_of_every_form_are_made_and_brought_back_to_the_byte() {
    let ground = Ground::new("forms").await;
    let (platform, others) = (ground.platform().await, ground.others().await);
    let mut feed = platform.feed(&collections(), None).await.unwrap();
    caught_up(&mut feed).await;
    let many: Vec<String> = (0..40).map(|n| format!("\"m{n}\":{n}")).collect();
    let many = format!("{{{}}}", many.join(","));
    let deep = |levels: usize| format!("{}1{}", "{\"d\":[".repeat(levels / 2), "]}".repeat(levels / 2));
    let odd = r#"{"a.b[0]":1,"`":{"x":[1,{"y":null}]},"\"\\":"é","$z":-1.50e3}"#;
    let texts = ["{}", odd, r#"{"":1}"#, r#"{"\u0001":1}"#, "[1,[2]]", "\"text\"", "null", "0", &many, &deep(24)];
    for (n, text_of) in texts.into_iter().enumerate() {
        for meta in [Some(&b"meta"[..]), None] {
            let id = doc(&format!("form-{n}-{}", meta.is_some()));
            for round in ["new", "over a tombstone", "over a document"] {
                done(&platform, &id, content(text_of), meta).await;
                assert_eq!(others.get(&id).await, text_of.as_bytes(), "{text_of}, {round}");
                assert_eq!(get(&platform, &id).await.meta.as_deref(), meta, "{text_of}, {round}");
                if round == "new" {
                    done(&platform, &id, PutContent::Delete, meta).await;
                }
            }
            // Nobody hears of a document that is not there before it is.
            let is_of = |event: &FeedEvent| matches!(event, FeedEvent::Changed(changed, _) if *changed == id);
            let first = until(&mut feed, is_of).await.pop();
            assert!(
                matches!(&first, Some(FeedEvent::Changed(_, Some(entry))) if entry.content.is_some()),
                "{text_of}: {first:?}"
            );
        }
    }
    let id = doc("too deep");
    let token = get(&platform, &id).await.token;
    let refused = platform.put_if(&[put(&id, &token, content(&deep(26)), Some(b"m"))]).await;
    assert!(matches!(&refused, Err(PlatformError::Refused(why)) if why.contains("24 levels")), "{refused:?}");
    done(&platform, &id, content("{}"), Some(b"m")).await;
    done(&platform, &id, content(&deep(90)), Some(b"m")).await;
    assert_eq!(others.get(&id).await, deep(90).as_bytes());
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
