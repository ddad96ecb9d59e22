//! The browser's core: compiled to WASM, bound to JavaScript, laid out for gzip. What was tried besides, wasm-opt for one, is in
//! `docs/decisions/0007-size-of-the-browser-core.md`.

use std::fs;
use std::path::Path;

use wasm_bindgen_cli_support::Bindgen;

use super::{DIST, layout};
use crate::process;
use crate::project::Project;

/// The stem of the glue's files: `tidelock_core.js`, `tidelock_core.d.ts`, `tidelock_core_bg.wasm`.
const STEM: &str = "tidelock_core";

/// Builds `crates/wasm` into [`DIST`].
pub(crate) fn build(project: &Project) -> Result<(), String> {
    let mut compile = project.cargo();
    compile.args(["build", "--package", "tidelock-wasm", "--target", "wasm32-unknown-unknown", "--profile", "wasm"]);
    process::must("cargo build tidelock-wasm (the browser's core)", &mut compile)?;

    let compiled = project.target_dir.join("wasm32-unknown-unknown/wasm/tidelock_wasm.wasm");
    let dist = project.root.join(DIST);
    fs::create_dir_all(&dist).map_err(|error| format!("{} cannot be made: {error}", dist.display()))?;
    bind(&compiled, &dist)?;
    lay_out(&dist.join(format!("{STEM}_bg.wasm")))
}

fn lay_out(file: &Path) -> Result<(), String> {
    let wasm = fs::read(file).map_err(|error| format!("{} is unreadable: {error}", file.display()))?;
    fs::write(file, layout::compact(&wasm)?).map_err(|error| format!("{} cannot be written: {error}", file.display()))
}

/// The glue for `<script type="module">` and workers: its default export takes the address of the WASM file.
fn bind(compiled: &Path, dist: &Path) -> Result<(), String> {
    let mut bindgen = Bindgen::new();
    bindgen.input_path(compiled).out_name(STEM).typescript(true);
    bindgen.remove_name_section(true).remove_producers_section(true);
    bindgen
        .web(true)
        .and_then(|bindgen| bindgen.generate(dist))
        .map_err(|error| format!("wasm-bindgen could not bind {} ({error:#})", compiled.display()))
}
