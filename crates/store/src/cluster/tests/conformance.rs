//! The suite of all stores.

use std::sync::Arc;

use super::host::{TestHost, Time};
use super::platform::{Cluster, TestPlatform};
use crate::cluster::{ClusterOptions, ClusterStore};
use crate::conformance::{self, NotedRules, Noting};
use crate::memory::MemoryStore;

fn noting(time: &Arc<Time>, together: bool, ordered: bool) -> Noting<TestPlatform> {
    let rules = Arc::new(NotedRules::default());
    let host = Arc::new(TestHost { time: Arc::clone(time), ahead_ms: 0 });
    let rulebook: Arc<NotedRules> = Arc::clone(&rules);
    let platform = Cluster::new(together, ordered).node();
    let journal = Arc::new(MemoryStore::default());
    let store = time.run(ClusterStore::open(platform, journal, rulebook, host, ClusterOptions::default())).unwrap();
    Noting { store, rules }
}

#[test]
fn conforms_with_intents() {
    let time = Time::new(1);
    time.run(conformance::run(|| noting(&time, false, true)));
}

#[test]
fn conforms_with_steps_together() {
    let time = Time::new(2);
    time.run(conformance::run(|| noting(&time, true, false)));
}

#[test]
fn does_what_the_model_does() {
    let time = Time::new(3);
    for together in [false, true] {
        // The conflict log of a cluster is numbered by time, and known to be complete only later.
        conformance::run_model_without_conflicts(|| noting(&time, together, true), |future| time.run(future), 150);
    }
}
