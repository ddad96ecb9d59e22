//! The proof that the judges see something: one bug after the other is planted, and seeds are run until somebody finds it.

use std::fmt::Write as _;

use tidelock_core::planted::{BUGS, Bug, plant};

use crate::batch::Batch;
use crate::site::Sites;

/// A bug is to be found within so many seeds.
pub const SEEDS_MAX: u64 = 400;

/// How a bug was found.
#[derive(Debug)]
pub struct Finding {
    /// The bug.
    pub bug: Bug,
    /// Who found it, after how many seeds.
    pub found: Option<(&'static str, u64)>,
}

/// Plants every bug in turn.
pub fn plant_all(workers: usize) -> Vec<Finding> {
    let findings = BUGS.iter().map(|bug| {
        plant(Some(*bug));
        let batch = Batch {
            from: 0,
            seeds: Some(SEEDS_MAX),
            limit: None,
            workers,
            twice_in: 0,
            stops_at_failure: true,
            sites: Sites::Sound,
        };
        let found = batch.run().failures.first_key_value().map(|(seed, failure)| (failure.violation.checker, seed + 1));
        Finding { bug: *bug, found }
    });
    let findings = findings.collect();
    plant(None);
    findings
}

/// The table of what was found.
pub fn table(findings: &[Finding]) -> String {
    let mut text = format!("{:<20} {:<16} seeds\n", "planted bug", "found by");
    for Finding { bug, found } in findings {
        let (checker, seeds) =
            found.map_or(("NOBODY", format!("> {SEEDS_MAX}")), |(who, seeds)| (who, seeds.to_string()));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<20} {checker:<16} {seeds}", format!("{bug:?}"));
    }
    text
}
