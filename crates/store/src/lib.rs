//! The [`Store`] and [`Changelog`] traits, their conformance suite, and the stores: in memory, embedded (SQLite), and over a cluster.
//!
//! A server node sees a database as two things: a [`Store`], where documents are committed, and a [`Changelog`], the node's ordered,
//! compacted view of what was committed by anyone, which serves the clients. The embedded store is both, in one file and one
//! transaction. Futures depend on no runtime, so that the simulator can drive them itself.

mod changelog;
mod channels;
mod clock;
pub mod cluster;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod embedded;
mod error;
pub mod limits;
mod memory;
pub mod platform;
mod recent;
mod seldom;
mod sketches;
mod store;

pub use changelog::{
    ChangePage, ChangeRecord, Changelog, ChannelSet, Filter, Former, Segment, SnapshotPage, SymbolPage,
};
pub use clock::WallClock;
pub use embedded::{EmbeddedOptions, EmbeddedStore};
pub use error::StoreError;
pub use memory::{MemoryCopy, MemoryStore};
pub use seldom::Seldom;
pub use sketches::Sketches;
pub use store::{
    BoxFuture, Capabilities, ClientRecord, Commit, CommitOutcome, ConflictQuery, ConflictRecord, Document, ReadSet,
    Recorded, Store, Trace, Write,
};
