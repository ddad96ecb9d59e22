//! The one place that knows which stores exist.

use std::sync::Arc;
use std::time::Duration;

use tidelock_core::ids::{ChangelogId, Epoch};
use tidelock_server::config::{ClusterConfig, DatabaseConfig};
use tidelock_server::rules::RulesInForce;
use tidelock_store::cluster::{ClusterOptions, ClusterStore, Machine};
use tidelock_store::platform::{Finding, Platform, PlatformError};
use tidelock_store::{Changelog, EmbeddedOptions, EmbeddedStore, MemoryStore, Store};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::platforms::{self, Connected};

/// How often somebody who waits for the first scan is told so.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a platform that is unavailable is checked again, and how often.
const CHECK_LIMIT: Duration = Duration::from_secs(20);
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A database's store, in its roles, with what closes it.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) changelog: Arc<dyn Changelog>,
    /// To be closed at the end; nothing for a store in memory.
    embedded: Option<Arc<EmbeddedStore>>,
    /// What keeps the node's changelog up with a platform.
    follower: Option<JoinHandle<()>>,
}

/// What is to be ended with the server.
pub(crate) struct Closing {
    embedded: Option<Arc<EmbeddedStore>>,
    follower: Option<JoinHandle<()>>,
}

impl Opened {
    pub(crate) fn closing(&mut self) -> Closing {
        Closing { embedded: self.embedded.take(), follower: self.follower.take() }
    }
}

impl Closing {
    /// Ends what works for the store, and closes its file.
    pub(crate) async fn close(self) {
        if let Some(follower) = self.follower {
            follower.abort();
            // It was asked to end; how it did does not matter.
            let _ = follower.await;
        }
        if let Some(embedded) = self.embedded {
            embedded.close().await;
        }
    }
}

/// The store that the configuration names. On a platform, once the node's changelog has everything that is there.
pub(crate) async fn open(
    config: &DatabaseConfig,
    rules: &Arc<RulesInForce>,
    in_memory: bool,
) -> Result<Opened, String> {
    match &config.cluster {
        Some(cluster) => {
            let of = |error: String| format!("database {}: {error}", config.name);
            on_cluster(config, cluster, rules, in_memory).await.map_err(of)
        }
        None if in_memory => memory(),
        None => embedded(config),
    }
}

/// A store that forgets everything at the end.
fn memory() -> Result<Opened, String> {
    let store = new_memory_store()?;
    Ok(Opened { store: Arc::clone(&store) as _, changelog: store, embedded: None, follower: None })
}

fn new_memory_store() -> Result<Arc<MemoryStore>, String> {
    let random = || {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map(|()| u64::from_le_bytes(bytes).max(1)).map_err(|error| error.to_string())
    };
    Ok(Arc::new(MemoryStore::new(Epoch(random()?), ChangelogId(random()?))))
}

/// The embedded store in a file.
fn embedded(config: &DatabaseConfig) -> Result<Opened, String> {
    let store = open_file(config)?;
    let (changelog, embedded) = (Arc::clone(&store) as _, Some(Arc::clone(&store)));
    Ok(Opened { store, changelog, embedded, follower: None })
}

/// Opens a file, which is made when it does not exist.
fn open_file(config: &DatabaseConfig) -> Result<Arc<EmbeddedStore>, String> {
    let path = &config.path;
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    let options = EmbeddedOptions {
        conflicts_kept: config.conflicts_kept.into(),
        size_bytes_max: config.size_mib_max.map(|mib| u64::from(mib) << 20),
        ..EmbeddedOptions::default()
    };
    let store = EmbeddedStore::open(path, options).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Arc::new(store))
}

async fn on_cluster(
    config: &DatabaseConfig,
    cluster: &ClusterConfig,
    rules: &Arc<RulesInForce>,
    in_memory: bool,
) -> Result<Opened, String> {
    if config.open_collections {
        return Err("`open_collections` is for the embedded store: name the collections of a platform".to_owned());
    }
    match platforms::connect(config, cluster).await? {
        Connected::Geode(platform) => on_platform(config, cluster, platform, rules, in_memory).await,
        Connected::Couchbase(platform) => on_platform(config, cluster, platform, rules, in_memory).await,
    }
}

/// What the platform's check finds. One that is between two states, as its servers start, is checked again for a while.
async fn findings(config: &DatabaseConfig, platform: &impl Platform) -> Result<Vec<Finding>, PlatformError> {
    let collections = platforms::collections(config);
    let late = Instant::now() + CHECK_LIMIT;
    loop {
        match platform.check(&collections).await {
            Err(PlatformError::Unavailable(reason)) if Instant::now() < late => {
                tracing::warn!(database = config.name, reason, "the platform cannot be checked yet");
                tokio::time::sleep(CHECK_INTERVAL).await;
            }
            checked => return checked,
        }
    }
}

async fn on_platform<P: Platform>(
    config: &DatabaseConfig,
    cluster: &ClusterConfig,
    platform: P,
    rules: &Arc<RulesInForce>,
    in_memory: bool,
) -> Result<Opened, String> {
    let findings = findings(config, &platform).await.map_err(|error| error.to_string())?;
    if findings.iter().any(|finding| finding.fatal) {
        return Err(format!("the platform is not ready\n{}", platforms::report(&findings)));
    }
    for finding in findings {
        tracing::warn!(advice = finding.remedy, "{}", finding.what);
    }
    let (journal, embedded): (Arc<dyn tidelock_store::cluster::Journal>, _) = if in_memory {
        (new_memory_store()?, None)
    } else {
        let file = open_file(config)?;
        (Arc::clone(&file) as _, Some(file))
    };
    let options = ClusterOptions {
        collections: config.collections.keys().cloned().collect(),
        scan_every_ms: u64::from(cluster.scan_every_s) * 1_000,
        tombstones_kept_ms: u64::from(config.tombstones_kept_s) * 1_000,
        ..ClusterOptions::default()
    };
    let rulebook = Arc::clone(rules) as _;
    let store = ClusterStore::open(platform, journal, rulebook, Machine::new(), options).await;
    let store = store.map_err(|error| error.to_string())?;
    let follower = Some(tokio::spawn(Arc::clone(&store).run()));
    while tokio::time::timeout(PATIENCE, store.complete()).await.is_err() {
        tracing::info!(database = config.name, head = %store.head(), "taking in what the platform holds");
    }
    Ok(Opened { store: Arc::clone(&store) as _, changelog: store, embedded, follower })
}
