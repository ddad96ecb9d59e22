//! The `tidelock` command.

mod command;
mod platforms;
mod stores;

use std::process::ExitCode;

use clap::Parser;

use command::Arguments;

/// A commit allocates some dozens of small pieces on one thread and frees them on another, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start: {error}")),
    };
    match runtime.block_on(command::run(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(&message),
    }
}

#[expect(clippy::print_stderr, reason = "an error of a command goes to the terminal")]
fn fail(message: &str) -> ExitCode {
    eprintln!("tidelock: {message}");
    ExitCode::FAILURE
}
