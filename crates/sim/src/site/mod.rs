//! Where the documents are: the kinds of stores that nodes serve, and what goes wrong with them.

mod cluster;
mod embedded;
mod frail;
mod host;
mod memory;

use std::sync::Arc;

use tidelock_core::ids::{ChangelogId, DocumentId};
use tidelock_server::rules::RulesInForce;
use tidelock_store::{BoxFuture, Changelog, MemoryStore, Store, StoreError};

use crate::node::Life;
use crate::platform::{Faults, couchbase, geode};
use crate::random::Random;
use crate::rules::policies;
use crate::time::VirtualTime;
use cluster::ClusterSite;
use embedded::EmbeddedSite;
use memory::MemorySite;

/// A store that was opened.
pub(crate) struct Opened {
    pub(crate) access: Access,
    /// To be run while the node runs.
    pub(crate) task: Option<BoxFuture<'static, ()>>,
    /// Resolves, while that runs, once the store can serve.
    pub(crate) complete: Option<BoxFuture<'static, ()>>,
}

/// A store as a node sees it.
pub(crate) struct Access {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) changelog: Arc<dyn Changelog>,
    /// Several nodes over one memory store: each has a changelog identity of its own.
    pub(crate) view: Option<(Arc<MemoryStore>, ChangelogId)>,
    /// Whether other threads do the work: whoever asks waits for them, so that nothing else comes in between.
    pub(crate) threaded: bool,
}

/// How a node opens a store: it takes its time, and may fail and be tried again.
pub(crate) type Opening = Box<dyn Fn(Arc<RulesInForce>) -> BoxFuture<'static, Result<Opened, StoreError>> + Send>;

/// What all nodes share.
pub(crate) trait Site {
    /// Name for people.
    fn name(&self) -> &'static str;

    /// Most nodes that can serve it.
    fn nodes_max(&self) -> u64;

    /// Whether the offsets of commits are their order for everybody.
    fn is_in_one_order(&self) -> bool;

    /// Most milliseconds until a node does the next piece of its work. Where one mutation takes dozens of pieces, it has to be less than
    /// the time that a message takes.
    fn work_ms_max(&self) -> u64 {
        u64::MAX
    }

    /// A node's process starts: on its old disk when it has the changelog that it had.
    fn open(&mut self, node: usize, life: Life) -> Opening;

    /// A node's process has ended.
    fn ended(&mut self, node: usize);

    /// Whether every node has taken in what is there.
    fn is_level(&self) -> bool {
        true
    }

    /// The documents of a collection: key and JSON text.
    fn documents(&self, collection: &str) -> Vec<(String, Vec<u8>)>;

    /// Deletes are forgotten sooner than the servers would; whether they could be.
    fn forget_tombstones(&mut self, random: &mut Random) -> bool;

    /// A copy of the store is put aside, where that can be done.
    fn copy(&mut self) {}

    /// A copy takes the place of the store; whether there was one. Every node's process is to start anew.
    fn restore(&mut self, _random: &mut Random) -> bool {
        false
    }

    /// Copies are thrown away.
    fn forget_copies(&mut self) {}

    /// JSON texts that the conflict log keeps for those who wrote them.
    fn set_aside(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// The site's own next fault; its name, or `None` when it has none.
    fn strike(&mut self, _random: &mut Random) -> Option<&'static str> {
        None
    }

    /// Faults stop.
    fn heal(&mut self) {}

    /// What went wrong inside since the last call, beside what [`strike`](Site::strike) did.
    fn take_faults(&mut self) -> Faults {
        Faults::default()
    }

    /// Whether there are writers that know nothing of the servers.
    fn has_foreign_writers(&self) -> bool {
        false
    }

    /// One of them reads a document.
    fn foreign_read(&mut self, _id: &DocumentId) -> Option<Vec<u8>> {
        None
    }

    /// One of them stores a document, or deletes it; whether it could.
    fn foreign_write(&mut self, _id: &DocumentId, _json: Option<&[u8]>) -> bool {
        false
    }
}

/// Of a thousand seeds, how many run over each kind.
const EMBEDDED_PER_MILLE: u64 = 20;
const COUCHBASE_PER_MILLE: u64 = 300;
const GEODE_PER_MILLE: u64 = 300;

/// Over which kinds of stores seeds are run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sites {
    /// The memory store and the embedded store.
    #[default]
    Sound,
    /// All, the models of clusters included.
    All,
    /// The models of Couchbase and Geode.
    Clusters,
}

impl Sites {
    /// By what the command line calls them.
    pub const NAMES: [(&'static str, Self); 3] =
        [("sound", Self::Sound), ("all", Self::All), ("clusters", Self::Clusters)];
}

/// The site of a world. `tells`: what it does is told on standard error, as far as there is something to tell.
pub(crate) fn draw(random: &mut Random, time: &Arc<VirtualTime>, sites: Sites, tells: bool) -> Box<dyn Site> {
    let collections: Vec<String> = policies().keys().cloned().collect();
    let drawn = random.below(1_000);
    let drawn = if sites == Sites::Clusters {
        EMBEDDED_PER_MILLE + drawn * (COUCHBASE_PER_MILLE + GEODE_PER_MILLE) / 1_000
    } else {
        drawn
    };
    if drawn < EMBEDDED_PER_MILLE {
        return Box::new(EmbeddedSite::new());
    }
    if sites == Sites::Sound {
        return Box::new(MemorySite::new());
    }
    if drawn < EMBEDDED_PER_MILLE + COUCHBASE_PER_MILLE {
        let setup = couchbase::Setup::draw(random);
        let model = couchbase::Couchbase::new(setup, &collections, random.any());
        return Box::new(ClusterSite::new("couchbase", model, time, &collections, random, tells));
    }
    if drawn < EMBEDDED_PER_MILLE + COUCHBASE_PER_MILLE + GEODE_PER_MILLE {
        let setup = geode::Setup::draw(random);
        let model = geode::Geode::new(setup, &collections, random.any());
        return Box::new(ClusterSite::new("geode", model, time, &collections, random, tells));
    }
    Box::new(MemorySite::new())
}
