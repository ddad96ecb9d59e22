//! The proof that the judges see something: one bug after the other is planted, and seeds are run until somebody finds it.

use std::fmt::Write as _;

use tidelock_core::planted::{BUGS, Bug, plant};

use crate::batch::{Batch, guarded};
use crate::check::Options;
use crate::site::Sites;

/// A bug is to be found within so many seeds.
pub const SEEDS_MAX: u64 = 400;

/// Bugs of the cluster store.
const OF_CLUSTERS: [Bug; 8] = [
    Bug::FencingUnchecked,
    Bug::ForeignIgnored,
    Bug::GroupApart,
    Bug::IntentAborted,
    Bug::LagServed,
    Bug::LostUnscanned,
    Bug::SameTaken,
    Bug::SeenPruned,
];

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
    let findings = BUGS.iter().map(|bug| Finding { bug: *bug, found: find(*bug, workers) }).collect();
    plant(None);
    findings
}

/// Plants the bug of this name; whether there is one.
pub fn plant_named(name: &str) -> bool {
    let bug = BUGS.iter().find(|bug| format!("{bug:?}") == name);
    plant(bug.copied());
    bug.is_some()
}

/// Who finds a bug, after how many seeds. A seed that fails without the bug says nothing about it.
fn find(bug: Bug, workers: usize) -> Option<(&'static str, u64)> {
    let sites = sites_of(bug);
    let mut from = 0;
    while from < SEEDS_MAX {
        plant(Some(bug));
        let seeds = Some(SEEDS_MAX - from);
        let batch = Batch { from, seeds, limit: None, workers, twice_in: 0, stops_at_failure: true, sites };
        let failures = batch.run().failures;
        plant(None);
        // The batch ends at the first failure that a worker meets; another worker's may be of an earlier seed.
        let own = failures.iter().find(|(seed, _)| guarded(**seed, &Options { sites, ..Options::default() }).is_ok());
        if let Some((seed, failure)) = own {
            return Some((failure.violation.checker, seed + 1));
        }
        from = failures.last_key_value().map_or(SEEDS_MAX, |(seed, _)| seed + 1);
    }
    None
}

/// Over which stores a bug can show.
fn sites_of(bug: Bug) -> Sites {
    if OF_CLUSTERS.contains(&bug) { Sites::Clusters } else { Sites::Sound }
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
