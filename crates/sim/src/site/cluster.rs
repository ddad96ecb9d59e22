//! A cluster store over a model of a platform: each node has a client and a journal of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tidelock_core::ids::{ChangelogId, DocumentId, Epoch, Offset, Version};
use tidelock_core::version;
use tidelock_server::TimeSource;
use tidelock_store::cluster::{ClusterOptions, ClusterStore};
use tidelock_store::{Changelog as _, ConflictQuery, MemoryStore, Store};

use super::host::NodeHost;
use super::{Access, Opened, Opening, Site};
use crate::node::{Life, ready};
use crate::platform::{Body, Cluster, Faults, Model, Path, PlatformClient, Weather};
use crate::random::Random;
use crate::time::{SkewedTime, VirtualTime};

/// Most milliseconds until a node does the next piece of its work: a call of the platform has three.
const WORK_MS_MAX: u64 = 10;

/// What may go wrong with a kind of cluster.
pub(crate) trait Frail: Model + Sized {
    /// Does something of it. Returns its name. `told`: nothing of which no event tells.
    fn strike(cluster: &Arc<Cluster<Self>>, collections: &[String], told: bool, random: &mut Random) -> &'static str;

    /// From here on it keeps what it loses by [`set_back`](Frail::set_back), where it can lose a part alone.
    fn prepare_set_back(&mut self, _now_ms: u64) {}

    /// It loses what it had acknowledged: all of it, or what came since it was prepared. Returns its name.
    fn set_back(&mut self, now_ms: u64) -> &'static str;
}

type Stores = Arc<Mutex<BTreeMap<usize, Arc<dyn Store>>>>;

/// A cluster with its nodes.
pub(super) struct ClusterSite<M: Model> {
    name: &'static str,
    time: Arc<VirtualTime>,
    cluster: Arc<Cluster<M>>,
    weather: Weather,
    options: ClusterOptions,
    /// Nodes do not go through collections but where an event says so: whatever changes is told.
    told: bool,
    journals: BTreeMap<ChangelogId, Arc<MemoryStore>>,
    /// By node: its way, and the journal that it writes.
    paths: BTreeMap<usize, Arc<Path>>,
    open: BTreeMap<usize, ChangelogId>,
    /// Of nodes that run, once they have opened it.
    stores: Stores,
    /// On the ways of nodes that have ended.
    faults: Faults,
    healed: bool,
}

impl<M: Frail> ClusterSite<M> {
    pub(super) fn new(
        name: &'static str,
        model: M,
        time: &Arc<VirtualTime>,
        collections: &[String],
        random: &mut Random,
        tells: bool,
    ) -> Self {
        let weather = Weather {
            delay_ms_max: random.pick(&[0, 3, 25]).copied().unwrap_or(3),
            slow_per_mille: random.pick(&[0, 20]).copied().unwrap_or(0),
            failing_per_mille: random.pick(&[0, 5, 40]).copied().unwrap_or(0),
        };
        let told = random.chance(300);
        let scan_every_ms = random.pick(&[1_000, 8_000]).copied().unwrap_or(8_000);
        let options = ClusterOptions {
            collections: collections.to_vec(),
            lease_ms: random.pick(&[1_000, 5_000]).copied().unwrap_or(5_000),
            patience_ms: random.pick(&[50, 500]).copied().unwrap_or(500),
            // What no event tells has to be found within the time that everything has to be well again.
            scan_every_ms: if told { ClusterOptions::default().scan_every_ms } else { scan_every_ms },
            beat_every_ms: 2_000,
            ..ClusterOptions::default()
        };
        Self {
            name,
            time: Arc::clone(time),
            cluster: Cluster::new(model, Arc::clone(time), tells),
            weather,
            options,
            told,
            journals: BTreeMap::new(),
            paths: BTreeMap::new(),
            open: BTreeMap::new(),
            stores: Stores::default(),
            faults: Faults::default(),
            healed: false,
        }
    }
}

