//! Runs seeds of the simulator: `tidelock-sim --seed S` replays one and tells every event, `tidelock-sim --seeds N [--from S]` runs many.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    let mut out = std::io::stdout();
    // A reader that went away does not matter.
    let mut say = |line: String| drop(writeln!(out, "{line}"));
    if let Some(seed) = number("--seed") {
        let quiet = arguments.iter().any(|argument| argument == "--quiet");
        return match tidelock_sim::run(seed, !quiet) {
            Ok(report) => {
                say(format!("seed {seed}: {report:?}"));
                ExitCode::SUCCESS
            }
            Err(error) => {
                say(format!("seed {seed} fails: {error}"));
                ExitCode::FAILURE
            }
        };
    }
    let from = number("--from").unwrap_or(0);
    let seeds = number("--seeds").unwrap_or(1_000);
    let mut failed = 0_u64;
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    let mut sites: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut events, mut faults, mut rejected, mut transactions) = (0, 0, 0, 0);
    for seed in from..from + seeds {
        match guarded(seed) {
            Ok(report) => {
                events += report.events;
                *sites.entry(report.site).or_default() += 1;
                for (kind, count) in &report.faults {
                    *kinds.entry(kind).or_default() += count;
                }
                faults += report.faults.values().sum::<u64>();
                rejected += report.rejected;
                transactions += report.transactions;
            }
            Err(error) => {
                failed += 1;
                let short: String = error.chars().take(600).collect();
                say(format!("FAIL cargo run -p tidelock-sim -- --seed {seed}: {short}"));
            }
        }
    }
    say(format!("passed over {sites:?}"));
    say(format!("faults by kind {kinds:?}"));
    say(format!(
        "sim: seeds={seeds} failed={failed} events={events} faults={faults} transactions={transactions} rejected={rejected}"
    ));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A panic is a failure of its seed.
fn guarded(seed: u64) -> Result<tidelock_sim::Report, String> {
    std::panic::catch_unwind(|| tidelock_sim::run(seed, false)).unwrap_or_else(|_| Err("panicked".into()))
}
