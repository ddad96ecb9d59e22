//! The tests that cargo runs. Integration test targets named `crash…` kill processes and take long: they are the
//! stage `crash`; those named `geode…` need a cluster: they are the stage `geode`; those named `couchbase…` need Couchbase's own
//! clients, or features: they are the stage `couchbase`; every other target is the stage `unit`.

use std::collections::BTreeSet;

use tidelock_geode_cluster::Version;

use super::geode;
use crate::build::{self, Profile};
use crate::process::{self, Echo};
use crate::project::Project;
use crate::setup;
use crate::summary;
use crate::tally::Tally;

const CRASH: &str = "crash";
/// The crash tests that need a Geode cluster.
const ON_GEODE: &str = "crash_nodes";
const GEODE: &str = "geode";
const COUCHBASE: &str = "couchbase";

/// Library, binary, integration and documentation tests.
pub(crate) fn unit(project: &Project) -> Result<Tally, String> {
    let mut command = project.cargo();
    command.args(["test", "--workspace", "--no-fail-fast", "--lib", "--bins"]);
    for target in targets(project, |name| !is_crash(name) && !is_geode(name) && !is_couchbase(name)) {
        command.args(["--test", target]);
    }
    println!("   > cargo test (libraries, binaries, integration tests)");
    let finished = process::run("cargo test", &mut command, Echo::Shown)?;
    let mut tally = summary::cargo_test(&finished);

    let mut command = project.cargo();
    command.args(["test", "--workspace", "--no-fail-fast", "--doc"]);
    println!("   > cargo test --doc (examples in the documentation)");
    let finished = process::run("cargo test --doc", &mut command, Echo::Shown)?;
    tally += summary::cargo_test(&finished);
    Ok(tally)
}

/// The targets named `crash…`, with `TIDELOCK_BIN` naming the built binary, and `TIDELOCK_GEODE_JARS` the folder with Geode's jars.
pub(crate) fn crash(project: &Project) -> Result<Tally, String> {
    setup::for_build(project)?;
    let binary = build::binary(project, Profile::Dev)?;
    let mut command = project.cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]).env("TIDELOCK_BIN", binary);
    let mut tally = Tally::default();
    let artifacts = geode::artifacts(project, Version::V1_15_1)?;
    for target in targets(project, is_crash) {
        if let (Err(sentence), ON_GEODE) = (&artifacts, target) {
            tally += Tally::skipped(format!("{ON_GEODE}, two servers on one Geode cluster: {sentence}"));
        } else {
            command.args(["--test", target]);
        }
    }
    if let Ok(artifacts) = artifacts {
        command.env(geode::JARS, artifacts.folder());
    }
    // One after the other: what they judge is how servers share two cores with their clients, not with each other.
    command.args(["--", "--test-threads=1"]);
    println!("   > cargo test (crash tests)");
    tally += summary::cargo_test(&process::run("crash tests", &mut command, Echo::Shown)?);
    Ok(tally)
}

fn is_crash(target: &str) -> bool {
    target.starts_with(CRASH)
}

pub(super) fn is_geode(target: &str) -> bool {
    target.starts_with(GEODE)
}

pub(super) fn is_couchbase(target: &str) -> bool {
    target.starts_with(COUCHBASE)
}

pub(super) fn targets(project: &Project, wanted: fn(&str) -> bool) -> BTreeSet<&str> {
    project.our_crates().flat_map(|one| &one.test_targets).map(String::as_str).filter(|name| wanted(name)).collect()
}
