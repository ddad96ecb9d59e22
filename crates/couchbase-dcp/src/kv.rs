//! Requests to documents: the connections, the topology and the authentication of the feed, for reading and writing.
//!
//! It carries requests and knows no commands: what opcode, extras and value mean is between the caller and the server (`kv_engine`
//! docs/BinaryProtocol.md). It finds the collection's id and the vbucket's node, and asks again where a node says that it is another one.

mod node;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::address::Address;
use crate::config::Config;
use crate::connection::{Connection, Purpose, success};
use crate::error::Error;
use crate::limits::{KEY_BYTES_MAX, RETRY_DELAY_MIN};
use crate::monitor::{Topologies, bootstrap, publish, seeds, watch_cluster};
use crate::topology::{NodeText, Topology, network};
use crate::wire::codes::{opcode, status};
use crate::wire::packet::{Outgoing, Packet};
use node::{Node, Unanswered};

/// Between two attempts of one request at most.
const DELAY_MAX: Duration = Duration::from_millis(500);

/// A request to one document.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The command.
    pub opcode: u8,
    /// `scope.collection`.
    pub collection: String,
    /// The document's key.
    pub key: Vec<u8>,
    /// The version that it is about; 0 for any.
    pub cas: u64,
    /// Frame infos, encoded; at most 255 bytes.
    pub frames: Vec<u8>,
    /// Extras, encoded; at most 255 bytes.
    pub extras: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
    /// Whether it may be sent again when nobody knows what became of it.
    pub is_repeatable: bool,
}

/// The answer to a request, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The vbucket that the document is in.
    pub vbucket: u16,
    /// The status (`kv_engine` include/mcbp/protocol/status.h).
    pub status: u16,
    /// The document's version.
    pub cas: u64,
    /// Extras.
    pub extras: Bytes,
    /// The value.
    pub value: Bytes,
}

/// A client of a bucket. Requests of many callers share one connection to each node.
#[derive(Debug)]
pub struct Client {
    config: Arc<Config>,
    topologies: Topologies,
    changes: watch::Receiver<Arc<Topology>>,
    nodes: Mutex<HashMap<Address, Arc<Node>>>,
    monitor: JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.monitor.abort();
    }
}

/// Where a vbucket is, by a key (CRC-32 of IEEE 802.3, as all clients of the server have it).
fn vbucket_of(key: &[u8], count: usize) -> u16 {
    let crc = !key.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    });
    let number = (crc >> 16 & 0x7fff) as usize % count.max(1);
    u16::try_from(number).unwrap_or_default()
}

fn leb128(mut id: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(5);
    while id >= 0x80 {
        bytes.push(id.to_le_bytes()[0] | 0x80);
        id >>= 7;
    }
    bytes.push(id.to_le_bytes()[0]);
    bytes
}

impl Client {
    /// Finds the cluster and the bucket. The configuration's filter and what concerns streams do not matter.
    pub async fn connect(config: Config) -> Result<Self, Error> {
        let config = Config { filter: crate::config::Filter::All, ..config };
        let topology = bootstrap(&config).await?.topology;
        let config = Arc::new(config);
        let (topologies, changes) = watch::channel(Arc::new(topology));
        let monitor = tokio::spawn(watch_cluster(Arc::clone(&config), topologies.clone()));
        Ok(Self { config, topologies, changes, nodes: Mutex::default(), monitor })
    }

    /// Sends a request, and the answer to it. Waits for a node that is being replaced, and for one that takes the vbucket over, for at
    /// most [`Config::timeout`].
    ///
    /// # Errors
    /// After [`Error::Connection`] and [`Error::Timeout`] the request may have been carried out.
    pub async fn call(&self, request: &Request) -> Result<Response, Error> {
        if request.key.is_empty() || request.key.len() > KEY_BYTES_MAX {
            let found = request.key.len();
            return Err(Error::Configuration(format!("a key has 1 to {KEY_BYTES_MAX} bytes, not {found}")));
        }
        let deadline = Instant::now() + self.config.timeout;
        let mut is_refreshed = false;
        let mut delay = RETRY_DELAY_MIN;
        let mut changes = self.changes.clone();
        loop {
            let topology = Arc::clone(&changes.borrow_and_update());
            let vbucket = vbucket_of(&request.key, topology.vbuckets.len());
            let failed = match self.attempt(request, &topology, vbucket, deadline).await? {
                // Dropped, and perhaps created again under another number.
                Attempt::UnknownCollection if std::mem::replace(&mut is_refreshed, true) => {
                    return Err(Error::UnknownCollection(request.collection.clone()));
                }
                Attempt::UnknownCollection => continue,
                Attempt::Answered(Packet { vbucket: status, cas, extras, value, .. }) => {
                    return Ok(Response { vbucket, status, cas, extras, value });
                }
                Attempt::Again(error) => error,
            };
            if Instant::now() + delay >= deadline {
                return Err(failed);
            }
            tokio::select! {
                Ok(()) = changes.changed() => {}
                () = sleep(delay) => {}
            }
            delay = (delay * 2).min(DELAY_MAX);
        }
    }

