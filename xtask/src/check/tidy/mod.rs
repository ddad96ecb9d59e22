//! Rules of the house that no compiler knows. Each rule is a function from a file's text to findings, so that it is
//! tested on small texts; this module applies the rules to the project's files.

mod comments;
mod paths;
mod protocol;
mod sources;

use super::{Check, Verdict};
use crate::project::Project;
use crate::source::Language;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "tidy: paths in ARCHITECTURE.md",
        advice: "correct the page: every path it names must exist",
        run: |project| Ok(architecture(project)),
    },
    Check {
        name: "tidy: messages in docs/protocol.md",
        advice: "describe the type in docs/protocol.md under its Rust name",
        run: protocol_messages,
    },
    Check {
        name: "tidy: comments",
        advice: "say what holds and why, not what changed: the history is in git",
        run: comment_words,
    },
    Check { name: "tidy: bounded channels", advice: "give the channel a named limit", run: bounded_channels },
    Check {
        name: "tidy: file length",
        advice: "split the file, or say why not with `tidy: long because …` in its first lines",
        run: file_length,
    },
    Check {
        name: "tidy: machine paths",
        advice: "use a path relative to the project, or the system's temporary folder",
        run: machine_paths,
    },
    Check {
        name: "tidy: lock file",
        advice: "keep .npmrc's omit-lockfile-registry-resolved and install again: a lock names no registry",
        run: lock_file,
    },
];

const ARCHITECTURE: &str = "ARCHITECTURE.md";
const PROTOCOL: &str = "docs/protocol.md";
const WIRE: &str = "crates/core/src/wire";

fn architecture(project: &Project) -> Verdict {
    let Some(text) = project.read(ARCHITECTURE) else {
        return Verdict::Skipped(format!("{ARCHITECTURE} is not written yet"));
    };
    let missing = paths::named(&text)
        .into_iter()
        .filter(|(_, path)| !project.root.join(path).exists())
        .map(|(line, path)| format!("{ARCHITECTURE}:{line}: {path} does not exist"));
    Verdict::of(&missing.collect::<Vec<_>>())
}

fn protocol_messages(project: &Project) -> Result<Verdict, String> {
    let mut types = Vec::new();
    for file in project.files()?.iter().filter(|file| file.starts_with(WIRE) && is_rust(file)) {
        let Some(text) = project.read(file) else { continue };
        types.extend(protocol::wire_types(&text).into_iter().map(|name| (file.clone(), name)));
    }
    if types.is_empty() {
        return Ok(Verdict::Skipped(format!("{WIRE} has no message yet")));
    }
    let Some(specification) = project.read(PROTOCOL) else {
        return Ok(Verdict::Failed(format!("{PROTOCOL} does not exist, and {WIRE} has {} types", types.len())));
    };
    let findings: Vec<String> = types
        .into_iter()
        .filter(|(_, name)| !protocol::mentions(&specification, name))
        .map(|(file, name)| format!("{file}: {name} is not in {PROTOCOL}"))
        .collect();
    Ok(Verdict::of(&findings))
}

fn comment_words(project: &Project) -> Result<Verdict, String> {
    each_file(project, |_| true, comments::narrations)
}

fn bounded_channels(project: &Project) -> Result<Verdict, String> {
    each_file(project, is_rust, sources::limitless_channels)
}

fn file_length(project: &Project) -> Result<Verdict, String> {
    each_file(project, sources::has_length_limit, |_, text| sources::too_long(text))
}

fn machine_paths(project: &Project) -> Result<Verdict, String> {
    each_file(project, |file| !sources::is_test(file), |_, text| paths::of_a_machine(text))
}

fn lock_file(project: &Project) -> Result<Verdict, String> {
    each_file(project, |file| file.ends_with("package-lock.json"), |_, text| sources::registry_addresses(text))
}

fn is_rust(file: &str) -> bool {
    Language::of(file) == Some(Language::Rust)
}

/// A finding's line, counted from 1, and what is wrong there.
type Finding = (usize, String);

/// Applies a rule to the text of each of the project's files that `wanted` accepts.
fn each_file(
    project: &Project,
    wanted: impl Fn(&str) -> bool,
    rule: impl Fn(&str, &str) -> Vec<Finding>,
) -> Result<Verdict, String> {
    let mut findings = Vec::new();
    for file in project.files()?.iter().filter(|file| wanted(file)) {
        let Some(text) = project.read(file) else { continue };
        findings.extend(rule(file, &text).into_iter().map(|(line, what)| format!("{file}:{line}: {what}")));
    }
    Ok(Verdict::of(&findings))
}
