//! Tests against the double of a Couchbase cluster, or against the cluster that `TIDELOCK_TEST_COUCHBASE` names. Modules named `local_*`
//! give the double commands that no cluster has.

mod local_doctor;
mod local_faults;
mod operation;
mod platform;
mod suites;
mod support;
