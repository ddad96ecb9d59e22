//! The suites of all platforms and of all stores.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidelock_core::ids::{ChangelogId, DocumentId, Epoch};
use tidelock_store::cluster::{ClusterOptions, ClusterStore, Machine};
use tidelock_store::conformance::platform::{self as platforms, Foreign, Subject};
use tidelock_store::conformance::{self, NotedRules, Noting};
use tidelock_store::platform::{Platform as _, system};
use tidelock_store::{BoxFuture, MemoryStore};
use tidelock_store_couchbase::{CouchbasePlatform, Durability};
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, block_in_place};

use crate::support::{Ground, Others, PATIENCE};

impl Foreign for Others {
    fn set<'a>(&'a self, id: &'a DocumentId, json: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(self.set(id, json.as_bytes()))
    }

    fn delete<'a>(&'a self, id: &'a DocumentId) -> BoxFuture<'a, ()> {
        Box::pin(self.delete(id))
    }

    fn spoil<'a>(&'a self, id: &'a DocumentId) -> BoxFuture<'a, ()> {
        Box::pin(self.set(id, b"\x00 no JSON"))
    }

    fn deadline(&self) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(PATIENCE))
    }
}

async fn the_suite_of_platforms(scope: &str, durability: Durability) {
    let mut ground = Ground::new(scope).await;
    ground.options.durability = durability;
    let ground = &ground;
    Box::pin(platforms::run(async |name| {
        let collections = ["docs", "people"].map(str::to_owned);
        let (prefix, foreign) = (format!("{name}-"), Box::new(ground.others().await));
        Subject {
            platform: ground.platform().await,
            collections,
            prefix,
            foreign,
            takes_parts: false,
            tells_of_metas: true,
        }
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_of_platforms_with_durable_writes() {
    the_suite_of_platforms("suite-durable", Durability::Majority).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_of_platforms_with_hasty_writes() {
    the_suite_of_platforms("suite-hasty", Durability::None).await;
}

/// The collections of the suite of stores, and what they are called in Couchbase.
const COLLECTIONS: [(&str, &str); 7] = [
    ("notes", "notes"),
    ("tasks", "tasks"),
    ("Notes", "Notes"),
    ("ñotes", "n-tilde-otes"),
    ("a", "a"),
    ("b", "b"),
    ("c", "c"),
];

/// Opens a store on an empty scope. `follower` is the task that keeps its journal up; the one before it is ended.
async fn open(number: u64, follower: &mut Option<(JoinHandle<()>, Ground)>) -> Noting<CouchbasePlatform> {
    if let Some((former, _)) = follower.take() {
        former.abort();
        let _ = former.await;
    }
    let mut ground = Ground::bare(&format!("stores-{}", number % 2)).await;
    ground.options.collections = COLLECTIONS.map(|(name, path)| (name.to_owned(), path.to_owned())).into();
    let platform = ground.platform().await;
    let collections = COLLECTIONS.map(|(name, _)| name.to_owned()).to_vec();
    let all: Vec<String> = collections.iter().cloned().chain(system::ALL.map(str::to_owned)).collect();
    let findings = platform.configure(&all).await.unwrap();
    assert!(findings.iter().all(|finding| !finding.fatal), "{findings:?}");
    let rules = Arc::new(NotedRules::default());
    let journal = Arc::new(MemoryStore::new(Epoch(1), ChangelogId(1)));
    // The suite's commits are of 1970, and the clock is this machine's: what is that old would be forgotten at the next sweep.
    let options = ClusterOptions { collections, conflicts_kept_ms: u64::MAX, ..ClusterOptions::default() };
    let rulebook: Arc<NotedRules> = Arc::clone(&rules);
    let store = ClusterStore::open(platform, journal, rulebook, Machine::new(), options).await.unwrap();
    *follower = Some((tokio::spawn(Arc::clone(&store).run()), ground));
    store.complete().await;
    Noting { store, rules }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_of_stores() {
    let (number, follower) = (AtomicU64::new(0), std::sync::Mutex::new(None));
    conformance::run(|| {
        let mut follower = follower.lock().unwrap();
        let number = number.fetch_add(1, Ordering::Relaxed);
        block_in_place(|| Handle::current().block_on(open(number, &mut follower)))
    })
    .await;
}
