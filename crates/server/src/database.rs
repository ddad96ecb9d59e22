//! One database as the gateway sees it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tidelock_core::limits::Limits;
use tidelock_core::server::Refusal;
use tidelock_core::wire::{CollectionInfo, ErrorCode};
use tidelock_store::{Changelog, Store, StoreError};
use tokio::sync::Notify;

use crate::hub::Hub;
use crate::metrics::{DatabaseFigures, Metrics};
use crate::reindex::Progress;
use crate::rules::{Rules, RulesInForce};

/// A store, the node's changelog of it, its rules, and its sessions.
pub struct Database {
    /// Its name.
    pub name: String,
    /// Where documents are committed.
    pub store: Arc<dyn Store>,
    /// The node's view of what was committed.
    pub changelog: Arc<dyn Changelog>,
    /// Limits in force.
    pub limits: Limits,
    /// How long a deleted document is remembered at least.
    pub tombstones_kept: Duration,
    /// Sessions that wait for commits.
    pub hub: Hub,
    /// Counters of the server.
    pub metrics: Arc<Metrics>,
    /// Contended mutations wait here for their turn; the lock is fair.
    pub(crate) turns: tokio::sync::Mutex<()>,
    /// Held for reading from the evaluation of the rules for a mutation to its commit: while it is held for writing, no mutation of
    /// other rules is under way. The lock is fair.
    pub(crate) rules_gate: tokio::sync::RwLock<()>,
    /// Wakes the task that brings stored channels up to the rules.
    pub(crate) reindex: Notify,
    pub(crate) reindex_progress: Progress,
    rules: Arc<RulesInForce>,
    /// Rises when clients have to be told of other collections or policies.
    shape: AtomicU64,
    numbers: RwLock<Arc<BTreeMap<String, u32>>>,
}

impl Database {
    /// A database ready to serve; a [`Server`](crate::Server) runs the tasks that it needs.
    pub fn new(
        name: &str,
        store: Arc<dyn Store>,
        changelog: Arc<dyn Changelog>,
        rules: Rules,
        limits: Limits,
        tombstones_kept: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        let rules = Arc::new(RulesInForce::new(rules, limits.document_bytes_max));
        Self::over(name, store, changelog, rules, limits, tombstones_kept, metrics)
    }

    /// As [`new`](Self::new), with rules that the store asks, too.
    pub fn over(
        name: &str,
        store: Arc<dyn Store>,
        changelog: Arc<dyn Changelog>,
        rules: Arc<RulesInForce>,
        limits: Limits,
        tombstones_kept: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        // What the store cannot hold is refused before anything is decided.
        let capabilities = store.capabilities();
        let limits = Limits {
            key_bytes_max: limits.key_bytes_max.min(capabilities.key_bytes_max),
            document_bytes_max: limits.document_bytes_max.min(capabilities.document_bytes_max),
            ..limits
        };
        rules.limit(limits.document_bytes_max);
        let hub = Hub::new(changelog.head());
        let names = rules.get();
        let names = names.collections().map(|(collection, _)| collection.to_owned());
        let numbers = names.zip(0_u32..).collect();
        Self {
            name: name.to_owned(),
            store,
            changelog,
            limits,
            tombstones_kept,
            hub,
            metrics,
            turns: tokio::sync::Mutex::default(),
            rules_gate: tokio::sync::RwLock::default(),
            reindex: Notify::new(),
            reindex_progress: Progress::default(),
            rules,
            shape: AtomicU64::new(0),
            numbers: RwLock::new(Arc::new(numbers)),
        }
    }

    /// Who may do what at this moment. It stays so while the gate of the rules is held for reading.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.get()
    }

    /// Puts other rules in force once no mutation of the present ones is under way. Stored channels follow in the background
    /// ([`reindex`](crate::reindex)), sessions when they are told.
    pub(crate) async fn replace_rules(&self, rules: Rules) -> Result<(), StoreError> {
        let rules = Arc::new(rules);
        let _gate = self.rules_gate.write().await;
        self.forget_outdated(&rules).await?;
        if !rules.is_shaped_like(&self.rules()) {
            self.shape.fetch_add(1, Ordering::SeqCst);
        }
        self.rules.replace(rules);
        self.reindex.notify_one();
        Ok(())
    }

    /// For the metrics.
    pub(crate) fn figures(&self) -> DatabaseFigures<'_> {
        let Progress { collections, looked_at, changed } = &self.reindex_progress;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (head, floor) = (self.changelog.head().0, self.changelog.floor().0);
        DatabaseFigures { name: &self.name, values: [head, floor, read(collections), read(looked_at), read(changed)] }
    }

    /// Changes when clients have to be told of other collections or policies.
    pub(crate) fn shape(&self) -> u64 {
        self.shape.load(Ordering::SeqCst)
    }

    /// Numbers of the collections in change frames: the same for every session, so that sessions can share frames.
    pub fn numbers(&self) -> Arc<BTreeMap<String, u32>> {
        Arc::clone(&self.numbers.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a session is told of the collections that it asks for; those that do not exist are left out.
    pub fn describe(&self, collections: &[String]) -> Vec<CollectionInfo> {
        let rules = self.rules();
        let mut wanted: Vec<&String> = collections.iter().collect();
        wanted.sort_unstable();
        wanted.dedup();
        let known = wanted.into_iter().filter_map(|name| Some((name, rules.collection(name)?)));
        known
            .map(|(name, rules)| CollectionInfo {
                number: self.number(name),
                name: name.clone(),
                policy: rules.policy().clone(),
            })
            .collect()
    }

    fn number(&self, collection: &str) -> u32 {
        if let Some(number) = self.numbers().get(collection) {
            return *number;
        }
        let mut numbers = self.numbers.write().unwrap_or_else(PoisonError::into_inner);
        let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        *Arc::make_mut(&mut numbers).entry(collection.to_owned()).or_insert(next)
    }
}

/// What a client is told when the store did not do what was asked. The details are for the log.
pub(crate) fn store_refusal(error: &StoreError) -> Refusal {
    let (code, message, retry_after_ms) = match error {
        StoreError::Full(_) => (ErrorCode::StorageFull, "the store has no room left", 5_000),
        StoreError::Unavailable(_) => (ErrorCode::Unavailable, "the store does not answer", 1_000),
        StoreError::Corrupt(_) => (ErrorCode::Internal, "the store refuses; the log of the server says why", 30_000),
    };
    tracing::error!(%error, "store");
    Refusal { code, message: message.to_owned(), retry_after_ms: Some(retry_after_ms) }
}
