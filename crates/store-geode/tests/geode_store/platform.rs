//! The platform by itself.

use std::time::Duration;

use tidelock_core::ids::DocumentId;
use tidelock_geode_client::{Client, Key, TypeMode, pdx};
use tidelock_store::platform::{Feed, FeedEvent, Platform as _, PutContent, PutOutcome, system};
use tidelock_store_geode::GeodePlatform;
use tokio::time::timeout;

use crate::support::{content, doc, done, get, options, platform, put, text};

fn collections() -> Vec<String> {
    system::ALL.iter().map(ToString::to_string).chain(["docs".to_owned(), "people".to_owned()]).collect()
}

#[tokio::test]
async fn a_cluster_that_is_ready_has_nothing_to_complain_of() {
    let platform = platform("check").await;
    assert_eq!(platform.check(&collections()).await.unwrap(), []);
    let findings = platform.check(&["nowhere".to_owned()]).await.unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].fatal && findings[0].what.contains("/nowhere_tl"), "{findings:?}");
    assert!(findings[0].remedy.contains("create region --name=nowhere_tl"), "{findings:?}");
    assert!(findings[0].remedy.contains("--colocated-with=/nowhere"), "{findings:?}");
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_named() {
    let mut options = options("nowhere");
    options.connection.locators = vec!["127.0.0.1[1]".parse().unwrap()];
    let error = GeodePlatform::connect(options).await.unwrap_err().to_string();
    let expected = "no server can be reached: no locator answers: 127.0.0.1[1]: Connection refused";
    assert!(error.contains(expected) && error.contains("`addresses` has to name locators"), "{error}");
}

