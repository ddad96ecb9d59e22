//! Brings the channels that are stored with documents up to the rules, in the background.
//!
//! Channels are computed when a document is written. When the rules that compute them change, the documents of their collections are
//! read in key order, and those whose channels differ are written again with the content that they have: readers hear of it as of any
//! change. Mutations go on meanwhile; they follow the rules in force, so a document that changes under the task needs nothing.
//!
//! A note in the changelog says for each collection by which rules all of its channels were computed. It is taken back before other
//! rules come into force and given once every document was looked at: a server that is stopped in between begins again at its start.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidelock_core::ids::DocumentId;
use tidelock_core::json;
use tidelock_core::server::{ChangeRecord, ChannelSet, Filter};
use tidelock_store::{Commit, CommitOutcome, StoreError, Trace, Write};

use crate::clock::Clock;
use crate::database::Database;
use crate::rules::Rules;

/// About how many bytes of documents one step reads.
const STEP_BYTES_MAX: usize = 256 << 10;
/// Documents that one commit writes: readers are sent them together.
const COMMIT_DOCUMENTS_MAX: usize = 100;
/// Time between two steps: mutations have the store meanwhile.
const STEP_PAUSE_MS: u64 = 2;
/// Time after which a store that failed is asked again.
const RETRY_PAUSE_MS: u64 = 1_000;
/// Documents after which the progress is logged again.
const LOG_DOCUMENTS: u64 = 50_000;

/// How far the task is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Collections whose stored channels may not be those of the rules.
    pub(crate) collections: AtomicU64,
    /// Documents looked at since the start.
    pub(crate) looked_at: AtomicU64,
    /// Documents whose channels were written again since the start.
    pub(crate) changed: AtomicU64,
}

impl Database {
    /// Takes the notes of collections back whose channels these rules compute otherwise. To be called before they come into force.
    pub(crate) async fn forget_outdated(&self, rules: &Rules) -> Result<(), StoreError> {
        for collection in self.outdated(rules).await? {
            self.changelog.remember(&note_name(&collection), Vec::new()).await?;
        }
        Ok(())
    }

    /// The collections whose stored channels may be others than the rules compute.
    async fn outdated(&self, rules: &Rules) -> Result<Vec<String>, StoreError> {
        let mut outdated = Vec::new();
        for (collection, rules) in rules.collections() {
            let note = self.changelog.recall(&note_name(collection)).await?;
            if note.as_deref() != Some(rules.channel_rules().as_bytes()) {
                outdated.push(collection.to_owned());
            }
        }
        Ok(outdated)
    }
}

fn note_name(collection: &str) -> String {
    format!("channels:{collection}")
}

/// Works whenever the rules changed, for ever.
pub(crate) async fn run(database: Arc<Database>, clock: Clock) {
    loop {
        match pass(&database, &clock).await {
            Ok(()) => database.reindex.notified().await,
            Err(error) => {
                let name = &database.name;
                tracing::error!(database = %name, %error, "channels cannot be brought up to the rules yet");
                clock.sleep_until(clock.now_ms() + RETRY_PAUSE_MS).await;
            }
        }
    }
}

/// Every outdated collection, one after the other; begins again when the rules change.
async fn pass(database: &Database, clock: &Clock) -> Result<(), StoreError> {
    loop {
        let rules = database.rules();
        let outdated = database.outdated(&rules).await?;
        let progress = &database.reindex_progress;
        progress.collections.store(outdated.len() as u64, Ordering::Relaxed);
        let Some(collection) = outdated.first() else { return Ok(()) };
        if reindex(database, clock, &rules, collection).await? {
            let _gate = database.rules_gate.read().await;
            if let Some(done) = rules.collection(collection)
                && Arc::ptr_eq(&database.rules(), &rules)
            {
                database.changelog.remember(&note_name(collection), done.channel_rules().into()).await?;
            }
        }
    }
}

/// Looks at every document of a collection. Returns whether that was done: not when the rules changed meanwhile.
async fn reindex(database: &Database, clock: &Clock, rules: &Arc<Rules>, collection: &str) -> Result<bool, StoreError> {
    let (name, progress) = (&database.name, &database.reindex_progress);
    let filter = Filter { collections: [(collection.to_owned(), ChannelSet::All)].into() };
    let (mut looked_at, mut changed) = (0_u64, 0_u64);
    let mut after: Option<DocumentId> = None;
    loop {
        let page = database.changelog.snapshot(after.as_ref(), &filter, STEP_BYTES_MAX).await?;
        let differing: Vec<&ChangeRecord> =
            page.records.iter().filter(|record| channels(rules, record) != record.channels).collect();
        for group in differing.chunks(COMMIT_DOCUMENTS_MAX) {
            // Held so that no rules come into force between the look at them and the commit.
            let _gate = database.rules_gate.read().await;
            if !Arc::ptr_eq(&database.rules(), rules) {
                return Ok(false);
            }
            let written = rewrite(database, clock, rules, group).await?;
            changed += written;
            progress.changed.fetch_add(written, Ordering::Relaxed);
        }
        let before = looked_at;
        looked_at += page.records.len() as u64;
        progress.looked_at.fetch_add(looked_at - before, Ordering::Relaxed);
        after = page.through;
        if after.is_none() {
            if looked_at > 0 {
                tracing::info!(database = %name, collection, looked_at, changed, "channels are those of the rules");
            }
            return Ok(true);
        }
        if before / LOG_DOCUMENTS != looked_at / LOG_DOCUMENTS {
            tracing::info!(database = %name, collection, looked_at, changed, "bringing channels up to the rules");
        }
        clock.sleep_until(clock.now_ms() + STEP_PAUSE_MS).await;
    }
}

/// The channels of a document by the rules; none for a body that cannot be read.
fn channels(rules: &Rules, record: &ChangeRecord) -> Vec<String> {
    let body = record.body.as_deref().and_then(|body| json::parse(body).ok());
    match (body, rules.collection(&record.id.collection)) {
        (Some(body), Some(rules)) => rules.channels(&record.id.key, &body),
        _ => Vec::new(),
    }
}

/// Writes documents again with their content and other channels. Those that changed since they were read are left out: the mutation that
/// changed them computed their channels by the rules in force. Returns how many were written.
async fn rewrite(
    database: &Database,
    clock: &Clock,
    rules: &Rules,
    records: &[&ChangeRecord],
) -> Result<u64, StoreError> {
    let ids: Vec<DocumentId> = records.iter().map(|record| record.id.clone()).collect();
    let documents = database.store.read(&ids).await?.documents;
    let mut writes: Vec<Write> = records
        .iter()
        .zip(documents)
        .filter_map(|(record, document)| Some((record, document.filter(|found| found.version == record.version)?)))
        .map(|(record, document)| Write {
            id: record.id.clone(),
            expected: document.version,
            change: None,
            body: Some(document.body),
            version: document.version,
            channels: channels(rules, record),
            edited_ms: document.edited_ms,
            trace: Trace::None,
        })
        .collect();
    while !writes.is_empty() {
        match database.store.commit(Commit::new(writes.clone(), clock.now_ms())).await? {
            CommitOutcome::Mismatch(changed) => {
                let changed: BTreeSet<DocumentId> = changed.into_iter().collect();
                writes.retain(|write| !changed.contains(&write.id));
            }
            CommitOutcome::Committed(_) | CommitOutcome::Repeated(_) | CommitOutcome::OutOfOrder(_) => break,
        }
    }
    Ok(writes.len() as u64)
}
