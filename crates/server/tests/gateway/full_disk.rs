//! A server whose disk is full, and has room again.

use std::path::PathBuf;
use std::sync::Arc;

use tidelock_core::ids::Offset;
use tidelock_core::wire::{ClientFrame, ErrorCode, Outcome, ServerFrame};
use tidelock_store::{Changelog, EmbeddedOptions, EmbeddedStore};

use super::harness::{CONFIG, Client, TestServer, hello, items, put};

/// A directory that goes away with the test.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // A directory that stays does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The replica connects, again or for the first time, and stands after the mutations that the server finished.
async fn connect(server: &TestServer) -> Client {
    let mut client = server.connect().await;
    client.send(&ClientFrame::Hello(hello(&server.token("ann", &[]), 9_000))).await;
    client.sequence = client.welcome().await.finished.0;
    client
}

#[tokio::test]
async fn a_write_that_found_no_room_is_taken_when_there_is_some() {
    let scratch = Scratch(std::env::temp_dir().join(format!("tidelock-full-disk-{}", std::process::id())));
    std::fs::create_dir_all(&scratch.0).unwrap();
    let store = Arc::new(EmbeddedStore::open(&scratch.0.join("data.db"), EmbeddedOptions::default()).unwrap());
    let server = TestServer::start_over(CONFIG, Arc::clone(&store), |_| {}).await;
    let mut bob = server.session("bob", &[]).await;
    assert!(bob.catch_up(&["notes"]).await.is_empty());
    let mut ann = connect(&server).await;
    ann.commit(vec![put("notes", "a", "1")]).await;
    assert_eq!(items(&bob.changes().await.changes), ["a=1"]);

    store.limit_size(Some(0)).await.unwrap();
    let large = format!("\"{}\"", "x".repeat(100_000));
    let write = || vec![put("notes", "b", &large), put("notes", "c", "1")];
    for _ in 0..2 {
        ann.push(write()).await;
        match ann.frame().await {
            ServerFrame::Error(error) => {
                assert_eq!((error.code, error.retryable), (ErrorCode::StorageFull, true));
                assert!(error.retry_after_ms.is_some_and(|wait| wait > 0), "a client does not try at once");
            }
            other => panic!("expected an error, found {other:?}"),
        }
        ann = connect(&server).await;
        assert_eq!(ann.sequence, 1, "the server knows nothing of the write: the client keeps it");
    }
    assert_eq!(
        server.session("eve", &[]).await.catch_up(&["notes"]).await,
        ["a=1"],
        "nothing of it is seen; reads work"
    );
    let token = server.token("eve", &[]);
    let (status, ..) = server.rest("PUT", "notes/d", &token, &[("if-none-match", "*")], &large).await;
    assert_eq!(status, 507);

    store.limit_size(None).await.unwrap();
    let taken = ann.commit(write()).await;
    assert_eq!((taken.sequence.0, taken.outcome, taken.offset), (2, Outcome::Accepted, Offset(2)));
    // The answer may have been lost: the same write again is not another one.
    ann = connect(&server).await;
    assert_eq!(ann.sequence, 2);
    ann.sequence = 1;
    assert_eq!(ann.commit(write()).await.outcome, Outcome::Accepted);
    assert_eq!(store.head(), Offset(2));
    assert_eq!(items(&bob.changes().await.changes), [format!("b={large}"), "c=1".into()]);
    ann.commit(vec![put("notes", "d", "1")]).await;
    assert_eq!(items(&bob.changes().await.changes), ["d=1"], "nothing came twice");
    server.stop().await;
}
