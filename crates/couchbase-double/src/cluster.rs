//! The whole cluster's state: nodes, buckets, where each vbucket is active, and what faults are in force.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::manifest::{Manifest, ManifestError, SystemEvent};
use crate::privilege::Privilege;
use crate::settings::Settings;
use crate::vbucket::{VBucket, random_uuid};
use crate::{Guardrail, Options, Withheld};

/// What all connections share.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Counts changes of documents: what DCP streams wait for.
    pub(crate) documents: watch::Sender<u64>,
    /// Counts changes of the configuration and of the faults: what every connection waits for.
    pub(crate) cluster: watch::Sender<u64>,
}

impl Shared {
    pub(crate) fn new(state: State) -> Self {
        Self { state: Mutex::new(state), documents: watch::Sender::new(0), cluster: watch::Sender::new(0) }
    }

    /// The state. A panic while it is locked is a bug of the double and ends the test that met it.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell_documents(&self) {
        self.documents.send_modify(|count| *count += 1);
    }

    pub(crate) fn tell_cluster(&self) {
        self.cluster.send_modify(|count| *count += 1);
        self.tell_documents();
    }
}

pub(crate) struct State {
    pub(crate) options: Options,
    pub(crate) nodes: Vec<Node>,
    pub(crate) buckets: BTreeMap<String, Bucket>,
    pub(crate) cluster_uuid: String,
    /// The network that clients have to be in; without one it is that of the nodes' own names.
    pub(crate) network: Option<String>,
    pub(crate) faults: Faults,
    /// The connection that holds a DCP name, by node, bucket and name.
    pub(crate) dcp_names: HashMap<(usize, String, String), u64>,
    /// Counts refusals to select a bucket.
    pub(crate) refused_selections: watch::Sender<u64>,
    next_connection: u64,
}

#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
pub(crate) struct Node {
    pub(crate) kv_port: u16,
    pub(crate) mgmt_port: u16,
    /// The ports, of both services, where somebody in front of the node speaks TLS.
    pub(crate) tls_ports: Option<(u16, u16)>,
    /// Whether it has the data service, and so buckets.
    pub(crate) has_data: bool,
    /// Whether the node answers at all.
    pub(crate) is_up: bool,
    /// Whether the cluster counts it in.
    pub(crate) is_member: bool,
    /// Whether the cluster knows it: one that was failed over is known until a rebalance leaves it out.
    pub(crate) is_known: bool,
}

/// What is wrong on purpose.
#[derive(Default)]
pub(crate) struct Faults {
    /// Streams that were to end, as (vbucket, reason), one after the other; each DCP connection knows how many it has seen.
    pub(crate) end_streams: Vec<(u16, u32)>,
    /// DCP connections send nothing while this is set.
    pub(crate) is_dcp_paused: bool,
    /// Streams begin with what is in memory, as if nothing had left it.
    pub(crate) is_all_in_memory: bool,
    /// DCP connections do nothing at all while this is set.
    pub(crate) is_dcp_mute: bool,
    /// This node answers nothing and takes nothing in, on connections that stay open.
    pub(crate) hung_node: Option<usize>,
    /// Each key-value answer waits this long.
    pub(crate) kv_delay: Duration,
    /// The status that this many of the next key-value writes get instead of being carried out.
    pub(crate) failing_writes: u32,
    /// Durable writes are carried out but answered as ambiguous.
    pub(crate) ambiguous_writes: u32,
    /// DCP connections are cut when this number grows.
    pub(crate) cut_dcp_round: u64,
    /// What the user may not do.
    pub(crate) denied: Vec<Privilege>,
    /// How much of its memory every bucket uses, in percent.
    pub(crate) memory_percent: u8,
    /// Why buckets take no more data.
    pub(crate) guardrail: Option<Guardrail>,
    /// What these nodes answer to whoever selects a bucket.
    pub(crate) withheld: BTreeMap<usize, Withheld>,
}

pub(crate) struct Bucket {
    pub(crate) uuid: String,
    pub(crate) manifest: Manifest,
    pub(crate) vbuckets: Vec<VBucket>,
    /// For each vbucket the nodes that have it: the active first, -1 for none.
    pub(crate) map: Vec<Vec<i32>>,
    pub(crate) settings: Settings,
    /// Revision of the configuration.
    pub(crate) rev: u64,
}

