//! A double of a Couchbase cluster, for tests: several nodes in one process, on ports of 127.0.0.1.
//!
//! It speaks the memcached binary protocol (key-value, sub-document, collections, DCP) and the management REST, as far as
//! Couchbase's own clients and this project use them, and refuses what the server refuses. Comments name the document or
//! the file of couchbase's `kv_engine` that a behaviour follows.
//!
//! It keeps everything in memory, in one process and behind one lock: it is exact, not fast or durable.
//!
//! # What it does not do
//!
//! - **Commands that nobody needs here** are answered as not supported, where the server has them: quiet commands, `GETK`, `STAT`, `OBSERVE`,
//!   random keys, range scans, writes with meta, and those of administration. So are frame infos on behalf of another user. Binary values in
//!   xattrs and sub-document reads of replicas are refused as unknown flags; their features are not granted.
//! - **Answers** are never compressed, and but for unknown collections no refusal is explained in words: the server adds a text under `error`.
//! - **Users**: there is one, who may do everything that a test does not take away. So a bucket that is missing is not found, where a user
//!   with fewer rights hears that he has no access.
//! - **Durable writes** are decided at once: nobody meets a prepare that is under way, and one that the replicas would not confirm in time is
//!   ambiguous without delay. All of them are durable, also a `DELETE` of a document with system xattrs, which the server's is not
//!   (`daemon/protocol/mcbp/remove_context.cc`, `storeItem`).
//! - **Races within the server**: a sub-document command that revives a tombstone compares the CAS when it reads and adds later
//!   (daemon/subdocument.cc, `update_document`); here both are one step.
//! - **Memory and load**: nothing is ever evicted, refused for want of memory or put off, unless by command. Requests are carried out in order.
//! - **Macros about a document that is being made** (`${$document…}`) fail; the server writes the zeros that it has then.
//! - **Collections of the system**, limits on the number of scopes and collections, histories: there are none.
//! - **Management**: what clients, a set-up and a check ask for, with the fields that they read (`ns_server`
//!   `menelaus_web.erl` has the paths, and who may). Buckets are of the type couchbase, their settings stay as they are, and
//!   memory is never too little for one.

mod cluster;
mod connection;
mod dcp;
mod edit;
mod error_map;
mod faults;
mod hash;
mod item;
mod json;
mod kv;
mod macros;
mod manifest;
mod privilege;
mod rest;
mod sasl;
mod session;
mod settings;
mod subdoc;
mod subdoc_command;
mod subdoc_flags;
mod subdoc_validate;
mod target;
pub mod tls;
mod validate;
mod vbucket;
mod wire;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use cluster::{Shared, State};
pub use privilege::Privilege;
use rest::Service;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// How often documents whose time has come are removed, besides on access.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);

/// What a cluster is made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// The number of nodes with the data service, at least 1.
    pub nodes: usize,
    /// The number of nodes without it, after the others. The key-value port is open there, too: from version 7.6 on they have the
    /// configurations of buckets, before it no bucket.
    pub other_nodes: usize,
    /// The number of vbuckets of each bucket; the real server has 1024, or 128 with the Magma engine.
    pub vbuckets: u16,
    /// Copies besides the active one, limited by the number of nodes.
    pub replicas: usize,
    /// The bucket that is there from the beginning.
    pub bucket: String,
    /// The one user.
    pub user: String,
    /// The user's password.
    pub password: String,
    /// The version that the server claims to be.
    pub version: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: 2,
            other_nodes: 0,
            vbuckets: 64,
            replicas: 1,
            bucket: "default".into(),
            user: "Administrator".into(),
            password: "password".into(),
            version: "7.6.4-5146-enterprise".into(),
        }
    }
}

/// What a node that has a bucket not, or not yet, answers to whoever selects it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withheld {
    /// There is none: the answer for a user who may use it.
    NotFound,
    /// No access: the answer for a user who may not.
    NoAccess,
}

/// Why a bucket takes no more data (from 7.6 on the guardrails of `ns_server`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guardrail {
    /// It has as much as it may have.
    SizeLimit,
    /// Too little of it fits into its memory.
    ResidentRatio,
    /// There is too much of it on a node.
    DataSize,
    /// Too little room is left on a disk.
    DiskSpace,
}

