//! Stores that take their time while a client goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidelock_core::ids::{DocumentId, SubscriptionId};
use tidelock_core::wire::{ClientFrame, Difference, Packed, ServerFrame, Subscribe, encode};
use tidelock_store::{BoxFuture, Commit, CommitOutcome, MemoryStore, ReadSet, Store, StoreError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, watch};

use super::harness::{CONFIG, TestServer, items, put};

/// Every document has one lock. The first read holds it until nobody waits for its answer any more.
struct OneLock {
    store: Arc<MemoryStore>,
    lock: Mutex<()>,
    number: AtomicUsize,
    /// Reads that have begun.
    reads: watch::Sender<usize>,
}

impl Store for OneLock {
    tidelock_store::forward_store! { store: capabilities epoch traces commit client outcomes scan conflicts }

    fn read<'a>(&'a self, ids: &'a [DocumentId]) -> BoxFuture<'a, Result<ReadSet, StoreError>> {
        Box::pin(async move {
            let number = self.number.fetch_add(1, Ordering::SeqCst) + 1;
            self.reads.send_replace(number);
            let _held = self.lock.lock().await;
            if number == 1 {
                std::future::pending::<()>().await;
            }
            self.store.read(ids).await
        })
    }
}

/// A client goes while the server reads for it and commits for it: what is read for nobody must not keep the mutation from its
/// documents.
#[tokio::test]
async fn a_read_for_a_client_that_is_gone_holds_nothing_up() {
    let store = Arc::new(MemoryStore::default());
    let (number, reads) = (AtomicUsize::new(0), watch::Sender::new(0));
    let locked = Arc::new(OneLock { store: Arc::clone(&store), lock: Mutex::new(()), number, reads });
    let mut reads = locked.reads.subscribe();
    let server = TestServer::start_between(CONFIG, Arc::clone(&locked) as _, store, |_| {}).await;
    let mut bob = server.session("bob", &[]).await;
    assert!(bob.catch_up(&["notes"]).await.is_empty());
    let mut ann = server.session("ann", &[]).await;
    ann.send(&ClientFrame::Subscribe(Subscribe {
        id: SubscriptionId(1),
        collections: vec!["notes".to_owned()],
        channels: None,
        cursor: None,
        held: Vec::new(),
        have: Vec::new(),
        reconcile: Some((1, 8)),
    }))
    .await;
    assert!(matches!(ann.frame().await, ServerFrame::Symbols(_)));
    // A document that only the client has: the first of all collections that the server offers to it has the number 0.
    let only = Packed(encode(&(0_u32, "a".to_owned())));
    let difference = Difference { subscription: SubscriptionId(1), round: 1, lacks: Vec::new(), only, more: false };
    ann.send(&ClientFrame::Difference(difference)).await;
    reads.wait_for(|begun| *begun == 1).await.unwrap();
    ann.push(vec![put("notes", "a", "1")]).await;
    reads.wait_for(|begun| *begun == 2).await.unwrap();
    drop(ann);
    assert_eq!(items(&bob.changes().await.changes), ["a=1"]);
    server.stop().await;
}

/// Commits are done once they may be.
struct Held {
    store: Arc<MemoryStore>,
    begun: watch::Sender<bool>,
    may_go_on: watch::Receiver<bool>,
}

impl Store for Held {
    tidelock_store::forward_store! { store: capabilities epoch traces read client outcomes scan conflicts }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<CommitOutcome, StoreError>> {
        Box::pin(async move {
            self.begun.send_replace(true);
            let _ = self.may_go_on.clone().wait_for(|may| *may).await;
            self.store.commit(commit).await
        })
    }
}

#[tokio::test]
async fn a_write_over_http_goes_on_when_its_client_is_gone() {
    let store = Arc::new(MemoryStore::default());
    let ((begun, mut begins), (go_on, may_go_on)) = (watch::channel(false), watch::channel(false));
    let held = Arc::new(Held { store: Arc::clone(&store), begun, may_go_on });
    let server = TestServer::start_between(CONFIG, held, store, |_| {}).await;
    let mut bob = server.session("bob", &[]).await;
    assert!(bob.catch_up(&["notes"]).await.is_empty());
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let (path, token) = ("/v1/db/test/notes/a", server.token("ann", &[]));
    let request = format!(
        "PUT {path} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\ncontent-length: 7\r\n\r\n{{\"v\":1}}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    begins.wait_for(|begun| *begun).await.unwrap();
    stream.shutdown().await.unwrap();
    // The server takes it for gone, and ends the connection with what was done for it.
    assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    go_on.send_replace(true);
    assert_eq!(items(&bob.changes().await.changes), ["a={\"v\":1}"]);
    server.stop().await;
}