impl State {
    pub(crate) fn new(options: Options, ports: &[(u16, u16)]) -> Self {
        let node = |(at, &(kv_port, mgmt_port)): (usize, &(u16, u16))| Node {
            kv_port,
            mgmt_port,
            tls_ports: None,
            has_data: at < options.nodes.max(1),
            is_up: true,
            is_member: true,
            is_known: true,
        };
        let mut state = Self {
            nodes: ports.iter().enumerate().map(node).collect(),
            buckets: BTreeMap::new(),
            cluster_uuid: format!("{:032x}", random_uuid()),
            network: None,
            faults: Faults::default(),
            dcp_names: HashMap::new(),
            refused_selections: watch::Sender::new(0),
            next_connection: 1,
            options,
        };
        let name = state.options.bucket.clone();
        let settings = state.first_settings();
        state.create_bucket(&name, settings);
        state
    }

    /// Those of the bucket that is there from the beginning: it may be flushed, and has as many replicas as the nodes allow.
    pub(crate) fn first_settings(&self) -> Settings {
        let replicas = self.options.replicas.min(self.members().len().saturating_sub(1));
        Settings { ram_mib: 256, replicas, is_flushable: true, compaction: None }
    }

    pub(crate) fn take_connection(&mut self) -> u64 {
        self.next_connection += 1;
        self.next_connection
    }

    /// Adds a bucket; false when it is there already.
    pub(crate) fn create_bucket(&mut self, name: &str, settings: Settings) -> bool {
        if self.buckets.contains_key(name) {
            return false;
        }
        let members = self.data_members();
        let copies = settings.replicas.min(members.len().saturating_sub(1)) + 1;
        // Copies without a node stay away.
        let copy = |vbucket: usize, copy: usize| if copy < copies { spread(&members, vbucket + copy) } else { -1 };
        let place = |vbucket: usize| (0..=settings.replicas).map(|at| copy(vbucket, at)).collect();
        let bucket = Bucket {
            uuid: format!("{:032x}", random_uuid()),
            manifest: Manifest::default(),
            vbuckets: (0..self.options.vbuckets).map(|_| VBucket::new()).collect(),
            map: (0..usize::from(self.options.vbuckets)).map(place).collect(),
            settings,
            rev: 1,
        };
        self.buckets.insert(name.to_owned(), bucket);
        true
    }

    fn members(&self) -> Vec<usize> {
        self.nodes.iter().enumerate().filter(|(_, node)| node.is_member).map(|(at, _)| at).collect()
    }

    fn data_members(&self) -> Vec<usize> {
        let has_data = |at: &usize| self.nodes.get(*at).is_some_and(|node| node.has_data);
        self.members().into_iter().filter(has_data).collect()
    }

    /// Whether nodes without data know the configurations of buckets, by buckets that have nothing else; before 7.6 they know no bucket.
    pub(crate) fn has_config_only_buckets(&self) -> bool {
        let mut numbers = self.options.version.split('.').map(|number| number.parse().unwrap_or(0_u32));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (7, 6)
    }

    /// Fails a node over: its replicas become active, with what they have (docs/dcp/documentation/failure-scenarios.md).
    pub(crate) fn fail_over(&mut self, node: usize) {
        let Some(failed) = self.nodes.get_mut(node) else { return };
        failed.is_member = false;
        let node = id(node);
        for bucket in self.buckets.values_mut() {
            for (copies, vbucket) in bucket.map.iter_mut().zip(&mut bucket.vbuckets) {
                if copies.first() == Some(&node) {
                    copies.remove(0);
                    copies.push(-1);
                    if copies.first() != Some(&-1) {
                        vbucket.promote_replica();
                    }
                } else {
                    for copy in copies.iter_mut().filter(|copy| **copy == node) {
                        *copy = -1;
                    }
                }
            }
            bucket.rev += 1;
        }
    }

