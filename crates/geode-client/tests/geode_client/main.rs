//! Tests against a real cluster, whose locator `TIDELOCK_TEST_GEODE` names. `cargo xtask test --stage geode` starts one.

mod connections;
mod entries;
mod interruptions;
mod java;
mod local_expiry;
mod local_faults;
mod local_shapes;
#[cfg(feature = "tls")]
mod local_tls;
mod relays;
mod subscriptions;
mod support;
mod transactions;
