#![doc = include_str!("../README.md")]

mod address;
mod checkpoint;
mod config;
mod connection;
mod error;
mod event;
mod feed;
#[cfg(feature = "kv")]
pub mod kv;
mod limits;
mod manifest;
mod monitor;
mod observer;
mod output;
mod producer;
mod scram;
#[cfg(feature = "srv")]
mod srv;
mod stream;
#[cfg(feature = "tls")]
pub mod tls;
mod topology;
mod vbuckets;
mod wire;

pub use checkpoint::{Branch, Checkpoint, Position, PositionError};
pub use config::{Config, Credentials, Deliver, Filter, Start};
pub use error::Error;
pub use event::{Change, ChangeKind, EndReason, Event, Opened, Snapshot, SystemChange, SystemEvent, Xattrs};
pub use feed::Feed;
