//! A store whose reads hold a document while they go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidelock_core::ids::{DocumentId, SubscriptionId};
use tidelock_core::wire::{ClientFrame, Difference, Packed, ServerFrame, Subscribe, encode};
use tidelock_store::{BoxFuture, MemoryStore, ReadSet, Store, StoreError};
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
