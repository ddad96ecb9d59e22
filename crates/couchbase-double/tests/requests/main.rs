//! What the double answers to requests, right and wrong, byte for byte: tables of request and status, by `kv_engine`'s validators and
//! executors, whose files the double names.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod client;
mod documents;
mod forms;
#[path = "../raw/packet.rs"]
mod packet;
mod sessions;
mod subdoc;
