//! The server over real sockets: sessions, wrong inputs, REST.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::format_push_string,
    clippy::similar_names,
    reason = "a failure of a test is a panic"
)]

mod coding;
mod full_disk;
mod harness;
mod locked;
mod reconcile;
mod rest;
mod rules;
mod session;
mod wrong_input;