#[tokio::test]
async fn stable_types_are_one_for_numbers_of_any_width() {
    let mut options = options("stable");
    options.connection.type_mode = TypeMode::Stable;
    let platform = GeodePlatform::connect(options.clone()).await.unwrap();
    let reader = Client::connect(options.connection).await.unwrap();
    let mut types = Vec::new();
    for (key, text) in [("stable-1", r#"{"stable":1,"x":0.5}"#), ("stable-2", r#"{"stable":70000,"x":3000000000}"#)] {
        let id = doc(key);
        let token = get(&platform, &id).await.token;
        done(&platform, put(&id, &token, content(text), Some(b"m"))).await;
        assert_eq!(crate::support::text(&get(&platform, &id).await).as_deref(), Some(text));
        let stored = reader.region("docs").get(&Key::from(key)).await.unwrap();
        types.push(pdx::type_id_of(stored.value().unwrap().as_bytes()).unwrap());
    }
    assert_eq!(types[0], types[1]);
}

#[tokio::test]
async fn content_and_meta_change_together_under_their_token() {
    let platform = platform("put").await;
    let id = doc("put-1");
    let absent = get(&platform, &id).await;
    assert_eq!((absent.content.as_ref(), absent.meta.as_ref()), (None, None));
    let first = done(&platform, put(&id, &absent.token, content(r#"{"a":1}"#), Some(b"m1"))).await;
    let entry = get(&platform, &id).await;
    assert_eq!((text(&entry).as_deref(), entry.meta.as_deref()), (Some(r#"{"a":1}"#), Some(&b"m1"[..])));
    assert_eq!(entry.token, first);
    let stale = put(&id, &absent.token, content(r#"{"a":2}"#), Some(b"m2"));
    assert_eq!(platform.put_if(&[stale]).await.unwrap(), PutOutcome::Mismatch);
    let second = done(&platform, put(&id, &first, PutContent::Keep, Some(b"m3"))).await;
    let entry = get(&platform, &id).await;
    assert_eq!((text(&entry).as_deref(), entry.meta.as_deref()), (Some(r#"{"a":1}"#), Some(&b"m3"[..])));
    let third = done(&platform, put(&id, &second, PutContent::Delete, Some(b"gone"))).await;
    let entry = get(&platform, &id).await;
    assert_eq!((entry.content.as_ref(), entry.meta.as_deref()), (None, Some(&b"gone"[..])));
    let last = done(&platform, put(&id, &third, PutContent::Keep, None)).await;
    assert_eq!(last, absent.token, "nothing is left");
}

#[tokio::test]
async fn records_are_bytes_without_a_meta() {
    let platform = platform("records").await;
    let id = tidelock_core::ids::DocumentId::new(system::CLIENTS, "records-1");
    let token = get(&platform, &id).await.token;
    done(&platform, put(&id, &token, content(r#"{"finished":3}"#), None)).await;
    assert_eq!(text(&get(&platform, &id).await).as_deref(), Some(r#"{"finished":3}"#));
}

async fn next(feed: &mut Box<dyn Feed>) -> FeedEvent {
    timeout(Duration::from_secs(60), feed.next()).await.expect("no event within a minute").expect("the feed goes on")
}

/// The keys that the feed names until the position after them.
async fn told(feed: &mut Box<dyn Feed>, count: usize) -> (Vec<String>, FeedEvent) {
    let mut keys = Vec::new();
    loop {
        match next(feed).await {
            FeedEvent::Changed(id, _) => keys.push(id.key),
            position @ FeedEvent::Position(_) if keys.len() >= count => return (keys, position),
            FeedEvent::Position(_) | FeedEvent::CaughtUp => {}
            other @ (FeedEvent::Lost(_) | FeedEvent::RolledBack(_)) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_feed_goes_on_where_it_was_acknowledged() {
    let platform = platform("feed-1").await;
    let names = vec!["docs".to_owned()];
    let mut feed = platform.feed(&names, None).await.unwrap();
    // The first is the feed's own, the second is the queue's: it did not exist.
    assert_eq!(next(&mut feed).await, FeedEvent::Lost(None));
    assert_eq!(next(&mut feed).await, FeedEvent::Lost(None));
    assert_eq!(next(&mut feed).await, FeedEvent::CaughtUp);
    for number in 0..3 {
        let id = doc(&format!("feed-{number}"));
        let token = get(&platform, &id).await.token;
        done(&platform, put(&id, &token, content("{}"), Some(b"m"))).await;
    }
    let (keys, position) = told(&mut feed, 3).await;
    assert_eq!(keys, ["feed-0", "feed-1", "feed-2"]);
    let FeedEvent::Position(position) = position else { unreachable!() };
    feed.acknowledge(&position).await.unwrap();
    let id = doc("feed-0");
    let token = get(&platform, &id).await.token;
    done(&platform, put(&id, &token, PutContent::Delete, Some(b"m2"))).await;
    assert_eq!(told(&mut feed, 1).await.0, ["feed-0"]);
    drop(feed);
    // It was told and not acknowledged.
    let mut feed = loop {
        match platform.feed(&names, Some(&position)).await {
            Ok(feed) => break feed,
            Err(error) => assert!(error.to_string().contains("durable id"), "{error}"),
        }
    };
    assert_eq!(told(&mut feed, 1).await.0, ["feed-0"]);
}

#[tokio::test]
async fn a_scan_sees_every_entry_and_those_that_are_metas_alone() {
    let platform = platform("scan").await;
    let (there, gone) = (doc("scan-there"), doc("scan-gone"));
    for id in [&there, &gone] {
        let token = get(&platform, id).await.token;
        done(&platform, put(id, &token, content(r#"{"x":[1,"é",null]}"#), Some(b"meta"))).await;
    }
    let token = get(&platform, &gone).await.token;
    done(&platform, put(&gone, &token, PutContent::Delete, Some(b"tombstone"))).await;
    let mut scan = platform.scan("docs").await.unwrap();
    let mut found = std::collections::BTreeMap::new();
    loop {
        let entries = scan.next().await.unwrap();
        if entries.is_empty() {
            break;
        }
        found.extend(entries);
    }
    assert_eq!(text(&found["scan-there"]).as_deref(), Some(r#"{"x":[1,"é",null]}"#));
    assert_eq!((text(&found["scan-gone"]), found["scan-gone"].meta.as_deref()), (None, Some(&b"tombstone"[..])));
}

#[tokio::test]
async fn several_documents_are_written_in_one_step_where_their_primaries_are_together() {
    let platform = platform("together").await;
    let ids: Vec<_> = (0..40).map(|number| doc(&format!("together-{number}"))).collect();
    let mut tokens = Vec::new();
    for id in &ids {
        tokens.push(get(&platform, id).await.token);
    }
    let (mut one, mut other) = (vec![0], None);
    for at in 1..ids.len() {
        if platform.together(&[&ids[0], &ids[at]]) { one.push(at) } else { other = Some(at) }
    }
    assert!(one.len() > 2, "{one:?}");
    let puts: Vec<_> = one.iter().map(|at| put(&ids[*at], &tokens[*at], content("{}"), Some(b"m"))).collect();
    assert!(matches!(platform.put_if(&puts).await.unwrap(), PutOutcome::Done(written) if written.len() == puts.len()));
    // One stale token, and nothing is written.
    let token = get(&platform, &ids[one[0]]).await.token;
    let puts = [
        put(&ids[one[0]], &token, content(r#"{"n":2}"#), Some(b"m")),
        put(&ids[one[1]], &tokens[one[1]], content(r#"{"n":2}"#), Some(b"m")),
    ];
    assert_eq!(platform.put_if(&puts).await.unwrap(), PutOutcome::Mismatch);
    assert_eq!(text(&get(&platform, &ids[one[0]]).await).as_deref(), Some("{}"));
    let at = other.expect("40 keys have their primaries on two servers");
    let puts = [
        put(&ids[one[0]], &token, content(r#"{"n":3}"#), Some(b"m")),
        put(&ids[at], &tokens[at], content(r#"{"n":3}"#), Some(b"m")),
    ];
    assert_eq!(platform.put_if(&puts).await.unwrap(), PutOutcome::NotTogether);
    assert_eq!(text(&get(&platform, &ids[one[0]]).await).as_deref(), Some("{}"));
}

#[tokio::test]
async fn documents_that_a_resolver_routes_are_written_with_their_meta() {
    let platform = platform("routed").await;
    let collections = ["routed".to_owned()];
    assert_eq!(
        platform.check(&collections).await.unwrap().iter().find(|finding| finding.what.contains("routed")),
        None
    );
    // Some would be apart from their metas, were those not routed by the same resolver.
    for at in 0..20 {
        let id = DocumentId::new("routed", format!("customer-{at}|order-1"));
        let token = get(&platform, &id).await.token;
        let token = done(&platform, put(&id, &token, content(r#"{"a":1}"#), Some(b"m"))).await;
        done(&platform, put(&id, &token, PutContent::Delete, None)).await;
    }
}

#[tokio::test]
async fn a_collection_may_be_a_region_within_another_one() {
    let mut options = options("leaves");
    options.regions.insert("leaves".to_owned(), "/tree/leaf".to_owned());
    options.regions.insert("others".to_owned(), "/tree/other".to_owned());
    let platform = GeodePlatform::connect(options.clone()).await.unwrap();
    let mut collections = collections();
    collections.push("leaves".to_owned());
    assert_eq!(platform.check(&collections).await.unwrap(), []);
    let findings = platform.check(&["others".to_owned()]).await.unwrap();
    let [finding] = findings.as_slice() else { panic!("{findings:?}") };
    assert!(finding.what.contains("/tree/other, /tree/other_tl"), "{finding:?}");
    let command = "create region --name=/tree/other_tl --type=PARTITION_PERSISTENT --redundant-copies=1 --colocated-with=/tree/other";
    assert!(finding.remedy.contains(command), "{finding:?}");
    options.regions.insert("leaves".to_owned(), "/tree//leaf".to_owned());
    let error = GeodePlatform::connect(options).await.unwrap_err().to_string();
    assert!(error.contains("a region cannot be called \"/tree//leaf\""), "{error}");
}
