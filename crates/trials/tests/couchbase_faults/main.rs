//! Faults of a Couchbase cluster (the double) under the load of clients on two servers. The ledger judges: nothing confirmed is lost, nothing
//! is applied twice, transactions are whole wherever anybody looks, nothing deleted comes back, and what others did reaches all clients.
//!
//! Each trial has a cluster of its own. `cargo xtask test --stage couchbase` sets `TIDELOCK_BIN`; `TIDELOCK_TEST_SEED` repeats the load and
//! the order of the faults.

#![allow(
    clippy::print_stdout,
    reason = "how long each fault took, and how much was written, is in the output of the stage"
)]

use std::time::{Duration, Instant};

use tidelock_trials::{Couchbase, Dice, Mix, Plan, Trial};

mod local_cluster;
mod local_feed;
mod local_setback;

/// How long clients work between two faults.
const WORK: Duration = Duration::from_millis(700);

/// Lets all faults strike, in an order that is drawn, and looks at what everything comes to.
fn run<F: Copy + std::fmt::Debug>(faults: &[F], inject: impl Fn(&mut Trial<Couchbase>, F, &mut Dice)) {
    let mut dice = Dice::from_environment();
    let plan = Plan { clients: 4, mix: Mix::ALL, pace: Duration::from_millis(30), options: "" };
    let mut trial = Couchbase::trial(&plan, "majority", &mut dice);
    let mut faults = faults.to_vec();
    dice.shuffle(&mut faults);
    for fault in faults {
        step(&mut trial, &format!("{fault:?}"), |trial| inject(trial, fault, &mut dice));
    }
    trial.settle();
    trial.fleet.finish();
}

/// Lets something happen under load, and waits until everything works again.
fn step(trial: &mut Trial<Couchbase>, what: &str, fault: impl FnOnce(&mut Trial<Couchbase>)) {
    println!("{what} …");
    let began = Instant::now();
    trial.fleet.work(WORK);
    fault(trial);
    trial.goes_on();
    println!("  {} transactions, {:.1} s", trial.ledger.transactions(), began.elapsed().as_secs_f32());
}