/// A running cluster; it ends when this is dropped.
pub struct Double {
    shared: Arc<Shared>,
    nodes: Vec<RunningNode>,
    pager: JoinSet<()>,
    fronts: JoinSet<()>,
}

/// The tasks of a node that is up.
#[derive(Default)]
struct RunningNode {
    tasks: JoinSet<()>,
}

/// Names the cluster that tests run on instead of a double: `couchbase://user:password@host/bucket`.
const NAMED: &str = "TIDELOCK_TEST_COUCHBASE";

/// The cluster that the tests run on, and its connection string with user and password: a double, or none where another one is named.
pub async fn test_cluster(options: Options) -> io::Result<(Option<Double>, String)> {
    if let Some(named) = std::env::var(NAMED).ok().filter(|named| !named.is_empty()) {
        return Ok((None, named));
    }
    let double = Double::start(options).await?;
    let text = double.connection_string();
    Ok((Some(double), text))
}

impl Double {
    /// Starts a cluster on free ports.
    pub async fn start(options: Options) -> io::Result<Self> {
        let mut listeners = Vec::new();
        let mut ports = Vec::new();
        for _ in 0..options.nodes.max(1) + options.other_nodes {
            let kv = TcpListener::bind("127.0.0.1:0").await?;
            let mgmt = TcpListener::bind("127.0.0.1:0").await?;
            ports.push((kv.local_addr()?.port(), mgmt.local_addr()?.port()));
            listeners.push((kv, mgmt));
        }
        let shared = Arc::new(Shared::new(State::new(options, &ports)));
        let mut double = Self { shared, nodes: Vec::new(), pager: JoinSet::new(), fronts: JoinSet::new() };
        for (node, (kv, mgmt)) in listeners.into_iter().enumerate() {
            double.nodes.push(RunningNode::default());
            double.run_node(node, kv, mgmt);
        }
        double.pager.spawn(page(Arc::clone(&double.shared)));
        Ok(double)
    }

    fn run_node(&mut self, node: usize, kv: TcpListener, mgmt: TcpListener) {
        let Some(running) = self.nodes.get_mut(node) else { return };
        running.tasks.spawn(connection::serve(Arc::clone(&self.shared), node, kv));
        let router = rest::router(Service { shared: Arc::clone(&self.shared), node });
        running.tasks.spawn(async move {
            // Serving ends with an error only when the listener is gone, which ends the node.
            let _ = axum::serve(mgmt, router).await;
        });
    }

    /// `couchbase://user:password@host:port,…`: all nodes' key-value ports.
    pub fn connection_string(&self) -> String {
        let state = self.shared.state();
        let hosts: Vec<String> = state.nodes.iter().map(|node| format!("127.0.0.1:{}", node.kv_port)).collect();
        format!("couchbase://{}:{}@{}", state.options.user, state.options.password, hosts.join(","))
    }

