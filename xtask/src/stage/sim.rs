//! The stage `sim`: whole systems under faults, judged; and the proof that the judges find planted bugs. `cargo xtask sim` replays one
//! run, or goes on for some minutes.

use std::path::PathBuf;

use crate::TaskResult;
use crate::process::{self, Echo};
use crate::project::Project;
use crate::tally::Tally;

/// Seeds of the stage: at least 10,000, and enough for [`FAULTS_MIN`] with some to spare.
const SEEDS: &str = "11000";
/// Over which stores: see `--sites` of `cargo xtask sim --help`.
const SITES: &str = "sound";
/// Seeds over the models of clusters, besides: one takes several times as long.
const CLUSTER_SEEDS: &str = "2000";
/// What the run has to inject at least.
const FAULTS_MIN: u64 = 1_000_000;
/// Threads, one for each core that CI has.
const WORKERS: &str = "2";

/// What the simulator is told, see `cargo xtask sim --help`.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// `--seed S` replays, `--minutes M` goes on; the rest is what `cargo xtask sim --help` names.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// Runs the simulator as asked.
pub(crate) fn task(project: &Project, arguments: &Arguments) -> TaskResult {
    let mut command = std::process::Command::new(build(project)?);
    let status = command.args(&arguments.rest).status().map_err(|error| format!("the simulator: {error}"))?;
    Ok(status.success())
}

/// Every seed and every planted bug.
pub(super) fn run(project: &Project) -> Result<Tally, String> {
    let mut command = std::process::Command::new(build(project)?);
    let seeds = ["--seeds", SEEDS, "--sites", SITES, "--clusters", CLUSTER_SEEDS];
    command.args(seeds).args(["--workers", WORKERS, "--planted"]);
    println!("   > {SEEDS} seeds over stores `{SITES}`, {CLUSTER_SEEDS} over clusters, then planted bugs");
    let finished = process::run("simulator", &mut command, Echo::Shown)?;
    let Some(mut tally) = finished.stdout.lines().rev().find_map(tally_of) else {
        println!("error: the simulator ended without its summary ({})", finished.status);
        return Ok(Tally::failed());
    };
    if !finished.ok && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok(tally)
}

fn build(project: &Project) -> Result<PathBuf, String> {
    let mut command = project.cargo();
    command.args(["build", "--release", "--package", "tidelock-sim", "--features", "planted"]);
    process::must("cargo build tidelock-sim (release, with bugs to plant)", &mut command)?;
    Ok(project.target_dir.join("release").join(format!("tidelock-sim{}", std::env::consts::EXE_SUFFIX)))
}

/// Seeds and bugs found, of `sim: seeds=10000 events=… faults=… anomalies=0 planted=17/17`. Too few faults are a failure, too.
fn tally_of(line: &str) -> Option<Tally> {
    let fields = line.strip_prefix("sim: ")?;
    let field = |name: &str| fields.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    let number = |name: &str| field(name)?.parse::<u64>().ok();
    let (found, planted) = field("planted")?.split_once('/')?;
    let (found, planted): (u64, u64) = (found.parse().ok()?, planted.parse().ok()?);
    let (seeds, anomalies) = (number("seeds")?, number("anomalies")?);
    let too_few = u64::from(number("faults")? < FAULTS_MIN);
    if too_few > 0 {
        println!("error: fewer than {FAULTS_MIN} faults were injected");
    }
    let failed = anomalies + planted.saturating_sub(found) + too_few;
    Some(Tally { passed: seeds.saturating_sub(anomalies) + found, failed, ..Tally::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<(u64, u64)>) {
        assert_eq!(tally_of(line).map(|tally| (tally.passed, tally.failed)), expected, "{line}");
    }

    #[test]
    fn the_summary_is_counted() {
        check("sim: seeds=100 events=5 faults=1000000 anomalies=0 planted=12/12", Some((112, 0)));
        check("sim: seeds=100 events=5 faults=1000001 anomalies=2 planted=11/12", Some((109, 3)));
        check("sim: seeds=100 events=5 faults=7 anomalies=0 planted=12/12", Some((112, 1)));
        check("sim: seeds=100 events=5 faults=7 anomalies=0 planted=-", None);
        check("something else", None);
    }
}
