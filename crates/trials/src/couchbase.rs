//! A Couchbase cluster of the test's own: the double, in this process.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;
use tidelock_couchbase_dcp::Config;
use tidelock_couchbase_dcp::kv::{Client, Request};
use tidelock_couchbase_double::{Double, Options};
use tokio::runtime::Runtime;

use crate::dice::Dice;
use crate::ground::{Ground, is_open_intent};
use crate::ledger::Documents;
use crate::load::COLLECTIONS;
use crate::trial::{Plan, Trial};

const BUCKET: &str = "default";
const SCOPE: &str = "trials";
/// The collections of the store itself.
const OWN: [&str; 4] = ["tl_clients", "tl_intents", "tl_conflicts", "tl_state"];
/// Nodes of the cluster. Of three copies two are a majority, so that durable writes go on while one node is down.
pub const CLUSTER_NODES: usize = 4;
const REPLICAS: usize = 2;
/// Vbuckets of the bucket.
pub const VBUCKETS: u16 = 32;

/// Commands of plain clients (`kv_engine` docs/BinaryProtocol.md).
const SET: u8 = 0x01;
const DELETE: u8 = 0x04;

/// A double of a Couchbase cluster that is this test's own, with another application on it.
pub struct Couchbase {
    double: Double,
    other: Client,
    runtime: Runtime,
    durability: &'static str,
}

impl Couchbase {
    /// A trial on a cluster in which writes are acknowledged with this durability.
    pub fn trial(plan: &Plan<'_>, durability: &'static str, dice: &mut Dice) -> Trial<Self> {
        Trial::start(Self::start(durability), Err("the double listens on the loopback alone".to_owned()), plan, dice)
    }

    /// Starts a cluster that has the collections.
    fn start(durability: &'static str) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let options = Options {
            nodes: CLUSTER_NODES,
            vbuckets: VBUCKETS,
            replicas: REPLICAS,
            bucket: BUCKET.into(),
            ..Options::default()
        };
        let double = runtime.block_on(Double::start(options)).expect("a cluster");
        for collection in COLLECTIONS.iter().chain(&OWN) {
            double.create_collection(BUCKET, SCOPE, collection);
        }
        let config = Config::new(&double.connection_string()).expect("the address of the double").bucket(BUCKET);
        let other = runtime.block_on(Client::connect(config)).expect("a cluster that answers");
        Self { double, other, runtime, durability }
    }

    /// What takes commands.
    pub fn double(&self) -> &Double {
        &self.double
    }

    /// A node of the cluster ends; it still counts.
    pub fn kill(&mut self, node: usize) {
        self.double.kill(node);
    }

    /// A node that ended returns.
    pub fn revive(&mut self, node: usize) {
        self.runtime.block_on(self.double.revive(node)).expect("the ports are free again");
    }

    /// A collection is dropped, with everything in it.
    pub fn drop_collection(&self, collection: &str) {
        self.double.drop_collection(BUCKET, SCOPE, collection);
    }

    /// A collection is made.
    pub fn create_collection(&self, collection: &str) {
        self.double.create_collection(BUCKET, SCOPE, collection);
    }

    /// The bucket forgets all documents. Streams hear of it when they are opened again.
    pub fn flush(&self) {
        self.double.flush(BUCKET);
    }
}

impl Ground for Couchbase {
    fn configuration(&self, node: &str, more: &str) -> String {
        let address = self.double.connection_string();
        let (user, hosts) =
            address.split_once("://").and_then(|(_, rest)| rest.split_once('@')).expect("user and hosts");
        let (user, password) = user.split_once(':').expect("user and password");
        let mut text =
            format!("\n[databases.trials.cluster]\nkind = \"couchbase\"\naddresses = [\"couchbase://{hosts}\"]\n");
        let _ = write!(text, "node = {node:?}\nuser = {user:?}\npassword = {password:?}\n{more}\n");
        let durability = self.durability;
        let _ = write!(
            text,
            "[databases.trials.cluster.options]\nbucket = {BUCKET:?}\nscope = {SCOPE:?}\ndurability = {durability:?}\n"
        );
        text
    }

    fn documents(&self) -> Result<Documents, String> {
        let mut found = Documents::new();
        for collection in COLLECTIONS {
            for (key, body) in self.double.documents(BUCKET, SCOPE, collection) {
                let value = serde_json::from_slice(&body).map_err(|error| format!("{collection}/{key}: {error}"))?;
                found.insert((collection.to_owned(), key), value);
            }
        }
        Ok(found)
    }

    fn open_intents(&self) -> BTreeSet<String> {
        let intents = self.double.documents(BUCKET, SCOPE, "tl_intents").into_iter();
        intents.filter(|(_, body)| is_open_intent(body)).map(|(key, _)| key).collect()
    }

    fn write(&self, collection: &str, key: &str, value: Option<&Value>) {
        let request = Request {
            opcode: if value.is_some() { SET } else { DELETE },
            collection: format!("{SCOPE}.{collection}"),
            key: key.into(),
            extras: if value.is_some() { vec![0; 8] } else { Vec::new() },
            value: value.map(ToString::to_string).unwrap_or_default().into_bytes(),
            is_repeatable: true,
            ..Request::default()
        };
        let answer = self.runtime.block_on(self.other.call(&request)).expect("an answer");
        assert_eq!(answer.status, 0, "{collection}/{key}");
    }
}

impl std::fmt::Debug for Couchbase {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Couchbase").field("durability", &self.durability).finish_non_exhaustive()
    }
}
