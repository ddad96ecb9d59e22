//! The client against the double, in one process: what a feed tells while a cluster does all that clusters do.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a panic is how a test fails"
)]

mod basics;
mod cluster_changes;
mod collections;
mod delivery;
mod resumption;
mod support;
