//! Builds: the browser's core (WASM), the npm packages, the binary.

mod layout;
mod npm;
mod wasm;

use std::path::PathBuf;

use crate::process;
use crate::project::Project;

/// Where the browser package is built: its own output, and the core's.
pub(crate) const DIST: &str = "packages/tidelock/dist";

/// Which cargo profile the binary is built with.
#[derive(Clone, Copy)]
pub(crate) enum Profile {
    /// Unoptimised; shares its build with `cargo test`.
    Dev,
    /// Optimised, for the demo and the benches.
    Release,
}

/// Builds the browser's core, then every npm package that has a build script, each after those it depends on.
pub(crate) fn all(project: &Project) -> Result<(), String> {
    wasm::build(project)?;
    npm::build(project)
}

/// Builds the `tidelock` binary and returns its path.
pub(crate) fn binary(project: &Project, profile: Profile) -> Result<PathBuf, String> {
    binary_named(project, profile, "tidelock")
}

/// Another program of the workspace.
pub(crate) fn binary_named(project: &Project, profile: Profile, name: &str) -> Result<PathBuf, String> {
    let mut command = project.cargo();
    // The whole workspace selects the features, so that the build is shared with `cargo test --workspace`.
    command.args(["build", "--workspace", "--bin", name]);
    let folder = match profile {
        Profile::Dev => "debug",
        Profile::Release => {
            command.arg("--release");
            "release"
        }
    };
    process::must(&format!("cargo build {name} ({folder})"), &mut command)?;
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    Ok(project.target_dir.join(folder).join(name))
}
