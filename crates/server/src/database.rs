//! One database as the gateway sees it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use tidelock_core::limits::Limits;
use tidelock_core::server::Refusal;
use tidelock_core::wire::{CollectionInfo, ErrorCode};
use tidelock_store::{Changelog, Store, StoreError};

use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::rules::Rules;

/// A store, the node's changelog of it, its rules, and its sessions.
pub struct Database {
    /// Its name.
    pub name: String,
    /// Where documents are committed.
    pub store: Arc<dyn Store>,
    /// The node's view of what was committed.
    pub changelog: Arc<dyn Changelog>,
    /// Who may do what.
    pub rules: Rules,
    /// Limits in force.
    pub limits: Limits,
    /// Sessions that wait for commits.
    pub hub: Hub,
    /// Counters of the server.
    pub metrics: Arc<Metrics>,
    /// Contended mutations wait here for their turn; the lock is fair.
    pub(crate) turns: tokio::sync::Mutex<()>,
    numbers: RwLock<Arc<BTreeMap<String, u32>>>,
}

impl Database {
    /// A database ready to serve; [`Hub::run`] has to be started for it.
    pub fn new(
        name: &str,
        store: Arc<dyn Store>,
        changelog: Arc<dyn Changelog>,
        rules: Rules,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Self {
        let hub = Hub::new(changelog.head());
        let names = rules.collections().map(|(collection, _)| collection.to_owned());
        let numbers = names.zip(0_u32..).collect();
        let name = name.to_owned();
        let turns = tokio::sync::Mutex::default();
        Self { name, store, changelog, rules, limits, hub, metrics, turns, numbers: RwLock::new(Arc::new(numbers)) }
    }

    /// Numbers of the collections in change frames: the same for every session, so that a change is encoded once.
    pub fn numbers(&self) -> Arc<BTreeMap<String, u32>> {
        Arc::clone(&self.numbers.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a session is told of the collections that it asks for; those that do not exist are left out.
    pub fn describe(&self, collections: &[String]) -> Vec<CollectionInfo> {
        let mut wanted: Vec<&String> = collections.iter().collect();
        wanted.sort_unstable();
        wanted.dedup();
        let known = wanted.into_iter().filter_map(|name| Some((name, self.rules.collection(name)?)));
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
        StoreError::Corrupt(_) => (ErrorCode::Internal, "the store cannot be read", 30_000),
    };
    tracing::error!(%error, "store");
    Refusal { code, message: message.to_owned(), retry_after_ms: Some(retry_after_ms) }
}
