//! What the double refuses of DCP and what it sends, packet by packet, as couchbase's `kv_engine` has it: the documents are
//! docs/dcp/documentation, the code `daemon/mcbp_validators.cc` and engines/ep/src/dcp.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is how a test fails")]

mod client;
mod messages;
#[path = "../raw/packet.rs"]
mod packet;
mod refusals;
mod streams;
