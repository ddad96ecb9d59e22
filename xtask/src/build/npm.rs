//! The npm packages' own build scripts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::process;
use crate::project::{Project, read_json};

/// Runs `npm run build` in each package that has the script, dependencies first.
pub(crate) fn build(project: &Project) -> Result<(), String> {
    let packages: Vec<Package> = project.npm_packages().iter().filter_map(|folder| Package::read(folder)).collect();
    for package in in_order(packages)? {
        if package.has_build {
            let mut command = project.command("npm");
            command.args(["run", "build"]).current_dir(&package.folder);
            process::must(&format!("npm run build ({})", package.name), &mut command)?;
        }
    }
    Ok(())
}

struct Package {
    name: String,
    folder: PathBuf,
    has_build: bool,
    dependencies: BTreeSet<String>,
}

impl Package {
    fn read(folder: &Path) -> Option<Self> {
        let manifest = read_json(&folder.join("package.json"))?;
        let dependencies = ["dependencies", "devDependencies", "peerDependencies"]
            .iter()
            .filter_map(|field| manifest.get(field)?.as_object())
            .flat_map(|table| table.keys().cloned())
            .collect();
        Some(Self {
            name: manifest.get("name")?.as_str()?.to_owned(),
            folder: folder.to_path_buf(),
            has_build: manifest.pointer("/scripts/build").is_some_and(Value::is_string),
            dependencies,
        })
    }
}

/// Sorts so that each package comes after those of the workspace that it depends on.
fn in_order(mut waiting: Vec<Package>) -> Result<Vec<Package>, String> {
    let mut sorted = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let names: BTreeSet<String> = waiting.iter().map(|package| package.name.clone()).collect();
        let Some(at) = waiting.iter().position(|package| package.dependencies.is_disjoint(&names)) else {
            let names = names.into_iter().collect::<Vec<_>>().join(", ");
            return Err(format!("the npm packages {names} depend on each other in a circle: break it"));
        };
        sorted.push(waiting.remove(at));
    }
    Ok(sorted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        Package {
            name: name.into(),
            folder: PathBuf::new(),
            has_build: true,
            dependencies: dependencies.iter().map(|one| (*one).to_owned()).collect(),
        }
    }

    #[test]
    fn dependencies_are_built_first() {
        let sorted = in_order(vec![package("board", &["tidelock", "idb"]), package("tidelock", &[])]).unwrap();
        assert_eq!(sorted.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["tidelock", "board"]);
    }

    #[test]
    fn a_circle_is_an_error() {
        assert!(in_order(vec![package("a", &["b"]), package("b", &["a"])]).is_err());
    }
}
