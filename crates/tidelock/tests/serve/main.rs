//! `tidelock serve` as a process: listeners, TLS, another configuration at `SIGHUP`, a full disk, and what must not be in its log.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests: a panic is how they report")]

mod disk;
mod listeners;
mod process;
mod secrets;
mod signals;
mod tls;
