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

use tidelock_trials::{Couchbase, Trial};

mod local_cluster;
mod local_feed;
mod local_setback;

/// How long clients work between two faults.
const WORK: Duration = Duration::from_millis(700);

/// Lets something happen under load, and waits until everything works again.
fn step(trial: &mut Trial<Couchbase>, what: &str, fault: impl FnOnce(&mut Trial<Couchbase>)) {
    println!("{what} …");
    let began = Instant::now();
    trial.fleet.work(WORK);
    fault(trial);
    trial.goes_on();
    println!("  {} transactions, {:.1} s", trial.ledger.transactions(), began.elapsed().as_secs_f32());
}
