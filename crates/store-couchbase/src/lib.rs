//! Couchbase as a [`Platform`]: documents are those of the application's collections, their bodies untouched; what Tidelock knows of a
//! document is in its one system xattr [`XATTR`].
//!
//! | trait | Couchbase |
//! |---|---|
//! | content | the body, where it is JSON |
//! | meta | the xattr `_tl`, base64 within JSON; beside it the CAS and the checksum of the body that it was written with |
//! | token | CAS, whether the document is there, whether it has a meta |
//! | [`put_if`](Platform::put_if) | one sub-document command: xattr and body together, by CAS, with the durability that is configured |
//! | delete | the body goes, the xattr stays in the tombstone |
//! | feed | DCP of the collections, a position for each vbucket |
//! | scan | DCP of one collection, from its beginning to what is there; no index is needed |
//! | order | uuid of the vbucket's history and sequence number |
//!
//! Keys are the platform form of [`tidelock_core::key`]. Entries under other keys belong to no document: they are left alone.

mod config;
mod entry;
mod feed;
mod history;
mod members;
mod names;
mod platform;
mod position;
mod put;
mod rest;
mod scan;
mod setup;
mod subdoc;

pub use config::{CouchbaseOptions, Durability, XATTR};
pub use platform::CouchbasePlatform;
pub use tidelock_couchbase_dcp::{Config, Credentials};

#[cfg(feature = "tls")]
pub use tidelock_couchbase_dcp::tls::Tls;

#[cfg(doc)]
use tidelock_store::platform::Platform;
