//! Faults of a Couchbase cluster (the double) under the load of clients on two servers. The ledger judges: nothing confirmed is lost, nothing
//! is applied twice, transactions are whole wherever anybody looks, nothing deleted comes back, and what others did reaches all clients.
//!
//! Each trial has a cluster of its own. `cargo xtask test --stage couchbase` sets `TIDELOCK_BIN`; `TIDELOCK_TEST_SEED` repeats the load and
//! the order of the faults.

#![allow(
    clippy::print_stdout,
    reason = "how long each fault took, and how much was written, is in the output of the stage"
)]

mod local_cluster;
