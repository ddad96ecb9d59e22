//! Golden scripts of the client core: events in, frames, rows and shadow out.

mod connection;
mod documents;
mod epochs;
mod mend;
mod offsets;
mod reconcile;
mod results;
mod script;
mod withdrawn;
