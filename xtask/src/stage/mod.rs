//! `cargo xtask test`: the stages, their order and their closing lines.

mod browser;
pub(crate) mod couchbase;
mod geode;
mod node;
mod rust;
pub(crate) mod sim;

use std::time::Instant;

use clap::ValueEnum;

use crate::check;
use crate::process::seconds;
use crate::project::Project;
use crate::tally::Tally;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Run this stage only; may be given several times.
    #[arg(long = "stage", value_name = "NAME")]
    stages: Vec<Stage>,
}

/// A stage of the tests, in the order in which they run.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// Format, lints, dependency rules, licences, documentation, sizes.
    Check,
    /// Tests of one part, without a browser and without a killed process.
    Unit,
    /// Whole systems under faults, judged, and planted bugs that have to be found.
    Sim,
    /// Tests in a real Chromium against the real server.
    Browser,
    /// Tests that kill the server.
    Crash,
    /// Tests against a real Apache Geode cluster.
    Geode,
    /// Couchbase's own clients against the double of its server, the platform on Couchbase, and the client for its protocol over TLS.
    Couchbase,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Unit => "unit",
            Self::Sim => "sim",
            Self::Browser => "browser",
            Self::Crash => "crash",
            Self::Geode => "geode",
            Self::Couchbase => "couchbase",
        }
    }

    fn run(self, project: &Project) -> Result<Tally, String> {
        match self {
            Self::Check => check::run(project),
            Self::Unit => {
                let mut tally = rust::unit(project)?;
                tally += node::unit(project)?;
                Ok(tally)
            }
            Self::Sim => sim::run(project),
            Self::Browser => browser::run(project),
            Self::Crash => rust::crash(project),
            Self::Geode => geode::run(project),
            Self::Couchbase => couchbase::run(project),
        }
    }
}

/// Runs the stages, going on after one that failed. The last line is the total.
pub(crate) fn run(project: &Project, arguments: &Arguments) -> bool {
    let mut total = Tally::default();
    for stage in Stage::value_variants() {
        if !arguments.stages.is_empty() && !arguments.stages.contains(stage) {
            continue;
        }
        let started = Instant::now();
        println!("== stage {}", stage.name());
        let tally = stage.run(project).unwrap_or_else(|sentence| {
            println!("error: {sentence}");
            Tally::failed()
        });
        for reason in &tally.reasons {
            println!("skipped: {reason}");
        }
        println!("   stage {} took {}", stage.name(), seconds(started.elapsed()));
        println!("{}\n", tally.line(stage.name()));
        // The stage has printed its reasons.
        total += Tally { reasons: Vec::new(), ..tally };
    }
    println!("{}", total.line("total"));
    total.failed == 0
}
