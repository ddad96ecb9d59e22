//! The browser's core: compiled to WASM, laid out for gzip. What was tried besides, wasm-opt for one, is in
//! `docs/decisions/0007-size-of-the-browser-core.md`.

use std::fs;

use super::{DIST, layout};
use crate::process;
use crate::project::Project;

/// The core in [`DIST`].
const FILE: &str = "tidelock_core_bg.wasm";

/// Builds `crates/wasm` into [`DIST`].
pub(crate) fn build(project: &Project) -> Result<(), String> {
    let mut compile = project.cargo();
    compile.args(["build", "--package", "tidelock-wasm", "--target", "wasm32-unknown-unknown", "--profile", "wasm"]);
    process::must("cargo build tidelock-wasm (the browser's core)", &mut compile)?;

    let compiled = project.target_dir.join("wasm32-unknown-unknown/wasm/tidelock_wasm.wasm");
    let dist = project.root.join(DIST);
    fs::create_dir_all(&dist).map_err(|error| format!("{} cannot be made: {error}", dist.display()))?;
    let file = dist.join(FILE);
    let wasm = fs::read(&compiled).map_err(|error| format!("{} is unreadable: {error}", compiled.display()))?;
    fs::write(&file, layout::compact(&wasm)?).map_err(|error| format!("{} cannot be written: {error}", file.display()))
}
