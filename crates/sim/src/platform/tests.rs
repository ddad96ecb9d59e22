//! The models as platforms, and the defects that they have.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use tidelock_core::ids::DocumentId;
use tidelock_server::TimeSource;
use tidelock_store::BoxFuture;
use tidelock_store::conformance::platform::{Foreign, Subject, run};

use super::couchbase::{self, Couchbase, Durability};
use super::geode::{self, Geode};
use super::{Body, Cluster, Model, Path, PlatformClient, Weather};
use crate::time::VirtualTime;

mod defects;

/// A case that waits for more virtual milliseconds than this has waited for nothing.
const DEADLINE_MS: u64 = 60_000;
const COLLECTIONS: [&str; 2] = ["notes", "tasks"];

/// Runs a future to its end; where it waits, time goes on.
pub(super) fn block_on<T>(time: &VirtualTime, future: impl Future<Output = T>) -> T {
    struct Nobody;
    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }
    let waker = Waker::from(Arc::new(Nobody));
    let mut future = pin!(future);
    let mut idle = 0;
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        match time.due_ms() {
            Some(due_ms) if due_ms > time.now_ms() => {
                idle = 0;
                time.set(due_ms);
            }
            _ => idle += 1,
        }
        time.wake();
        assert!(idle < 1_000, "the future waits for nothing");
    }
}

struct Others<M> {
    cluster: Arc<Cluster<M>>,
    time: Arc<VirtualTime>,
}

impl<M: Model> Others<M> {
    /// Tries until it succeeds: a foreign client waits for a durable write that is under way.
    async fn change(&self, call: impl Fn(&mut M, u64) -> Result<(), super::PlatformError>) {
        while self.cluster.change(&call).is_err() {
            let at_ms = self.time.now_ms() + 1;
            std::future::poll_fn(|context| self.time.poll_until(at_ms, context)).await;
        }
    }
}

impl<M: Model> Foreign for Others<M> {
    fn set<'a>(&'a self, id: &'a DocumentId, json: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(self.change(|model, now_ms| model.foreign_set(id, Body::Json(Arc::from(json.as_bytes())), now_ms)))
    }

    fn delete<'a>(&'a self, id: &'a DocumentId) -> BoxFuture<'a, ()> {
        Box::pin(self.change(|model, now_ms| model.foreign_delete(id, now_ms)))
    }

    fn spoil<'a>(&'a self, id: &'a DocumentId) -> BoxFuture<'a, ()> {
        Box::pin(self.change(|model, now_ms| model.foreign_set(id, Body::Raw(Arc::from(&b"\xff"[..])), now_ms)))
    }

    fn deadline(&self) -> BoxFuture<'static, ()> {
        let time = Arc::clone(&self.time);
        let at_ms = time.now_ms() + DEADLINE_MS;
        Box::pin(async move { std::future::poll_fn(|context| time.poll_until(at_ms, context)).await })
    }
}

/// What the suite gets for a case.
fn subject<M: Model>(model: M, time: &Arc<VirtualTime>, weather: Weather) -> Subject<PlatformClient<M>> {
    let cluster = Cluster::new(model, Arc::clone(time), false);
    let path = Path::new(Arc::clone(time), 1, weather);
    Subject {
        platform: PlatformClient::new(Arc::clone(&cluster), path, "node"),
        collections: COLLECTIONS.map(str::to_owned),
        prefix: "p-".into(),
        foreign: Box::new(Others { cluster, time: Arc::clone(time) }),
        takes_parts: false,
        tells_of_metas: true,
    }
}

fn conforms<M: Model>(make: impl Fn(u64) -> M) {
    for (seed, delay_ms_max) in [(1, 0), (2, 9), (3, 40)] {
        let time = Arc::new(VirtualTime::new(1_000_000));
        let weather = Weather { delay_ms_max, slow_per_mille: delay_ms_max, failing_per_mille: 0 };
        block_on(&time, run(async |_| subject(make(seed), &time, weather)));
    }
}

fn bucket(durability: Durability, replicas: usize, seed: u64) -> Couchbase {
    let setup = couchbase::Setup { partitions: 4, replicas, nodes: 3, durability, lag_ms_max: 10 };
    Couchbase::new(setup, &COLLECTIONS.map(str::to_owned), seed)
}

fn members(seed: u64, torn_per_mille: u64) -> Geode {
    let setup = geode::Setup { members: 2, buckets: 5, torn_per_mille };
    Geode::new(setup, &COLLECTIONS.map(str::to_owned), seed)
}

#[test]
fn the_couchbase_model_conforms() {
    conforms(|seed| bucket(Durability::None, 1, seed));
}

#[test]
fn the_couchbase_model_conforms_with_durable_writes() {
    conforms(|seed| bucket(Durability::Majority, 2, seed));
}

#[test]
fn the_geode_model_conforms() {
    conforms(|seed| members(seed, 0));
}

#[test]
fn the_geode_model_conforms_when_commits_are_seen_in_part() {
    conforms(|seed| members(seed, 500));
}
