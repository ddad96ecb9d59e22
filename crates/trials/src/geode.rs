//! A Geode cluster of the test's own.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tidelock_geode_client::{Client, Config, Entry, Found, Interest, Json, Key, SnapshotKind, Subscribe};
use tidelock_geode_cluster::{Artifacts, Cluster, Foreign, Regions};
use tokio::runtime::Runtime;

use crate::dice::Dice;
use crate::ground::{Ground, is_open_intent};
use crate::ledger::Documents;
use crate::load::COLLECTIONS;
use crate::network::Network;
use crate::trial::{NODES, Plan, Trial};

/// Names the folder with Geode's jars.
const JARS: &str = "TIDELOCK_GEODE_JARS";
/// The regions of the collections.
const REGIONS: [&str; 8] = ["suite3", "people", "docs", "suite1", "suite2", "suite4", "suite5", "copies"];
/// How many entries are read at once.
const BATCH: usize = 500;

/// A Geode cluster that is this test's own, with a client that reads what it holds.
pub struct Geode {
    /// Its processes.
    pub cluster: Cluster,
    client: Client,
    runtime: Runtime,
    folder: PathBuf,
}

impl Geode {
    /// A trial on a cluster whose processes have these properties. Each server is on links of its own, where that can be had.
    pub fn trial(plan: &Plan<'_>, properties: &[&str], dice: &mut Dice) -> Trial<Self> {
        let network = Network::new(NODES);
        let address = network.as_ref().map_or(Ipv4Addr::LOCALHOST, Network::hub);
        Trial::start(Self::start(address, properties), network, plan, dice)
    }

    /// Starts a cluster that listens on an address. Properties are set in all of its processes.
    pub fn start(address: Ipv4Addr, properties: &[&str]) -> Self {
        let jars = std::env::var_os(JARS).map(PathBuf::from);
        let jars = jars.unwrap_or_else(|| panic!("{JARS} names no folder: run `cargo xtask test --stage crash`"));
        let folder = jars.join(format!("trials-{}", std::process::id()));
        let artifacts = Artifacts::in_folder(&jars);
        let cluster = Cluster::start_on(address, &artifacts, &folder, Regions::Tests, properties);
        let cluster = cluster.unwrap_or_else(|sentence| panic!("{sentence}"));
        let runtime = Runtime::new().expect("a runtime");
        let locator = cluster.locator().parse().expect("an address");
        let client = runtime.block_on(Client::connect(Config::with_locator(locator)));
        Self { client: client.expect("a cluster that answers"), cluster, runtime, folder }
    }

    /// Starts a Java application beside the cluster.
    pub fn java(&self) -> Foreign {
        let folder = self.folder.join("foreign");
        let started = Foreign::start_on(self.cluster.artifacts(), &self.cluster.locator(), &folder);
        started.unwrap_or_else(|sentence| panic!("{sentence}"))
    }

    /// The folder for what the processes of this cluster exchange.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the servers still remember deleted entries of a collection.
    pub fn has_tombstones(&self, collection: &str) -> bool {
        self.runtime.block_on(self.look_for_tombstones(collection)).unwrap_or_else(|error| panic!("{error}"))
    }

    async fn look_for_tombstones(&self, collection: &str) -> Result<bool, tidelock_geode_client::Error> {
        let mut config = Config::with_locator(self.cluster.locator().parse().expect("an address"));
        "tombstones".clone_into(&mut config.name);
        let client = Client::connect(config).await?;
        let subscription = client.subscribe(Subscribe::default()).await?;
        let interest = Interest::all(Self::region(collection)).with_snapshot(SnapshotKind::Entries);
        let snapshot = subscription.register(interest).await?;
        client.close(false).await;
        Ok(snapshot.entries.iter().any(|entry| entry.entry.found == Found::Absent))
    }

    /// The region of a collection.
    pub fn region(collection: &str) -> &'static str {
        let found = COLLECTIONS.iter().zip(REGIONS).find(|(name, _)| **name == collection);
        found.map(|(_, region)| region).expect("a collection of the trials")
    }

    async fn read_intents(&self) -> Result<BTreeSet<String>, tidelock_geode_client::Error> {
        let region = self.client.region("_tl_intents");
        let mut open = BTreeSet::new();
        for keys in region.key_set().await?.chunks(BATCH) {
            let entries = region.get_all(keys).await?;
            let of_open = |entry: &Entry| entry.value().is_some_and(|value| is_open_intent(value.as_bytes()));
            open.extend(keys.iter().zip(&entries).filter(|(_, entry)| of_open(entry)).map(|(key, _)| name(key)));
        }
        Ok(open)
    }

    async fn read(&self) -> Result<Documents, tidelock_geode_client::Error> {
        let mut found = Documents::new();
        for collection in COLLECTIONS {
            let region = self.client.region(Self::region(collection));
            for keys in region.key_set().await?.chunks(BATCH) {
                for (key, entry) in keys.iter().zip(region.get_all(keys).await?) {
                    let Some(value) = entry.value() else { continue };
                    let json = self.client.decode(value).await?.to_string();
                    let value = serde_json::from_str(&json).unwrap_or(Value::String(json));
                    found.insert((collection.to_owned(), name(key)), value);
                }
            }
        }
        Ok(found)
    }
}

impl Ground for Geode {
    fn configuration(&self, node: &str, more: &str) -> String {
        let locator = self.cluster.locator();
        let mut text = format!(
            "\n[databases.trials.cluster]\nkind = \"geode\"\naddresses = [{locator:?}]\nnode = {node:?}\n{more}\n[databases.trials.cluster.names]\n"
        );
        for collection in COLLECTIONS {
            let _ = writeln!(text, "{collection} = {:?}", Self::region(collection));
        }
        text
    }

    fn documents(&self) -> Result<Documents, String> {
        self.runtime.block_on(self.read()).map_err(|error| error.to_string())
    }

    fn open_intents(&self) -> BTreeSet<String> {
        self.runtime.block_on(self.read_intents()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn write(&self, collection: &str, key: &str, value: Option<&Value>) {
        let (region, key) = (self.client.region(Self::region(collection)), Key::from(key));
        let written = async {
            match value {
                Some(value) => region.put_json(&key, &Json::parse(&value.to_string())?).await.map(drop),
                None => region.destroy(&key).await.map(drop),
            }
        };
        self.runtime.block_on(written).unwrap_or_else(|error| panic!("{error}"));
    }
}

impl Drop for Geode {
    fn drop(&mut self) {
        self.runtime.block_on(self.client.close(false));
        for name in ["l", "s1", "s2"] {
            // Ended already, or ended again by the cluster itself.
            let _ = self.cluster.kill(name);
        }
        if !std::thread::panicking() {
            // What is left behind harms nobody.
            let _removed = std::fs::remove_dir_all(&self.folder);
        }
    }
}

impl std::fmt::Debug for Geode {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Geode").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

fn name(key: &Key) -> String {
    if let Key::String(text) = key { text.clone() } else { format!("{key:?}") }
}
