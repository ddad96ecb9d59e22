//! Clusters that forget what they had acknowledged: another epoch, in which clients offer again what they have.

use std::time::Duration;

use tidelock_trials::{Couchbase, Dice, LIMIT, Mix, Plan, Trial};

use crate::{WORK, step};

/// Documents alone: of one that both sides have, the cluster's state stands (decision 0011).
const MIX: Mix = Mix { documents: 1, pairs: 0, counts: 0, transfers: 0, slots: 0 };

/// Lets clients write, waits until everything is known to all, and takes some of it back.
fn set_back(trial: &mut Trial<Couchbase>, what: &str, fault: impl FnOnce(&mut Trial<Couchbase>)) {
    trial.fleet.settle(LIMIT);
    step(trial, what, fault);
}

#[test]
fn what_a_cluster_forgets_clients_offer_again() {
    let mut dice = Dice::from_environment();
    let plan = Plan { clients: 4, mix: MIX, pace: Duration::from_millis(30), options: "" };
    let mut trial = Couchbase::trial(&plan, "none", &mut dice);
    set_back(&mut trial, "failed over", |trial| {
        trial.ground.double().hold_replication();
        trial.fleet.go_on();
        trial.fleet.work(WORK);
        trial.fleet.settle(LIMIT);
        trial.ground.kill(1);
        trial.ground.double().fail_over(1);
        trial.ground.double().release_replication();
        trial.ground.revive(1);
        trial.ground.double().rebalance();
        trial.settle();
        trial.fleet.go_on();
    });
    set_back(&mut trial, "flushed", |trial| {
        trial.ground.flush();
        trial.ground.double().cut_dcp();
        trial.settle();
        trial.fleet.go_on();
    });
    trial.settle();
    trial.fleet.finish();
}
