//! The stage `geode`: tests against a real Apache Geode cluster, integration test targets named `geode_*` and
//! `packages/*/test/geode*`.
//!
//! The cluster is started here, unless `TIDELOCK_TEST_GEODE=host[port]` names the locator of another one. That one
//! must have the regions of `crates/geode-cluster/java/cache.xml`, which the tests empty. Tests in modules named `local_*`
//! are skipped then: they end processes of the cluster, or leave ten thousand types in its registry.

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use tidelock_geode_cluster::{Artifacts, Cluster, Foreign, Regions, Version};

use super::{browser, rust};
use crate::build::{self, Profile};
use crate::process::{self, Echo};
use crate::project::Project;
use crate::setup;
use crate::summary;
use crate::tally::Tally;

const LOCATOR: &str = "TIDELOCK_TEST_GEODE";
/// `name:password` of a user, where the cluster has a security manager.
const USER: &str = "TIDELOCK_TEST_GEODE_USER";
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
    if let Some(locator) = env::var(LOCATOR).ok().filter(|locator| !locator.is_empty()) {
        return on_another(project, &mut command, &locator);
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
            tally += in_browser(project, &chromium, &artifacts, &cluster.locator(), &[], "test/geode")?;
            drop(cluster);
            tally += over_http(project, &chromium)?;
        }
        Err(sentence) => tally += Tally::skipped(format!("the browser on Geode: {sentence}")),
    }
    Ok(tally)
}

/// The tests on a cluster that somebody else runs.
fn on_another(project: &Project, command: &mut Command, locator: &str) -> Result<Tally, String> {
    command.args(["--skip", "local_"]);
    let mut tally = Tally::skipped(format!(
        "tests in modules named local_*, and those of 1.14.4: {LOCATOR} names a cluster whose processes are not ours to end"
    ));
    let java = match env::var_os(USER) {
        Some(_) => Err(format!("the Java application does not log in, and {USER} is set")),
        None => artifacts(project, Version::V1_15_1)?,
    };
    let artifacts = match java {
        Ok(artifacts) => artifacts,
        Err(sentence) => {
            command.args(["--skip", "java::"]);
            tally += Tally::skipped(format!("tests with a Java application, and the browser: {sentence}"));
            tally += tests(command)?;
            return Ok(tally);
        }
    };
    tally += tests(command.env(JARS, artifacts.folder()))?;
    tally += match setup::chromium(project) {
        Ok(chromium) => in_browser(project, &chromium, &artifacts, locator, &[], "test/geode")?,
        Err(sentence) => Tally::skipped(format!("the browser on Geode: {sentence}")),
    };
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
    let (manager, rest) = (cluster.manager_address(), cluster.rest_address());
    let more: [(&str, &OsStr); 2] =
        [("TIDELOCK_GEODE_MANAGER", manager.as_ref()), ("TIDELOCK_GEODE_REST", rest.as_ref())];
    in_browser(project, chromium, &artifacts, &cluster.locator(), &more, "test/geode-http")
}

/// The tests below `folder` of each package: the built packages in a real Chromium, the built binary, a cluster, and Java.
fn in_browser(
    project: &Project,
    chromium: &Path,
    artifacts: &Artifacts,
    locator: &str,
    more: &[(&str, &OsStr)],
    folder: &str,
) -> Result<Tally, String> {
    let java = serde_json::json!(Foreign::command_line(artifacts, locator)).to_string();
    let of_all: [(&str, &OsStr); 2] = [(LOCATOR, locator.as_ref()), ("TIDELOCK_GEODE_JAVA", java.as_ref())];
    browser::drive(project, &browser::below(project, folder), chromium, &[&of_all, more].concat())
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

fn tests(command: &mut Command) -> Result<Tally, String> {
    println!("   > cargo test (Geode tests)");
    Ok(summary::cargo_test(&process::run("Geode tests", command, Echo::Shown)?))
}
