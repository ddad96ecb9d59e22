//! The stage `geode`: tests against a real Apache Geode cluster, integration test targets named `geode_*` and
//! `packages/*/test/geode*`.
//!
//! The cluster is started here, unless `TIDELOCK_TEST_GEODE=host[port]` names the locator of another one. That one
//! must have the regions of `crates/geode-cluster/java/cache.xml`. Tests that end its processes, or that need the Java
//! application beside it, are skipped then: those in modules named `local_*`, and those of the packages.

use std::env;
use std::ffi::OsStr;
use std::path::Path;

use tidelock_geode_cluster::{Artifacts, Cluster, Foreign, Regions, Version};

use super::{browser, rust};
use crate::build::{self, Profile};
use crate::process::{self, Echo};
use crate::project::Project;
use crate::setup;
use crate::summary;
use crate::tally::Tally;

const LOCATOR: &str = "TIDELOCK_TEST_GEODE";
const FOLDER: &str = "TIDELOCK_GEODE_CLUSTER";
/// Names the folder with the jars, for tests that start a cluster of their own.
pub(super) const JARS: &str = "TIDELOCK_GEODE_JARS";
/// Features of crates that only these tests need.
const FEATURES: &str = "tidelock-geode-client/tls";

pub(super) fn run(project: &Project) -> Result<Tally, String> {
    let targets = rust::targets(project, rust::is_geode);
    if targets.is_empty() {
        println!("   no Geode tests yet: integration test targets named `geode_*` belong here");
        return Ok(Tally::default());
    }
    let mut command = project.cargo();
    command.args(["test", "--workspace", "--no-fail-fast", "--features", FEATURES]);
    for target in targets {
        command.args(["--test", target]);
    }
    // One after the other: they share one cluster and two cores, and some end its processes.
    command.args(["--", "--test-threads=1"]);
    if let Some(locator) = env::var_os(LOCATOR).filter(|locator| !locator.is_empty()) {
        command.args(["--skip", "local_"]).env(LOCATOR, locator);
        let mut tally = tests(&mut command)?;
        tally += Tally::skipped(format!(
            "tests in modules named local_*, and the browser: {LOCATOR} names a cluster whose processes are not ours to end"
        ));
        return Ok(tally);
    }
    let artifacts = match self::artifacts(project, Version::V1_15_1)? {
        Ok(artifacts) => artifacts,
        Err(sentence) => {
            return Ok(Tally::skipped(format!("all tests against a real Geode cluster: {sentence}")));
        }
    };
    setup::for_build(project)?;
    command.env("TIDELOCK_BIN", build::binary(project, Profile::Dev)?).env(JARS, artifacts.folder());
    println!("   > a Geode cluster: one locator, two servers");
    let cluster = Cluster::start(&artifacts, &artifacts.folder().join("cluster"), Regions::Tests, &[])?;
    command.env(LOCATOR, cluster.locator()).env(FOLDER, cluster.folder());
    let mut tally = tests(&mut command)?;
    match setup::chromium(project) {
        Ok(chromium) => {
            tally += in_browser(project, &chromium, &artifacts, &cluster, "test/geode")?;
            drop(cluster);
            tally += over_http(project, &chromium)?;
        }
        Err(sentence) => tally += Tally::skipped(format!("the browser on Geode: {sentence}")),
    }
    Ok(tally)
}

/// The tests on Geode 1.14.4, which has REST and gfsh over HTTP.
fn over_http(project: &Project, chromium: &Path) -> Result<Tally, String> {
    let artifacts = match artifacts(project, Version::V1_14_4)? {
        Ok(artifacts) => artifacts,
        Err(sentence) => return Ok(Tally::skipped(format!("REST and gfsh over HTTP: {sentence}"))),
    };
    println!("   > a cluster of Geode 1.14.4");
    let cluster = Cluster::start(&artifacts, &artifacts.folder().join("cluster"), Regions::Application, &[])?;
    in_browser(project, chromium, &artifacts, &cluster, "test/geode-http")
}

/// The tests below `folder` of each package: the built packages in a real Chromium, the built binary, the cluster, and Java.
fn in_browser(
    project: &Project,
    chromium: &Path,
    artifacts: &Artifacts,
    cluster: &Cluster,
    folder: &str,
) -> Result<Tally, String> {
    let locator = cluster.locator();
    let java = serde_json::json!(Foreign::command_line(artifacts, &locator)).to_string();
    let (manager, rest) = (cluster.manager_address(), cluster.rest_address());
    let env: [(&str, &OsStr); 4] = [
        (LOCATOR, locator.as_ref()),
        ("TIDELOCK_GEODE_JAVA", java.as_ref()),
        ("TIDELOCK_GEODE_MANAGER", manager.as_ref()),
        ("TIDELOCK_GEODE_REST", rest.as_ref()),
    ];
    browser::drive(project, &browser::below(project, folder), chromium, &env)
}

/// Geode's jars and the Java application. The inner error is why they cannot be had here, in one sentence; what can be had and does
/// not compile is a failure.
pub(super) fn artifacts(project: &Project, version: Version) -> Result<Result<Artifacts, String>, String> {
    if let Err(sentence) = setup::java(project) {
        return Ok(Err(sentence));
    }
    println!("   > Geode's jars from Maven Central, and the Java application");
    let folder = project.target_dir.join(match version {
        Version::V1_15_1 => "geode",
        Version::V1_14_4 => "geode-1.14.4",
    });
    match Artifacts::prepare(&folder, version) {
        Err(sentence) if !folder.join("lib").is_dir() => Ok(Err(sentence)),
        prepared => prepared.map(Ok),
    }
}

fn tests(command: &mut std::process::Command) -> Result<Tally, String> {
    println!("   > cargo test (Geode tests)");
    Ok(summary::cargo_test(&process::run("Geode tests", command, Echo::Shown)?))
}
