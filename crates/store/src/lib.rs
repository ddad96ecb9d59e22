//!
//! A server node sees a database as two things: a [`Store`], where documents are committed, and a [`Changelog`], the node's ordered,
//! compacted view of what was committed by anyone, which serves the clients. The embedded store is both, in one file and one
//! transaction. Futures depend on no runtime, so that the simulator can drive them itself.

mod changelog;
mod channels;
mod embedded;
mod error;
pub mod limits;
mod memory;
mod store;

pub use changelog::{Changelog, Segment};
pub use embedded::{EmbeddedOptions, EmbeddedStore};
pub use error::StoreError;
pub use memory::MemoryStore;
pub use store::{
    BoxFuture, Capabilities, ClientRecord, Commit, CommitOutcome, ConflictQuery, ConflictRecord, Document, ReadSet,
    Recorded, Store, Write,
};
pub use tidelock_core::server::{ChangePage, ChangeRecord, ChannelSet, Filter, SnapshotPage};
