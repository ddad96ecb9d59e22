//! What a Java application does to our documents, and sees of them.

use tidelock_core::ids::DocumentId;
use tidelock_store::platform::{Platform as _, PutOutcome};

use crate::support::{content, doc, done, get, java, platform, put, text};

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
