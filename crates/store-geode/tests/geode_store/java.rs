//! What a Java application does to our documents, and sees of them.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::time::Duration;

use tidelock_core::ids::DocumentId;
use tidelock_store::platform::{Feed, FeedEvent, Platform as _, PutOutcome};
use tidelock_store_geode::GeodePlatform;

use crate::support::{content, doc, done, get, java, options, platform, put, text};

#[tokio::test]
async fn a_foreign_write_keeps_the_meta_and_takes_the_token() {
    let platform = platform("foreign").await;
    let id = doc("foreign-1");
    let token = get(&platform, &id).await.token;
    let token = done(&platform, put(&id, &token, content(r#"{"n":1}"#), Some(b"meta"))).await;
    java(&["put-json", "docs", "foreign-1", r#"{"n":2,"by":"java"}"#]);
    let lost = put(&id, &token, content(r#"{"n":3}"#), Some(b"meta"));
    assert_eq!(platform.put_if(&[lost]).await.unwrap(), PutOutcome::Mismatch);
    let entry = get(&platform, &id).await;
    assert_eq!(text(&entry).as_deref(), Some(r#"{"n":2,"by":"java"}"#));
    assert_eq!(entry.meta.as_deref(), Some(&b"meta"[..]));
    // There and back: the token says that something was in between only if the bytes do.
    java(&["put-json", "docs", "foreign-1", r#"{"n":1}"#]);
    assert_eq!(get(&platform, &id).await.token, token);
}

#[tokio::test]
async fn foreign_objects_are_documents_or_are_named() {
    let platform = platform("objects").await;
    java(&["put-person", "people", "ada"]);
    java(&["put-opaque", "people", "opaque"]);
    let ada = get(&platform, &DocumentId::new("people", "ada")).await;
    assert!(text(&ada).unwrap().contains(r#""name":"Ada €""#), "{ada:?}");
    let opaque = get(&platform, &DocumentId::new("people", "opaque")).await;
    assert_eq!(opaque.content, None);
    assert!(opaque.unreadable.as_deref().unwrap().contains("java.lang.StringBuilder"), "{opaque:?}");
    let mut scan = platform.scan("people").await.unwrap();
    let entries = scan.next().await.unwrap();
    assert!(entries.iter().any(|(key, entry)| key == "opaque" && entry.unreadable.is_some()));
}

/// Keys that are no strings: how Java makes them, and their text.
const KEYS: [(&str, &str); 4] =
    [("integer", "5"), ("enum", "GREEN"), ("serializable", "s"), ("data-serializable", "d")];

async fn scanned(platform: &GeodePlatform, collection: &str) -> Vec<String> {
    let mut scan = platform.scan(collection).await.unwrap();
    let mut keys = Vec::new();
    loop {
        let entries = scan.next().await.unwrap();
        if entries.is_empty() {
            return keys;
        }
        keys.extend(entries.into_iter().map(|(key, _)| key));
    }
}

/// The next change that a feed tells.
async fn changed(feed: &mut Box<dyn Feed>) -> DocumentId {
    let change = async {
        loop {
            if let FeedEvent::Changed(id, _) = feed.next().await.unwrap() {
                return id;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), change).await.unwrap()
}

#[tokio::test]
async fn keys_that_are_no_strings_stop_neither_scans_nor_feeds() {
    for (collection, region) in [("suite5", "suite5"), ("copies", "copies"), ("leaves", "/tree/leaf")] {
        // Of each run its own, as a queue keeps what nobody acknowledged; and of each feed, as a server may not know yet that the one before
        // has ended.
        let mut options = options(&format!("keys-{collection}-{}", std::process::id()));
        options.regions.insert("leaves".to_owned(), "/tree/leaf".to_owned());
        let platform = GeodePlatform::connect(options).await.unwrap();
        java(&["empty", region, &format!("{region}_tl")]);
        let mut feed = platform.feed(&[collection.to_owned()], None).await.unwrap();
        let mut written = Vec::new();
        for (kind, key) in KEYS {
            java(&["put-key", region, kind, key, r#"{"never":true}"#]);
            java(&["put-json", region, kind, r#"{"a":1}"#]);
            written.push(kind.to_owned());
            written.sort();
            let id = DocumentId::new(collection, kind);
            assert_eq!(changed(&mut feed).await, id, "after a key of kind {kind}");
            assert_eq!(scanned(&platform, collection).await, written, "beside a key of kind {kind}");
            let token = get(&platform, &id).await.token;
            done(&platform, put(&id, &token, content(r#"{"a":2}"#), Some(b"m"))).await;
            assert_eq!(changed(&mut feed).await, id);
        }
        for (kind, key) in KEYS {
            java(&["destroy-key", region, kind, key]);
        }
        java(&["put-json", region, "last", "{}"]);
        assert_eq!(changed(&mut feed).await, DocumentId::new(collection, "last"));
    }
}
