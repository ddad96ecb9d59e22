//! Apache Geode as a [`Platform`]: documents are entries of the application's regions, in the form that Geode's `JSONFormatter`
//! gives them; what Tidelock knows of a document is an entry under the same key of a colocated region beside it.
//!
//! | trait | Geode |
//! |---|---|
//! | content | a PDX instance in the region of the collection; foreign objects are read as JSON where PDX can be |
//! | meta | bytes in the region with the suffix [`META_SUFFIX`], colocated |
//! | token | hash of both values' bytes |
//! | [`put_if`](Platform::put_if) | a client transaction: read, compare, write both, commit; one after the other where servers allow none |
//! | feed | a durable, redundant subscription of the node; what it loses is scanned |
//! | order | none: tags start again with a collected tombstone, and transactions give none, so entries are read |
//!
//! Keys are Java strings in the platform form of [`tidelock_core::key`]. Entries under other keys (other classes, a `~` that begins
//! no form) belong to no document: they are left alone and reported.

mod alone;
mod config;
mod entry;
mod feed;
mod manager;
mod platform;
mod put;
mod regions;
mod scan;
mod setup;

pub use config::{GeodeOptions, META_SUFFIX};
pub use manager::MANAGER_PORT;
pub use platform::GeodePlatform;

#[cfg(doc)]
use tidelock_store::platform::Platform;
