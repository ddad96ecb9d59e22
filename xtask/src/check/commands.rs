//! The checks that are other programs: compilers, linters, formatters.

use std::path::Path;
use std::process::Command;

use super::{Check, Verdict};
use crate::build;
use crate::process::{self, Echo};
use crate::project::Project;

pub(super) const FORMAT: &[Check] = &[
    Check { name: "cargo fmt", advice: "run `cargo fmt --all`", run: format_rust },
    Check { name: "prettier", advice: "run `npm run format`", run: format_script },
];

pub(super) const RUST: &[Check] = &[
    Check { name: "clippy", advice: "correct the code, or allow the lint at that place with a reason", run: clippy },
    Check {
        name: "core on wasm32",
        advice: "the core must build for the browser: remove what needs an operating system",
        run: core_on_wasm,
    },
    Check { name: "rustdoc", advice: "correct the links and the markup in the doc comments", run: rustdoc },
];

pub(super) const SCRIPT: &[Check] = &[
    Check { name: "packages build", advice: "run `cargo xtask build` and read its output", run: packages_build },
    Check { name: "tsc", advice: "correct the types", run: types },
    Check { name: "oxlint", advice: "correct the code, or disable the rule at that line with a reason", run: oxlint },
];

fn format_rust(project: &Project) -> Result<Verdict, String> {
    verdict("cargo fmt", project.cargo().args(["fmt", "--all", "--check"]))
}

fn format_script(project: &Project) -> Result<Verdict, String> {
    verdict("prettier", project.node_tool("prettier/bin/prettier.cjs").args(["--check", "--log-level", "warn", "."]))
}

fn clippy(project: &Project) -> Result<Verdict, String> {
    verdict(
        "clippy",
        project.cargo().args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]),
    )
}

fn core_on_wasm(project: &Project) -> Result<Verdict, String> {
    let mut command = project.cargo();
    command.args(["build", "--quiet", "--package", "tidelock-core", "--target", "wasm32-unknown-unknown"]);
    verdict("core on wasm32", &mut command)
}

fn rustdoc(project: &Project) -> Result<Verdict, String> {
    let mut command = project.cargo();
    command.args(["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings");
    verdict("rustdoc", &mut command)
}

fn packages_build(project: &Project) -> Result<Verdict, String> {
    // The types of a package that others import are made by its build, so this comes before them.
    build::all(project).map(|()| Verdict::Passed)
}

fn types(project: &Project) -> Result<Verdict, String> {
    let typed: Vec<_> =
        project.npm_packages().into_iter().filter(|package| package.join("tsconfig.json").is_file()).collect();
    if typed.is_empty() {
        return Ok(Verdict::Skipped("no package has a tsconfig.json yet".into()));
    }
    let mut findings = Vec::new();
    for package in &typed {
        let mut command = project.node_tool("typescript/bin/tsc");
        command.args(["--noEmit", "--pretty", "false", "--project"]).arg(package.join("tsconfig.json"));
        if let Verdict::Failed(output) = verdict(&format!("tsc {}", shown(project, package)), &mut command)? {
            findings.push(output);
        }
    }
    Ok(Verdict::of(&findings))
}

fn oxlint(project: &Project) -> Result<Verdict, String> {
    verdict(
        "oxlint",
        project.node_tool("oxlint/bin/oxlint").args([
            "--type-aware",
            "--deny-warnings",
            "--no-error-on-unmatched-pattern",
        ]),
    )
}

fn verdict(name: &str, command: &mut Command) -> Result<Verdict, String> {
    let finished = process::run(name, command, Echo::Quiet)?;
    Ok(if finished.ok { Verdict::Passed } else { Verdict::Failed(format!("{}({})", finished.output, finished.status)) })
}

fn shown<'a>(project: &Project, path: &'a Path) -> std::path::Display<'a> {
    path.strip_prefix(&project.root).unwrap_or(path).display()
}
