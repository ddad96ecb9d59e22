//! The stage `browser`: the built packages in a real Chromium, against the built binary.

use std::ffi::OsStr;
use std::path::Path;

use super::node::Suite;
use crate::build::{self, Profile};
use crate::project::Project;
use crate::setup;
use crate::tally::Tally;

/// The demo application: all its tests but the unit tests drive a browser.
const BOARD: &str = "packages/board";

/// `packages/*/test/browser/**/*.test.ts`, and the demo application's `test/*.test.ts`, one file at a time.
pub(crate) fn run(project: &Project) -> Result<Tally, String> {
    let board = project.root.join(BOARD);
    let suites: Vec<Suite> = project
        .npm_packages()
        .into_iter()
        .filter_map(|package| {
            if package == board {
                Suite::below(&package, "test")?.without("test/unit")
            } else {
                Suite::below(&package, "test/browser")
            }
        })
        .collect();
    if suites.is_empty() {
        println!("   no browser tests yet: they belong in packages/*/test/browser and {BOARD}/test");
        return Ok(Tally::default());
    }
    let chromium = setup::chromium(project)?;
    drive(project, &suites, &chromium, &[])
}

/// Runs suites that drive the built packages in a real Chromium against the built binary, with more variables.
pub(super) fn drive(
    project: &Project,
    suites: &[Suite],
    chromium: &Path,
    more: &[(&str, &OsStr)],
) -> Result<Tally, String> {
    setup::for_build(project)?;
    build::all(project)?;
    let binary = build::binary(project, Profile::Dev)?;
    let dist = project.root.join(build::DIST);
    let mut env = vec![
        ("TIDELOCK_CHROMIUM", chromium.as_os_str()),
        ("TIDELOCK_BIN", binary.as_os_str()),
        ("TIDELOCK_DIST", dist.as_os_str()),
    ];
    env.extend(more);
    let mut tally = Tally::default();
    for suite in suites {
        // One browser at a time: two cores are few for two browsers and a server.
        tally += suite.run(project, &["--test-concurrency=1"], &env)?;
    }
    Ok(tally)
}

/// The test files below `folder` of every package.
pub(super) fn below(project: &Project, folder: &str) -> Vec<Suite> {
    project.npm_packages().into_iter().filter_map(|package| Suite::below(&package, folder)).collect()
}