    /// Moves vbuckets so that every member has its share. The new active node takes over with the history of the old one; a branch begins
    /// only where nobody was there to take over from (docs/dcp/documentation/rebalance.md; `engines/ep/src/kv_bucket.cc`,
    /// `continueToActive`).
    pub(crate) fn rebalance(&mut self) {
        for node in &mut self.nodes {
            (node.is_member, node.is_known) = (node.is_up, node.is_up);
        }
        let members = self.data_members();
        for bucket in self.buckets.values_mut() {
            let replicas = self.options.replicas.min(members.len().saturating_sub(1));
            // Turned by one place against the first distribution, so that vbuckets move even when nobody joined.
            let turn = usize::try_from(bucket.rev).unwrap_or(0);
            for (at, (copies, vbucket)) in bucket.map.iter_mut().zip(&mut bucket.vbuckets).enumerate() {
                let placed: Vec<i32> = (0..=replicas).map(|copy| spread(&members, at + turn + copy)).collect();
                if placed.first() != copies.first() {
                    vbucket.release_replication();
                    if copies.first() == Some(&-1) {
                        vbucket.begin_branch();
                    }
                }
                *copies = placed;
            }
            bucket.settings.replicas = replicas;
            bucket.rev += 1;
        }
    }

    /// Wants so many replicas of a bucket, whatever the nodes allow: copies without a node stay away.
    pub(crate) fn set_replicas(&mut self, name: &str, replicas: usize) {
        let Some(bucket) = self.buckets.get_mut(name) else { return };
        bucket.settings.replicas = replicas;
        bucket.map.iter_mut().for_each(|copies| copies.resize(replicas + 1, -1));
        bucket.rev += 1;
    }

    /// Removes the documents whose time has come; the number of them.
    pub(crate) fn expire(&mut self) -> usize {
        self.buckets.values_mut().flat_map(|bucket| &mut bucket.vbuckets).map(VBucket::expire).sum()
    }

    pub(crate) fn password_of(&self, user: &str) -> Option<String> {
        (user == self.options.user).then(|| self.options.password.clone())
    }

    /// The configuration of a bucket as clients read it from the key-value service and from `/pools/default/b`
    /// (docs/BucketConfiguration.md and gocbcore's config.go).
    pub(crate) fn config(&self, name: &str, this_node: usize) -> Option<Value> {
        let bucket = self.buckets.get(name)?;
        let members = self.data_members();
        let place = |node: &i32| {
            let node = usize::try_from(*node).ok();
            let at = node.and_then(|node| members.iter().position(|member| *member == node));
            at.map_or(-1, id)
        };
        let map: Vec<Vec<i32>> = bucket.map.iter().map(|copies| copies.iter().map(place).collect()).collect();
        let in_order: Vec<(&usize, &Node)> =
            members.iter().filter_map(|at| self.nodes.get(*at).map(|node| (at, node))).collect();
        let server = |(at, node): &(&usize, &Node)| format!("{}:{}", self.own_name(**at), node.kv_port);
        let servers: Vec<String> = in_order.iter().map(server).collect();
        let nodes: Vec<Value> = in_order
            .iter()
            .map(|(at, node)| {
                json!({
                    "couchApiBase": "",
                    "hostname": format!("{}:{}", self.own_name(**at), node.mgmt_port),
                    "ports": {"direct": node.kv_port},
                })
            })
            .collect();
        let mut config = self.cluster_config(this_node, bucket.rev);
        let bucket_part = json!({
            "name": name,
            "uuid": bucket.uuid,
            "nodeLocator": "vbucket",
            "uri": format!("/pools/default/buckets/{name}?bucket_uuid={}", bucket.uuid),
            "streamingUri": format!("/pools/default/bucketsStreaming/{name}?bucket_uuid={}", bucket.uuid),
            "bucketCapabilitiesVer": "",
            "bucketCapabilities": BUCKET_CAPABILITIES,
            "collectionsManifestUid": format!("{:x}", bucket.manifest.uid),
            "ddocs": {"uri": format!("/pools/default/buckets/{name}/ddocs")},
            "nodes": nodes,
            "vBucketServerMap": {
                "hashAlgorithm": "CRC",
                "numReplicas": bucket.settings.replicas,
                "serverList": servers,
                "vBucketMap": map,
            },
        });
        merge(&mut config, bucket_part);
        Some(config)
    }

    /// What the cluster calls a node: nobody can resolve it who has to be in another network.
    fn own_name(&self, node: usize) -> String {
        if self.network.is_some() { format!("node{node}.invalid") } else { HOST.to_owned() }
    }

