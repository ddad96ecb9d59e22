//! How a node uses its cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use tidelock_geode_client::Config;

/// The region of the metas of `/docs` is `/docs_tl`.
pub const META_SUFFIX: &str = "_tl";

/// How a node uses its cluster.
#[derive(Clone, Debug)]
pub struct GeodeOptions {
    /// Where the cluster is and how to speak to it. The durable queue in it is not used: a node makes its own.
    pub connection: Config,
    /// Names the node's event queue: unique among the nodes of the cluster, and the same after a restart.
    pub node: String,
    /// How long the servers keep the queue of a node that is away. After that it has to scan.
    pub queue_kept: Duration,
    /// On how many further servers the queue has a copy.
    pub queue_copies: usize,
    /// Regions of collections that are not called like them: collection to full path.
    pub regions: BTreeMap<String, String>,
    /// Whether entries are written by transactions. Without them several documents are never written in one step, and what other
    /// applications write at the same moment may be overwritten where Geode takes it for equal.
    pub transactions: bool,
    /// Managers, `host:port`, that carry out commands of gfsh over HTTP: they create what is missing. One that answers is enough.
    pub managers: Vec<String>,
}

impl GeodeOptions {
    /// A queue with one copy that is kept for five minutes; regions called like their collections; transactions.
    pub fn new(connection: Config, node: &str) -> Self {
        Self {
            connection,
            node: node.to_owned(),
            queue_kept: Duration::from_secs(300),
            queue_copies: 1,
            regions: BTreeMap::new(),
            transactions: true,
            managers: Vec::new(),
        }
    }
}
