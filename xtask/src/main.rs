//! The tasks of the project: `cargo xtask demo`, `test`, `sim`, `build` and `bench`.
//!
//! Every task does its own set-up (see [`setup`]), says on one line what it is doing, and exits non-zero when
//! anything failed. A cause that the person at the keyboard must remove is printed as one sentence.
#![allow(clippy::print_stdout, reason = "a task talks to the person who started it")]

mod bench;
mod build;
mod bundle;
mod check;
mod demo;
mod process;
mod project;
mod setup;
mod source;
mod stage;
mod summary;
mod tally;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use project::Project;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The tasks of the Tidelock project", disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build everything and start the demo application with its server.
    Demo(demo::Arguments),
    /// Run the test stages (all of them unless --stage names some).
    Test(stage::Arguments),
    /// Build the browser's core and the npm packages into packages/*/dist.
    Build,
    /// Replay a run of the simulator (--seed S), or let it go on (--minutes M).
    Sim(stage::sim::Arguments),
    /// Measure: print a table and write target/bench/NAME.json.
    Bench(bench::Arguments),
}

/// Whether everything that was asked for passed; an error is the one sentence that says why a task could not run.
type TaskResult = Result<bool, String>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match Project::load().and_then(|project| run(&project, &arguments.task)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(sentence) => {
            eprintln!("error: {sentence}");
            ExitCode::from(2)
        }
    }
}

fn run(project: &Project, task: &Task) -> TaskResult {
    match task {
        Task::Demo(arguments) => demo::run(project, arguments),
        Task::Test(arguments) => Ok(stage::run(project, arguments)),
        Task::Build => {
            setup::for_build(project)?;
            build::all(project).map(|()| true)
        }
        Task::Sim(arguments) => stage::sim::task(project, arguments),
        Task::Bench(arguments) => Ok(bench::run(project, arguments)),
    }
}
