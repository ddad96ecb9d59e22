//! The browser's core: compiled to WASM, bound to JavaScript, made small.

use std::fs;
use std::path::Path;

use wasm_bindgen_cli_support::Bindgen;

use super::DIST;
use crate::bundle::gzip_bytes;
use crate::process;
use crate::project::Project;

/// The stem of the glue's files: `tidelock_core.js`, `tidelock_core.d.ts`, `tidelock_core_bg.wasm`.
const STEM: &str = "tidelock_core";
/// What rustc lets a wasm32 program use; stripping removes the section that would tell the optimiser.
const WASM_FEATURES: [&str; 6] = [
    "--enable-bulk-memory",
    "--enable-multivalue",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
];

/// Builds `crates/wasm` into [`DIST`].
pub(crate) fn build(project: &Project) -> Result<(), String> {
    let mut compile = project.cargo();
    compile.args(["build", "--package", "tidelock-wasm", "--target", "wasm32-unknown-unknown", "--profile", "wasm"]);
    process::must("cargo build tidelock-wasm (the browser's core)", &mut compile)?;

    let compiled = project.target_dir.join("wasm32-unknown-unknown/wasm/tidelock_wasm.wasm");
    let dist = project.root.join(DIST);
    fs::create_dir_all(&dist).map_err(|error| format!("{} cannot be made: {error}", dist.display()))?;
    bind(&compiled, &dist)?;
    optimise(project, &dist.join(format!("{STEM}_bg.wasm")))
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

/// Runs wasm-opt and keeps what is smaller after compression, since that is what travels.
fn optimise(project: &Project, wasm: &Path) -> Result<(), String> {
    let smaller = project.target_dir.join("tidelock_core_opt.wasm");
    let mut command = project.node_tool("binaryen/bin/wasm-opt");
    command.arg(wasm).arg("-Os").args(WASM_FEATURES).arg("-o").arg(&smaller);
    process::must("wasm-opt", &mut command)?;
    let read = |path: &Path| fs::read(path).map_err(|error| format!("{} is unreadable: {error}", path.display()));
    let before = gzip_bytes(&read(wasm)?);
    let optimised = read(&smaller)?;
    if gzip_bytes(&optimised) < before {
        fs::write(wasm, optimised).map_err(|error| format!("{} cannot be written: {error}", wasm.display()))?;
    }
    Ok(())
}
