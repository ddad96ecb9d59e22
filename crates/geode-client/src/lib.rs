#![doc = include_str!("../README.md")]

mod bulk;
mod client;
mod config;
mod entry;
mod error;
mod json;
mod keys;
mod net;
pub mod pdx;
mod query;
mod region;
mod routing;
mod subscription;
#[cfg(feature = "tls")]
pub mod tls;
mod transaction;
mod value;
mod wire;

pub use bulk::ENTRIES_MAX;
pub use client::Client;
pub use config::{Config, Durable, Protocol};
pub use entry::{Entry, Found};
pub use error::Error;
pub use json::{Json, ParseError};
pub use keys::StringKeys;
pub use pdx::TypeMode;
pub use query::Rows;
pub use region::{Destroyed, PutIfAbsent, Region};
pub use routing::Partitioning;
pub use subscription::{
    Event, InitialEntry, Interest, InterestIn, Loss, Snapshot, SnapshotKind, Subscribe, Subscription,
};
pub use transaction::Transaction;
pub use value::{Key, Value};
pub use wire::event_id::EventId;
pub use wire::locator::Address;
pub use wire::notification::{Change, ChangeKind, RegionChange};
pub use wire::version_tag::{VersionSource, VersionTag};
