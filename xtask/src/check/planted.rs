//! Bugs that the simulator plants are not in the product: only the simulator's manifest asks for the feature `planted`, and cargo builds
//! the core without it for everybody else.

use super::{Check, Verdict};
use crate::project::Project;

pub(super) const CHECKS: &[Check] = &[Check {
    name: "no planted bugs in the product",
    advice: "only crates/sim may ask for the feature `planted`, in its feature of that name and never by default",
    run: nobody_plants,
}];

/// The manifest that defines the feature.
const DEFINES: &str = "crates/core/Cargo.toml";
/// The manifest that may ask for it.
const ASKS: &str = "crates/sim/Cargo.toml";
const FEATURE: &str = "planted";

fn nobody_plants(project: &Project) -> Result<Verdict, String> {
    let mut findings = Vec::new();
    for file in project.files()?.iter().filter(|file| file.ends_with("Cargo.toml")) {
        let text = project.read(file).unwrap_or_default();
        findings.extend(asks(file, &text).map(|line| format!("{file}: {line}")));
    }
    // What cargo really enables, in every build of the whole workspace: tests and benches included.
    let mut command = project.cargo();
    command.args(["tree", "--workspace", "--edges", "normal,build,dev", "--prefix", "none", "--format", "{p}|{f}"]);
    let output = command.output().map_err(|error| format!("cargo tree: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let tree = String::from_utf8_lossy(&output.stdout);
    findings.extend(enabled(&tree).map(|line| format!("built with the feature: {line}")));
    Ok(Verdict::of(&findings))
}

/// Lines of a manifest that ask for the feature and may not.
fn asks<'a>(file: &'a str, manifest: &'a str) -> impl Iterator<Item = &'a str> {
    let lines = manifest.lines().map(str::trim).filter(|line| !line.starts_with('#') && line.contains(FEATURE));
    lines.filter(move |line| match file {
        DEFINES => *line != "planted = []",
        ASKS => *line != "planted = [\"tidelock-core/planted\"]",
        _ => true,
    })
}

/// Lines of `cargo tree` of crates with the feature.
fn enabled(tree: &str) -> impl Iterator<Item = &str> {
    tree.lines().filter(|line| {
        let features = line.split_once('|').map_or("", |(_, features)| features);
        features.split([',', ' ']).any(|feature| feature == FEATURE)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_is_found() {
        let wrong = "planted = []\ndefault = [\"planted\"]";
        assert_eq!(asks(DEFINES, wrong).collect::<Vec<_>>(), ["default = [\"planted\"]"]);
        assert_eq!(asks(ASKS, "planted = [\"tidelock-core/planted\"]\n# planted bugs").count(), 0);
        let server = "tidelock-core = { features = [\"planted\"] }";
        assert_eq!(asks("crates/server/Cargo.toml", server).count(), 1);
    }

    #[test]
    fn what_is_enabled_is_found() {
        let tree = "tidelock-core v0.1.0 (/x)|planted\ntidelock v0.1.0 (/x/planted)|\nserde v1.0.0|default,std (*)";
        assert_eq!(enabled(tree).collect::<Vec<_>>(), ["tidelock-core v0.1.0 (/x)|planted"]);
    }
}
