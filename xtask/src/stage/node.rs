//! The tests that node runs: TypeScript files given to `node --test`, one package at a time.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::process::{self, Echo};
use crate::project::{Project, files_below};
use crate::setup;
use crate::summary;
use crate::tally::Tally;

/// The end of a test file's name.
const SUFFIX: &str = ".test.ts";
/// A test that hangs must not hold up the run: it fails after this many milliseconds.
const TEST_LIMIT_MS: &str = "--test-timeout=900000";

/// `packages/*/test/unit/**/*.test.ts`
pub(crate) fn unit(project: &Project) -> Result<Tally, String> {
    let suites: Vec<Suite> =
        project.npm_packages().into_iter().filter_map(|package| Suite::below(&package, "test/unit")).collect();
    if suites.is_empty() {
        println!("   no node unit tests yet: they belong in packages/*/test/unit/*{SUFFIX}");
        return Ok(Tally::default());
    }
    setup::npm_modules(project)?;
    let mut tally = Tally::default();
    for suite in suites {
        tally += suite.run(project, &[], &[])?;
    }
    Ok(tally)
}

/// The test files of one package.
pub(crate) struct Suite {
    package: PathBuf,
    files: Vec<PathBuf>,
}

impl Suite {
    /// The test files below `folder` of the package; `None` when there are none.
    pub(crate) fn below(package: &Path, folder: &str) -> Option<Self> {
        let files = files_below(&package.join(folder), SUFFIX);
        (!files.is_empty()).then(|| Self { package: package.to_path_buf(), files })
    }

    /// Leaves out the files below `folder` of the package; `None` when nothing is left.
    pub(crate) fn without(mut self, folder: &str) -> Option<Self> {
        let left_out = self.package.join(folder);
        self.files.retain(|file| !file.starts_with(&left_out));
        (!self.files.is_empty()).then_some(self)
    }

    pub(crate) fn run(&self, project: &Project, options: &[&str], env: &[(&str, &OsStr)]) -> Result<Tally, String> {
        let name = self.package.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut command = project.command("node");
        command.current_dir(&self.package);
        command.args(["--import", "tsx", "--test", "--test-reporter=spec", TEST_LIMIT_MS]).args(options);
        command.args(&self.files).envs(env.iter().copied());
        println!("   > node --test (packages/{name}, {} files)", self.files.len());
        let finished = process::run(&format!("node --test packages/{name}"), &mut command, Echo::Shown)?;
        Ok(summary::node_test(&finished))
    }
}
