//! Faults of a Geode cluster under the load of clients on two servers, and what makes no event. The ledger judges: nothing confirmed is
//! lost, nothing is applied twice, nothing deleted comes back, and what others did reaches all clients.
//!
//! Each test has a cluster of its own. `cargo xtask test --stage geode` sets `TIDELOCK_BIN` and `TIDELOCK_GEODE_JARS`;
//! `TIDELOCK_TEST_SEED` repeats the load.

#![allow(
    clippy::print_stdout,
    reason = "how long each fault took, and how much was written, is in the output of the stage"
)]

mod local_events;
mod local_forbidden;
mod local_servers;
