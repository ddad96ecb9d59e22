//! Golden scripts of the client core: events in, frames, rows and shadow out.

mod connection;
mod documents;
mod results;
mod script;
