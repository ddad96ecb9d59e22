//! Native bench programs. Each prints its rows as JSON on standard output and its progress on standard error.
#![allow(clippy::print_stdout, reason = "rows are the programs' output")]
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking: nothing is to be recovered")]
#![allow(clippy::indexing_slicing, reason = "a bench fails by panicking: nothing is to be recovered")]
#![allow(clippy::similar_names, reason = "the server, and what it served")]
#![allow(clippy::wildcard_enum_match_arm, reason = "whatever else arrives fails the bench")]

mod bare;
mod client;
mod commits;
mod reconcile;
mod rows;
mod server;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("commits") => commits::run(),
        Some("reconcile") => reconcile::run(),
        other => {
            eprintln!("there is no bench {}: those here are commits and reconcile", other.unwrap_or("without a name"));
            std::process::exit(2);
        }
    }
}
