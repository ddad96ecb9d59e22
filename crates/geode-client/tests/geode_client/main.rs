//! Tests against a real cluster, whose locator `TIDELOCK_TEST_GEODE` names. `cargo xtask test --stage geode` starts one.

mod entries;
mod local_faults;
mod local_java;
mod subscriptions;
mod support;
mod transactions;
