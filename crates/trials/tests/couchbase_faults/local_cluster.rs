//! Nodes of the cluster that end, are failed over and return; vbuckets that move. Writes are acknowledged by a majority.

use std::time::Duration;

use serde_json::json;
use tidelock_trials::{CLUSTER_NODES, Couchbase, Dice, Ground as _, LIMIT, Trial, foreign_keys};

use crate::{WORK, run};

/// How long the cluster takes for each answer while vbuckets move, so that requests meet a node that has just lost them.
const SLOW: Duration = Duration::from_millis(40);

/// How long a node does not talk: longer than a request is waited for.
const HUNG: Duration = Duration::from_secs(20);

/// What happens to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// A node is away for a while: its vbuckets take no writes.
    NodeKilled,
    /// A node is failed over, comes back, and vbuckets move to it.
    NodeFailedOver,
    /// A node is failed over whose replicas lack what others have written.
    RolledBack,
    /// Vbuckets move, again and again.
    Rebalanced,
    /// Vbuckets move while requests to them are on their way.
    MovedInTheMiddle,
    /// A node stops talking on connections that stay open, and carries out later what it was asked for meanwhile.
    NodeHung,
    /// No write becomes durable for a while; a server starts again meanwhile, and its clients come back.
    NothingDurable,
}

const FAULTS: [Fault; 7] = [
    Fault::NodeKilled,
    Fault::NodeFailedOver,
    Fault::RolledBack,
    Fault::Rebalanced,
    Fault::MovedInTheMiddle,
    Fault::NodeHung,
    Fault::NothingDurable,
];

#[test]
fn a_cluster_under_faults_loses_doubles_and_tears_nothing() {
    run(&FAULTS, inject);
}

fn inject(trial: &mut Trial<Couchbase>, fault: Fault, dice: &mut Dice) {
    let node = usize::try_from(dice.below(CLUSTER_NODES as u64)).unwrap_or_default();
    match fault {
        Fault::NodeKilled => {
            trial.ground.kill(node);
            trial.fleet.work(WORK);
            trial.ground.revive(node);
        }
        Fault::NodeFailedOver => {
            trial.ground.kill(node);
            trial.fleet.work(WORK);
            trial.ground.double().fail_over(node);
            trial.fleet.progress(20, LIMIT);
            come_back(trial, node);
        }
        Fault::RolledBack => roll_back(trial, node),
        Fault::Rebalanced => {
            for _ in 0..4 {
                trial.ground.double().rebalance();
                trial.fleet.work(Duration::from_millis(dice.between(50, 400)));
            }
        }
        Fault::MovedInTheMiddle => {
            trial.ground.double().delay_kv(SLOW);
            for _ in 0..4 {
                trial.fleet.work(Duration::from_millis(dice.between(100, 300)));
                trial.ground.double().rebalance();
            }
            trial.ground.double().delay_kv(Duration::ZERO);
        }
        Fault::NodeHung => {
            trial.ground.double().hang(Some(node));
            trial.fleet.work(HUNG);
            trial.ground.double().hang(None);
        }
        Fault::NothingDurable => nothing_durable(trial),
    }
}

/// What is begun stays begun until it can be finished, and clients come and go meanwhile.
fn nothing_durable(trial: &mut Trial<Couchbase>) {
    trial.ground.double().hold_replication();
    trial.fleet.work(WORK);
    trial.restart(&[1], WORK);
    trial.fleet.work(WORK);
    trial.ground.double().release_replication();
}

/// A node returns, and gets its share.
fn come_back(trial: &mut Trial<Couchbase>, node: usize) {
    trial.ground.revive(node);
    trial.ground.double().rebalance();
}

/// Another application's hasty writes reach all clients before any replica; then the node that has them fails. Durable writes are not
/// acknowledged meanwhile.
fn roll_back(trial: &mut Trial<Couchbase>, node: usize) {
    let (kept, hasty) = (json!({ "is": "kept" }), json!({ "is": "hasty" }));
    trial.foreign_all("foreign", Some(&kept));
    // Nothing is begun that could not be finished: a client that changes servers would be told to come back when it is.
    trial.fleet.settle(LIMIT);
    trial.ground.double().hold_replication();
    trial.foreign_all("foreign", Some(&hasty));
    trial.fleet.go_on();
    trial.fleet.work(WORK);
    trial.ground.kill(node);
    trial.ground.double().fail_over(node);
    trial.ground.double().release_replication();
    let documents = trial.ground.documents().expect("the double can be read");
    let mut lost = 0;
    for key in foreign_keys() {
        let found = documents.get(&("foreign".to_owned(), key.clone()));
        lost += usize::from(found == Some(&kept));
        trial.ledger.set("foreign", &key, found.cloned());
        trial.fleet.shows("foreign", &key, found, LIMIT);
    }
    assert!(lost > 0, "some of the documents were active on the node that failed");
    come_back(trial, node);
}
