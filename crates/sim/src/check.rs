//! What has to hold, and a whole run.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tidelock_core::client::Phase;
use tidelock_core::client::storage::Row;
use tidelock_core::ids::{DocumentId, Version};
use tidelock_core::version;
use tidelock_store::Store;

use crate::node::ready;
use crate::rules::{channels_of, policies};
use crate::workload::LEDGER;
use crate::world::{DRAIN_MS_MAX, HostId, World};

/// What a run did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Equal for equal seeds.
    pub trace_hash: u64,
    /// Events handled.
    pub events: u64,
    /// Transactions of the applications.
    pub transactions: u64,
    /// Of those, rejected and listed.
    pub rejected: u64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Virtual milliseconds from healing until everything was drained.
    pub drained_ms: u64,
}

/// Runs a seed to its end; an error says what does not hold.
pub fn run(seed: u64, verbose: bool) -> Result<Report, String> {
    let mut world = World::new(seed, verbose);
    let duration_ms = world.random.between(500, 25_000);
    world.begin(duration_ms);
    while world.step(duration_ms) {
        world.take_violation()?;
    }
    world.heal();
    let healed_ms = world.elapsed_ms();
    while world.elapsed_ms() < healed_ms + DRAIN_MS_MAX && !world.is_drained() {
        let until = world.elapsed_ms() + 100;
        while world.step(until) {
            world.take_violation()?;
        }
    }
    let drained_ms = world.elapsed_ms() - healed_ms;
    if !world.is_drained() {
        return Err(format!("not drained {DRAIN_MS_MAX} ms after healing: {}", world.describe_difference()));
    }
    let rejected = world.check_ledger()?;
    Ok(Report {
        trace_hash: world.trace_hash(),
        events: world.event_count(),
        transactions: world.ledger.transactions.len() as u64,
        rejected,
        faults: world.fault_counts().clone(),
        drained_ms,
    })
}

type Documents = BTreeMap<DocumentId, (Version, Vec<u8>)>;

impl World {
    /// Whether every client is synced and equals the server.
    fn is_drained(&self) -> bool {
        self.is_synced() && self.describe_difference().is_empty()
    }

    /// What differs from the server, for people; empty when nothing does.
    fn describe_difference(&self) -> String {
        let server = self.server_documents();
        let mut text = String::new();
        for (index, replica) in self.replicas.iter().enumerate() {
            let Some(seat) = self.hosts.get(&replica.leader) else { continue };
            let client = seat.host.client();
            if !client.is_synced() {
                let (host, status) = (replica.leader, client.status());
                push(&mut text, &format!("client {index} (host {host}) is not synced: {status:?}"));
            }
            if replica.database.unsent() != (0, 0) {
                push(&mut text, &format!("client {index}: unsent {:?}", replica.database.unsent()));
            }
            let filter = self.filter_of(index);
            let mut server = server.clone();
            server.retain(|id, (_, body)| filter.matches(&id.collection, &channels_of(body)));
            text += &compare(&format!("client {index} rows"), &server, &self.rows_of(index));
            text += &compare(&format!("client {index} shadow"), &server, &self.shadow_of(index));
        }
        text
    }

    fn server_documents(&self) -> Documents {
        let mut documents = Documents::new();
        for collection in policies().keys() {
            let found = ready(self.store.scan(collection, None, usize::MAX));
            for (key, document) in found.expect("the memory store answers") {
                let id = DocumentId::new(collection.as_str(), key);
                documents.insert(id, (document.version, document.body.to_vec()));
            }
        }
        documents
    }

    fn rows_of(&self, replica: usize) -> Documents {
        let mut documents = Documents::new();
        let Some(replica) = self.replicas.get(replica) else { return documents };
        for collection in policies().keys() {
            for (key, row) in replica.database.scan(collection, None, usize::MAX) {
                let id = DocumentId::new(collection.as_str(), key);
                if let Row::Json(json) = row {
                    let version = version::of_body(&json).unwrap_or_default();
                    documents.insert(id, (version, json));
                } else {
                    documents.insert(id, (Version(1), format!("{row:?}").into_bytes()));
                }
            }
        }
        documents
    }

    fn shadow_of(&self, replica: usize) -> Documents {
        let mut documents = Documents::new();
        let Some(replica) = self.replicas.get(replica) else { return documents };
        for (page, bytes) in replica.database.shadow() {
            for (key, version, body) in tidelock_core::client::shadow_documents(bytes).unwrap_or_default() {
                documents.insert(DocumentId::new(page.collection.as_str(), key), (version, body));
            }
        }
        documents
    }

