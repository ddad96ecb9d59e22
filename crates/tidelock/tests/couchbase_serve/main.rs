//! `tidelock serve`, `init` and `doctor` on Couchbase: the double, or the cluster that `TIDELOCK_TEST_COUCHBASE` names. Modules named
//! `local_*` give the double commands that no cluster has.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests: a panic is how they report"
)]

mod changes;
mod client;
mod commands;
mod complaints;
mod ground;
mod local_complaints;
mod local_faults;
mod local_tls;
mod local_user;
#[allow(dead_code, reason = "the target serve uses all of it")]
#[path = "../serve/process.rs"]
mod process;
mod sqlpp;
