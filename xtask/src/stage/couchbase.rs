//! The stage `couchbase`: integration test targets named `couchbase_*`. Couchbase's own clients for Go, Rust, Python and Node judge the
//! double of its server. They are fetched into the target folder; one that cannot be had is skipped, and that is said.
//!
//! The browser's tests, `packages/*/test/couchbase`, have other applications beside them, by those of these clients that are there.
//!
//! Tests of the platform run against the double, or against the cluster that `TIDELOCK_TEST_COUCHBASE` names. Those that give the double
//! commands, in modules named `local_*`, are skipped then. Those that need what the double has not, a query service, are ignored otherwise,
//! with the reason.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{browser, rust};
use crate::build::{self, Profile};
use crate::process::{self, Echo};
use crate::project::Project;
use crate::setup;
use crate::summary;
use crate::tally::Tally;

/// The program of another application, beside that of the judge.
const NODE_APPLICATION: &str = "application.mjs";
/// Where the judges' sources are.
const JUDGES: &str = "crates/couchbase-double/judges";
/// Features of crates that only these tests need.
const FEATURES: &str = "tidelock-couchbase-dcp/tls,tidelock-couchbase-dcp/srv,tidelock-couchbase-dcp/kv";
/// Names another cluster than the double.
const CLUSTER: &str = "TIDELOCK_TEST_COUCHBASE";

/// Tells tests how each other application is called.
const APPLICATIONS: &str = "TIDELOCK_COUCHBASE_APPLICATIONS";

/// A client: its name, the module of its tests, the variable that tells them where it is, and how to get it.
struct Judge {
    name: &'static str,
    module: &'static str,
    variable: &'static str,
    prepare: fn(&Project, &Path) -> Result<PathBuf, Trouble>,
    /// The words that call another application by this client; it is given what `prepare` made.
    application: Option<Application>,
}

type Application = fn(&Project, PathBuf) -> Result<Vec<PathBuf>, Trouble>;

/// Why there is no judge.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It cannot be had on this machine.
    Missing(String),
    /// It is here, and our program for it does not build.
    Broken(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(sentence) | Self::Broken(sentence) => out.write_str(sentence),
        }
    }
}

impl From<String> for Trouble {
    fn from(sentence: String) -> Self {
        Self::Missing(sentence)
    }
}

const ALL: &[Judge] = &[
    Judge {
        name: "Node",
        module: "node::",
        variable: "TIDELOCK_JUDGE_NODE",
        prepare: node,
        application: Some(|_, judge| Ok(vec!["node".into(), judge.with_file_name(NODE_APPLICATION)])),
    },
    Judge {
        name: "Python",
        module: "python::",
        variable: "TIDELOCK_JUDGE_PYTHON",
        prepare: python,
        application: Some(|project, python| Ok(vec![python, project.root.join(JUDGES).join("python/application.py")])),
    },
    Judge {
        name: "Go",
        module: "go::",
        variable: "TIDELOCK_JUDGE_GO",
        prepare: go,
        application: Some(|project, _| Ok(vec![go_client(project, "application", "application")?])),
    },
    Judge { name: "Rust", module: "rust::", variable: "TIDELOCK_JUDGE_RUST", prepare: rust_client, application: None },
];

pub(super) fn run(project: &Project) -> Result<Tally, String> {
    let mut command = project.cargo();
    command.args(["test", "--workspace", "--no-fail-fast", "--features", FEATURES]);
    for target in rust::targets(project, rust::is_couchbase) {
        command.args(["--test", target]);
    }
    command.arg("--");
    // Trials run servers as processes.
    setup::for_build(project)?;
    command.env("TIDELOCK_BIN", build::binary(project, Profile::Dev)?);
    let folder = project.target_dir.join("couchbase");
    let mut tally = Tally::default();
    let mut applications = BTreeMap::new();
    for judge in ALL {
        match (judge.prepare)(project, &folder) {
            Ok(path) => {
                command.env(judge.variable, &path);
                if let Some(application) = judge.application {
                    let words = application(project, path).map_err(|trouble| trouble.to_string())?;
                    applications.insert(judge.name, words);
                }
            }
            Err(Trouble::Broken(sentence)) => return Err(sentence),
            Err(Trouble::Missing(sentence)) => {
                command.args(["--skip", judge.module]);
                tally += Tally::skipped(format!("tests with Couchbase's client for {}: {sentence}", judge.name));
            }
        }
    }
    command.env(APPLICATIONS, serde_json::json!(applications).to_string());
    if env::var_os(CLUSTER).is_some_and(|cluster| !cluster.is_empty()) {
        // They ask by the client for Go.
        if applications.contains_key("Go") {
            command.arg("--include-ignored");
        }
        command.args(["--skip", "local_"]);
        tally += Tally::skipped(format!(
            "tests in modules named local_*: {CLUSTER} names a cluster that takes no faults on command"
        ));
    }
    println!("   > cargo test (Couchbase tests)");
    tally += summary::cargo_test(&process::run("Couchbase tests", &mut command, Echo::Shown)?);
    tally += match setup::chromium(project) {
        Ok(chromium) if !applications.is_empty() => in_browser(project, &chromium, &applications)?,
        Ok(_) => Tally::skipped("the browser on Couchbase: it needs one of Couchbase's clients (above)".to_owned()),
        Err(sentence) => Tally::skipped(format!("the browser on Couchbase: {sentence}")),
    };
    Ok(tally)
}