    /// After a committed task: a client that only reads and is caught up shows whole transactions.
    pub(crate) fn check_step(&mut self, host: HostId) {
        let Some(seat) = self.hosts.get(&host) else { return };
        let Some(replica) = self.replicas.get(seat.replica) else { return };
        if replica.writes || self.setbacks.happened() || seat.host.client().status().phase != Phase::Live {
            return;
        }
        if let Err(torn) = self.check_whole(&Self::tokens(&self.rows_of(seat.replica))) {
            self.violation.get_or_insert(format!("client {} shows {torn} in part", seat.replica));
        }
    }

    pub(crate) fn take_violation(&mut self) -> Result<(), String> {
        self.violation.take().map_or(Ok(()), Err)
    }

    /// Which ledger documents hold which token.
    fn tokens(documents: &Documents) -> BTreeMap<String, BTreeSet<String>> {
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (id, (_, body)) in documents.iter().filter(|(id, _)| id.collection == LEDGER) {
            for token in tokens_of(body) {
                found.entry(token).or_default().insert(id.key.clone());
            }
        }
        found
    }

    /// Every token is in all documents of its transaction.
    fn check_whole(&self, found: &BTreeMap<String, BTreeSet<String>>) -> Result<(), String> {
        for (token, keys) in found {
            let Some(entry) = self.ledger.transactions.get(token) else { return Err(format!("unknown {token}")) };
            // An application writes whole rows: a later edit of a row that a rejected transaction created brings its token along.
            if entry.documents != *keys && !self.is_told(entry.replica, token) {
                return Err(format!("{token}: {keys:?} of {:?}", entry.documents));
            }
        }
        Ok(())
    }

    /// Whether its user can know that a transaction is not there, or not wholly.
    fn is_told(&self, replica: usize, token: &str) -> bool {
        self.is_listed(replica, token) || self.is_set_aside(token)
    }

    /// Whether the list of rejected mutations holds a transaction.
    fn is_listed(&self, replica: usize, token: &str) -> bool {
        self.replicas.get(replica).is_some_and(|replica| {
            replica.database.rejected().any(|record| {
                let mine = record.documents.iter().filter_map(|document| document.mine.as_deref());
                mine.flat_map(tokens_of).any(|listed| listed == token)
            })
        })
    }

    /// Exactly once, whole or not at all, rejected ones listed. Returns how many were rejected.
    fn check_ledger(&self) -> Result<u64, String> {
        let documents = self.server_documents();
        let found = Self::tokens(&documents);
        self.check_whole(&found).map_err(|torn| format!("the server holds {torn} in part"))?;
        for (id, (_, body)) in documents.iter().filter(|(id, _)| id.collection == LEDGER) {
            let tokens = tokens_of(body);
            let distinct: BTreeSet<&String> = tokens.iter().collect();
            let deltas = distinct.iter().filter_map(|token| self.ledger.transactions.get(*token));
            let sum: i64 = deltas.map(|entry| entry.delta).sum();
            let document: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
            let counted = document.get("n").and_then(Value::as_i64).unwrap_or(0);
            if distinct.len() != tokens.len() || counted != sum {
                return Err(format!("{id} counts {counted}, its tokens {sum}: {}", String::from_utf8_lossy(body)));
            }
        }
        let mut rejected = 0;
        for (token, entry) in self.ledger.transactions.iter().filter(|(_, entry)| !entry.documents.is_empty()) {
            if found.contains_key(token) || entry.may_be_lost {
                continue;
            }
            rejected += 1;
            if !self.is_told(entry.replica, token) {
                return Err(format!(
                    "{token} {:?} is neither on the server nor in the list of rejected",
                    entry.documents
                ));
            }
        }
        Ok(rejected)
    }
}

pub(crate) fn tokens_of(body: &[u8]) -> Vec<String> {
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let tokens = document.get("tokens").and_then(Value::as_array).cloned().unwrap_or_default();
    tokens.iter().filter_map(|token| token.as_str().map(str::to_owned)).collect()
}

/// Adds a line.
fn push(text: &mut String, line: &str) {
    text.push_str("\n ");
    text.push_str(line);
}

fn compare(name: &str, server: &Documents, found: &Documents) -> String {
    let text = |entry: Option<&(Version, Vec<u8>)>| {
        entry.map_or("absent".to_owned(), |(_, body)| String::from_utf8_lossy(body).into_owned())
    };
    let ids: BTreeSet<&DocumentId> = server.keys().chain(found.keys()).collect();
    let mut out = String::new();
    for id in ids {
        let (left, right) = (server.get(id), found.get(id));
        if left.map(|(version, _)| version) != right.map(|(version, _)| version) {
            push(&mut out, &format!("{name} {id}: server {} | {}", text(left), text(right)));
        }
    }
    out
}
