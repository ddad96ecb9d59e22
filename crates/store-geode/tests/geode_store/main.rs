//! Tests against a real cluster, whose locator `TIDELOCK_TEST_GEODE` names. `cargo xtask test --stage geode` starts one.

mod alone;
mod doctor;
mod java;
mod platform;
mod suites;
mod support;
