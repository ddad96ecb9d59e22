//! How a node uses its bucket.

use std::collections::BTreeMap;
use std::time::Duration;

use tidelock_couchbase_dcp::Config;

/// The xattr that holds what Tidelock knows of a document. A leading underscore makes it a system xattr: it stays in tombstones.
pub const XATTR: &str = "_tl";

/// How a node uses its bucket.
#[derive(Clone, Debug)]
pub struct CouchbaseOptions {
    /// Where the cluster is, the bucket, and who the node is there. What concerns streams is set by the feed itself.
    pub connection: Config,
    /// The scope of collections that name none, and of Tidelock's own records.
    pub scope: String,
    /// Collections that are not called like them: collection to `name` or `scope.name`.
    pub collections: BTreeMap<String, String>,
    /// When a write is acknowledged.
    pub durability: Durability,
    /// How long the store counts on tombstones; the check compares it with the bucket's purge interval.
    pub tombstones_kept: Duration,
    /// Memory for the bucket on each node where it is to be created, in MiB.
    pub bucket_memory_mib: u32,
}

impl CouchbaseOptions {
    /// Writes acknowledged by a majority, in the default scope, collections called like themselves.
    pub fn new(connection: Config) -> Self {
        Self {
            connection,
            scope: "_default".to_owned(),
            collections: BTreeMap::new(),
            durability: Durability::Majority,
            tombstones_kept: Duration::from_secs(30 * 24 * 60 * 60),
            bucket_memory_mib: 256,
        }
    }
}

/// When a write of Tidelock's is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// By the active node alone: a fail-over may lose it, which is reported as a roll-back.
    None,
    /// In the memory of a majority of the copies: no fail-over loses it.
    Majority,
    /// And on the disk of the active node.
    MajorityAndPersistToActive,
    /// On the disk of a majority.
    PersistToMajority,
}

impl Durability {
    /// All, by the names that a configuration has for them.
    pub const NAMES: [(&str, Self); 4] = [
        ("none", Self::None),
        ("majority", Self::Majority),
        ("majority-and-persist-to-active", Self::MajorityAndPersistToActive),
        ("persist-to-majority", Self::PersistToMajority),
    ];

    /// The level on the wire (`kv_engine` `include/memcached/durability_spec.h`, `cb::durability::Level`).
    pub(crate) fn level(self) -> Option<u8> {
        match self {
            Self::None => None,
            Self::Majority => Some(1),
            Self::MajorityAndPersistToActive => Some(2),
            Self::PersistToMajority => Some(3),
        }
    }
}