    /// The management address of a node, `http://127.0.0.1:port`.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn management(&self, node: usize) -> String {
        let state = self.shared.state();
        format!("http://127.0.0.1:{}", state.nodes.get(node).expect("a node of the cluster").mgmt_port)
    }

    /// The key-value ports, by node.
    pub fn kv_ports(&self) -> Vec<u16> {
        self.shared.state().nodes.iter().map(|node| node.kv_port).collect()
    }

    /// Has the nodes' addresses be those of a network, as alternate addresses; their own names are ones that nobody can resolve.
    pub fn hide_in(&self, network: &str) {
        self.change(|state| state.network = Some(network.to_owned()));
    }

    /// Has somebody who speaks TLS stand in front of both services of every node ([`tls`]), until the double ends.
    pub async fn encrypt(&mut self) -> io::Result<()> {
        let ports: Vec<(u16, u16)> =
            self.shared.state().nodes.iter().map(|node| (node.kv_port, node.mgmt_port)).collect();
        let acceptor = tls::acceptor()?;
        for (node, (kv, mgmt)) in ports.into_iter().enumerate() {
            let kv = tls::stand(&mut self.fronts, &acceptor, kv, tls::Who::LoggedIn).await?;
            let mgmt = tls::stand(&mut self.fronts, &acceptor, mgmt, tls::Who::AsTheySay).await?;
            self.change(|state| state.nodes.get_mut(node).map(|node| node.tls_ports = Some((kv, mgmt))));
        }
        Ok(())
    }

    /// `couchbases://user:password@host:port,…`, after [`encrypt`](Self::encrypt): all nodes' key-value ports for TLS.
    pub fn encrypted_connection_string(&self) -> String {
        let state = self.shared.state();
        let ports = state.nodes.iter().filter_map(|node| node.tls_ports);
        let hosts: Vec<String> = ports.map(|(kv, _)| format!("127.0.0.1:{kv}")).collect();
        format!("couchbases://{}:{}@{}", state.options.user, state.options.password, hosts.join(","))
    }

    /// Stops a node: its ports refuse connections, the open ones are cut. The cluster still counts it in.
    pub fn kill(&mut self, node: usize) {
        if let Some(running) = self.nodes.get_mut(node) {
            running.tasks.abort_all();
        }
        if let Some(node) = self.shared.state().nodes.get_mut(node) {
            node.is_up = false;
        }
    }

    /// Starts a stopped node again, on its ports.
    pub async fn revive(&mut self, node: usize) -> io::Result<()> {
        let ports = self.shared.state().nodes.get(node).map(|node| (node.kv_port, node.mgmt_port));
        let (kv, mgmt) = ports.ok_or(io::ErrorKind::NotFound)?;
        if let Some(running) = self.nodes.get_mut(node) {
            // What was ended holds its ports until it is gone.
            running.tasks.shutdown().await;
        }
        let kv = TcpListener::bind(("127.0.0.1", kv)).await?;
        let mgmt = TcpListener::bind(("127.0.0.1", mgmt)).await?;
        self.run_node(node, kv, mgmt);
        if let Some(node) = self.shared.state().nodes.get_mut(node) {
            node.is_up = true;
        }
        Ok(())
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.shared.state());
        self.shared.tell_cluster();
        changed
    }

    fn change_vbuckets(&self, change: impl FnMut(&mut vbucket::VBucket)) {
        self.change(|state| state.buckets.values_mut().flat_map(|bucket| &mut bucket.vbuckets).for_each(change));
    }

    /// Fails a node over: its replicas become active with what they have, a branch of history begins.
    pub fn fail_over(&self, node: usize) {
        self.change(|state| state.fail_over(node));
    }

    /// Counts in every node that is up, and moves vbuckets.
    pub fn rebalance(&self) {
        self.change(State::rebalance);
    }

    /// Changes the number of replicas that a bucket is to have. No copy is made: those that it has not are missing, as where there are too
    /// few nodes.
    pub fn set_replicas(&self, bucket: &str, replicas: usize) {
        self.change(|state| state.set_replicas(bucket, replicas));
    }

    /// Replicas get nothing more until the end of it or a fail-over.
    pub fn hold_replication(&self) {
        self.change_vbuckets(vbucket::VBucket::hold_replication);
    }

    /// Replicas catch up.
    pub fn release_replication(&self) {
        self.change_vbuckets(vbucket::VBucket::release_replication);
    }

    /// Forgets all tombstones, as after the purge interval.
    pub fn purge(&self) {
        self.change_vbuckets(|vbucket| {
            vbucket.purge();
        });
    }

    /// Ends the streams of a vbucket for a reason of `stream-end.md`.
    pub fn end_streams(&self, vbucket: u16, reason: u32) {
        self.change(|state| state.faults.end_streams.push((vbucket, reason)));
    }

    /// DCP connections send nothing while this is on.
    pub fn pause_dcp(&self, on: bool) {
        self.change(|state| state.faults.is_dcp_paused = on);
    }

    /// Streams that begin while this is on have everything from memory, as with a server on which little was written lately; otherwise they have
    /// what is there from the disk.
    pub fn keep_in_memory(&self, on: bool) {
        self.change(|state| state.faults.is_all_in_memory = on);
    }

    /// DCP connections send nothing at all while this is on, not even NOOPs, and take nothing in: as a host that hangs.
    pub fn mute_dcp(&self, on: bool) {
        self.change(|state| state.faults.is_dcp_mute = on);
    }

    /// A node answers nothing and takes nothing in, on connections that stay open, as a host that hangs; `None` ends that. What was sent to it
    /// meanwhile it carries out then.
    pub fn hang(&self, node: Option<usize>) {
        self.change(|state| state.faults.hung_node = node);
    }

    /// Forgets all documents of a bucket, as a flush does.
    ///
    /// # Panics
    /// When the bucket is missing.
    pub fn flush(&self, bucket: &str) {
        self.change(|state| state.buckets.get_mut(bucket).expect("a bucket of the cluster").flush());
    }

    /// Each key-value answer waits this long.
    pub fn delay_kv(&self, time: Duration) {
        self.change(|state| state.faults.kv_delay = time);
    }

    /// Takes these privileges away from the user, and gives back all others.
    pub fn deny(&self, privileges: &[Privilege]) {
        self.change(|state| state.faults.denied = privileges.to_vec());
    }

    /// Takes the buckets away from a node, or gives them back, with all that they hold: after a restart of `memcached` the node has none
    /// until `ns_server` has created them. Connections that have selected one end.
    pub fn withhold_buckets(&self, node: usize, answer: Option<Withheld>) {
        self.change(|state| match answer {
            Some(answer) => drop(state.faults.withheld.insert(node, answer)),
            None => drop(state.faults.withheld.remove(&node)),
        });
    }

    /// Waits until somebody selects a bucket that he does not get.
    pub async fn selection_refused(&self) {
        let mut refused = self.shared.state().refused_selections.subscribe();
        // It ends with the cluster at the latest.
        let _ = refused.changed().await;
    }

    /// Buckets take no more data while there is a reason: everything but what makes documents smaller or removes them is refused.
    pub fn refuse_data(&self, guardrail: Option<Guardrail>) {
        self.change(|state| state.faults.guardrail = guardrail);
    }

    /// Says of every bucket that it uses so much of its memory.
    pub fn use_memory(&self, percent: u8) {
        self.change(|state| state.faults.memory_percent = percent);
    }

    /// Closes every DCP connection.
    pub fn cut_dcp(&self) {
        self.change(|state| state.faults.cut_dcp_round += 1);
    }

    /// Deletes a bucket, and makes another one under its name.
    pub fn replace_bucket(&self, bucket: &str) {
        self.change(|state| {
            let old = state.buckets.remove(bucket);
            let settings = old.map_or_else(|| state.first_settings(), |old| old.settings);
            state.create_bucket(bucket, settings);
        });
    }

    /// What a collection holds on the active nodes: key and body of each document. Empty when there is no such collection.
    ///
    /// # Panics
    /// When the bucket is missing.
    pub fn documents(&self, bucket: &str, scope: &str, collection: &str) -> Vec<(String, Vec<u8>)> {
        let state = self.shared.state();
        let bucket = state.buckets.get(bucket).expect("a bucket of the cluster");
        let Ok((_, id)) = bucket.manifest.find(&format!("{scope}.{collection}")) else { return Vec::new() };
        bucket.vbuckets.iter().flat_map(|vbucket| vbucket.documents_of(id)).collect()
    }

    /// Creates a scope (when it is missing) and a collection in it; the collection's id.
    ///
    /// # Panics
    /// When the bucket is missing, the collection exists, or a name is not allowed.
    pub fn create_collection(&self, bucket: &str, scope: &str, collection: &str) -> u32 {
        self.change(|state| {
            let bucket = state.buckets.get_mut(bucket).expect("a bucket of the cluster");
            if bucket.manifest.scope(scope).is_none() {
                bucket.change(|manifest| manifest.create_scope(scope)).expect("a name for a scope");
            }
            bucket.change(|manifest| manifest.create_collection(scope, collection, 0)).expect("a new collection");
            let (_, id) = bucket.manifest.find(&format!("{scope}.{collection}")).expect("the collection just made");
            id
        })
    }

    /// Drops a collection.
    ///
    /// # Panics
    /// When the bucket or the collection is missing.
    pub fn drop_collection(&self, bucket: &str, scope: &str, collection: &str) {
        self.change(|state| {
            let bucket = state.buckets.get_mut(bucket).expect("a bucket of the cluster");
            bucket.change(|manifest| manifest.drop_collection(scope, collection)).expect("a collection of the bucket");
        });
    }
}

/// Removes expired documents again and again (docs/dcp/documentation/expiry-opcode-output.md, "expiry pager").
async fn page(shared: Arc<Shared>) {
    let mut interval = tokio::time::interval(EXPIRY_INTERVAL);
    loop {
        interval.tick().await;
        if shared.state().expire() > 0 {
            shared.tell_documents();
        }
    }
}
