//! The stage `browser`: the built packages in a real Chromium, against the built binary.

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
    setup::for_build(project)?;
    let chromium = setup::chromium(project)?;
    build::all(project)?;
    let binary = build::binary(project, Profile::Dev)?;
    let dist = project.root.join(build::DIST);
    let env = [
        ("TIDELOCK_CHROMIUM", chromium.as_os_str()),
        ("TIDELOCK_BIN", binary.as_os_str()),
        ("TIDELOCK_DIST", dist.as_os_str()),
    ];
    let mut tally = Tally::default();
    for suite in suites {
        // One browser at a time: two cores are few for two browsers and a server.
        tally += suite.run(project, &["--test-concurrency=1"], &env)?;
    }
    Ok(tally)
}