    /// Asks a node for the id of a collection, by its path `scope.collection`.
    pub async fn id_of(&self, path: &str) -> Result<u32, Error> {
        let deadline = Instant::now() + self.config.timeout;
        let topology = Arc::clone(&self.changes.borrow());
        let mut last = Error::Connection("the cluster has no nodes".into());
        for address in &topology.nodes {
            match self.node(address, &topology).ask_id(path, deadline).await {
                Ok(id) => return Ok(id),
                Err(Unanswered::NotSent(error) | Unanswered::Unknown(error)) if error.is_transient() => last = error,
                Err(Unanswered::NotSent(error) | Unanswered::Unknown(error)) => return Err(error),
            }
        }
        Err(last)
    }

    /// The number of the bucket's vbuckets.
    pub fn vbuckets(&self) -> usize {
        self.changes.borrow().vbuckets.len()
    }

    async fn attempt(
        &self,
        request: &Request,
        topology: &Topology,
        vbucket: u16,
        deadline: Instant,
    ) -> Result<Attempt, Error> {
        let Some(address) = topology.active(vbucket) else {
            return Ok(Attempt::Again(Error::Connection(format!("no node has the vbucket {vbucket}"))));
        };
        let node = self.node(address, topology);
        let collection = match node.id_of(&request.collection, deadline).await {
            Ok(id) => id,
            Err(Unanswered::NotSent(error) | Unanswered::Unknown(error)) => {
                return if may_pass(&error) { Ok(Attempt::Again(error)) } else { Err(error) };
            }
        };
        let outgoing = Outgoing {
            opcode: request.opcode,
            vbucket,
            cas: request.cas,
            frames: request.frames.clone(),
            extras: request.extras.clone(),
            key: [leb128(collection), request.key.clone()].concat(),
            value: request.value.clone(),
            ..Outgoing::default()
        };
        match node.ask(outgoing, deadline).await {
            Ok(answer) if answer.vbucket == status::NOT_MY_VBUCKET => {
                publish(&self.topologies, &answer.value, address, &self.config);
                Ok(Attempt::Again(Error::Connection(format!("the vbucket {vbucket} is moving"))))
            }
            Ok(answer) if answer.vbucket == status::UNKNOWN_COLLECTION => {
                node.forget(&request.collection);
                Ok(Attempt::UnknownCollection)
            }
            // The node is about to make the bucket, or has lost it.
            Ok(Packet { vbucket: status::CONFIG_ONLY | status::NO_BUCKET, .. }) => {
                Ok(Attempt::Again(Error::Connection(format!("{address} has no bucket {} yet", self.config.bucket))))
            }
            Ok(answer) => Ok(Attempt::Answered(answer)),
            Err(Unanswered::NotSent(error)) if may_pass(&error) => Ok(Attempt::Again(error)),
            Err(Unanswered::Unknown(error)) if error.is_transient() && request.is_repeatable => {
                Ok(Attempt::Again(error))
            }
            Err(Unanswered::NotSent(error) | Unanswered::Unknown(error)) => Err(error),
        }
    }

    /// The connection to a node; another one where the last has ended.
    fn node(&self, address: &Address, topology: &Topology) -> Arc<Node> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = nodes.get(address).filter(|node| node.is_open()) {
            return Arc::clone(node);
        }
        nodes.retain(|address, _| topology.nodes.contains(address));
        let node = Arc::new(Node::start(address.clone(), Arc::clone(&self.config)));
        nodes.insert(address.clone(), Arc::clone(&node));
        node
    }
}

/// Whether it may be otherwise a moment later. The bucket was there, and open to the user: a node that denies it may have only just started.
fn may_pass(error: &Error) -> bool {
    error.is_transient() || matches!(error, Error::Access(_))
}

