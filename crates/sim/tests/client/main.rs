//! Golden scripts of the client core: events in, frames, rows and shadow out.

mod connection;
mod documents;
mod offsets;
mod results;
mod script;
