//! What the tasks know of the workspace: its root, its crates and their targets, its files.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The workspace as `cargo metadata` describes it.
pub(crate) struct Project {
    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Where cargo builds; honours `CARGO_TARGET_DIR`.
    pub(crate) target_dir: PathBuf,
    /// Every crate of the dependency graph, those of the workspace and those of others.
    pub(crate) crates: Vec<Crate>,
}

/// One crate of the dependency graph.
pub(crate) struct Crate {
    pub(crate) name: String,
    pub(crate) version: String,
    /// SPDX expression, when the manifest states one.
    pub(crate) license: Option<String>,
    /// A member of this workspace, not a crate of others.
    pub(crate) is_ours: bool,
    pub(crate) dependencies: Vec<Dependency>,
    /// Names of the integration test targets (`tests/NAME.rs`).
    pub(crate) test_targets: Vec<String>,
}

/// One edge of the dependency graph.
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Needed by tests and benches only.
    pub(crate) is_dev: bool,
}

impl Project {
    /// Asks cargo for the workspace that this task runner is run in: by `cargo run`, which tells, or else that it was built in. Work
    /// trees that share a build directory share the runner too.
    pub(crate) fn load() -> Result<Self, String> {
        let crate_root = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = PathBuf::from(crate_root)
            .parent()
            .map(Path::to_path_buf)
            .ok_or("the task runner's crate has no parent folder")?;
        let output = cargo(&root)
            .args(["metadata", "--format-version", "1"])
            .output()
            .map_err(|error| format!("cargo could not be started ({error}): install Rust from rust-lang.org"))?;
        if !output.status.success() {
            return Err(format!("`cargo metadata` failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        let metadata: Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("`cargo metadata` printed something unreadable: {error}"))?;
        let target_dir = PathBuf::from(text(&metadata, "target_directory").ok_or("cargo names no target directory")?);
        let crates = items(&metadata, "packages").iter().filter_map(Crate::parse).collect();
        Ok(Self { root, target_dir, crates })
    }

    /// The crates of this workspace.
    pub(crate) fn our_crates(&self) -> impl Iterator<Item = &Crate> {
        self.crates.iter().filter(|one| one.is_ours)
    }

    /// Whether the workspace has a crate of that name.
    pub(crate) fn has_crate(&self, name: &str) -> bool {
        self.our_crates().any(|one| one.name == name)
    }

    /// A cargo command that runs at the workspace root.
    pub(crate) fn cargo(&self) -> Command {
        cargo(&self.root)
    }

    /// A command that runs at the workspace root.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }

    /// A script of an installed npm package, run by node: `bin` is its path under `node_modules`.
    pub(crate) fn node_tool(&self, bin: &str) -> Command {
        let mut command = self.command("node");
        command.arg(self.root.join("node_modules").join(bin));
        command
    }

    /// The folders of `packages/`, sorted.
    pub(crate) fn npm_packages(&self) -> Vec<PathBuf> {
        let mut folders: Vec<PathBuf> = entries(&self.root.join("packages"))
            .into_iter()
            .filter(|folder| folder.join("package.json").is_file())
            .collect();
        folders.sort();
        folders
    }

    /// The project's own files, as paths from the root with `/`: tracked by git, or about to be.
    pub(crate) fn files(&self) -> Result<Vec<String>, String> {
        let output = self
            .command("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
            .output()
            .map_err(|error| format!("git could not be started ({error}): install git"))?;
        if !output.status.success() {
            return Err(format!("`git ls-files` failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        let names = String::from_utf8_lossy(&output.stdout);
        let mut files: Vec<String> = names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        // A file deleted in the work tree is still in the index.
        files.retain(|name| self.root.join(name).is_file());
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// Reads one of the project's files as text; `None` for a file that is not UTF-8.
    pub(crate) fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.root.join(name)).ok()
    }
}

impl Crate {
    fn parse(package: &Value) -> Option<Self> {
        let dependencies = items(package, "dependencies")
            .iter()
            .filter_map(|one| {
                let name = text(one, "name")?;
                Some(Dependency { name, is_dev: text(one, "kind").as_deref() == Some("dev") })
            })
            .collect();
        let test_targets = items(package, "targets")
            .iter()
            .filter(|target| items(target, "kind").iter().any(|kind| kind == "test"))
            .filter_map(|target| text(target, "name"))
            .collect();
        Some(Self {
            name: text(package, "name")?,
            version: text(package, "version")?,
            license: text(package, "license"),
            is_ours: package.get("source").is_none_or(Value::is_null),
            dependencies,
            test_targets,
        })
    }
}

/// Finds files below `folder` whose names end with `suffix`, sorted.
pub(crate) fn files_below(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in entries(&next) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.to_string_lossy().ends_with(suffix) {
                found.push(entry);
            }
        }
    }
    found.sort();
    found
}

/// Reads a JSON file; `None` when it is missing or no JSON.
pub(crate) fn read_json(path: &Path) -> Option<Value> {
    serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).map(|list| list.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
}

/// Cargo without the variables that `cargo run` set for this program: they would make build scripts rerun.
fn cargo(root: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let shown = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"].iter().any(|start| shown.starts_with(start))
        {
            command.env_remove(&name);
        }
    }
    command.current_dir(root);
    command
}

fn text(value: &Value, field: &str) -> Option<String> {
    value.get(field)?.as_str().map(str::to_owned)
}

fn items<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
