//! Runs seeds of the simulator: `tidelock-sim --help`.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tidelock_sim::{Batch, Kept, Options, Sites, Totals, guarded, read_ranges, shrink};

/// Simulating is allocating: this one is faster than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Failing seeds of which the schedule is made small.
const SHRUNK_MAX: usize = 3;
/// One seed of so many is run twice.
const TWICE_IN: u64 = 20;

#[derive(Parser)]
#[command(about = "Simulates whole systems of clients and servers under faults", disable_version_flag = true)]
struct Arguments {
    /// Replay this seed and tell every event on standard error.
    #[arg(long)]
    seed: Option<u64>,
    /// With --seed: only these items of the schedule (`1,4-6`).
    #[arg(long, value_parser = read_ranges)]
    keep: Option<Numbers>,
    /// With --seed: only these clients.
    #[arg(long, value_parser = read_ranges)]
    clients: Option<Numbers>,
    /// With --seed: tell the outcome only.
    #[arg(long)]
    quiet: bool,
    /// How many seeds to run.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run seeds for so many minutes instead.
    #[arg(long)]
    minutes: Option<u64>,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// `sound`: over the memory store and the embedded store; `clusters`: over the models of clusters; `all`: over either.
    #[arg(long, default_value = "sound", value_parser = read_sites)]
    sites: Sites,
    /// Besides, so many seeds over the models of clusters, from the same first one.
    #[arg(long, default_value_t = 0)]
    clusters: u64,
    /// Run with this bug planted, by the name that the table gives it.
    #[arg(long)]
    bug: Option<String>,
    /// Plant bugs afterwards and say who finds them.
    #[arg(long)]
    planted: bool,
}

fn read_sites(text: &str) -> Result<Sites, String> {
    let found = Sites::NAMES.iter().find(|(name, _)| *name == text);
    found.map(|(_, sites)| *sites).ok_or_else(|| "`sound`, `clusters` or `all`".to_owned())
}

type Numbers = BTreeSet<usize>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(name) = &arguments.bug
        && !plant_one(name)
    {
        say(&format!("there is no bug {name} to plant; `--planted` lists them, with `--features planted`"));
        return ExitCode::FAILURE;
    }
    let passed = match arguments.seed {
        Some(seed) => replay(seed, &arguments),
        None => many(&arguments),
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(line: &str) {
    // A reader that went away does not matter.
    drop(writeln!(std::io::stdout(), "{line}"));
}

fn replay(seed: u64, arguments: &Arguments) -> bool {
    let kept = Kept { items: arguments.keep.clone(), clients: arguments.clients.clone() };
    match guarded(seed, &Options { verbose: !arguments.quiet, kept, sites: arguments.sites }) {
        Ok(report) => {
            say(&format!("seed {seed}: {report:?}"));
            true
        }
        Err(failure) => {
            failure.schedule.iter().for_each(|line| say(&format!("  {line}")));
            say(&format!("seed {seed} fails: {}", failure.violation));
            false
        }
    }
}

fn many(arguments: &Arguments) -> bool {
    let limit = arguments.minutes.map(|minutes| Duration::from_secs(60 * minutes));
    let batch = Batch {
        from: arguments.from,
        seeds: limit.is_none().then_some(arguments.seeds),
        limit,
        workers: arguments.workers,
        twice_in: TWICE_IN,
        stops_at_failure: false,
        sites: arguments.sites,
    };
    let mut totals = batch.run();
    tell_failures(&totals, batch.sites);
    let mut anomalies = totals.failures.len();
    if arguments.clusters > 0 {
        let batch = Batch { seeds: Some(arguments.clusters), limit: None, sites: Sites::Clusters, ..batch };
        let others = batch.run();
        tell_failures(&others, batch.sites);
        anomalies += others.failures.len();
        totals.include(others);
    }
    tell(&totals);
    let (planted, all_found) = if arguments.planted { plant(arguments.workers) } else { ("-".to_owned(), true) };
    say(&format!(
        "sim: seeds={} events={} faults={} anomalies={anomalies} planted={planted}",
        totals.seeds,
        totals.events,
        totals.fault_count()
    ));
    anomalies == 0 && all_found
}

fn tell_failures(totals: &Totals, sites: Sites) {
    let name = Sites::NAMES.iter().find(|(_, one)| *one == sites).map_or("", |(name, _)| name);
    let option = if sites == Sites::Sound { String::new() } else { format!(" --sites {name}") };
    for (number, (seed, failure)) in totals.failures.iter().enumerate() {
        let short: String = failure.violation.to_string().chars().take(600).collect();
        say(&format!("FAIL cargo xtask sim --seed {seed}{option}: {short}"));
        if number < SHRUNK_MAX && failure.size.0 > 0 {
            say(&format!("minimised: {}", shrink(*seed, failure.clone(), sites).describe(*seed, option.trim_start())));
        }
    }
}

fn tell(totals: &Totals) {
    say("seeds that passed, by store:");
    totals.sites.iter().for_each(|(site, count)| say(&format!("  {site:<20} {count:>9}")));
    say("faults by kind:");
    totals.faults.iter().for_each(|(kind, count)| say(&format!("  {kind:<20} {count:>9}")));
    say(&format!(
        "transactions {}, of them rejected and listed {}; {} seeds ran twice, alike; drained within {} virtual ms",
        totals.transactions, totals.rejected, totals.repeated, totals.drained_ms_max
    ));
}

/// The table, how many bugs were found of how many, and whether all were.
#[cfg(feature = "planted")]
fn plant(workers: usize) -> (String, bool) {
    let findings = tidelock_sim::planted::plant_all(workers);
    say(tidelock_sim::planted::table(&findings).trim_end());
    let found = findings.iter().filter(|finding| finding.found.is_some()).count();
    (format!("{found}/{}", findings.len()), found == findings.len())
}

/// Plants a bug for all of the run; whether there is such a bug.
#[cfg(feature = "planted")]
fn plant_one(name: &str) -> bool {
    tidelock_sim::planted::plant_named(name)
}

#[cfg(not(feature = "planted"))]
fn plant_one(_name: &str) -> bool {
    false
}

#[cfg(not(feature = "planted"))]
fn plant(_workers: usize) -> (String, bool) {
    say("bugs can be planted only with `--features planted`");
    ("-".to_owned(), false)
}