enum Attempt {
    Answered(Packet),
    /// The node does not know the number that the collection had.
    UnknownCollection,
    /// Not carried out, or to be repeated: later, perhaps elsewhere.
    Again(Error),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServicesText {
    #[serde(default)]
    nodes_ext: Vec<NodeText>,
}

/// Where the cluster's management REST is: host and port of each node that has one, for TLS when the connection string is, in the network
/// that is chosen as for the key-value service. It needs no bucket.
pub async fn management(config: &Config) -> Result<Vec<(String, u16)>, Error> {
    // The bucket may be one that is still to be made.
    let config = Config { bucket: "none".into(), ..config.clone() };
    config.check()?;
    let mut last = Error::Connection("the connection string names no node".into());
    for address in seeds(&config).await.addresses {
        let asking = async {
            let mut connection = Connection::without_bucket(&address, &config, Purpose::Streams).await?;
            let answer = connection.request(&Outgoing::new(opcode::GET_CLUSTER_CONFIG)).await?;
            success(&answer, "GET_CLUSTER_CONFIG")?;
            read_management(&answer.value, &address, &config)
        };
        let asked = timeout(config.timeout, asking).await;
        match asked.unwrap_or_else(|_| Err(Error::Timeout(format!("the configuration of {address}")))) {
            Ok(found) => return Ok(found),
            Err(error) if error.is_transient() => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

fn read_management(text: &[u8], from: &Address, config: &Config) -> Result<Vec<(String, u16)>, Error> {
    let text: ServicesText = serde_json::from_slice(text)
        .map_err(|error| Error::Protocol(format!("a configuration is malformed: {error}")))?;
    let network = network(&text.nodes_ext, from, config)?;
    let service = if config.is_tls() { "mgmtSSL" } else { "mgmt" };
    let address = |node: &NodeText| {
        let (host, ports) = node.in_network(from, &network)?;
        Some((host.to_owned(), *ports.get(service)?))
    };
    Ok(text.nodes_ext.iter().filter_map(address).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_where_every_client_looks_for_it() {
        // CRC-32 of "123456789" is 0xcbf43926.
        assert_eq!(vbucket_of(b"123456789", 1024), 0x4bf4 % 1024);
        assert_eq!(vbucket_of(b"", 1024), 0);
        assert!(vbucket_of(b"any key", 7) < 7);
    }

    #[test]
    fn ids_are_written_as_they_are_read() {
        for id in [0, 8, 0x7f, 0x80, 0x3fff, 0x4000, u32::MAX] {
            let key = Bytes::from([leb128(id), b"k".to_vec()].concat());
            assert_eq!(crate::wire::reader::split_collection(&key), Some((id, Bytes::from_static(b"k"))));
        }
    }

    #[test]
    fn management_is_found_by_its_name() {
        let text = r#"{"nodesExt":[{"services":{"mgmt":8091,"mgmtSSL":18091,"kv":11210},"thisNode":true},
            {"hostname":"b","services":{"mgmt":9000}},{"hostname":"c","services":{"kv":1}}]}"#;
        let asked = Address { host: "a".into(), port: 11210 };
        let found = |text: &str, string| read_management(text.as_bytes(), &asked, &Config::new(string).unwrap());
        let plain = [("a".to_owned(), 8091), ("b".to_owned(), 9000)];
        assert_eq!(found(text, "couchbase://a").unwrap(), plain);
        assert_eq!(found(text, "couchbases://a").unwrap(), [("a".to_owned(), 18091)]);
        assert!(found("{", "couchbase://a").is_err());
        // In another network a node has the ports that it has there, or else the usual ones.
        let text = text.replace(
            r#""thisNode":true"#,
            r#""alternateAddresses":{"external":{"hostname":"out","ports":{"kv":3,"mgmt":4,"mgmtSSL":5}}}"#,
        );
        let text = text
            .replace(r#""hostname":"b""#, r#""hostname":"b","alternateAddresses":{"external":{"hostname":"out2"}}"#);
        let outside = [("out".to_owned(), 4), ("out2".to_owned(), 9000)];
        assert_eq!(found(&text, "couchbase://a?network=external").unwrap(), outside);
        assert_eq!(found(&text, "couchbases://a?network=external").unwrap(), [("out".to_owned(), 5)]);
        assert_eq!(found(&text, "couchbase://a").unwrap(), plain);
        let asked = Address { host: "out".into(), port: 3 };
        let config = Config::new("couchbase://out").unwrap();
        assert_eq!(read_management(text.as_bytes(), &asked, &config).unwrap(), outside);
        assert!(matches!(found(&text, "couchbase://a?network=inside"), Err(Error::Configuration(_))));
    }
}
