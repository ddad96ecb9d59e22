//! The stage `check`: everything that can be said of the sources without running the product. Each check is one
//! counted item; a failure prints what is wrong and what to do.

mod commands;
mod dependencies;
mod licences;
mod planted;
mod purity;
mod size;
mod spdx;
mod tidy;

use std::time::Instant;

use crate::process::seconds;
use crate::project::Project;
use crate::setup;
use crate::tally::Tally;

/// What a check found.
enum Verdict {
    Passed,
    /// What is wrong, one finding per line.
    Failed(String),
    /// Why there was nothing to check.
    Skipped(String),
}

impl Verdict {
    /// Passed when there are no findings.
    fn of(findings: &[String]) -> Self {
        if findings.is_empty() { Self::Passed } else { Self::Failed(findings.join("\n")) }
    }
}

struct Check {
    name: &'static str,
    /// What to do about a failure.
    advice: &'static str,
    run: fn(&Project) -> Result<Verdict, String>,
}

/// Cheap ones first, so that a slip is seen at once.
const CHECKS: &[&[Check]] = &[
    commands::FORMAT,
    dependencies::CHECKS,
    purity::CHECKS,
    planted::CHECKS,
    tidy::CHECKS,
    licences::CHECKS,
    commands::RUST,
    commands::SCRIPT,
    size::CHECKS,
];

pub(crate) fn run(project: &Project) -> Result<Tally, String> {
    setup::for_check(project)?;
    let mut tally = Tally::default();
    for check in CHECKS.iter().copied().flatten() {
        let started = Instant::now();
        let verdict = (check.run)(project).unwrap_or_else(Verdict::Failed);
        let elapsed = seconds(started.elapsed());
        match verdict {
            Verdict::Passed => {
                println!("   ok   {} ({elapsed})", check.name);
                tally += Tally::passed();
            }
            Verdict::Failed(findings) => {
                println!("   FAIL {} ({elapsed})", check.name);
                for line in findings.trim_end().lines() {
                    println!("        {line}");
                }
                println!("        -> {}", check.advice);
                tally += Tally::failed();
            }
            Verdict::Skipped(reason) => {
                println!("   skip {}", check.name);
                tally += Tally::skipped(format!("{}: {reason}", check.name));
            }
        }
    }
    Ok(tally)
}
