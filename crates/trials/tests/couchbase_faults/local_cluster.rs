//! Nodes of the cluster that end, are failed over and return; vbuckets that move. Writes are acknowledged by a majority.

use std::time::{Duration, Instant};

use tidelock_trials::{CLUSTER_NODES, Couchbase, Dice, LIMIT, Mix, Plan, Trial};

/// How long clients work between two faults.
const WORK: Duration = Duration::from_millis(700);

/// What happens to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// A node is away for a while: its vbuckets take no writes.
    NodeKilled,
    /// A node is failed over, comes back, and vbuckets move to it.
    NodeFailedOver,
    /// Vbuckets move, again and again.
    Rebalanced,
}

const FAULTS: [Fault; 3] = [Fault::NodeKilled, Fault::NodeFailedOver, Fault::Rebalanced];

#[test]
fn a_cluster_under_faults_loses_doubles_and_tears_nothing() {
    let mut dice = Dice::from_environment();
    let plan = Plan { clients: 4, mix: Mix::ALL, pace: Duration::from_millis(30), options: "" };
    let mut trial = Couchbase::trial(&plan, "majority", &mut dice);
    let mut faults = FAULTS.to_vec();
    dice.shuffle(&mut faults);
    for fault in faults {
        let began = Instant::now();
        trial.fleet.work(WORK);
        inject(&mut trial, fault, &mut dice);
        trial.goes_on();
        println!("{fault:?}: {} transactions, {:.1} s", trial.ledger.transactions(), began.elapsed().as_secs_f32());
    }
    trial.settle();
    trial.fleet.finish();
}

fn node(dice: &mut Dice) -> usize {
    usize::try_from(dice.below(CLUSTER_NODES as u64)).unwrap_or_default()
}

fn inject(trial: &mut Trial<Couchbase>, fault: Fault, dice: &mut Dice) {
    let node = node(dice);
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
            trial.ground.revive(node);
            trial.ground.double().rebalance();
        }
        Fault::Rebalanced => {
            for _ in 0..4 {
                trial.ground.double().rebalance();
                trial.fleet.work(Duration::from_millis(dice.between(50, 400)));
            }
        }
    }
}