impl<M: Frail> Site for ClusterSite<M> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn nodes_max(&self) -> u64 {
        3
    }

    fn is_in_one_order(&self) -> bool {
        false
    }

    fn work_ms_max(&self) -> u64 {
        WORK_MS_MAX
    }

    fn open(&mut self, node: usize, life: Life) -> Opening {
        let mut random = Random::new(life.seed);
        let path = Path::new(Arc::clone(&self.time), random.any(), self.weather);
        if self.healed {
            path.heal();
        }
        self.paths.insert(node, Arc::clone(&path));
        let changelog = life.changelog;
        self.open.insert(node, changelog);
        let journal = self.journals.entry(changelog).or_insert_with(|| Arc::new(MemoryStore::new(Epoch(1), changelog)));
        let journal = Arc::clone(journal);
        let clock = SkewedTime::new(Arc::clone(&self.time), life.skew_ms);
        let host = Arc::new(NodeHost { clock, time: Arc::clone(&self.time), random: Mutex::new(random) });
        let (options, cluster, name) = (self.options.clone(), Arc::clone(&self.cluster), format!("node {node}"));
        let stores = Arc::clone(&self.stores);
        Box::new(move |rules| {
            let stores = Arc::clone(&stores);
            let client = PlatformClient::new(Arc::clone(&cluster), Arc::clone(&path), &name);
            let (journal, host, options) = (Arc::clone(&journal), Arc::clone(&host), options.clone());
            Box::pin(async move {
                let store = ClusterStore::open(client, journal, rules, host, options).await?;
                stores.lock().unwrap_or_else(PoisonError::into_inner).insert(node, Arc::clone(&store) as _);
                let (task, complete) = (Arc::clone(&store).run(), Arc::clone(&store));
                let changelog = Arc::clone(&store) as _;
                Ok(Opened {
                    access: Access { store, changelog, view: None, threaded: false },
                    task: Some(Box::pin(task)),
                    complete: Some(Box::pin(async move { complete.complete().await })),
                })
            })
        })
    }

    fn ended(&mut self, node: usize) {
        self.open.remove(&node);
        self.stores.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
        for (name, count) in self.paths.remove(&node).map(|path| path.take_faults()).unwrap_or_default() {
            *self.faults.entry(name).or_default() += count;
        }
    }

    fn is_level(&self) -> bool {
        let versions = |documents: Vec<(String, Vec<u8>)>| -> BTreeMap<String, Option<Version>> {
            documents.into_iter().map(|(key, body)| (key, version::of_body(&body).ok())).collect()
        };
        self.options.collections.iter().all(|collection| {
            let there = versions(self.documents(collection));
            self.open.values().filter_map(|changelog| self.journals.get(changelog)).all(|journal| {
                let found = ready(journal.scan(collection, None, usize::MAX)).unwrap_or_default();
                versions(found.into_iter().map(|(key, document)| (key, document.body.to_vec())).collect()) == there
            })
        })
    }

    fn documents(&self, collection: &str) -> Vec<(String, Vec<u8>)> {
        self.cluster.look(|model, now_ms| {
            let keys = model.keys(collection, None, usize::MAX);
            let body = |key: String| {
                let entry = model.get(&DocumentId::new(collection, key.as_str()), now_ms).ok()?;
                Some((key, entry.content?.to_vec()))
            };
            keys.into_iter().filter_map(body).collect()
        })
    }

    /// Those of a node's changelog; on the platform the horizon of the store says when.
    fn forget_tombstones(&mut self, random: &mut Random) -> bool {
        let open: Vec<&Arc<MemoryStore>> =
            self.open.values().filter_map(|changelog| self.journals.get(changelog)).collect();
        let Some(journal) = random.pick(&open) else { return false };
        journal.purge_tombstones(Offset(random.below(journal.head().0 + 1)));
        true
    }

    fn strike(&mut self, random: &mut Random) -> Option<&'static str> {
        if self.healed {
            return None;
        }
        let nodes: Vec<Arc<Path>> = self.paths.values().cloned().collect();
        match (random.below(9), random.pick(&nodes)) {
            (0 | 1, Some(path)) => {
                path.fail(random.between(1, 6));
                Some("platform-calls-fail")
            }
            (2, Some(path)) => {
                path.cut_after_put(random.between(500, 8_000));
                Some("platform-cut-after-put")
            }
            (3 | 4, Some(path)) => {
                path.cut(self.time.now_ms() + random.between(10, 6_000));
                // Whoever waits for an event learns of it.
                self.cluster.change(|_, _| ());
                Some("platform-cut-off")
            }
            _ => Some(M::strike(&self.cluster, &self.options.collections, self.told, random)),
        }
    }

    fn heal(&mut self) {
        self.healed = true;
        self.weather.failing_per_mille = 0;
        self.weather.slow_per_mille = 0;
        self.paths.values().for_each(|path| path.heal());
        // Whoever waits for an event learns of it.
        self.cluster.change(|_, _| ());
    }

    fn copy(&mut self) {
        self.cluster.change(Frail::prepare_set_back);
    }

    fn restore(&mut self, _random: &mut Random) -> bool {
        let name = self.cluster.change(Frail::set_back);
        self.cluster.drop_arriving();
        *self.faults.entry(name).or_default() += 1;
        true
    }

    fn set_aside(&self) -> Vec<Vec<u8>> {
        let query = ConflictQuery { limit: usize::MAX, ..ConflictQuery::default() };
        let stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        let logs = stores.values().map(|store| ready(store.conflicts(&query)).unwrap_or_default());
        logs.flatten().filter_map(|entry| entry.note.mine).collect()
    }

    fn take_faults(&mut self) -> Faults {
        let mut faults = std::mem::take(&mut self.faults);
        for (name, count) in self.cluster.look(|model, _| model.take_faults()) {
            *faults.entry(name).or_default() += count;
        }
        for path in self.paths.values() {
            for (name, count) in path.take_faults() {
                *faults.entry(name).or_default() += count;
            }
        }
        faults
    }

    fn has_foreign_writers(&self) -> bool {
        true
    }

    fn foreign_read(&mut self, id: &DocumentId) -> Option<Vec<u8>> {
        match self.cluster.look(|model, _| model.content(id))? {
            Body::Json(json) => Some(json.to_vec()),
            Body::Raw(_) => None,
        }
    }

    fn foreign_write(&mut self, id: &DocumentId, json: Option<&[u8]>) -> bool {
        let write = |model: &mut M, now_ms: u64| match json {
            Some(json) => model.foreign_set(id, Body::Json(Arc::from(json)), now_ms),
            None => model.foreign_delete(id, now_ms),
        };
        self.cluster.change(write).is_ok()
    }
}