    /// The part of a configuration that is the same for all buckets, and all of it before one is selected.
    pub(crate) fn cluster_config(&self, this_node: usize, rev: u64) -> Value {
        let members = self.members();
        let nodes: Vec<Value> = members
            .iter()
            .filter_map(|at| self.nodes.get(*at).map(|node| (at, node)))
            .map(|(at, node)| {
                let mut ports = json!({"mgmt": node.mgmt_port});
                if node.has_data {
                    merge(&mut ports, json!({"kv": node.kv_port}));
                }
                if let Some((kv, mgmt)) = node.tls_ports {
                    merge(&mut ports, json!({"mgmtSSL": mgmt}));
                    if node.has_data {
                        merge(&mut ports, json!({"kvSSL": kv}));
                    }
                }
                let mut value = json!({
                    "hostname": self.own_name(*at),
                    "services": ports,
                    "nodeUUID": format!("{at:032x}"),
                });
                if let Some(network) = &self.network {
                    let address = json!({"hostname": HOST, "ports": ports});
                    merge(&mut value, json!({"alternateAddresses": {network: address}}));
                }
                if *at == this_node {
                    merge(&mut value, json!({"thisNode": true}));
                }
                value
            })
            .collect();
        json!({
            "rev": rev,
            "revEpoch": 1,
            "nodesExt": nodes,
            "clusterName": "double",
            "clusterUUID": self.cluster_uuid,
            "clusterCapabilitiesVer": [1, 0],
            "clusterCapabilities": {},
        })
    }

    /// The revision of the newest configuration of any bucket.
    pub(crate) fn rev(&self) -> u64 {
        self.buckets.values().map(|bucket| bucket.rev).max().unwrap_or(1)
    }
}

impl Bucket {
    /// Whether the node is the active one for a vbucket.
    pub(crate) fn is_active(&self, vbucket: u16, node: usize) -> bool {
        self.map.get(usize::from(vbucket)).and_then(|copies| copies.first()) == Some(&id(node))
    }

    /// Whether the node has the vbucket, active or as a replica.
    pub(crate) fn has_copy(&self, vbucket: u16, node: usize) -> bool {
        self.map.get(usize::from(vbucket)).is_some_and(|copies| copies.contains(&id(node)))
    }

    /// Applies a change of the manifest and lets every vbucket record it.
    pub(crate) fn change<T: Into<Vec<SystemEvent>>>(
        &mut self,
        change: impl FnOnce(&mut Manifest) -> Result<T, ManifestError>,
    ) -> Result<u64, ManifestError> {
        let events: Vec<SystemEvent> = change(&mut self.manifest)?.into();
        for vbucket in &mut self.vbuckets {
            for event in &events {
                vbucket.record(event);
            }
        }
        self.rev += 1;
        Ok(self.manifest.uid)
    }

    /// Forgets everything, as a flush does: new history, from sequence number 0 (docs/dcp/documentation/commands/flush.md).
    pub(crate) fn flush(&mut self) {
        let events = self.manifest.existing();
        for vbucket in &mut self.vbuckets {
            *vbucket = VBucket::new();
            for event in &events {
                vbucket.record(event);
            }
        }
        self.rev += 1;
    }
}

/// Where every node is.
const HOST: &str = "127.0.0.1";

/// What clients may use; each of these is served (docs/BucketConfiguration.md).
const BUCKET_CAPABILITIES: &[&str] = &[
    "collections",
    "durableWrite",
    "tombstonedUserXAttrs",
    "couchapi",
    "subdoc.ReplaceBodyWithXattr",
    "subdoc.DocumentMacroSupport",
    "subdoc.ReviveDocument",
    "dcp",
    "cbhello",
    "touch",
    "cccp",
    "nodesExt",
    "xattr",
];

/// A node index as the map writes it.
pub(crate) fn id(node: usize) -> i32 {
    i32::try_from(node).unwrap_or(-1)
}

fn spread(members: &[usize], at: usize) -> i32 {
    at.checked_rem(members.len()).and_then(|at| members.get(at)).map_or(-1, |node| id(*node))
}

/// Adds the fields of one object to another.
pub(crate) fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}