/// The browser's tests: the built packages in a real Chromium, the built binaries, and other applications: how each is called.
fn in_browser(
    project: &Project,
    chromium: &Path,
    applications: &BTreeMap<&str, Vec<PathBuf>>,
) -> Result<Tally, String> {
    let double = build::binary_named(project, Profile::Dev, "tidelock-couchbase-double")?;
    let applications = serde_json::json!(applications).to_string();
    let env: [(&str, &OsStr); 2] =
        [("TIDELOCK_COUCHBASE_DOUBLE", double.as_ref()), (APPLICATIONS, applications.as_ref())];
    browser::drive(project, &browser::below(project, "test/couchbase"), chromium, &env)
}

fn made(folder: PathBuf) -> Result<PathBuf, String> {
    fs::create_dir_all(&folder).map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
    Ok(folder)
}

/// A program of gocbcore and gocb: the judge.
fn go(project: &Project, _: &Path) -> Result<PathBuf, Trouble> {
    go_client(project, ".", "judge")
}

/// Builds a package of the Go module, as a program with that name.
pub(crate) fn go_client(project: &Project, package: &str, name: &str) -> Result<PathBuf, Trouble> {
    let binary = made(project.target_dir.join("couchbase/go"))?.join(name);
    let go = || {
        let mut command = project.command("go");
        command.current_dir(project.root.join(JUDGES).join("go"));
        command
    };
    process::must("go mod download (gocbcore and gocb)", go().args(["mod", "download"]))?;
    let package = format!("./{package}");
    process::must("go build", go().args(["build", "-o"]).arg(&binary).arg(package)).map_err(Trouble::Broken)?;
    Ok(binary)
}

/// A program of the official Rust client. It is a workspace of its own, so that no build but this one has what it brings.
fn rust_client(project: &Project, folder: &Path) -> Result<PathBuf, Trouble> {
    let folder = made(folder.join("rust"))?;
    let cargo = |arguments: &[&str]| {
        let mut command = project.cargo();
        command.current_dir(project.root.join(JUDGES).join("rust")).args(arguments).arg("--locked");
        command.env("CARGO_TARGET_DIR", &folder);
        command
    };
    process::must("cargo fetch (couchbase)", &mut cargo(&["fetch"]))?;
    let build = process::must("cargo build (couchbase); the first time takes minutes", &mut cargo(&["build"]));
    build.map_err(Trouble::Broken)?;
    Ok(folder.join("debug").join(format!("tidelock-couchbase-judge{}", env::consts::EXE_SUFFIX)))
}

/// The interpreter of an environment that has the wheel.
fn python(project: &Project, folder: &Path) -> Result<PathBuf, Trouble> {
    let folder = made(folder.join("python"))?;
    let interpreter = folder.join("bin/python");
    process::must("python3 -m venv", project.command("python3").args(["-m", "venv"]).arg(&folder))?;
    let mut install = Command::new(&interpreter);
    // Wheels only: without one for this machine it would have to be compiled, for a very long time.
    install.args(["-m", "pip", "install", "--quiet", "--only-binary", ":all:", "--requirement"]);
    install.arg(project.root.join(JUDGES).join("python/requirements.txt"));
    process::must("pip install (couchbase)", &mut install)?;
    Ok(interpreter)
}

/// The judge, in a folder that has the package and the program of another application.
fn node(project: &Project, folder: &Path) -> Result<PathBuf, Trouble> {
    let folder = made(folder.join("node"))?;
    for name in ["package.json", "judge.mjs", NODE_APPLICATION] {
        let from = project.root.join(JUDGES).join("node").join(name);
        fs::copy(&from, folder.join(name)).map_err(|error| format!("{} cannot be copied: {error}", from.display()))?;
    }
    let mut install = project.command("npm");
    install.current_dir(&folder).args(["install", "--no-audit", "--no-fund", "--no-package-lock"]);
    process::must("npm install (couchbase)", &mut install)?;
    Ok(folder.join("judge.mjs"))
}
