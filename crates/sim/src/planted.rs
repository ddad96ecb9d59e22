//! The proof that the judges see something: one bug after the other is planted, and seeds are run until somebody finds it.

use std::fmt::Write as _;

use tidelock_core::planted::{BUGS, Bug, plant};

use crate::batch::{Batch, guarded};
use crate::check::Options;
use crate::site::Sites;

/// A bug is to be found within so many seeds.
pub const SEEDS_MAX: u64 = 4_000;

/// Bugs of the cluster store alone.
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

/// Bugs that nobody judges over clusters: what is in the conflict log follows from the order of all commits.
const NOT_OF_CLUSTERS: [Bug; 1] = [Bug::ConflictUnlogged];

/// How a bug was found.
#[derive(Debug)]
pub struct Finding {
    /// The bug.
    pub bug: Bug,
    /// Over what it was planted.
    pub sites: Sites,
    /// Who found it, after how many seeds.
    pub found: Option<(&'static str, u64)>,
}

/// Plants every bug in turn, over every kind of store in which it can show.
pub fn plant_all(workers: usize) -> Vec<Finding> {
    let planted = BUGS.iter().flat_map(|bug| sites_of(*bug).iter().map(move |sites| (*bug, *sites)));
    let findings = planted.map(|(bug, sites)| Finding { bug, sites, found: find(bug, sites, workers) }).collect();
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
fn find(bug: Bug, sites: Sites, workers: usize) -> Option<(&'static str, u64)> {
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
fn sites_of(bug: Bug) -> &'static [Sites] {
    if OF_CLUSTERS.contains(&bug) {
        &[Sites::Clusters]
    } else if NOT_OF_CLUSTERS.contains(&bug) {
        &[Sites::Sound]
    } else {
        &[Sites::Sound, Sites::Clusters]
    }
}

/// The table of what was found.
pub fn table(findings: &[Finding]) -> String {
    let mut text = format!("{:<20} {:<9} {:<16} seeds\n", "planted bug", "over", "found by");
    for Finding { bug, sites, found } in findings {
        let name = Sites::NAMES.iter().find(|(_, one)| one == sites).map_or("", |(name, _)| name);
        let (checker, seeds) =
            found.map_or(("NOBODY", format!("> {SEEDS_MAX}")), |(who, seeds)| (who, seeds.to_string()));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<20} {name:<9} {checker:<16} {seeds}", format!("{bug:?}"));
    }
    text
}
