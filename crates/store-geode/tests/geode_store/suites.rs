//! The suites of all platforms and of all stores, on the real thing.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::sync::Arc;
use std::time::Duration;

use tidelock_core::ids::{ChangelogId, DocumentId, Epoch};
use tidelock_geode_client::{Client, Json, Key, Region, Value};
use tidelock_store::cluster::{ClusterOptions, ClusterStore, Machine};
use tidelock_store::conformance::platform::{self as platforms, Foreign, Subject};
use tidelock_store::conformance::{self, NotedRules, Noting};
use tidelock_store::platform::system;
use tidelock_store::{BoxFuture, MemoryStore};
use tidelock_store_geode::{GeodeOptions, GeodePlatform};
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, block_in_place};

use crate::support::options;

/// Any other client of the cluster.
struct Others(Client);

impl Others {
    fn region(&self, id: &DocumentId) -> (Region, Key) {
        (self.0.region(&id.collection), Key::from(id.key.as_str()))
    }
}

impl Foreign for Others {
    fn set<'a>(&'a self, id: &'a DocumentId, json: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let (region, key) = self.region(id);
            region.put_json(&key, &Json::parse(json).unwrap()).await.unwrap();
        })
    }

    fn delete<'a>(&'a self, id: &'a DocumentId) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let (region, key) = self.region(id);
            assert!(region.destroy(&key).await.unwrap().was_there);
        })
    }

    fn spoil<'a>(&'a self, id: &'a DocumentId) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let (region, key) = self.region(id);
            region.put(&key, &Value::Bytes(vec![1, 2, 3].into())).await.unwrap();
        })
    }

    fn deadline(&self) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(Duration::from_secs(60)))
    }
}

async fn others() -> Client {
    Client::connect(options("others").connection).await.unwrap()
}

async fn run_platforms(transactions: bool) {
    // Too large for a stack.
    Box::pin(platforms::run(async |name| {
        let collections = ["docs", "people"].map(str::to_owned);
        let node = format!("suite-{name}-{transactions}");
        let options = GeodeOptions { transactions, ..options(&node) };
        let platform = GeodePlatform::connect(options).await.unwrap();
        // An outside cluster may hold what an earlier process has left.
        let prefix = format!("{node}-{}-", std::process::id());
        let foreign = Box::new(Others(others().await));
        Subject { platform, collections, prefix, foreign, takes_parts: !transactions, tells_of_metas: transactions }
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_of_platforms() {
    run_platforms(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_of_platforms_without_transactions() {
    run_platforms(false).await;
}

/// The collections of the suite of stores, and the regions that they are in.
const COLLECTIONS: [(&str, &str); 7] = [
    ("notes", "docs"),
    ("tasks", "people"),
    ("Notes", "suite1"),
    ("ñotes", "suite2"),
    ("a", "suite3"),
    ("b", "suite4"),
    ("c", "suite5"),
];

/// Removes everything from every region.
async fn empty(client: &Client) {
    let regions = COLLECTIONS.iter().flat_map(|(_, region)| [(*region).to_owned(), format!("{region}_tl")]);
    for name in regions.chain(system::ALL.map(str::to_owned)) {
        let region = client.region(&name);
        for keys in region.key_set().await.unwrap().chunks(1_000) {
            region.remove_all(keys).await.unwrap();
        }
    }
}

/// Opens a store on the emptied cluster. `follower` is the task that keeps its journal up; the one before it is ended.
async fn open(others: &Client, transactions: bool, follower: &mut Option<JoinHandle<()>>) -> Noting<GeodePlatform> {
    if let Some(former) = follower.take() {
        former.abort();
        let _ = former.await;
    }
    empty(others).await;
    let mut options = GeodeOptions { transactions, ..options("suite") };
    options.regions = COLLECTIONS.map(|(name, region)| (name.to_owned(), region.to_owned())).into();
    let platform = GeodePlatform::connect(options).await.unwrap();
    let rules = Arc::new(NotedRules::default());
    let journal = Arc::new(MemoryStore::new(Epoch(1), ChangelogId(1)));
    let collections = COLLECTIONS.map(|(name, _)| name.to_owned()).to_vec();
    // The suite's commits are of 1970, and the clock is this machine's: what is that old would be forgotten at the next sweep.
    let options = ClusterOptions { collections, conflicts_kept_ms: u64::MAX, ..ClusterOptions::default() };
    let rulebook: Arc<NotedRules> = Arc::clone(&rules);
    let store = ClusterStore::open(platform, journal, rulebook, Machine::new(), options).await.unwrap();
    *follower = Some(tokio::spawn(Arc::clone(&store).run()));
    store.complete().await;
    Noting { store, rules }
}

async fn run_stores(transactions: bool) {
    let (client, follower) = (others().await, std::sync::Mutex::new(None));
    conformance::run(|| {
        let mut follower = follower.lock().unwrap();
        block_in_place(|| Handle::current().block_on(open(&client, transactions, &mut follower)))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_of_stores() {
    run_stores(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_of_stores_without_transactions() {
    run_stores(false).await;
}
