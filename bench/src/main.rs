//! Native bench programs. Each prints its rows as JSON on standard output and its progress on standard error.
#![allow(clippy::print_stdout, reason = "rows are the programs' output")]
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking: nothing is to be recovered")]
#![allow(clippy::indexing_slicing, reason = "a bench fails by panicking: nothing is to be recovered")]
#![allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
#![allow(clippy::similar_names, reason = "the server, and what it served")]
#![allow(clippy::wildcard_enum_match_arm, reason = "whatever else arrives fails the bench")]

mod bare;
mod client;
mod commits;
mod couchbase;
mod fan_out;
mod figures;
mod geode;
mod idle;
mod reconcile;
mod rows;
mod server;
mod usage;

fn main() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        // Client counts may follow, to look at one of them alone.
        Some("commits") => {
            commits::run(&arguments.map(|count| count.parse().expect("a number of clients")).collect::<Vec<_>>());
        }
        Some("reconcile") => reconcile::run(),
        Some("fan-out") => fan_out::run(),
        Some("geode") => geode::run(),
        // A number of documents may follow.
        Some("couchbase") => {
            couchbase::run(arguments.next().map(|count| count.parse().expect("a number of documents")));
        }
        // A part of it, as a process of its own.
        Some(couchbase::FOLLOW) => couchbase::follow(arguments),
        Some("idle") => idle::run(),
        other => {
            let name = other.unwrap_or("without a name");
            eprintln!(
                "there is no bench {name}: those here are commits, reconcile, fan-out, geode, couchbase and idle"
            );
            std::process::exit(2);
        }
    }
}
