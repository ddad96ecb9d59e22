//! Runs seeds of the simulator: `tidelock-sim --seed S` replays one and tells every event, `tidelock-sim --seeds N [--from S]` runs many.

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
        return match tidelock_sim::run(seed, &tidelock_sim::Options { verbose: !quiet, ..Default::default() }) {
            Ok(report) => {
                say(format!("seed {seed}: {report:?}"));
                ExitCode::SUCCESS
            }
            Err(error) => {
                say(format!("seed {seed} fails: {}", error.violation));
                ExitCode::FAILURE
            }
        };
    }
    let from = number("--from").unwrap_or(0);
    let seeds = number("--seeds").unwrap_or(1_000);
    let mut failed = 0_u64;
    let (mut events, mut faults, mut rejected, mut transactions) = (0, 0, 0, 0);
    for seed in from..from + seeds {
        match guarded(seed) {
            Ok(report) => {
                events += report.events;
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
    say(format!(
        "sim: seeds={seeds} failed={failed} events={events} faults={faults} transactions={transactions} rejected={rejected}"
    ));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A panic is a failure of its seed.
fn guarded(seed: u64) -> Result<tidelock_sim::Report, String> {
    std::panic::catch_unwind(|| tidelock_sim::run(seed, &tidelock_sim::Options::default()).map_err(|failure| failure.violation.to_string()))
        .unwrap_or_else(|_| Err("panicked".into()))
}
